"""Faithfulness beside its controls: which there are by default, which are missing, and what the class test says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from xaiprune import explain, zoo
from xaiprune.data import fashion_mnist
from xaiprune.explain import CONTROL_METHODS, MEASURES, Method, at_resolution, class_test, curves, faithfulness, gate


def reader(*weights: torch.Tensor) -> nn.Module:
    """A network whose logit of each class is a weighted sum of the pixels."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights[0].numel(), len(weights), bias=False)).eval()
    model[1].weight.data.copy_(torch.stack([one.flatten() for one in weights]))
    return model


@pytest.fixture
def half_black() -> torch.Tensor:
    """Twelve images of 8 x 8 pixels, of which the right half is black."""
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    images[..., 4:] = 0
    return images


PATCHES = Method("patches", lambda model, images, targets=None: torch.arange(64.0).view(8, 8)[::4, ::4]
                 .repeat_interleave(4, 0).repeat_interleave(4, 1).expand(len(images), -1, -1))  # fmt: skip


def test_controls_come_by_default_and_stand_in_the_result(half_black):
    model = reader(torch.ones(8, 8), -torch.ones(8, 8))
    found = faithfulness(model, half_black, None, ["saliency"])
    own = [name for name in CONTROL_METHODS if name != "re-initialised network"]
    assert found.rivals == {"saliency": (*own, "saliency, re-initialised network")}
    assert list(found.values) == ["saliency", *own, "saliency, re-initialised network"]
    assert found.controls == found.rivals["saliency"]
    assert found.missing == {}
    assert found.strongest("saliency") == "the image itself"  # a sum of equal weights is read in its order
    assert not found.stands("saliency")
    lead = found.values["saliency"]["faithfulness"] - found.values["the image itself"]["faithfulness"]
    assert found.lead("saliency", "the image itself", "faithfulness")[0] == pytest.approx(lead.mean().item())
    for name in found.rivals["saliency"]:
        assert f"saliency over {name}: faithfulness " in repr(found)


def test_values_are_those_of_curves_and_of_a_network_with_new_weights(half_black):
    model = reader(torch.rand(8, 8), torch.rand(8, 8))
    measure = replace(MEASURES["faithfulness"], options={"steps": 4, "baseline": 0.5})
    found = faithfulness(model, half_black, None, ["gradient x input"], measures=[measure], class_tested=False)
    targets = model(half_black).argmax(1)
    maps = explain.gradient_x_input(explain.reinitialised(model), half_black, targets)
    wanted = curves(model, half_black, targets, maps, steps=4, baseline=0.5).faithfulness
    assert torch.equal(found.values["gradient x input, re-initialised network"]["faithfulness"], wanted)
    wanted = curves(model, half_black, targets, (half_black - 0.5).abs()[:, 0], steps=4, baseline=0.5).faithfulness
    assert torch.equal(found.values["the image itself"]["faithfulness"], wanted)
    assert "every pixel differs from 0.5" in found.missing["random among lit pixels"]  # half of them are 0


def test_beside_a_map_of_patches_stand_controls_and_methods_at_its_resolution(half_black):
    model = reader(torch.rand(8, 8), torch.rand(8, 8))
    found = faithfulness(model, half_black, None, ["saliency", PATCHES], class_tested=False)
    assert "the image itself, 2 x 2" in found.rivals["patches"]
    assert "the image itself" in found.rivals["patches"]
    assert not any("2 x 2" in name for name in found.rivals["saliency"])
    assert "saliency, 2 x 2" in found.values
    assert "saliency, 2 x 2" not in found.controls
    coarse = at_resolution(explain.IMAGE, (2, 2))(model, half_black)
    assert torch.allclose(coarse[:, ::4, ::4], nn.functional.avg_pool2d(half_black, 4)[:, 0])
    assert torch.equal(coarse[:, 0, 0], coarse[:, 3, 3])
    with pytest.raises(ValueError, match=r"grid must divide the sides \(8, 8\) of the images, got \(3, 3\)"):
        at_resolution("saliency", (3, 3))(model, half_black)


@pytest.mark.parametrize(
    ("images", "missing"),
    [
        (torch.ones(12, 1, 8, 8), {"the image itself", "random among lit pixels", "edges"}),
        (torch.zeros(12, 1, 8, 8), {"the image itself", "edges"}),
        (torch.rand(12, 1, 8, 8) + 0.1, {"random among lit pixels"}),
    ],
)
def test_a_control_that_cannot_be_computed_is_named_in_the_result(images, missing):
    found = faithfulness(reader(torch.rand(8, 8), torch.rand(8, 8)), images, None, ["saliency"], class_tested=False)
    assert set(found.missing) == missing
    assert all(f"missing: {name}: " in repr(found) for name in missing)
    assert not missing & set(found.values)
    verdict = gate(reader(torch.rand(8, 8), torch.rand(8, 8)), images, None, "saliency")["saliency"]
    assert all(f"beside {name}: missing, " in repr(verdict) for name in set(verdict.missing))


def test_what_cannot_be_made_anew_and_what_has_no_classes_is_named(half_black):
    model = reader(torch.rand(8, 8), torch.rand(8, 8))
    nn.utils.prune.l1_unstructured(model[1], "weight", 0.5)
    found = faithfulness(model, half_black, None, ["saliency"], class_tested=False)
    assert "computes its weights from others" in found.missing["saliency, re-initialised network"]
    drawer = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)).eval()
    found = faithfulness(drawer, half_black, half_black, ["saliency"])
    assert "no classes" in found.missing["class test"]


def test_the_class_test_asks_both_classes(half_black):
    upper, lower = torch.zeros(8, 8), torch.zeros(8, 8)
    upper[:4], lower[4:] = 1.0, 1.0
    model = reader(upper, lower)
    right = class_test(model, half_black, method="gradient x input")
    assert right.min() > 0.1
    wrong = Method("wrong", lambda model, images, targets=None: -explain.gradient_x_input(model, images, targets))
    assert class_test(model, half_black, method=wrong).max() < 0
    assert torch.equal(class_test(model, half_black, method=explain.IMAGE), torch.zeros(12))
    targets = model(half_black).argmax(1)
    assert torch.equal(class_test(model, half_black, targets, "gradient x input", others=1 - targets), right)
    with pytest.raises(ValueError, match="at least two"):
        class_test(reader(upper), half_black)


def test_on_the_transformer_the_bare_image_is_level_with_relevance():
    model, some = zoo.load("vit-fashion-mnist"), fashion_mnist("validation").first(24)
    found = faithfulness(model, some.inputs, None, ["attnlrp", "rollout"], class_tested=False)
    assert found.strongest("attnlrp") == "the image itself"
    assert not found.stands("attnlrp")
    assert "random among lit pixels, 7 x 7" in found.rivals["rollout"]
    ahead, _, high = found.lead("rollout", "random among lit pixels", "faithfulness")
    assert ahead < high < 0
