"""Plans: which units go, as a small immutable value."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...core import save_atomically
from ...data import Choice, carries, chosen_on, mark
from .groups import Member, UnitGroup

_FORMAT = "xaiprune-plan-1"


@dataclass(frozen=True, eq=False)
class Plan:
    """Which units of which groups go.

    Two plans are equal if they remove the same units of the same groups. A plan carries its groups, so that
    it can be carried out, counted, saved and loaded without looking at the model again.

    Attributes
    ----------
    groups : tuple of UnitGroup
    removed : mapping of str to numpy.ndarray
        Group name to the units that go, ascending and read-only; groups that lose nothing are left out.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> plan = xp.prune.Plan(tuple(units), {"0": [1]})
    >>> len(plan), plan.kept, plan == xp.prune.Plan.from_json(plan.to_json())
    (1, {'0': 2}, True)
    """

    groups: tuple[UnitGroup, ...]
    removed: Mapping[str, np.ndarray]

    def __post_init__(self):
        sizes = {group.name: group.size for group in self.groups}
        clean = {}
        for name, units in self.removed.items():
            if name not in sizes:
                raise ValueError(f"removed names group {name!r}, which does not exist; there are {', '.join(sizes)}.")
            units = _ascending(units)
            if len(units) and not 0 <= units[0] <= units[-1] < sizes[name]:
                raise ValueError(f"removed holds units of {name!r} outside 0..{sizes[name] - 1}: {units}.")
            if len(units) == sizes[name]:
                raise ValueError(
                    f"removed empties group {name!r}: at least one of its {sizes[name]} units must stay. To do without "
                    "all of them take the whole block, as a unit of find_blocks."
                )
            if len(units):
                clean[name] = units
        object.__setattr__(self, "removed", {name: clean[name] for name in sizes if name in clean})

    def __len__(self) -> int:
        return sum(map(len, self.removed.values()))

    @cached_property
    def kept(self) -> dict[str, int]:
        """Group name to the number of units that stay."""
        return {group.name: group.size - len(self.removed.get(group.name, ())) for group in self.groups}

    @cached_property
    def parts(self) -> list[tuple[UnitGroup, np.ndarray]]:
        """Groups that lose units, each with the units that go."""
        return [(group, self.removed[group.name]) for group in self.groups if group.name in self.removed]

    @cached_property
    def members(self) -> list[tuple[Member, np.ndarray]]:
        """Members of all groups that lose units, each with the slices that it loses."""
        return [(member, member.index[units].ravel()) for group, units in self.parts for member in group.members]

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Names of the modules that go as a whole."""
        return tuple(group.blocks[unit] for group, units in self.parts if group.blocks for unit in units)

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
            module: {role: np.flatnonzero(stay) for (role, _), stay in roles.items()}
            for module, roles in self._stay(lambda member: [(member.module, (member.role, member.width))]).items()
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
        return isinstance(other, Plan) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(json.dumps(self._content()))

    def __repr__(self) -> str:
        total = sum(group.size for group in self.groups)
        lines = [f"Plan: {len(self)} of {total} units go"]
        for group in self.groups:
            gone = group.size - self.kept[group.name]
            lines.append(f"  {group.name}: {gone} of {group.size} go, {self.kept[group.name]} stay")
        return "\n".join(lines)

    @carries
    def then(self, plan: Plan) -> Plan:
        """This plan and, after it, one that was made for the model that it leaves: both as one plan.

        Parameters
        ----------
        plan : Plan
            Of the units of the cut model: groups of the same names, with the units that are left.

        Returns
        -------
        Plan
            Of this plan's groups.

        Raises
        ------
        ValueError
            If a group of ``plan`` does not exist here or does not have the size that this plan leaves.
        """
        groups, removed = {group.name: group for group in self.groups}, dict(self.removed)
        for group in plan.groups:
            if group.name not in groups:
                raise ValueError(f"plan has group {group.name!r}, which the first plan does not know.")
            first = groups[group.name]
            stays = np.setdiff1d(np.arange(first.size), removed.get(group.name, ()))
            if len(stays) != group.size or (group.blocks and group.blocks != tuple(first.blocks[i] for i in stays)):
                raise ValueError(f"plan has {group.size} units in {group.name!r}, but {len(stays)} are left there.")
            removed[group.name] = np.union1d(removed.get(group.name, ()), stays[plan.removed.get(group.name, [])])
        return Plan(self.groups, removed)

    def to_json(self) -> str:
        """The plan as JSON text, with the ids of the inputs that it was chosen on.

        Returns
        -------
        str
        """
        choice = chosen_on(self)
        return json.dumps(self._content() | ({"chosen_on": choice.to_json()} if choice else {}))

    def _content(self) -> dict:
        groups = [
            {"name": group.name, "kind": group.kind.name, "size": group.size}
            | {"members": [_pack(member) for member in group.members]}
            | ({"shape": group.shape} if group.shape else {})
            | ({"blocks": group.blocks} if group.blocks else {})
            for group in self.groups
        ]
        removed = {
            group.name: _pack_bits(units, group.size) if group.kind.entries else units.tolist()
            for group, units in self.parts
        }
        return {"format": _FORMAT, "groups": groups, "removed": removed}

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan that :meth:`to_json` wrote.

        Parameters
        ----------
        text : str

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If the text is no plan; the message says what is wrong.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, expected {_FORMAT!r}")
            groups = tuple(
                UnitGroup(
                    group["name"],
                    group["size"],
                    tuple(_unpack(m, group["size"]) for m in group["members"]),
                    group.get("kind") or _kind_of(group),
                    tuple(group["shape"]) if "shape" in group else None,
                    tuple(group.get("blocks", ())),
                )
                for group in content["groups"]
            )
            removed = content["removed"].items()
            found = cls(groups, {name: _unpack_bits(u) if isinstance(u, str) else u for name, u in removed})
            return mark(found, Choice.from_json(content["chosen_on"])) if "chosen_on" in content else found
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"text is not a plan: {type(error).__name__} {error}.") from error

    def save(self, path: Path | str) -> None:
        """Write the plan as JSON.

        Parameters
        ----------
        path : Path or str
            With its suffix, such as ``plan.json``; an older file is replaced.
        """
        save_atomically(Path(path), lambda temporary: temporary.write_text(self.to_json()))

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read a plan from a file that :meth:`save` wrote.

        Parameters
        ----------
        path : Path or str

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If the file holds no plan.
        """
        return cls.from_json(Path(path).read_text())


def _ascending(units: Iterable[int]) -> np.ndarray:
    """The units without doublets, as a read-only array."""
    units = np.asarray(units if isinstance(units, np.ndarray) else list(units), np.int64)
    units = units.copy() if (np.diff(units) > 0).all() else np.unique(units)
    units.setflags(write=False)
    return units


def _pack_bits(units: np.ndarray, size: int) -> str:
    """Which of many units go, one bit each, zipped, as text."""
    bits = np.zeros(size, bool)
    bits[units] = True
    return base64.b64encode(zlib.compress(np.packbits(bits).tobytes())).decode()


def _unpack_bits(text: str) -> np.ndarray:
    try:
        return np.flatnonzero(np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)))
    except (ValueError, zlib.error) as error:
        raise ValueError(f"text is not a plan: the units that go cannot be read ({error}).") from error


def _kind_of(group: dict) -> str:
    """The kind of a group that was saved before plans said so."""
    types = {member["kind"] for member in group["members"]}
    signs = {"weights": "shape" in group, "blocks": "blocks" in group}
    signs |= {"memory": "LSTM" in types, "heads": "Attention" in types}
    return next((kind for kind, there in signs.items() if there), "channels")


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
