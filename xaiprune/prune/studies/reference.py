"""How many reference samples a score needs: what it chooses, draw by draw."""

# In stored tables: reference draws

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn
from tqdm.auto import tqdm

from ...core import nonempty, whole
from ...data import Split, mark
from ...training import classification_loss
from ..applying import cut
from ..planning import plan
from ..scoring import Scores, score
from ..scoring.criteria import CRITERIA, Criterion
from ..units import Plan, UnitGroup


def reference_draws(
    model: nn.Module,
    units: list[UnitGroup],
    criteria: Criterion | str | Sequence[Criterion | str] | Mapping[str, Criterion | str],
    sample: Callable[[int, int], Split],
    measure: Callable[[nn.Module], float],
    *,
    sizes: Sequence[int] = (1, 2, 5, 10, 50),
    draws: int = 10,
    loss: Callable = classification_loss,
    progress: bool = True,
    **request,
) -> list[dict]:
    """Score from few samples, again and again: does it choose the same units, and are they the right ones?

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is not changed.
    units : list of UnitGroup
    criteria : Criterion or str, a sequence of them, or a mapping of str to them
        Of your own, or keys of ``CRITERIA``; a mapping gives the names that the rows shall have.
    sample : callable
        ``(samples per class, draw) -> Split``.
    measure : callable
        ``model -> float``, of the cut model; once for every plan.
    sizes : sequence of int
        Samples per class.
    draws : int
        Draws of each size, at least two; the number of a draw is its seed.
    loss : callable
        ``(model, inputs, targets) -> scalar``, as for :func:`score`.
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

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> def sample(per_class, draw):
    ...     return xp.data.Split(torch.full((per_class, 2), draw / 10), torch.zeros(per_class))
    >>> def parameters(model):
    ...     return sum(weight.numel() for weight in model.parameters())
    >>> xp.prune.reference_draws(model, units, "l2", sample, parameters, sizes=[1], draws=2, progress=False, k=1)
    [{'criterion': 'l2', 'per_class': 1, 'values': [7, 7], 'overlap': 1.0, 'least': 1.0}]
    """
    for size in nonempty(sizes, "sizes", "at least one number of samples is needed"):
        whole(size, "sizes")
    whole(draws, "draws", 2, what="to be compared with each other")
    criteria = (criteria,) if isinstance(criteria, str | Criterion) else criteria
    if not isinstance(criteria, Mapping):
        criteria = {CRITERIA.name_of(criterion): criterion for criterion in criteria}
    named = {name: CRITERIA.find(criterion, "criteria") for name, criterion in criteria.items()}
    bar = tqdm(total=len(named) * len(sizes) * draws, disable=not progress, desc="reference samples")
    rows = []
    for (name, criterion), size in itertools.product(named.items(), sizes):
        plans, values, known = [], [], {}
        for draw in range(draws):
            chosen = plan(score(model, units, criterion, sample(size, draw), loss=loss, seed=draw), **request)
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
    model: nn.Module,
    units: list[UnitGroup],
    criterion: Criterion | str = "taylor",
    *,
    loss: Callable = classification_loss,
    seed: int = 0,
) -> Callable[[Split], torch.Tensor]:
    """A function of data that gives the scores of all units in one row: what ``watch`` takes to see them move.

    Parameters
    ----------
    model : nn.Module
    units : list of UnitGroup
    criterion : Criterion or str
    loss, seed
        As for :func:`score`.

    Returns
    -------
    callable
        ``Split -> scores of shape (units,)``.

    Raises
    ------
    ValueError
        For an unknown criterion; the function itself raises as :func:`score` does.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).eval()
    >>> _ = nn.init.eye_(model[0].weight)
    >>> scores_of = xp.prune.unit_scores(model, xp.find_units(model, torch.zeros(1, 2)), "activation")
    >>> scores_of(xp.data.Split(torch.tensor([[1.0, 3.0]]), torch.tensor([0]))).tolist()
    [1.0, 3.0]
    """
    criterion = CRITERIA.find(criterion, "criterion")

    def function(split: Split) -> torch.Tensor:
        return torch.cat(list(score(model, units, criterion, split, loss=loss, seed=seed).values.values()))

    return function


def contrast_scores(
    model: nn.Module,
    units: list[UnitGroup],
    present: Split,
    absent: Split,
    criterion: Criterion | str = "taylor",
    *,
    loss: Callable = classification_loss,
    seed: int = 0,
) -> Scores:
    """Scores by which those units go first that matter more when something is in the images than when it is not.

    Parameters
    ----------
    model : nn.Module
    units : list of UnitGroup
    present, absent : Split
        The same images with and without it; the labels say which answer is explained.
    criterion : Criterion or str
    loss, seed
        As for :func:`score`.

    Returns
    -------
    Scores
        Minus the gain: the lowest carry most of it.

    Examples
    --------
    The second unit reads the second input, which only some of the points have:

    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).eval()
    >>> _ = nn.init.eye_(model[0].weight)
    >>> units, label = xp.find_units(model, torch.zeros(1, 2)), torch.tensor([0])
    >>> present, absent = (xp.data.Split(torch.tensor([[1.0, x]]), label) for x in (1.0, 0.0))
    >>> xp.prune.contrast_scores(model, units, present, absent, "activation")["0"].tolist()
    [0.0, -1.0]
    """
    one, other = (score(model, units, criterion, split, loss=loss, seed=seed) for split in (present, absent))
    gains = {name: other[name] - one[name] for name in one.values}
    return mark(replace(one, criterion=f"carriers by {one.criterion}", values=gains), one, other)


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
