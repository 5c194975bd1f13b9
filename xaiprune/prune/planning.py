"""Planning: how many units go from each group, and that they are exactly as many as asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from .plans import Plan
from .scores import Scores
from .units import UnitGroup


def plan(
    scores: Scores,
    *,
    ratio: float | None = None,
    k: int | None = None,
    coefficients: Mapping[str, float] | None = None,
    scope: str = "global",
    floor: int = 1,
    round_to: int = 1,
) -> Plan:
    """Decide which units go: the lowest-scored ones, exactly as many as asked for.

    Exactly one of ``ratio``, ``k`` and ``coefficients`` says how many.

    Parameters
    ----------
    scores : Scores
    ratio : float, optional
        Share of all units that goes, in [0, 1); rounded to the nearest whole number of units.
    k : int, optional
        Number of units that go.
    coefficients : mapping of str to float, optional
        Group name to the share of its units that goes, in [0, 1]; groups not named lose nothing. At least
        ``floor`` units stay, also at 1.
    scope : {"global", "uniform"}
        Rank all units together, or take the same share from every group.
    floor : int
        Units that stay in every group, at least 1.
    round_to : int
        The number of units that stay in a group that loses any is a multiple of this.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the request is unclear or cannot be met exactly; the nearest feasible k is named.
    """
    if not isinstance(scores, Scores):
        raise TypeError(f"scores must be a Scores, as score() returns it, got {type(scores).__name__}.")
    if sum(value is not None for value in (ratio, k, coefficients)) != 1:
        raise ValueError("give exactly one of ratio, k and coefficients.")
    for name, value in (("floor", floor), ("round_to", round_to)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if coefficients is not None:
        return lowest(scores, counts_from(scores.groups, coefficients, floor, round_to))
    total = sum(group.size for group in scores.groups)
    if ratio is not None:
        if not 0 <= ratio < 1:
            hint = f"; did you mean {ratio / 100:g}?" if 1 < ratio < 100 else ""
            raise ValueError(f"ratio must be in [0, 1), got {ratio:g}{hint}")
        k = int(ratio * total + 0.5)
    if not isinstance(k, int) or k < 0:
        raise ValueError(f"k must be a whole number of units, at least 0, got {k!r}.")
    if scope not in ("global", "uniform"):
        raise ValueError(f"scope must be 'global' or 'uniform', got {scope!r}.")
    chunks = [_chunks(group.size, floor, round_to) for group in scores.groups]
    _check_feasible(k, chunks)
    return lowest(scores, _allocate(scores, k, chunks, scope))


def lowest(scores: Scores, counts: Mapping[str, int]) -> Plan:
    """The plan that removes the ``counts[name]`` lowest-scored units of each group, ties by index."""
    removed = {name: scores.order(name)[:count].tolist() for name, count in counts.items() if count}
    return Plan(scores.groups, removed)


def counts_from(
    groups: Sequence[UnitGroup], coefficients: Mapping[str, float], floor: int = 1, round_to: int = 1
) -> dict[str, int]:
    """Units to remove from each group for soft coefficients: ``round(alpha_g n_g)``, at least ``floor`` stay.

    Raises
    ------
    ValueError
        For a coefficient outside [0, 1] or a group that does not exist.
    """
    sizes = {group.name: group.size for group in groups}
    if unknown := sorted(set(coefficients) - set(sizes)):
        raise ValueError(
            f"coefficients name groups that do not exist: {', '.join(unknown)}; there are {', '.join(sizes)}."
        )
    for name, alpha in coefficients.items():
        if not 0 <= alpha <= 1:
            hint = f"; did you mean {alpha / 100:g}?" if 1 < alpha <= 100 else ""
            raise ValueError(f"coefficients must lie in [0, 1], got {alpha:g} for group {name!r}{hint}.")
    counts = {}
    for name, size in sizes.items():
        wanted = int(coefficients.get(name, 0) * size + 0.5)
        possible = np.cumsum([0, *_chunks(size, floor, round_to)])
        counts[name] = int(possible[possible <= wanted].max())
    return counts


def _chunks(size: int, floor: int, round_to: int) -> list[int]:
    """Numbers of units that can go from a group one after another: what stays is a multiple of round_to."""
    stays = [n for n in range(size - 1, floor - 1, -1) if n % round_to == 0]
    return [before - after for before, after in zip([size, *stays], stays)]


def _check_feasible(k: int, chunks: list[list[int]]) -> None:
    if _single(chunks) and k <= sum(map(len, chunks)):
        return
    possible = _reachable(chunks)
    if possible >> k & 1:
        return
    sums = [n for n in range(possible.bit_length()) if possible >> n & 1]
    nearest = min(sums, key=lambda n: (abs(n - k), n))
    raise ValueError(f"k = {k} units cannot go with these floors and round_to: the nearest feasible k is {nearest}.")


def _single(chunks: list[list[int]]) -> bool:
    """True if units go one by one: then every number of them can go, up to the floors."""
    return all(not sizes or max(sizes) == 1 for sizes in chunks)


def _reachable(chunks: list[list[int]]) -> int:
    """Bit n is set if exactly n units can go, taking each group's chunks in their order."""
    possible = 1
    for group in chunks:
        sums = 0
        for taken in np.cumsum([0, *group]).tolist():
            sums |= possible << taken
        possible = sums
    return possible


def _allocate(scores: Scores, k: int, chunks: list[list[int]], scope: str) -> dict[str, int]:
    """Take chunks in the order of their rank while exactly k stays within reach."""
    ranks = [
        _ranks(scores[group.name], sizes) if scope == "global" else np.cumsum(sizes) / group.size
        for group, sizes in zip(scores.groups, chunks)
    ]
    places = np.repeat(np.arange(len(chunks)), [len(sizes) for sizes in chunks])
    steps = np.concatenate([np.arange(len(sizes)) for sizes in chunks])
    order = np.lexsort((steps, places, np.concatenate(ranks)))
    if _single(chunks):
        taken = np.bincount(places[order[:k]], minlength=len(chunks)).tolist()
    else:
        taken = _take(zip(places[order].tolist(), steps[order].tolist()), k, chunks)
    return {group.name: sum(sizes[:n]) for group, sizes, n in zip(scores.groups, chunks, taken)}


def _ranks(scores: torch.Tensor, sizes: list[int]) -> np.ndarray:
    """Mean score of each chunk of units, the lowest units first; shape ``(chunks,)``."""
    starts = np.cumsum([0, *sizes])[:-1]
    lowest_first = scores.sort().values[: sum(sizes)].numpy()
    return np.add.reduceat(lowest_first, starts) / sizes if sizes else np.empty(0)


def _take(ranked: Iterable[tuple[int, int]], k: int, chunks: list[list[int]]) -> list[int]:
    """Number of chunks taken from each group; a group stops where its next chunk would put k out of reach."""
    chunks, taken = list(chunks), [0] * len(chunks)
    for place, step in ranked:
        if k == 0 or step >= len(chunks[place]):
            continue
        size = chunks[place][step]
        rest = [group[taken[other] + (other == place) :] for other, group in enumerate(chunks)]
        if size > k or not _reachable(rest) >> (k - size) & 1:
            chunks[place] = chunks[place][:step]
        else:
            taken[place] += 1
            k -= size
    return taken
