"""Pixels that are gone, filled from those that are left."""

# In stored tables: ground truth

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from ..core import real

#: A pixel's neighbours: how far down and across, and their weight.
_NEIGHBOURS = tuple(
    (down, across, 1 / 12 if down and across else 1 / 6)
    for down in (-1, 0, 1)
    for across in (-1, 0, 1)
    if down or across
)


def imputed(images: torch.Tensor, gone: torch.Tensor, *, noise: float = 0.01, seed: int = 0) -> torch.Tensor:
    """Images in which every missing pixel is the weighted mean of its eight neighbours, and a little noise.

    Noisy linear imputation of ROAD (Rong et al. 2022, arXiv 2202.00449): neighbours beside weigh 1/6, those
    across a corner 1/12, and the means of all missing pixels are solved for at once, as one sparse linear system.
    Neighbours outside of the image do not count.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    gone : torch.Tensor
        Shape ``(N, H, W)``, bool: which pixels are missing.
    noise : float
        Standard deviation of what is added to the pixels that were missing, in units of the images.
    seed : int
        Of the noise.

    Returns
    -------
    torch.Tensor
        Shape ``(N, C, H, W)``. An image without any pixel left gets its own mean colour.

    Raises
    ------
    ValueError
        If ``gone`` does not fit, or the noise is negative.

    Examples
    --------
    >>> images = torch.arange(5.0).expand(1, 1, 3, 5).clone()
    >>> gone = torch.zeros(1, 3, 5, dtype=torch.bool)
    >>> gone[:, :, 1:4], images[:, :, :, 1:4] = True, -1.0
    >>> xp.explain.imputed(images, gone, noise=0)[0, 0, 1]  # a ramp again
    tensor([0., 1., 2., 3., 4.])
    """
    if gone.dtype != torch.bool or gone.shape != (len(images), *images.shape[2:]):
        wanted = (len(images), *images.shape[2:])
        raise ValueError(f"gone must be bool of shape {wanted}, got {gone.dtype} of {tuple(gone.shape)}.")
    if real(noise, "noise") < 0:
        raise ValueError(f"noise must be 0 or more, got {noise:g}.")
    found = images.clone()
    for image, missing in zip(found, gone):
        if missing.all():
            image[:] = image.mean((1, 2), keepdim=True)
        elif missing.any():
            pixels = image.detach().cpu().double().permute(1, 2, 0).numpy()
            filled = torch.from_numpy(_solved(pixels, missing.cpu().numpy()).T)
            image[:, missing] = filled.to(image)
    added = noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(gone[:, None], found + added.to(found), images)


def _solved(pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Values of the missing pixels, shape (missing, channels): weighted differences to all neighbours add up to 0."""
    count = int(missing.sum())
    places = np.full(missing.shape, -1)  # -1: there, -2: outside of the image
    places[missing] = np.arange(count)
    places, around = np.pad(places, 1, constant_values=-2), np.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    down, across = np.nonzero(missing)
    own, known = np.zeros(count), np.zeros((count, pixels.shape[2]))
    rows, columns, values = [], [], []
    for step, side, weight in _NEIGHBOURS:
        at = down + 1 + step, across + 1 + side
        neighbour = places[at]
        own += weight * (neighbour != -2)
        known += weight * (neighbour == -1)[:, None] * around[at]
        unknown = np.nonzero(neighbour >= 0)[0]
        rows.append(unknown)
        columns.append(neighbour[unknown])
        values.append(np.full(len(unknown), -weight))
    entries = np.concatenate([*values, own])
    at = np.concatenate([*rows, np.arange(count)]), np.concatenate([*columns, np.arange(count)])
    system = sparse.csc_matrix((entries, at), shape=(count, count))
    # symmetric and positive definite: no pivots are needed, and this order keeps the factors sparse
    return splu(system, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}).solve(known)
