"""Plans: which units go, as a small immutable value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..data import save_atomically
from .scores import Scores
from .units import Member, UnitGroup

_FORMAT = "xaiprune-plan-1"


@dataclass(frozen=True, eq=False)
class Plan:
    """Which units of which groups go.

    Two plans are equal if they remove the same units of the same groups. A plan carries its groups, so that
    it can be carried out, counted, saved and loaded without looking at the model again.

    Attributes
    ----------
    groups : tuple of UnitGroup
    removed : mapping of str to tuple of int
        Group name to the units that go, ascending; groups that lose nothing are left out.
    """

    groups: tuple[UnitGroup, ...]
    removed: Mapping[str, tuple[int, ...]]

    def __post_init__(self):
        sizes = {group.name: group.size for group in self.groups}
        clean = {}
        for name, units in self.removed.items():
            if name not in sizes:
                raise ValueError(f"removed names group {name!r}, which does not exist; there are {', '.join(sizes)}.")
            units = tuple(sorted({int(unit) for unit in units}))
            if units and not 0 <= units[0] <= units[-1] < sizes[name]:
                raise ValueError(f"removed holds units of {name!r} outside 0..{sizes[name] - 1}: {units}.")
            if len(units) == sizes[name]:
                raise ValueError(f"removed empties group {name!r}: at least one of its {sizes[name]} units must stay.")
            if units:
                clean[name] = units
        object.__setattr__(self, "removed", {name: clean[name] for name in sizes if name in clean})

    def __len__(self) -> int:
        return sum(map(len, self.removed.values()))

    @cached_property
    def kept(self) -> dict[str, int]:
        """Group name to the number of units that stay."""
        return {group.name: group.size - len(self.removed.get(group.name, ())) for group in self.groups}

    @cached_property
    def members(self) -> list[tuple[Member, np.ndarray]]:
        """Members of all groups that lose units, each with the slices that it loses."""
        return [
            (member, member.index[list(self.removed[group.name])].ravel())
            for group in self.groups
            if group.name in self.removed
            for member in group.members
        ]

    @cached_property
    def slices(self) -> dict[str, dict[int, np.ndarray]]:
        """Tensor name to axis to the slices that go, ascending, over all groups."""
        return {
            tensor: {axis: np.flatnonzero(~stay) for axis, stay in axes.items()}
            for tensor, axes in self._stay(lambda member: member.axes.items()).items()
        }

    @cached_property
    def stays(self) -> dict[str, dict[str, np.ndarray]]:
        """Layer to role to the slices that stay, ascending, over all groups."""
        return {
            module: {role: np.flatnonzero(stay) for role, stay in roles.items()}
            for module, roles in self._stay(lambda member: [(member.module, member.role)]).items()
        }

    def _stay(self, keys: Callable[[Member], Iterable[tuple]]) -> dict[str, dict]:
        """Which slices stay, as one truth value each, for the two keys that a member goes by."""
        found: dict[str, dict] = {}
        for member, gone in self.members:
            for outer, inner in keys(member):
                stay = found.setdefault(outer, {}).setdefault(inner, np.ones(member.width, bool))
                stay[gone] = False
        return found

    def __eq__(self, other) -> bool:
        return isinstance(other, Plan) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        total = sum(group.size for group in self.groups)
        lines = [f"Plan: {len(self)} of {total} units go"]
        for group in self.groups:
            gone = group.size - self.kept[group.name]
            lines.append(f"  {group.name}: {gone} of {group.size} go, {self.kept[group.name]} stay")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The plan as JSON text, the same for equal plans."""
        groups = [
            {"name": group.name, "size": group.size, "members": [_pack(member) for member in group.members]}
            for group in self.groups
        ]
        removed = {name: list(units) for name, units in self.removed.items()}
        return json.dumps({"format": _FORMAT, "groups": groups, "removed": removed})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan that :meth:`to_json` wrote; ValueError says what is wrong with any other text."""
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, expected {_FORMAT!r}")
            groups = tuple(
                UnitGroup(group["name"], group["size"], tuple(_unpack(m, group["size"]) for m in group["members"]))
                for group in content["groups"]
            )
            return cls(groups, content["removed"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"text is not a plan: {type(error).__name__} {error}.") from error

    def save(self, path: Path | str) -> None:
        """Write the plan as JSON."""
        save_atomically(Path(path), lambda temporary: temporary.write_text(self.to_json()))

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read a plan from a file that :meth:`save` wrote."""
        return cls.from_json(Path(path).read_text())


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


def _pack(member: Member) -> dict:
    """A member as JSON: regular indices as [start, step per unit, step per slice, slices per unit]."""
    index = member.index
    start = int(index[0, 0])
    per_unit = int(index[1, 0] - start) if len(index) > 1 else 0
    per_slice = int(index[0, 1] - start) if index.shape[1] > 1 else 0
    regular = start + per_unit * np.arange(len(index))[:, None] + per_slice * np.arange(index.shape[1])
    packed = [start, per_unit, per_slice, index.shape[1]] if (regular == index).all() else index.tolist()
    fields = ("module", "kind", "role", "axes", "counts", "width")
    return {name: getattr(member, name) for name in fields} | {"index": packed}


def _unpack(content: dict, size: int) -> Member:
    packed = content["index"]
    if packed and isinstance(packed[0], list):
        index = np.array(packed)
    else:
        start, per_unit, per_slice, each = packed
        index = start + per_unit * np.arange(size)[:, None] + per_slice * np.arange(each)
    return Member(**(content | {"counts": tuple(content["counts"]), "index": index}))
