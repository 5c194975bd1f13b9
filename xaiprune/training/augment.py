"""Random changes of training images; all but blending leave the class as it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from ..core import Registry


def random_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 1) -> torch.Tensor:
    """Each image (C, H, W) of a batch moved by its own whole number of pixels, up to ``pixels`` in each direction.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator
    pixels : int
        At most.

    Returns
    -------
    torch.Tensor
        Of the same shape; zeros come in from the sides.

    Examples
    --------
    >>> images, generator = torch.ones(5, 1, 4, 4), torch.Generator().manual_seed(0)
    >>> shifted = xp.training.random_shift(images, generator)
    >>> shifted.sum((1, 2, 3)).tolist()  # 16 pixels less the column and the row that left
    [9.0, 12.0, 12.0, 12.0, 12.0]
    """
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * pixels + 1, (2, count, 1, 1), generator=generator)
    padded = functional.pad(images, (pixels,) * 4).movedim(1, -1)
    rows, columns = down + torch.arange(height)[:, None], right + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], rows, columns].movedim(-1, 1)


def random_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """About half of the images (N, C, H, W) mirrored, left for right.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, images.flip(-1), images)


def flip_and_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 2) -> torch.Tensor:
    """Mirrored at random, and moved by up to ``pixels``: for pictures that mean the same seen in a mirror.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator
    pixels : int
        At most.

    Returns
    -------
    torch.Tensor
        Of the same shape.

    Examples
    --------
    >>> images, generator = torch.rand(5, 1, 28, 28), torch.Generator().manual_seed(0)
    >>> xp.training.flip_and_shift(images, generator).shape
    torch.Size([5, 1, 28, 28])
    """
    return random_shift(random_flip(images, generator), generator, pixels)


def random_rotation(images: torch.Tensor, generator: torch.Generator, degrees: float = 10.0) -> torch.Tensor:
    """Each image (N, C, H, W) turned about its centre by its own angle, at most ``degrees`` either way.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator
    degrees : float

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    angles = torch.deg2rad(degrees * (2 * torch.rand(len(images), generator=generator) - 1))
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros(len(images))
    turns = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(turns, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def rotate_and_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 2) -> torch.Tensor:
    """Turned by up to 10 degrees and moved by up to ``pixels``: for digits, which a mirror would change.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator
    pixels : int
        At most.

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    return random_shift(random_rotation(images, generator), generator, pixels)


def random_mixup(images: torch.Tensor, generator: torch.Generator, share: float = 0.5) -> torch.Tensor:
    """About a share of the images (N, C, H, W) blended with another of the batch, by a weight drawn from 0 to 1.

    It is mixup (Zhang et al. 2018, arXiv 1710.09412) without its labels: a teacher answers what no label says.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator
    share : float
        In [0, 1].

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    mixed = torch.rand(len(images), 1, 1, 1, generator=generator) < share
    weight = torch.where(mixed, torch.rand(len(images), 1, 1, 1, generator=generator), 1.0)
    return weight * images + (1 - weight) * images[torch.randperm(len(images), generator=generator)]


def flip_shift_and_mix(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirrored and moved, and half of the images blended with another: for answers that are asked of a teacher.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    generator : torch.Generator

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    return random_mixup(flip_and_shift(images, generator), generator)


#: Those that leave the class as it is, by name.
AUGMENTATIONS: Registry[Callable] = Registry(
    "a random change of inputs",
    callable,
    [
        ("shift", random_shift),
        ("flip", random_flip),
        ("flip and shift", flip_and_shift),
        ("turn", random_rotation),
        ("turn and shift", rotate_and_shift),
    ],
)
