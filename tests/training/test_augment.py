"""Random changes of training images: what they may change, and that the generator decides."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import InterpolationMode, rotate

from xaiprune.training import (
    flip_and_shift,
    flip_shift_and_mix,
    random_flip,
    random_mixup,
    random_rotation,
    rotate_and_shift,
)


@pytest.fixture
def images():
    return torch.rand(64, 2, 9, 9, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "change", [random_flip, flip_and_shift, random_rotation, rotate_and_shift, random_mixup, flip_shift_and_mix]
)
def test_the_generator_decides_and_the_images_stay(change, images):
    before = images.clone()
    first, again, other = change(images, seeded()), change(images, seeded()), change(images, seeded(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_about_half_are_mirrored_and_the_rest_is_as_it_was(images):
    found = random_flip(images, seeded())
    mirrored = torch.tensor([torch.equal(new, old.flip(-1)) for new, old in zip(found, images)])
    same = torch.tensor([torch.equal(new, old) for new, old in zip(found, images)])
    assert (mirrored ^ same).all()
    assert 20 < mirrored.sum() < 44


def test_a_turn_is_torchvisions_by_the_angle_that_was_drawn(images):
    angles = 10 * (2 * torch.rand(64, generator=seeded()) - 1)
    for found, image, angle in zip(random_rotation(images, seeded()), images, angles):
        assert torch.allclose(found, rotate(image, angle.item(), InterpolationMode.BILINEAR), atol=1e-4)
    assert torch.allclose(random_rotation(images, seeded(), degrees=0.0), images, atol=1e-5)


def test_about_half_of_the_images_are_blended_with_one_other():
    images = torch.eye(64).view(64, 1, 8, 8)  # each image has a pixel of its own
    found = random_mixup(images, seeded())
    parts = [(values > 0).sum().item() for values in found]
    assert set(parts) == {1, 2}
    assert 20 < parts.count(2) < 44
    assert torch.allclose(found.sum((1, 2, 3)), torch.ones(64))
    assert torch.equal(random_mixup(images, seeded(), share=0.0), images)
