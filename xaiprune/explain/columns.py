"""What explanations add to the scorecard."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ..graph import asks
from ..measure import Column
from .drift import drift_from, drift_place, drift_value
from .faithful import curves
from .likeness import Likeness
from .methods import Method
from .resampling import _median
from .sanity import gate
from .scale import Scale, _ruler
from .target import _check_request


@asks("original")
def drift_columns(
    original: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    method: Method | str | None = None,
    likeness: Likeness | str | None = None,
    share: float = 0.1,
    seed: int = 0,
    place: bool = True,
    scale: Scale | None = None,
    output: str | int | Callable | None = None,
) -> dict[Column, Callable[[nn.Module], float]]:
    """Columns for ``scorecards(extra=...)``: drift from the original, and how faithful each model's heatmaps are.

    The method first has to pass the sanity gate on the original; if it does not, the titles of the columns say so.

    Parameters
    ----------
    original : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``; a few hundred are enough.
    targets : torch.Tensor, optional
        What is explained; default the original's own answers.
    method : Method or str, optional
        Or a key of ``METHODS``.
    likeness : Likeness or str, optional
        Or a key of ``LIKENESSES``. By default coarse occlusion and cosine, free of patents: ``docs/drift.md`` says what
        they tell, and what not. A method that is named alone is compared by rank correlation.
    share : float
        Which part of the pixels counts as the highest.
    seed : int
        Of the gate's controls.
    place : bool
        Whether there is a column for the place between noise and chance. They are measured once, on at most 50 of the
        images, which takes as long as the heatmaps of some 22 models.
    scale : Scale, optional
        Noise and chance where they have been measured already, by the same method and likeness.
    output : str, int or callable, optional
        As for ``measure.predict``, of all models.

    Returns
    -------
    dict of Column to callable
        Each a function of a model: drift, its place between noise and chance, changed pixels, faithfulness.

    Examples
    --------
    >>> model, images = xp.zoo.load("lenet-5"), xp.data.mnist("validation", 12).inputs
    >>> columns = xp.explain.drift_columns(model, images, method="saliency")
    >>> drift, place, changed, _ = (measured(model) for measured in columns.values())  # of the model itself
    >>> drift, changed, place <= 0  # nothing moved
    (0.0, 0.0, True)
    """
    method, likeness = _ruler(method, likeness)
    images, targets = _check_request(original, images, targets)
    how = {"method": method, "likeness": likeness, "share": share, "scale": scale, "output": output}
    compared = drift_from(original, images, targets, **how)
    verdict = gate(original, images, targets, [method], seed=seed)[method.name]
    ruler = method.name if likeness.name == "rank correlation" else f"{method.name}, {likeness.name}"
    label = ruler if verdict.passes else f"{ruler}: does not pass the sanity gate here"

    def own(model: nn.Module) -> float:
        maps = compared(model).heatmaps
        return curves(model, images, targets, maps, seed=seed, output=output).faithfulness.mean().item()

    def changed(model: nn.Module) -> float:
        return _median(compared(model).top)

    placed = {place_column(label): lambda model: drift_place(compared, model)} if place else {}
    return {
        drift_column(label): lambda model: drift_value(compared, model),
        **placed,
        Column(f"changed among the top {share:.0%} of pixels ({label})", -1, _three): changed,
        Column(f"faithfulness: insertion less deletion ({label})", 1, _three): own,
    }


def drift_column(method: str = "") -> Column:
    """The scorecard's column for :attr:`Drift.value`.

    Parameters
    ----------
    method : str
        What stands in the title, in brackets.

    Returns
    -------
    Column

    Examples
    --------
    >>> column = xp.explain.drift_column("saliency")
    >>> column.title, column.format(0.12345)
    ('drift of heatmaps (saliency)', '0.123')
    """
    return _named("drift of heatmaps", method, _three)


def place_column(method: str = "") -> Column:
    """The scorecard's column for :attr:`Drift.place`.

    Parameters
    ----------
    method : str
        As for :func:`drift_column`.

    Returns
    -------
    Column

    Examples
    --------
    >>> column = xp.explain.place_column("saliency")
    >>> column.title, column.format(0.12345), column.format(float("nan"))
    ('place of drift: 0 noise, 1 chance (saliency)', '0.12', 'blind')
    """
    return _named("place of drift: 0 noise, 1 chance", method, _place)


def _named(title: str, method: str, told: Callable[[float], str]) -> Column:
    return Column(title + f" ({method})" * bool(method), -1, told)


def _three(value: float) -> str:
    return f"{value:.3f}"


def _place(value: float) -> str:
    return "blind" if math.isnan(value) else f"{value:.2f}"
