"""How many reference samples a score needs: what it chooses, draw by draw."""

# In stored tables: reference draws

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from tqdm.auto import tqdm

from ...data import Split
from ..applying import cut
from ..planning import plan
from ..scoring import Scores, score
from ..scoring.criteria import Criterion
from ..units import Plan, UnitGroup


def reference_draws(
    model: nn.Module,
    units: list[UnitGroup],
    criteria: Sequence[str] | Mapping[str, Criterion],
    sample: Callable[[int, int], Split],
    measure: Callable[[nn.Module], float],
    *,
    sizes: Sequence[int] = (1, 2, 5, 10, 50),
    draws: int = 10,
    progress: bool = True,
    **request,
) -> list[dict]:
    """Score from few samples, again and again: does it choose the same units, and are they the right ones?

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is not changed.
    units : list of UnitGroup
    criteria : sequence of str, or mapping of str to Criterion
        Keys of ``CRITERIA``, or criteria by the names that the rows shall have.
    sample : callable
        ``(samples per class, draw) -> Split``.
    measure : callable
        ``model -> float``, of the cut model; once for every plan.
    sizes : sequence of int
        Samples per class.
    draws : int
        Draws of each size, at least two.
    progress : bool
        Whether to show a bar.
    **request
        What :func:`plan` is asked for: ``k=1000``, ``ratio=0.3``.

    Returns
    -------
    list of dict
        One row per criterion and size: ``criterion``, ``per_class``, ``values`` (a list: the measure after each draw),
        ``overlap`` (the mean share of removed units that two draws have in common) and ``least`` (the smallest).

    Raises
    ------
    ValueError
        For no size or fewer than two draws; also as :func:`score` and :func:`plan` raise it.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must be whole numbers of samples from 1, got {list(sizes)}.")
    if draws < 2:
        raise ValueError(f"draws must be at least 2, to be compared with each other, got {draws}.")
    criteria = (criteria,) if isinstance(criteria, str) else criteria
    named = criteria if isinstance(criteria, Mapping) else {name: name for name in criteria}
    bar = tqdm(total=len(named) * len(sizes) * draws, disable=not progress, desc="reference samples")
    rows = []
    for (name, criterion), size in itertools.product(named.items(), sizes):
        plans, values, known = [], [], {}
        for draw in range(draws):
            chosen = plan(score(model, units, criterion, sample(size, draw), seed=draw), **request)
            if chosen not in known:
                known[chosen] = measure(cut(model, chosen))
            plans.append(chosen)
            values.append(known[chosen])
            bar.update()
        shared = overlaps(plans)
        row = {"criterion": name, "per_class": size, "values": values}
        rows.append(row | {"overlap": shared.mean().item(), "least": shared.min().item()})
    bar.close()
    return rows


def unit_scores(
    model: nn.Module, units: list[UnitGroup], criterion: str | Criterion = "relevance"
) -> Callable[[Split], torch.Tensor]:
    """A function of data that gives the scores of all units in one row: what ``watch`` takes to see them move.

    Parameters
    ----------
    model : nn.Module
    units : list of UnitGroup
    criterion : Criterion or str

    Returns
    -------
    callable
        ``Split -> scores of shape (units,)``.
    """

    def function(split: Split) -> torch.Tensor:
        return torch.cat(list(score(model, units, criterion, split).values.values()))

    return function


def carriers(
    model: nn.Module, units: list[UnitGroup], present: Split, absent: Split, criterion: str | Criterion = "relevance"
) -> Scores:
    """Scores by which those units go first that matter more when something is in the images than when it is not.

    Parameters
    ----------
    model : nn.Module
    units : list of UnitGroup
    present, absent : Split
        The same images with and without it; the labels say which answer is explained.
    criterion : Criterion or str

    Returns
    -------
    Scores
        Minus the gain: the lowest carry most of it.
    """
    one, other = (score(model, units, criterion, split) for split in (present, absent))
    gains = {name: other[name] - one[name] for name in one.values}
    return Scores(f"carriers by {one.criterion}", one.groups, gains)


def overlaps(plans: Sequence[Plan]) -> torch.Tensor:
    """For every two plans, the share of the units that the first removes which the second removes too.

    Parameters
    ----------
    plans : sequence of Plan
        At least two.

    Returns
    -------
    torch.Tensor
        Shape ``(pairs,)``, float64.
    """
    if len(plans) < 2 or not all(len(plan) for plan in plans):
        raise ValueError(f"plans must be at least two that remove something, got {len(plans)}.")
    sets = [{(name, unit) for name, gone in plan.removed.items() for unit in gone.tolist()} for plan in plans]
    return torch.tensor([len(a & b) / len(a) for a, b in itertools.combinations(sets, 2)], dtype=torch.float64)
