"""EfficientNet-Lite0: the published function, with every part of the kit within reach."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import xaiprune as xp
from xaiprune import deploy, explain, prune, quantize, zoo
from xaiprune.core import data_dir, sha256
from xaiprune.data import objects

NAME = "efficientnet-lite0"
#: Table 1 of the EfficientNet paper without squeeze-and-excitation: one row for each block.
BLOCKS = """
k3 s1 e1 o16 | k3 s2 e6 o24 | k3 s1 e6 o24 | k5 s2 e6 o40 | k5 s1 e6 o40 | k3 s2 e6 o80 | k3 s1 e6 o80 | k3 s1 e6 o80 |
k5 s1 e6 o112 | k5 s1 e6 o112 | k5 s1 e6 o112 | k5 s2 e6 o192 | k5 s1 e6 o192 | k5 s1 e6 o192 | k5 s1 e6 o192 |
k3 s1 e6 o320
"""


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return load_file(data_dir() / "checkpoints" / f"{NAME}-seed0.safetensors")


@pytest.fixture
def model() -> nn.Module:
    return zoo.load(NAME)


def noise(count: int = 2, side: int = 224, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, side // 8, side // 8, generator=generator) * 2 - 1
    return functional.interpolate(coarse, size=side, mode="bilinear").to(dtype)


def same(x: torch.Tensor, weight: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    """A convolution padded as TensorFlow does: ceil(side / stride) outputs, and an odd pixel goes behind."""
    pads = []
    for side, kernel in zip(reversed(x.shape[2:]), reversed(weight.shape[2:])):
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [missing // 2, missing - missing // 2]
    return functional.conv2d(functional.pad(x, pads), weight, stride=stride, groups=groups)


def oracle(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The published architecture as one function of the published tensors, by its description alone."""

    def norm(x, name):
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-3).sqrt()
        shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = norm(same(x, state["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    for number, row in enumerate(BLOCKS.split("|")):
        kernel, stride, expansion, outputs = map(int, re.findall(r"\d+", row))
        block, before = f"_blocks.{number}.", x
        if expansion > 1:
            x = norm(same(x, state[block + "_expand_conv.weight"]), block + "_bn0").clamp(0, 6)
        weight = state[block + "_depthwise_conv.weight"]
        assert weight.shape == (before.shape[1] * expansion, 1, kernel, kernel)
        x = norm(same(x, weight, stride, groups=len(weight)), block + "_bn1").clamp(0, 6)
        x = norm(same(x, state[block + "_project_conv.weight"]), block + "_bn2")
        assert x.shape[1] == outputs
        if x.shape == before.shape:
            x = x + before
    x = norm(same(x, state["_conv_head.weight"]), "_bn1").clamp(0, 6)
    return x.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


def test_it_computes_the_published_function(model, published):
    pictures = objects("test", 2, preprocessing=zoo.preprocessing(NAME)).inputs
    published = {name: tensor.double() for name, tensor in published.items()}  # its own rounding is no matter
    with torch.no_grad():
        for images in (noise(1), pictures, noise(side=96)):
            exact = oracle(published, images.double())
            assert (model.double()(images.double()) - exact).abs().max() <= 1e-12
            assert (model.float()(images) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_the_padding_is_what_tells_it_from_symmetric_padding(model, published):
    """The comparison above can see: with the padding of PyTorch's recipes the answers are others."""
    for module in model.modules():
        if isinstance(module, nn.ZeroPad2d):
            module.padding = (sum(module.padding[:2]) // 2 + 1, 0) * 2
    with torch.no_grad():
        assert (model(noise()) - oracle(published, noise())).abs().max() > 0.1


def test_the_card_says_what_it_is_and_where_it_is_from(model, published):
    card = zoo.card(NAME)
    assert card["sha256"] == sha256(data_dir() / "checkpoints" / f"{NAME}-seed0.safetensors")
    assert card["parameters"] == sum(tensor.numel() for tensor in model.parameters()) == 4_652_008
    assert card["published"] == 75.1
    assert "Apache-2.0" in card["licence"]
    folder = data_dir() / "checkpoints"
    assert "Apache License" in (folder / f"{NAME}-LICENSE.txt").read_text()
    assert "ML Illustrated" in (folder / f"{NAME}-NOTICE.txt").read_text()
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    inputs = zoo.preprocessing(NAME)(pixels)
    assert torch.allclose(inputs, (pixels.float() - 127) / 128, atol=1e-6)
    names = zoo.class_names(NAME)
    assert len(names) == model.classifier.out_features
    for thing in json.loads((data_dir() / "Objects" / "labels.json").read_text()):
        assert [names[label] for label in thing["classes"]] == thing["names"]
    assert not any(module.training for module in model.modules())


def test_its_own_names_and_the_published_ones_are_taken_and_others_are_not(model, published):
    other = zoo.EfficientNetLite()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.stem.conv.weight, published["_conv_stem.weight"])
    wrapped = nn.Sequential(zoo.EfficientNetLite())
    wrapped.load_state_dict({f"0.{name}": tensor for name, tensor in published.items()})
    assert torch.equal(wrapped[0].head.norm.running_var, published["_bn1.running_var"])
    with pytest.raises(RuntimeError, match="_conv_tail"):
        zoo.EfficientNetLite().load_state_dict(published | {"_conv_tail.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing.*classifier\.bias"):
        zoo.EfficientNetLite().load_state_dict({name: t for name, t in published.items() if name != "_fc.bias"})


def test_a_published_model_is_loaded_and_not_trained():
    with pytest.raises(ValueError, match=f"name must be one of mnist-autoencoder, .*{NAME}, got 'efficientnet-lite1'"):
        zoo.load("efficientnet-lite1")
    with pytest.raises(ValueError, match="name must be one of mnist-autoencoder"):
        zoo.train(NAME)
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of efficientnet-lite0 with seed 3 \(there are seeds 0\)\.$"
    ):
        zoo.load(NAME, seed=3)
    with pytest.raises(ValueError, match="the card of lenet-5 has no preprocessing"):
        zoo.preprocessing("lenet-5")
    with pytest.raises(ValueError, match="the card of lenet-5 has no classes"):
        zoo.class_names("lenet-5")


def test_units_are_found_and_cut(model):
    images = noise(side=64)
    units = xp.find_units(model, images[:1])
    chosen = xp.plan(xp.score(model, units, "magnitude", (images, torch.tensor([0, 1]))), ratio=0.1)
    small = xp.cut(model, chosen)
    with torch.no_grad(), xp.masked(model, chosen):
        masked = model(images)
    assert (small(images) - masked).abs().max() <= 1e-4 * masked.abs().max()
    assert prune.cut_error(model, chosen, images) <= 1e-4


def test_every_place_has_its_own_clamp_and_can_be_equalized(model):
    clamps = [module for module in model.modules() if isinstance(module, nn.ReLU6)]
    assert len(clamps) == 33  # the stem, the head, 16 depthwise and 15 expanding convolutions
    equal, images = quantize.equalize(model, sweeps=2), noise(side=64)
    assert sum(isinstance(module, quantize.ChannelClamp) for module in equal.modules()) == 32  # all but the head's
    with torch.no_grad():
        assert (equal(images) - model(images)).abs().max() <= 1e-4 * model(images).abs().max()


def test_it_is_explained(model):
    images = noise(side=64)
    for method in ("gradient x input", "lrp"):
        maps = explain.heatmaps(model, images, method=method)
        assert maps.shape == (2, 64, 64)
        assert maps.isfinite().all()
        assert maps.abs().sum() > 0


def test_it_is_exported_and_runs_in_whole_numbers(model):
    images = noise(8, side=64)
    with torch.no_grad():
        expected = model(images)
    content = deploy.onnx_bytes(model, images[:1])
    exported = deploy.runnable(content)(images)
    assert (exported - expected).abs().max() <= 1e-4 * expected.abs().max()
    small = quantize.quantize_onnx(content, images)
    assert len(small) < 6e6
    rounded = deploy.runnable(small)(images)
    assert torch.corrcoef(torch.stack([rounded.flatten(), expected.flatten()]))[0, 1] > 0.9
