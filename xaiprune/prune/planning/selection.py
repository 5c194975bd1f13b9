"""Planning: how many units go from each group, and that they are exactly as many as asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from ...core import nearest, share, whole
from ...data import carries
from ..costs import Costs
from ..scoring import Scores
from ..units import WEIGHTS, Plan, UnitGroup
from .ranking import _check_limits, _chunks_of, _ranked
from .targets import to_target


@carries
def plan(
    scores: Scores,
    *,
    ratio: float | None = None,
    k: int | None = None,
    coefficients: Mapping[str, float] | None = None,
    threshold: float | Mapping[str, float] | None = None,
    pattern: tuple[int, int] | None = None,
    cost_target: float | None = None,
    costs: Costs | None = None,
    scope: str = "global",
    min_units: int = 1,
    round_to: int = 1,
) -> Plan:
    """Decide which units go: the lowest-scored ones, exactly as many as asked for.

    Exactly one of ``ratio``, ``k``, ``coefficients``, ``threshold``, ``pattern`` and ``cost_target`` says how many.

    Parameters
    ----------
    scores : Scores
    ratio : float, optional
        Share of all units that goes, in [0, 1): the nearest number of units that can go. A warning says where this is
        another one than asked for, or none.
    k : int, optional
        Number of units that go, exactly.
    coefficients : mapping of str to float, optional
        Group name to the share of its units that goes, in [0, 1]; groups not named lose nothing. At least
        ``min_units`` units stay, also at 1. A warning says where none goes at all.
    threshold : float or mapping of str to float, optional
        Units with a score below it go, but for the ``min_units`` best of a group; one number for all groups, or one for
        each of some groups.
    pattern : tuple of int, optional
        ``(n, m)``, such as (2, 4), for single weights: of every m neighbouring inputs of an output, the n with the
        highest scores stay.
    cost_target : float, optional
        Share of ``costs`` that may be left, in (0, 1): as few units go as it takes.
    costs : Costs, optional
        What ``cost_target`` is a share of: ``mac_costs(...)`` or ``latency_costs(...)`` of the same groups.
    scope : {"global", "uniform"}
        For ``ratio``, ``k`` and ``cost_target``: rank all units together, or take the same share from every group.
    min_units : int
        Units that stay in every group, at least 1.
    round_to : int
        The number of units that stay in a group that loses any is a multiple of this.

    Returns
    -------
    Plan

    Raises
    ------
    TypeError
        If ``scores`` are none, or a share is no number.
    ValueError
        If the request is unclear, if k units cannot go (the nearest feasible k is named), if nothing lies below the
        threshold, or if the pattern does not fit a layer (it is named).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> scores = xp.prune.Scores("mine", tuple(units), {"0": torch.tensor([5.0, 1.0, 2.0])})
    >>> xp.plan(scores, k=1)
    Plan: 1 of 3 units go
      0: 1 of 3 go, 2 stay
    >>> xp.plan(scores, threshold=4).removed["0"].tolist()
    [1, 2]
    """
    if not isinstance(scores, Scores):
        raise TypeError(f"scores must be a Scores, as score() returns it, got {type(scores).__name__}.")
    if sum(value is not None for value in (ratio, k, coefficients, threshold, pattern, cost_target)) != 1:
        raise ValueError("give exactly one of ratio, k, coefficients, threshold, pattern and target.")
    if (cost_target is None) != (costs is None):
        raise ValueError("cost_target and costs go together: cost_target is the share of costs that may be left.")
    _check_limits(scope, min_units, round_to)
    if round_to != 1 and (threshold is not None or pattern is not None):
        raise ValueError("round_to does not go with threshold and pattern: these say by themselves what stays.")
    if coefficients is not None:
        chosen = lowest(scores, counts_from(scores.groups, coefficients, min_units, round_to))
        if not len(chosen) and any(coefficients.values()):
            told = "coefficients remove nothing: none is half a unit of its group, or min_units and round_to keep all"
            warnings.warn(f"{told} (min_units={min_units}, round_to={round_to}).", stacklevel=2)
        return chosen
    if threshold is not None:
        return _below(scores, threshold, min_units)
    if cost_target is not None:
        return to_target(scores, costs, cost_target, scope=scope, min_units=min_units, round_to=round_to)
    if pattern is not None:
        return _n_of_m(scores, *pattern)
    chunks = [_chunks_of(group, min_units, round_to) for group in scores.groups]
    if ratio is not None:
        k, told = _near(share(ratio, "ratio", zero=True), sum(group.size for group in scores.groups), chunks)
        if told:
            warnings.warn(f"{told} (min_units={min_units}, round_to={round_to}).", stacklevel=2)
    else:
        k = whole(k, "k", 0)
        if (possible := _nearest_feasible(k, chunks)) != k:
            raise ValueError(
                f"k = {k} units cannot go with these floors and round_to: the nearest feasible k is {possible}."
            )
    return lowest(scores, _allocate(scores, k, chunks, scope))


@carries
def lowest(scores: Scores, counts: Mapping[str, int]) -> Plan:
    """The plan that removes the ``counts[name]`` lowest-scored units of each group, ties by index.

    Parameters
    ----------
    scores : Scores
    counts : mapping of str to int
        Group name to how many of its units go; groups not named lose nothing.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For a group that does not exist, or a count that it cannot lose.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> scores = xp.prune.Scores("mine", tuple(units), {"0": torch.tensor([5.0, 1.0, 2.0])})
    >>> xp.prune.lowest(scores, {"0": 2}).removed["0"].tolist()
    [1, 2]
    """
    check_names(counts, scores.values, "counts")
    for name, count in counts.items():
        if not 0 <= count <= len(scores[name]):
            raise ValueError(f"counts must be from 0 to {len(scores[name])} for group {name!r}, got {count}.")
    removed = {name: scores.order(name)[:count].sort().values.numpy() for name, count in counts.items() if count}
    return Plan(scores.groups, removed)


def counts_from(
    groups: Sequence[UnitGroup], coefficients: Mapping[str, float], min_units: int = 1, round_to: int = 1
) -> dict[str, int]:
    """Units to remove from each group for soft coefficients: ``round(alpha_g n_g)``, at least ``min_units`` stay.

    Parameters
    ----------
    groups : sequence of UnitGroup
    coefficients : mapping of str to float
        Group name to the share of its units that goes, in [0, 1]; groups not named lose nothing.
    min_units : int
        Units of every group that stay at least.
    round_to : int
        The number of units that stay is a multiple of this.

    Returns
    -------
    dict of str to int
        Every group's name to how many of its units go.

    Raises
    ------
    ValueError
        For a coefficient outside [0, 1] or a group that does not exist.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> xp.prune.counts_from(units, {"0": 0.4}), xp.prune.counts_from(units, {"0": 1.0})  # of three units
    ({'0': 1}, {'0': 2})
    """
    sizes = {group.name: group.size for group in groups}
    check_names(coefficients, sizes, "coefficients")
    for name, alpha in coefficients.items():
        if not 0 <= alpha <= 1:
            hint = f"; did you mean {alpha / 100:g}?" if 1 < alpha <= 100 else "."
            raise ValueError(f"coefficients must lie in [0, 1], got {alpha:g} for group {name!r}{hint}")
    counts = {}
    for group in groups:
        wanted = int(coefficients.get(group.name, 0) * group.size + 0.5)
        possible = np.cumsum([0, *_chunks_of(group, min_units, round_to)])
        counts[group.name] = int(possible[possible <= wanted].max())
    return counts


def check_names(given: Iterable[str], known: Iterable[str], argument: str) -> None:
    """Raise ValueError if a group is named that does not exist; the nearest name is suggested, or all are listed.

    Parameters
    ----------
    given, known : iterable of str
        Names that are asked for, and those that there are.
    argument : str
        Name of the argument, for the message.
    """
    known = list(known)
    for name in given:
        if name not in known:
            rest = nearest(name, known) or f"; there {'are' if len(known) > 1 else 'is'} {', '.join(known) or 'none'}."
            raise ValueError(f"{argument} names group {name!r}, which does not exist{rest}")


def _below(scores: Scores, threshold: float | Mapping[str, float], min_units: int) -> Plan:
    """The plan of a threshold."""
    if not isinstance(threshold, Mapping):
        threshold = {group.name: threshold for group in scores.groups}
    check_names(threshold, scores.values, "threshold")
    removed = {}
    for name, value in threshold.items():
        if not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"threshold must be a number, got {value!r} for group {name!r}.")
        below = np.flatnonzero(scores[name].numpy() < value)
        if len(below) > len(scores[name]) - min_units:
            below = scores.order(name)[: max(0, len(scores[name]) - min_units)].numpy()
        removed[name] = below
    if not any(map(len, removed.values())):
        lowest_score = min(scores[name].min().item() for name in threshold)
        raise ValueError(f"threshold removes nothing: the lowest score is {lowest_score:.4g}.")
    return Plan(scores.groups, removed)


def _n_of_m(scores: Scores, n: int, m: int) -> Plan:
    """Of every m neighbouring inputs of an output, keep the n with the highest scores; ties go by index.

    For dense layers the m weights are neighbours in a row. For convolutions they are the same tap of m neighbouring
    input channels, which is what sparse hardware reads together.

    Parameters
    ----------
    scores : Scores
        Of single weights.
    n, m : int
        ``0 < n < m``.

    Raises
    ------
    ValueError
        If the units are not single weights, or m does not divide the inputs of a layer (the layer is named).
    """
    if not (isinstance(n, int) and isinstance(m, int) and 0 < n < m):
        raise ValueError(
            f"pattern must be two whole numbers (n, m) with 0 < n < m, such as (2, 4), got ({n!r}, {m!r})."
        )
    removed = {}
    for group in scores.groups:
        if not group.kind.entries:
            raise ValueError(f"pattern is for {WEIGHTS.words}; {group.name!r} holds {group.kind.words}.")
        if group.shape[1] % m:
            raise ValueError(
                f"pattern {n}:{m} does not fit {group.name!r}: {m} does not divide its {group.shape[1]} inputs. "
                "Leave the layer out with scores.only(...)."
            )
        values = scores[group.name].view(group.shape).movedim(1, -1)
        index = torch.arange(group.size).view(group.shape).movedim(1, -1).reshape(-1, m)
        order = torch.argsort(values.reshape(-1, m), dim=1, stable=True)
        removed[group.name] = index.gather(1, order[:, : m - n]).flatten().numpy()
    return Plan(scores.groups, removed)


def _near(ratio: float, total: int, chunks: list[np.ndarray]) -> tuple[int, str]:
    """The number of units nearest to a share of all that can go, and what has to be told about it, if anything."""
    asked = int(ratio * total + 0.5)
    k = _nearest_feasible(asked, chunks)
    if k != asked:
        return k, f"ratio={ratio:g} of {total} units is {asked}, which cannot go: {k} go, the nearest number that can"
    return k, f"ratio={ratio:g} of {total} units is less than half a unit: none goes" if ratio > 0 and not k else ""


def _nearest_feasible(k: int, chunks: list[np.ndarray]) -> int:
    """The number of units nearest to k that can go exactly; of two, the smaller."""
    if _single(chunks):
        return min(k, sum(map(len, chunks)))
    possible = _reachable(chunks)
    return min((n for n in range(possible.bit_length()) if possible >> n & 1), key=lambda n: (abs(n - k), n))


def _single(chunks: list[np.ndarray]) -> bool:
    """True if units go one by one: then every number of them can go, up to the floors."""
    return all(len(sizes) == 0 or sizes.max() == 1 for sizes in chunks)


def _reachable(chunks: list[np.ndarray]) -> int:
    """Bit n is set if exactly n units can go, taking each group's chunks in their order."""
    possible = 1
    for group in chunks:
        sums = 0
        for taken in np.cumsum([0, *group]).tolist():
            sums |= possible << taken
        possible = sums
    return possible


def _allocate(scores: Scores, k: int, chunks: list[np.ndarray], scope: str) -> dict[str, int]:
    """Take chunks in the order of their rank while exactly k stays within reach."""
    places, steps, order = _ranked(scores, chunks, scope)
    if _single(chunks):
        taken = np.bincount(places[order[:k]], minlength=len(chunks)).tolist()
    else:
        taken = _take(zip(places[order].tolist(), steps[order].tolist()), k, chunks)
    return {group.name: int(sizes[:n].sum()) for group, sizes, n in zip(scores.groups, chunks, taken)}


def _take(ranked: Iterable[tuple[int, int]], k: int, chunks: list[np.ndarray]) -> list[int]:
    """Number of chunks taken from each group; a group stops where its next chunk would put k out of reach."""
    chunks, taken = list(chunks), [0] * len(chunks)
    for place, step in ranked:
        if k == 0 or step >= len(chunks[place]):
            continue
        size = int(chunks[place][step])
        rest = [group[taken[other] + (other == place) :] for other, group in enumerate(chunks)]
        if size > k or not _reachable(rest) >> (k - size) & 1:
            chunks[place] = chunks[place][:step]
        else:
            taken[place] += 1
            k -= size
    return taken
