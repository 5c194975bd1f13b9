"""Preprocessing: there and back, and the likely mistake in inputs that it did not make."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import MobileNet_V2_Weights

from xaiprune.data import Preprocessing, objects

LITE = Preprocessing((127 / 255,) * 3, (128 / 255,) * 3)
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Preprocessing((0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return objects("all", 60, seed=1).inputs


def test_it_is_the_arithmetic_of_the_card(pictures):
    found = LITE((pictures * 255).round().to(torch.uint8))
    assert torch.allclose(found, (pictures * 255 - 127) / 128, atol=1e-6)
    theirs = MobileNet_V2_Weights.IMAGENET1K_V2.transforms(crop_size=224, resize_size=224)
    assert torch.allclose(IMAGENET(pictures), theirs(pictures), atol=1e-5)
    assert torch.allclose(IMAGENET.pixels(IMAGENET(pictures)), pictures, atol=1e-6)
    assert torch.equal(LITE.pixels(torch.full((3, 2, 2), 7.0)), torch.ones(3, 2, 2))
    low, high = LITE.bounds()
    assert low.flatten().tolist() == pytest.approx([-127 / 128] * 3)
    assert high.flatten().tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("wanted", [LITE, IMAGENET])
def test_the_likely_mistake_is_named(pictures, wanted):
    assert wanted.check(inputs := wanted(pictures)) is inputs
    mistakes = {"bytes, 0..255": pictures * 255, "pixels in 0..1 that were not normalised": pictures}
    if wanted is LITE:
        mistakes["pixels normalised by ImageNet's mean and deviation"] = IMAGENET(pictures)
    else:
        mistakes["pixels scaled to -1..1"] = HALF(pictures)
    for mistake, inputs in mistakes.items():
        with pytest.raises(ValueError, match=f"images must be normalised, so that .*: they look like {mistake}"):
            wanted.check(inputs, "images")
    with pytest.raises(ValueError, match=r"got values from -9 to -9\. Make them"):
        wanted.check(torch.full((1, 3, 2, 2), -9.0))


def test_right_pictures_are_taken_one_by_one_and_most_wrong_ones_are_not(pictures):
    """A single picture may be bright all over. What is refused by mistake is rare, and what is missed is told."""
    missed = 0
    for picture in pictures.split(1):
        LITE.check(LITE(picture))
        IMAGENET.check(IMAGENET(picture))
        try:
            LITE.check(picture)
            missed += 1
        except ValueError:
            pass
    assert missed / len(pictures) < 0.25
    for plain in (0.0, 0.5, 1.0):
        LITE.check(LITE(torch.full((1, 3, 8, 8), plain)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Preprocessing((0.5,), (0.5, 0.5)), ValueError, "one number for each colour, got 1 and 2"),
        (lambda: Preprocessing((), ()), ValueError, "one number for each colour, got 0 and 0"),
        (lambda: Preprocessing((0.5,), (0.0,)), ValueError, "std must be above 0"),
        (lambda: Preprocessing(("half",), (1.0,)), TypeError, "mean must be a number"),
        (lambda: Preprocessing((0.5,), (0.5,), size=0), ValueError, "size must be a whole number"),
        (lambda: LITE(torch.rand(3, 8, 8)), ValueError, r"add the batch axis"),
        (lambda: LITE(torch.rand(1, 1, 8, 8)), ValueError, r"pixels must have 3 colours, .* got \(1, 1, 8, 8\)"),
        (lambda: LITE(torch.full((1, 3, 8, 8), 200.0)), ValueError, "divide them by 255"),
        (lambda: LITE(torch.full((1, 3, 8, 8), -0.5)), ValueError, r"must lie in \[0, 1\]"),
        (lambda: LITE(torch.ones(1, 3, 8, 8, dtype=torch.int64)), TypeError, "pixels must be a float tensor"),
        (lambda: LITE.check(torch.ones(1, 3, 8, 8, dtype=torch.uint8)), TypeError, "inputs must be a float tensor"),
        (lambda: LITE.check(torch.full((1, 3, 8, 8), torch.nan)), ValueError, "inputs must be finite"),
        (lambda: LITE.check(torch.zeros(0, 3, 8, 8)), ValueError, "inputs is empty"),
        (lambda: LITE.check([0.0]), TypeError, "inputs must be a float tensor"),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
