"""The zoo's checkpoints: whole, and as good as their cards say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from xaiprune import data, zoo
from xaiprune.core import files
from xaiprune.data import Split, splits
from xaiprune.training import classification_loss, reconstruction_loss
from xaiprune.zoo.__main__ import main

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shipped_autoencoder_is_as_good_as_its_card(seed):
    card = zoo.card("mnist-autoencoder", seed)
    model = zoo.load("mnist-autoencoder", seed)
    value = zoo.MODELS["mnist-autoencoder"].metric(model, splits.mnist("test"))
    assert value == pytest.approx(card["test"], abs=0.01)
    assert value >= 24
    assert model.latent.out_features <= 32
    assert card["seed"] == seed
    assert not model.training


def test_the_command_trains_and_writes_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(splits, "SPLIT_SIZES", splits.SPLIT_SIZES)
    recipe = zoo.MODELS["mnist-autoencoder"]
    few = type(recipe)(
        build=lambda: zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5),
        dataset=lambda split: splits.mnist(split, 256),
        loss=reconstruction_loss,
        metric=recipe.metric,
        epochs=1,
        lr=1e-3,
    )
    few.dataset.__name__ = "mnist"
    monkeypatch.setitem(zoo.MODELS, "mnist-autoencoder", few)
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "cache"))
    main(["train", "mnist-autoencoder", "--seed", "7", "--out", str(tmp_path / "out")])
    card = json.loads((tmp_path / "out" / "mnist-autoencoder-seed7.json").read_text())
    assert json.loads(capsys.readouterr().out) == card
    assert card["sha256"] == files.sha256(tmp_path / "out" / "mnist-autoencoder-seed7.safetensors")
    assert {"data", "epochs", "seed", "versions", "test", "command"} <= set(card)


def test_a_checkpoint_that_differs_from_its_card_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for ending in ("json", "safetensors"):
        shutil.copy(files.data_dir() / "checkpoints" / f"mnist-autoencoder-seed0.{ending}", folder)
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path))
    path = folder / "mnist-autoencoder-seed0.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ValueError, match=r"mnist-autoencoder-seed0\.safetensors is damaged"):
        zoo.load("mnist-autoencoder")


def test_missing_checkpoints_and_unknown_names_say_what_there_is():
    with pytest.raises(FileNotFoundError, match=r"seeds 0, 1, 2, 3, 4.*python -m xaiprune\.zoo train"):
        zoo.load("mnist-autoencoder", seed=99)
    with pytest.raises(ValueError, match=r"name must be one of mnist-autoencoder, .*, got 'resnet'"):
        zoo.load("resnet")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of resnet with seed 0 \(there are seeds none\)"):
        zoo.card("resnet")


def test_weights_go_into_a_model_of_their_architecture_alone():
    expected = zoo.load("lenet-300-100").state_dict()
    model = zoo.load_weights(zoo.dense((300, 100)).train(), "lenet-300-100")
    assert not model.training
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        zoo.load_weights(zoo.dense((30, 100)), "lenet-300-100")


def test_a_checkpoint_in_half_precision_is_measured_as_it_is_stored(tmp_path, monkeypatch):
    few = {split: splits.mnist(split, 300) for split in ("train", "validation", "test")}
    recipe = zoo.Recipe(
        build=lambda: zoo.dense((8,), dropout=(0.1, 0.2)),
        dataset=few.__getitem__,
        loss=classification_loss,
        metric=zoo.MODELS["lenet-5"].metric,
        epochs=1,
        lr=1e-2,
        stored=torch.float16,
    )
    monkeypatch.setitem(zoo.MODELS, "few", recipe)
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "cache"))
    card = zoo.train("few", out=tmp_path)
    state = load_file(tmp_path / "few-seed0.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    model = recipe.build().eval()
    model.load_state_dict(state)
    assert card["test"] == round(recipe.metric(model, few["test"]), 3)


def few_of(recipe: zoo.Recipe) -> dict[str, Split]:
    """Two batches of what a recipe is trained on, or of noise where that would have to be fetched."""
    count = 2 * recipe.batch_size
    if recipe.dataset is data.cifar10:
        noise = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return dict.fromkeys(("train", "validation", "test"), Split(noise, torch.arange(count) % 10))
    return dict.fromkeys(("train", "validation", "test"), Split(*(part[:count] for part in recipe.dataset("test"))))


@pytest.mark.parametrize("name", zoo.MODELS)
def test_the_same_seed_gives_the_same_weights(name, tmp_path, monkeypatch):
    recipe = zoo.MODELS[name]
    few = replace(recipe, dataset=few_of(recipe).__getitem__, epochs=1)
    if recipe.dataset is data.cifar10:
        few = replace(few, start=lambda model: model)  # its weights would have to be fetched
    monkeypatch.setitem(zoo.MODELS, name, few)
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "cache"))
    digests = []
    for draws, seed in ((0, 1), (3, 1), (3, 2)):
        torch.rand(draws)
        digests.append(zoo.train(name, seed, out=tmp_path / f"{draws} {seed}")["sha256"])
    assert digests[0] == digests[1] != digests[2]
