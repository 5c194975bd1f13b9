"""Models as files: outputs, refusals, and what a scorecard says of them."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
import torch
from torch import nn

from xaiprune import data, deploy, measure, quantize, zoo
from xaiprune.deploy import Frozen

IMAGES = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
HERE = [name for name in deploy.FORMS if name != "executorch" or importlib.util.find_spec("executorch")]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Batch normalisation, a sum, a mean over the image: a narrow MobileNet."""
    torch.manual_seed(0)
    return zoo.mobilenet(width=0.1).eval()


@pytest.mark.parametrize("form", HERE)
def test_a_file_says_what_the_model_says_for_batches_of_any_size(model, form, tmp_path):
    path = tmp_path / f"model{deploy.FORMS[form].suffix}"
    written = deploy.export(model, IMAGES, path, form)
    assert written.difference < 1e-5
    for count in (1, 3, 8):
        torch.testing.assert_close(written(IMAGES[:count]), model(IMAGES[:count]), rtol=1e-4, atol=1e-5)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    alone = deploy.FORMS[form].read(path)(IMAGES)
    torch.testing.assert_close(alone, model(IMAGES), rtol=1e-4, atol=1e-5)


def test_integer_kernels_go_out_as_they_are(model, tmp_path):
    kernels = quantize.int8_bytes(model, IMAGES)
    frozen = Frozen(model, IMAGES, kernels)
    written = deploy.export(frozen, IMAGES, tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").read_bytes() == kernels
    assert torch.equal(written(IMAGES), frozen(IMAGES))
    with pytest.raises(ValueError, match="form must be 'onnx' for a model that is run from its file"):
        deploy.export(frozen, IMAGES, tmp_path / "int8.pt2", "torch.export")


def test_a_scorecard_of_files(model, tmp_path):
    files = {form: deploy.export(model, IMAGES, tmp_path / f"m{row.suffix}", form) for form, row in FORMS_HERE.items()}
    models = {"model": model, "frozen": Frozen(model, IMAGES), **files}
    split = data.Split(IMAGES, torch.zeros(8, dtype=torch.long))
    cards = {card.name: card for card in measure.scorecards(models, split, measure.ACCURACY, repeats=3)}
    for name, written in files.items():
        assert cards[name]["dense_bytes"] == written.path.stat().st_size
        assert cards[name]["macs"] == cards["model"]["macs"]
        assert cards[name].notes["latency_1"].find(deploy.FORMS[name].runtime) > 0
    assert cards["onnx"]["activation_bytes"] == cards["frozen"]["activation_bytes"]
    assert "activation_bytes" not in cards["torch.export"].values


FORMS_HERE = {name: deploy.FORMS[name] for name in HERE}


def test_what_the_file_says_otherwise_is_not_kept(model, tmp_path):
    kept = tmp_path / "model.onnx"
    kept.write_bytes(b"before")
    wrong = deploy.Form(
        *("mine", ".onnx", "none"), lambda model, example: b"after", lambda path: lambda images: model(images) + 1
    )
    with pytest.raises(ValueError, match="the file's outputs differ from the model's by"):
        deploy.export(model, IMAGES, kept, wrong)
    assert kept.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_is_run_with_the_threads_that_torch_has(model, tmp_path):
    made = []
    form = dataclasses.replace(deploy.FORMS["onnx"], read=lambda path: made.append(path) or model)
    found = deploy.export(model, IMAGES, tmp_path / "m.onnx", form)
    made.clear()
    found(IMAGES)
    assert not made
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        found(IMAGES)
        found(IMAGES)
    finally:
        torch.set_num_threads(before)
    assert made == [tmp_path / "m.onnx"]


def test_bad_requests_are_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"form must be one of onnx, .*executorch, got 'tflite'"):
        deploy.export(model, IMAGES, tmp_path / "m.tflite", "tflite")
    with pytest.raises(ValueError, match=r"path must end in .pt2 for the form 'torch.export', got 'm.onnx'"):
        deploy.export(model, IMAGES, tmp_path / "m.onnx", "torch.export")
    with pytest.raises(ValueError, match="training mode"):
        deploy.export(zoo.dense((4,)).train(), IMAGES, tmp_path / "m.onnx")


@pytest.mark.skipif("executorch" in HERE, reason="ExecuTorch is installed here")
def test_a_missing_executorch_is_said(model, tmp_path):
    with pytest.raises(deploy.UnavailableError, match="executorch is not installed; `pip install executorch`"):
        deploy.export(model, IMAGES, tmp_path / "m.pte", "executorch")
    assert not list(tmp_path.iterdir())
