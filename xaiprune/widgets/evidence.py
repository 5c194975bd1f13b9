"""Evidence before and after: how two models explain one answer to one image."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..explain import Method, NoEvidenceError, Scale, drift_scale, heatmap_drift, heatmaps
from ..plots import scale_heatmaps

#: Images on which an explorer measures noise and chance; it does so once, when it is made.
_SCALED = 16


def scale_of(model: nn.Module, images: torch.Tensor, method: Method | str) -> Scale:
    """Noise and chance for the drift that an explorer shows.

    Parameters
    ----------
    model : nn.Module
        The one that is changed.
    images : torch.Tensor
        Shape ``(N, C, H, W)``; the first 16 are used.
    method : Method or str

    Returns
    -------
    Scale
    """
    return drift_scale(model, images[:_SCALED], method=method)


def told(drift: float, scale: Scale | None = None) -> str:
    """A drift in words, with its place.

    Parameters
    ----------
    drift : float
    scale : Scale, optional

    Returns
    -------
    str
    """
    if scale is None:
        return f"drift {drift:.2f} ↓"
    place = scale.place_of(drift)
    return f"drift {drift:.2f} ↓, " + ("blind" if place is None else f"place {place:.2f} (0 noise, 1 chance)")


def compared(
    before: nn.Module, after: nn.Module, image: torch.Tensor, method: Method | str = "gradient x input"
) -> tuple[np.ndarray, float]:
    """Heatmaps of one image for the answer of the first model.

    Parameters
    ----------
    before, after : nn.Module
        In evaluation mode.
    image : torch.Tensor
        Shape ``(1, C, H, W)``.
    method : Method or str

    Returns
    -------
    heatmaps : numpy.ndarray
        Shape ``(2, H, W)``, each on its own scale.
    drift : float
        1 less their rank correlation; 1 if the second has no evidence left.
    """
    with torch.no_grad():
        answer = before(image).argmax(1)
    maps = [heatmaps(model, image, answer, method) for model in (before, after)]
    try:
        drift = heatmap_drift(*maps, "the first model's heatmap")[0].item()
    except NoEvidenceError:
        drift = 1.0
    return scale_heatmaps(torch.cat(maps).numpy()), drift
