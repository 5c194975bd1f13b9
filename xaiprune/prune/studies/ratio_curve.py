"""One number for a ranking: how accuracy holds while more and more units go, without tuning."""

# In stored tables: pruning rates

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...core import evaluating, nonempty
from ...data import Split, as_split, judges
from ...measure import ACCURACY, Metric
from ..applying import gated_by
from ..planning import check_names
from ..scoring import Scores

#: The pruning ratios of Hatefi et al. 2024 (arXiv 2408.12568): 0 to 95 % in 20 steps.
RATIOS = tuple(round(0.05 * step, 2) for step in range(20))


@dataclass(frozen=True)
class RatioCurve:
    """A metric at rising pruning ratios.

    Attributes
    ----------
    criterion : str
    ratios, values : tuple of float
        Shares of all units that are gone, and the metric there.
    sample : str
        What is to be said of the images: empty where none took part in the choice.
    """

    criterion: str
    ratios: tuple[float, ...]
    values: tuple[float, ...]
    sample: str = ""

    @property
    def a_pr(self) -> float:
        """Mean of the metric over the ratios: the area under the curve."""
        return sum(self.values) / len(self.values)

    @property
    def top_pr(self) -> float:
        """The highest ratio at which at least 95 % of the first value is left."""
        return max(ratio for ratio, value in zip(self.ratios, self.values) if value >= 0.95 * self.values[0])


@judges("split")
def ratio_curve(
    model: nn.Module, scores: Scores, split: Split, *, ratios: Sequence[float] = RATIOS, metric: Metric = ACCURACY
) -> RatioCurve:
    """Close the lowest-scored units, all groups ranked together, and measure at every rate.

    Units are closed by gates and not by a plan, so that a group may lose all of its units.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    scores : Scores
        Of channels, neurons, heads or whole blocks: units that a gate can close.
    split : Split, or data of another form
        Validation images, not the ones that were scored on.
    ratios : sequence of float
        Rising shares from 0, each below 1; the first is what Top-PR compares with.
    metric : Metric
    in_sample : bool
        As for ``measure.accuracy``.

    Returns
    -------
    RatioCurve

    Raises
    ------
    ValueError
        If the ratios do not rise from 0 to below 1, the model is in training mode, split is empty, or the units are of
        a kind that no gate can close.

    Examples
    --------
    Every unit finds one class; those of the last two classes have the lowest scores:

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False)).eval()
    >>> _ = nn.init.eye_(model[0].weight), nn.init.eye_(model[2].weight)
    >>> units = xp.find_units(model, torch.zeros(1, 4))
    >>> scores = xp.prune.Scores("mine", tuple(units), {"0": torch.tensor([4.0, 3.0, 2.0, 1.0])})
    >>> points = xp.data.Split(torch.eye(4), torch.arange(4))
    >>> xp.prune.ratio_curve(model, scores, points, ratios=(0, 0.25, 0.5)).values
    (100.0, 75.0, 50.0)
    """
    split = as_split(split, name="split")
    evaluating(model)
    nonempty(split, "split")
    ratios = tuple(ratios)
    if not ratios or ratios[0] != 0 or not all(low < high < 1 for low, high in itertools.pairwise(ratios)):
        raise ValueError(f"ratios must rise from 0 to below 1, got {ratios}.")
    values = []
    for ratio in ratios:
        with ablated(model, scores, lowest_units(scores, ratio)):
            values.append(metric(model, split))
    return RatioCurve(scores.criterion, ratios, tuple(values))


def lowest_units(scores: Scores, ratio: float) -> dict[str, list[int]]:
    """The lowest-scored share of all units, ties by group and index: group name to units.

    Parameters
    ----------
    scores : Scores
    ratio : float
        Share of all units, in [0, 1].

    Returns
    -------
    dict of str to list of int
    """
    places = [(name, unit) for name, values in scores.values.items() for unit in range(len(values))]
    order = torch.argsort(torch.cat(list(scores.values.values())), stable=True)
    gone: dict[str, list[int]] = {}
    for place in order[: round(ratio * len(places))].tolist():
        name, unit = places[place]
        gone.setdefault(name, []).append(unit)
    return gone


def ablated(model: nn.Module, scores: Scores, gone: Mapping[str, Iterable[int]]):
    """A context manager in which some units give nothing: all of a group's, if wanted.

    Parameters
    ----------
    model : nn.Module
    scores : Scores
        Of groups of units that a gate can close.
    gone : mapping of str to iterable of int
        Group name to units.

    Returns
    -------
    context manager

    Raises
    ------
    ValueError
        For an unknown group or unit, or, when it is entered, units that no gate can close.
    """
    sizes = {group.name: group.size for group in scores.groups}
    check_names(gone, sizes, "gone")
    for name, units in gone.items():
        if bad := [unit for unit in units if not 0 <= unit < sizes[name]]:
            raise ValueError(f"gone names unit {bad[0]} of {name!r}, which has units 0 to {sizes[name] - 1}.")
    chosen = [group for group in scores.groups if gone.get(group.name)]
    gates = {group.name: torch.ones(group.size) for group in chosen}
    for name, gate in gates.items():
        gate[list(gone[name])] = 0
    return gated_by(model, chosen, gates)
