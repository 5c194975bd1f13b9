"""Watching a model in use: what moves first under shifted inputs, its answers or its reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.transforms.functional import InterpolationMode, rotate

from ..core import Registry
from ..data import Split, as_split, judges
from ..graph import asks
from ..measure import IGNORED, answer_rows, predict
from .likeness import heatmap_drift, rank_correlation
from .methods import METHODS, Method
from .resampling import _median


@dataclass(frozen=True)
class Shift:
    """A way in which inputs change.

    Attributes
    ----------
    name : str
    unit : str
        Of the level, for axes.
    images : callable
        ``(images, level) -> images``.
    heatmaps : callable
        ``(heatmaps, level) -> heatmaps``: where the evidence should be now if the reasons had only moved along.
    """

    name: str
    unit: str
    images: Callable
    heatmaps: Callable


def _turned(images: torch.Tensor, degrees: float) -> torch.Tensor:
    """Images (N, C, H, W) or heatmaps (N, H, W) turned against the clock about their centre, zeros filled in."""
    return rotate(images, float(degrees), InterpolationMode.BILINEAR) if degrees else images


def _noisy(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images with Gaussian noise of this standard deviation, the same each time, clipped to [0, 1]."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + sigma * noise).clamp(0, 1)


def _same(heatmaps: torch.Tensor, level: float) -> torch.Tensor:
    return heatmaps


SHIFTS: Registry[Shift] = Registry(
    "a shift",
    Shift,
    (Shift("rotation", "degrees", _turned, _turned), Shift("noise", "standard deviation", _noisy, _same)),
)


@judges("split")
@asks("model")
def watch(
    model: nn.Module,
    split: Split,
    shift: Shift | str,
    levels: Sequence[float],
    *,
    method: Method | str = "integrated gradients",
    scores: Callable[[Split], torch.Tensor] | None = None,
) -> list[dict]:
    """What a model answers and why, as its inputs shift.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    split : Split, or data of another form
        Images and labels, not shifted; the labels are what is explained.
    shift : Shift or str
        Or a key of ``SHIFTS``.
    levels : sequence of float
    method : Method or str
        Or a key of ``METHODS``.
    scores : callable, optional
        ``Split -> scores of units (n,)``, to see whether these move too.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``.

    Returns
    -------
    list of dict
        One row per level: ``shift``, ``level``, ``accuracy`` in per cent, ``confidence`` (mean probability of the
        answer), ``drift`` (the median, from the unshifted images' heatmaps, moved along) and, with ``scores``,
        ``scores`` (1 less the rank correlation with those of the unshifted images). ``images`` is the control: the
        same measure for the images themselves in place of heatmaps, which no model has seen.

    Raises
    ------
    ValueError
        For an unknown shift.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    >>> split = xp.data.mnist("test", 5)
    >>> rows = xp.explain.watch(model, split, "rotation", [0, 30], method="gradient x input")
    >>> [row["level"] for row in rows], round(rows[0]["drift"], 3), rows[1]["drift"] > 0
    ([0, 30], 0.0, True)
    """
    shift, method = SHIFTS.find(shift, "shift"), METHODS.find(method, "method")
    split = as_split(split, on=model, name="split")
    before, rows = method(model, split.inputs, split.targets), []
    known = None if scores is None else scores(split).flatten()[None, None]
    for level in levels:
        moved = split.replaced(inputs=shift.images(split.inputs, level))
        found = method(model, *moved)
        row = {"shift": shift.name, "level": level, **accuracy_and_confidence(model, moved, in_sample=True)}
        pairs = {"drift": (before, found, "the unshifted heatmap")}
        pairs["images"] = _ink(split), _ink(moved), "the unshifted image"
        for name, (still, shifted, told) in pairs.items():
            row[name] = _median(heatmap_drift(shift.heatmaps(still, level), shifted, told)[0])
        if scores is not None:
            row["scores"] = 1 - rank_correlation(known, scores(moved).flatten()[None, None]).item()
        rows.append(row)
    return rows


def _ink(split: Split) -> torch.Tensor:
    return split.inputs.sum(1)


@judges("split")
@asks("model")
def accuracy_and_confidence(model: nn.Module, split: Split) -> dict[str, float]:
    """``accuracy`` in per cent, and ``confidence``: the mean probability of the answer given.

    Parameters
    ----------
    model : nn.Module
        A classifier.
    split : Split
        Images and labels.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``; then the result says so.

    Returns
    -------
    dict of str to float
        ``accuracy`` in per cent, and ``confidence`` in [0, 1].

    Examples
    --------
    >>> logits = torch.tensor([[0.9, 0.1], [0.7, 0.3]]).log()
    >>> found = xp.explain.accuracy_and_confidence(nn.Identity(), xp.data.Split(logits, torch.tensor([0, 1])))
    >>> found["accuracy"], round(found["confidence"], 3)
    (50.0, 0.8)
    """
    split = as_split(split, name="split")
    if split.targets is None:
        raise ValueError("split has no targets: accuracy needs the class of each input.")
    rows = answer_rows(predict(model, split.inputs), split.targets)
    top, classes = rows.logits.softmax(1).max(1)
    counts = rows.labels != IGNORED
    right = (classes == rows.labels)[counts].double().mean().item()
    return {"accuracy": 100 * right, "confidence": top[counts].mean().item()}


def class_means(heatmaps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean heatmap of each class that occurs, shape ``(classes, H, W)``: for data whose images have no partners.

    Parameters
    ----------
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``.
    labels : torch.Tensor
        Shape ``(N,)``.

    Returns
    -------
    torch.Tensor
        In the order of the classes' numbers.

    Examples
    --------
    >>> heatmaps = torch.tensor([1.0, 3.0, 7.0]).reshape(3, 1, 1)
    >>> xp.explain.class_means(heatmaps, torch.tensor([0, 0, 1])).flatten().tolist()
    [2.0, 7.0]
    """
    return torch.stack([heatmaps[labels == label].mean(0) for label in labels.unique()])
