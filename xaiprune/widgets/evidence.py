"""Evidence before and after: how two models explain one answer to one image."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..explain import Method, NoEvidenceError, heatmap_drift, heatmaps
from ..plots import scale_heatmaps


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
