"""What a group of units is: data, with every layer that the removal of one of them touches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .kinds import KINDS, UnitKind


@dataclass(frozen=True, eq=False)
class Member:
    """One layer's part in a group.

    Attributes
    ----------
    module : str
        Qualified name of the layer in the model; for a bare parameter, the parameter's name.
    kind : str
        Type of the layer, as printed: ``Conv2d``, ``Linear``, ``Parameter``.
    role : {"out", "in", "through", "again", "above", "number", "weight"}
        Whether the layer produces the units, reads them, lets them pass one by one, reads its own in the next step or
        in the layer above, has their number written down, or holds them as weights.
    axes : dict of str to (int or None)
        Qualified names of the tensors that lose slices, with the axis; None where single entries of the flattened
        tensor are meant.
    counts : tuple of str
        Attributes of the module that hold the width.
    width : int
        Size of the axis before anything is removed.
    index : numpy.ndarray
        Shape ``(units, slices per unit)``: the slices along the axis that belong to each unit.
    """

    module: str
    kind: str
    role: str
    axes: dict[str, int | None]
    counts: tuple[str, ...]
    width: int
    index: np.ndarray

    def __str__(self) -> str:
        each = self.index.shape[1]
        if self.role == "weight":
            return f"{self.module} ({self.kind}) holds {self.width} weights, one per unit"
        verb = {"out": "produces", "in": "reads", "through": "passes on"}.get(self.role, "reads again")
        if self.role == "number":
            return f"{self.module} ({self.kind}) has their number in {self.counts[0]}"
        noun = "features" if self.kind in ("Linear", "LayerNorm", "Embedding", "Parameter") else "channels"
        return f"{self.module} ({self.kind}) {verb} {each} of its {self.width} {noun} per unit"


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Units of one kind, with every layer that the removal of one of them touches.

    Attributes
    ----------
    name : str
        Name of the first layer that produces the units.
    size : int
        Number of units.
    members : tuple of Member
        The chain of consequences, in the model's order.
    kind : UnitKind or str
        What the units are; a key of ``KINDS`` stands for its kind, which it is from then on.
    shape : tuple of int or None
        For units that are entries of one tensor, its shape.
    blocks : tuple of str
        For units that are whole modules, the names of these, one for each unit.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    kind: UnitKind | str
    shape: tuple[int, ...] | None = None
    blocks: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "kind", KINDS.find(self.kind, "kind"))

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that take part, in the model's order."""
        return (*self.blocks, *(member.module for member in self.members))

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Children of the model that take part, in order."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.modules))

    @property
    def crosses(self) -> bool:
        """True if the group lies across the boundary between components, False if inside one."""
        return len(self.components) > 1

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"UnitGroup({self.name!r}, {self.size} units, {len(self.modules)} layers)"

    def __str__(self) -> str:
        where = f"crosses {' | '.join(self.components)}" if self.crosses else f"inside {self.components[0]}"
        lines = [f"{self.name}: {self.size} units, {where}", *self.kind.described(self)]
        return "\n  ".join(lines)


def size_along(shape: Sequence[int], axis: int | None) -> int:
    """Entries of a tensor of this shape along an axis, or all of them where the axis is None."""
    return math.prod(shape) if axis is None else shape[axis]


def inside(name: str, modules: Iterable[str]) -> bool:
    """True for the name of one of the modules, or of something inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def check_groups(groups: Sequence[UnitGroup], name: str = "units") -> dict[str, UnitGroup]:
    """The groups by name, or an error that says what came instead."""
    groups = [groups] if isinstance(groups, UnitGroup) else groups
    if not groups or not all(isinstance(group, UnitGroup) for group in groups):
        raise ValueError(f"{name} must be a non-empty list of UnitGroup, as find_units and find_weights return it.")
    return {group.name: group for group in groups}
