"""Drift: how far the heatmaps of a compressed model are from those of the original."""

# In stored tables: drift

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from .methods import METHODS, Method
from .resampling import _median, bootstrap
from .target import _check_request


class NoEvidenceError(ValueError):
    """All heatmaps of a model are constant: nothing in the images speaks for its answers."""


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Spearman's rank correlation of each pair of heatmaps; pixels of equal value share the mean of their ranks.

    Parameters
    ----------
    one, other : torch.Tensor
        Shape ``(N, H, W)``.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, float64, from -1 to 1.

    Raises
    ------
    ValueError
        If the shapes differ, or a heatmap is constant or not finite (the first such image is named).

    Examples
    --------
    >>> one = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> xp.explain.rank_correlation(one, one.exp()), xp.explain.rank_correlation(one, -one)
    (tensor([1.], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    _check_pair(one, other)
    ranks = []
    for name, values in (("one", one), ("other", other)):
        flat = values.detach().flatten(1).double().numpy()
        if len(constant := np.flatnonzero(np.ptp(flat, axis=1) == 0)):
            raise ValueError(
                f"{name} is constant for image {constant[0]}: it ranks no pixel above another, so rank correlation is "
                "undefined. Does the model still answer to its input?"
            )
        ranked = rankdata(flat, axis=1)
        ranked -= ranked.mean(axis=1, keepdims=True)
        ranks.append(ranked / np.linalg.norm(ranked, axis=1, keepdims=True))
    return torch.from_numpy((ranks[0] * ranks[1]).sum(axis=1))


def top_overlap(one: torch.Tensor, other: torch.Tensor, share: float = 0.1) -> torch.Tensor:
    """Of the pixels with the highest values in one heatmap, how many are so in the other too.

    Parameters
    ----------
    one, other : torch.Tensor
        Shape ``(N, H, W)``.
    share : float
        Which part of the pixels counts as the highest, above 0 and at most 1. Pixels that tie at the cut do not count,
        so that a map with fewer pixels above zero has fewer that are highest.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, float64, from 0 to 1: shared pixels over those of the map that has more. Two random maps share
        ``share`` of them. Two maps of which neither has a highest pixel share all, one such map shares none.

    Raises
    ------
    ValueError
        If the shapes differ, ``share`` is out of range, or a value is not finite.
    """
    _check_pair(one, other)
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}.")
    pixels = one[0].numel()
    count = max(1, round(share * pixels))
    chosen = []
    for values in (one.flatten(1), other.flatten(1)):
        cut = values.sort(dim=1, descending=True).values[:, min(count, pixels - 1), None]
        chosen.append(values > cut if count < pixels else values >= cut)
    most = torch.maximum(*(each.sum(1) for each in chosen))
    return torch.where(most == 0, 1.0, (chosen[0] & chosen[1]).sum(1).double() / most.clamp(min=1))


@dataclass(frozen=True, eq=False)
class Drift:
    """How far a model's heatmaps are from the original's, for the same images and answers: 0 for equal models.

    Attributes
    ----------
    method : str
    values : torch.Tensor
        Shape ``(N,)``, from 0 to 2: 1 less the rank correlation of each image's two heatmaps.
    top : torch.Tensor
        Shape ``(N,)``, from 0 to 1: the share of the highest pixels that are others now.
    classes : torch.Tensor
        Shape ``(N,)``: the class of each image.
    silent : torch.Tensor
        Shape ``(N,)``, bool: where the compressed model's heatmap is constant, because nothing in the image speaks for
        the answer any more. Rank correlation is not defined there; the drift counts as 1.
    """

    method: str
    values: torch.Tensor
    top: torch.Tensor
    classes: torch.Tensor
    silent: torch.Tensor

    @property
    def value(self) -> float:
        """The drift of the typical image, the median: images whose answer turned have a drift near 2.

        Of an even number of images it is the larger of the two in the middle, so that it is the drift of an image.
        """
        return _median(self.values)

    def rows(self) -> list[dict]:
        """A row per class and one for all.

        Returns
        -------
        list of dict
            ``class``, ``images``, and the medians ``drift`` and ``top``, each with the ``_low`` and ``_high`` end of
            its 95 % bootstrap interval.
        """
        groups = {str(int(c)): self.classes == c for c in self.classes.unique()}
        groups["all"] = torch.ones_like(self.classes, dtype=torch.bool)
        rows = []
        for name, mine in groups.items():
            row = {"class": name, "images": int(mine.sum())}
            for measure, values in (("drift", self.values), ("top", self.top)):
                middle, low, high = bootstrap(values[mine], statistic="median")
                row |= {measure: middle, f"{measure}_low": low, f"{measure}_high": high}
            rows.append(row)
        return rows

    def __repr__(self) -> str:
        lines = [f"Drift by {self.method}; medians over images with 95 % bootstrap intervals"]
        lines.append(f"{'class':<6}{'images':>7}  {'drift ↓':<22}changed among the highest pixels ↓")
        for row in self.rows():
            cells = [f"{row[m]:.3f} [{row[f'{m}_low']:.3f}, {row[f'{m}_high']:.3f}]" for m in ("drift", "top")]
            lines.append(f"{row['class']:<6}{row['images']:>7}  {cells[0]:<22}{cells[1]}")
        if count := int(self.silent.sum()):
            lines.append(f"{count} of {len(self.silent)} images have a constant heatmap: their drift counts as 1")
        return "\n".join(lines)


def drift(
    original: nn.Module,
    compressed: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    classes: torch.Tensor | None = None,
    method: Method | str = "integrated gradients",
    share: float = 0.1,
) -> Drift:
    """Compare the heatmaps of two models on the same images, for the same answers.

    Parameters
    ----------
    original, compressed : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        What both have to explain; default the original's own answers.
    classes : torch.Tensor, optional
        Shape ``(N,)``, for the breakdown; default the targets where they are classes, else one class.
    method : Method or str
        Or a key of ``METHODS``.
    share : float
        Which part of the pixels counts as the highest.

    Returns
    -------
    Drift
        0 means that nothing moved.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` and the method raise them; for a heatmap of the original that is constant, and if all those
        of the compressed model are.

    Examples
    --------
    Class 0 reads the upper row of pixels. The compressed model has lost the second weight, and its third is new:

    >>> original = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = original[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    >>> compressed = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = compressed[1].weight.data.copy_(torch.tensor([[1.0, 0.0, 3.0, 0.0]]))
    >>> images = torch.ones(1, 1, 2, 2)
    >>> found = xp.explain.drift(original, compressed, images, method="gradient x input", share=0.5)
    >>> round(found.value, 2), found.top.item()  # the drift, and the share of the two highest pixels that changed
    (1.39, 0.5)
    """
    return drift_from(original, images, targets, classes=classes, method=method, share=share)(compressed)


def drift_from(
    original: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    classes: torch.Tensor | None = None,
    method: Method | str = "integrated gradients",
    share: float = 0.1,
) -> Callable[[nn.Module], Drift]:
    """Compare many models with one: the original's heatmaps are made once.

    Parameters and errors are those of :func:`drift`; the result is a function ``compressed -> Drift``.

    Parameters
    ----------
    original, images, targets, classes, method, share
        As for :func:`drift`.

    Returns
    -------
    callable
        ``compressed -> Drift``.

    Raises
    ------
    TypeError, ValueError
        As for :func:`drift`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> compared = xp.explain.drift_from(model, torch.rand(3, 1, 2, 2), method="gradient x input")
    >>> compared(model).values  # of a model and itself
    tensor([0., 0., 0.], dtype=torch.float64)
    """
    method = METHODS.find(method, "method")
    images, targets = _check_request(original, images, targets)
    if classes is None:
        classes = torch.zeros(len(images), dtype=torch.int64) if targets.is_floating_point() else targets
    reference = method(original, images, targets)

    def compared(model: nn.Module) -> Drift:
        found = method(model, images, targets)
        values, silent = heatmap_drift(reference, found, "the original's heatmap")
        return Drift(method.name, values, 1 - top_overlap(reference, found, share), classes, silent)

    return compared


def drift_value(compared: Callable[[nn.Module], Drift], model: nn.Module) -> float:
    """The drift of a model's typical image; 1 for a model that no longer answers to its input.

    Parameters
    ----------
    compared : callable
        From :func:`drift_from`.
    model : nn.Module

    Returns
    -------
    float
    """
    try:
        return compared(model).value
    except NoEvidenceError:
        return 1.0


def heatmap_drift(reference: torch.Tensor, found: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """1 less the rank correlation of each pair of heatmaps; 1 where the second has no evidence left.

    Parameters
    ----------
    reference, found : torch.Tensor
        Shape ``(N, H, W)``.
    name : str
        What the reference is, for the message.

    Returns
    -------
    values, silent : torch.Tensor
        Shape ``(N,)``: float64 from 0 to 2; and bool, where the second map is constant.

    Raises
    ------
    ValueError
        If a map of the reference is constant.
    NoEvidenceError
        If all maps found are constant.
    """
    _check_pair(reference, found)
    if len(constant := _constant(reference).nonzero()):
        raise ValueError(f"{name} of image {constant[0].item()} is constant: it ranks no pixel above another.")
    silent = _constant(found)
    if silent.all():
        raise NoEvidenceError("all heatmaps found are constant: does the model still answer to its input?")
    values = torch.ones(len(found), dtype=torch.float64)
    values[~silent] = 1 - rank_correlation(reference[~silent], found[~silent])
    values[(reference == found).flatten(1).all(1)] = 0  # not 1e-16
    return values, silent


def _constant(heatmaps: torch.Tensor) -> torch.Tensor:
    flat = heatmaps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def _check_pair(one: torch.Tensor, other: torch.Tensor) -> None:
    if one.shape != other.shape or one.ndim != 3 or len(one) == 0:
        raise ValueError(
            f"heatmaps must have the same shape (N, H, W), got {tuple(one.shape)} and {tuple(other.shape)}."
        )
    for name, values in (("one", one), ("other", other)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinity: no drift can be told from it.")
