"""Random changes of training images that leave their class as it is."""

from __future__ import annotations

import torch

from .train import random_shift


def random_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """About half of the images (N, C, H, W) mirrored, left for right."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, images.flip(-1), images)


def flip_and_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 2) -> torch.Tensor:
    """Mirrored at random, and moved by up to ``pixels``: for pictures that mean the same seen in a mirror."""
    return random_shift(random_flip(images, generator), generator, pixels)
