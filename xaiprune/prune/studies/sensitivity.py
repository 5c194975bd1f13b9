"""Sensitivity: what each layer loses on its own, where it falls off a cliff, and what a budget should take from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import nn

from ...core import digest, evaluating, nonempty
from ...data import Split, as_split, carries, choosing, mark
from ...experiments import sweep
from ...measure import ACCURACY, Metric
from ..applying import masked
from ..planning import lowest, plan
from ..scoring import Scores
from ..units import Plan

#: Name of the rows in which all groups are pruned together.
WHOLE = "whole model"
RATIOS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)


def scan(
    model: nn.Module,
    scores: Scores,
    split: Split,
    *,
    ratios: Sequence[float] = RATIOS,
    metric: Metric = ACCURACY,
    table: Path | str | None = None,
    progress: bool = True,
) -> list[dict]:
    """The metric against the ratio, for every group alone and for the whole model with one global ranking.

    Runs through joblib: ``joblib.parallel_config("loky", n_jobs=2)`` around the call uses two processes. With ``table``
    an interrupted scan goes on where it stopped.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    scores : Scores
        Of any kind of unit.
    split : Split, or data of another form
        Validation data.
    ratios : sequence of float
        Shares of a group's units that go, in (0, 1): as near as can be, and a warning tells where it is not.
    metric : Metric
    table : Path or str, optional
        JSON file that keeps what is finished.
    progress : bool

    Returns
    -------
    list of dict
        Rows ``group``, ``ratio``, ``units`` (of the group), ``value`` and ``lost`` (against the unpruned model,
        positive is worse); for each group ratio 0 comes first. The last group is ``WHOLE``.

    Raises
    ------
    ValueError
        If split is empty, the model is in training mode, a ratio is outside (0, 1), or ``table`` belongs to another
        model, ranking, metric or data.
    KeyboardInterrupt
        When interrupted, after everything finished has been kept.

    Examples
    --------
    Of 16 weights 12 are zero, and each of the others finds one class:

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])))
    >>> scores = xp.score(model, xp.prune.find_weights(model), "l1")
    >>> points = xp.data.Split(torch.eye(4), torch.arange(4))
    >>> rows = xp.prune.scan(model, scores, points, ratios=(0.75, 0.875), progress=False)
    >>> [(row["group"], row["ratio"], row["lost"]) for row in rows[:3]]
    [('0.weight', 0.0, 0.0), ('0.weight', 0.75, 0.0), ('0.weight', 0.875, 50.0)]
    """
    split = as_split(split, name="split")
    ratios = sorted(set(ratios))
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise ValueError(f"ratios must lie in (0, 1), got {', '.join(f'{ratio:g}' for ratio in ratios) or 'none'}.")
    evaluating(model)
    nonempty(split, "split")
    with choosing():
        intact = metric(model, split)
    identity = {
        "metric": metric.name,
        "intact": round(intact, 3),
        "images": digest(split.inputs),
        "ranking": digest(*(scores.order(group.name) for group in scores.groups)),
    }
    names = [*(group.name for group in scores.groups), *([WHOLE] if len(scores.groups) > 1 else [])]
    known = sweep(
        partial(_evaluate, model, scores, split, metric),
        [(name, ratio) for name in names for ratio in ratios],
        identity=identity,
        table=table,
        progress=progress,
        label="sensitivity",
    )
    sizes = {group.name: group.size for group in scores.groups} | {WHOLE: sum(group.size for group in scores.groups)}
    known |= {(name, 0.0): intact for name in names}
    rows = [
        {
            "group": name,
            "ratio": ratio,
            "units": sizes[name],
            "value": known[name, ratio],
            "lost": metric.better * (intact - known[name, ratio]),
        }
        for name in names
        for ratio in (0.0, *ratios)
    ]
    return mark(rows, scores, data=split, what="sensitivity")


@carries
def cliffs(rows: Iterable[dict], points: float = 2.0) -> dict[str, float | None]:
    """The last ratio before each group's cliff: where the next step loses more than ``points``.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`scan`.
    points : float
        Loss, in the metric's unit, that one step may cost at most.

    Returns
    -------
    dict of str to (float or None)
        Group name to the ratio at the edge; None where no step of the scan falls so far.

    Raises
    ------
    ValueError
        If ``points`` is not positive.

    Examples
    --------
    >>> rows = [{"group": "fc", "ratio": ratio, "lost": lost} for ratio, lost in ((0, 0), (0.5, 1), (0.9, 30))]
    >>> xp.prune.cliffs(rows, points=2)
    {'fc': 0.5}
    """
    if not points > 0:
        raise ValueError(f"points must be positive, got {points:g}.")
    edges: dict[str, float | None] = {}
    for name, mine in _by_group(rows).items():
        edges[name] = next((a["ratio"] for a, b in pairwise(mine) if b["lost"] - a["lost"] > points), None)
    return edges


@carries
def allocate_ratios(scores: Scores, rows: Iterable[dict], ratio: float, step: float = 0.005) -> Plan:
    """Spend a global budget where the scan says that it costs least.

    The losses of the groups are taken to add up. From nothing, the step that costs least per unit is taken again and
    again; longer steps compete, so that a flat stretch behind a bump is found. Inside a group the lowest scores go.

    Parameters
    ----------
    scores : Scores
    rows : iterable of dict
        From :func:`scan` with these scores.
    ratio : float
        Share of all units that goes, in [0, 1); met exactly.
    step : float
        Smallest step of a group's ratio.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For a ratio outside [0, 1), or a group that was not scanned.

    Examples
    --------
    A scan in which the first layer loses nothing at any ratio:

    >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    >>> scores = xp.score(model, xp.prune.find_weights(model), "l1")
    >>> losses = {"0.weight": [0, 0, 0], "2.weight": [0, 20, 50]}
    >>> rows = [
    ...     {"group": group, "ratio": ratio, "lost": lost}
    ...     for group, values in losses.items()
    ...     for ratio, lost in zip((0, 0.5, 0.9), values)
    ... ]
    >>> xp.prune.allocate_ratios(scores, rows, ratio=0.4).kept
    {'0.weight': 2, '2.weight': 8}
    """
    whole = plan(scores, ratio=ratio)  # checks the ratio, and says how many units it means
    curves = {
        name: ([row["ratio"] for row in mine], np.maximum.accumulate([row["lost"] for row in mine]))
        for name, mine in _by_group(rows).items()
    }
    if missing := [group.name for group in scores.groups if group.name not in curves]:
        raise ValueError(f"rows hold no scan of group {missing[0]!r}.")
    budget = len(whole)
    counts = {group.name: 0 for group in scores.groups}
    tops = {g.name: min(g.size - 1, int(curves[g.name][0][-1] * g.size)) for g in scores.groups}
    while (left := budget - sum(counts.values())) > 0:
        offers = []
        for place, group in enumerate(scores.groups):
            here, grid = counts[group.name], curves[group.name]
            for size in (step, 4 * step, 16 * step):
                more = min(left, tops[group.name] - here, max(1, round(size * group.size)))
                if more > 0:
                    before, after = np.interp([here / group.size, (here + more) / group.size], *grid)
                    offers.append(((after - before) / more, place, more))
        if not offers:  # every group is at the last ratio of the scan
            tops = {group.name: group.size - 1 for group in scores.groups}
            continue
        _, place, more = min(offers)
        counts[scores.groups[place].name] += more
    return lowest(scores, counts)


def _by_group(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """Rows of a scan for each group, with ascending ratios."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["group"], []).append(row)
    return {name: sorted(mine, key=lambda row: row["ratio"]) for name, mine in found.items()}


def _evaluate(model: nn.Module, scores: Scores, split: Split, metric: Metric, task: tuple[str, float]) -> float:
    name, ratio = task
    chosen = plan(scores if name == WHOLE else scores.only(name), ratio=ratio)
    with masked(model, chosen), choosing():
        return metric(model, split)
