"""Images of which parts are hidden: what a model answers then says what it looks at."""

# In stored tables: distillation

from __future__ import annotations

import torch
from torch.nn import functional as F

#: Rows and columns of patches that an image is cut into.
_GRID = 4


def draw_patches(count: int, generator: torch.Generator, most: float = 0.5) -> torch.Tensor:
    """Which patches of each image are hidden.

    Parameters
    ----------
    count : int
        Of images.
    generator : torch.Generator
    most : float
        For every image a share between 0 and this is drawn, and each patch is hidden with that probability.

    Returns
    -------
    torch.Tensor
        Shape ``(count, GRID, GRID)``, bool.
    """
    share = most * torch.rand(count, 1, 1, generator=generator)
    return torch.rand(count, _GRID, _GRID, generator=generator) < share


def hide(images: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Images with some patches set to zero, as occlusion and Shapley values do it.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    patches : torch.Tensor
        Shape ``(N, rows, columns)``, bool.

    Returns
    -------
    torch.Tensor
        Shape ``(N, C, H, W)``.
    """
    hidden = F.interpolate(patches[:, None].to(images), size=images.shape[2:])
    return images * (1 - hidden)
