"""Slices that are connected, as groups of units."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from ..units import CHANNELS, MEMORY, Member, UnitGroup, layer_of
from .trace import _Trace

#: Why there are no units where one would be all.
_ONE = "all go together, as one unit"


def _grouped(model: nn.Module, trace: _Trace, ignore: set[str] = frozenset()) -> tuple[list[UnitGroup], dict[str, str]]:
    """Slices that are connected, as groups of units; and why the slices of a tensor are fixed, for messages."""
    ends = np.concatenate([np.zeros((2, 0), int), *trace.edges], axis=1)
    graph = coo_array((np.ones(ends.shape[1], np.int8), ends), shape=(trace.total, trace.total))
    count, unit = connected_components(graph, directed=False)
    used = np.zeros(trace.total, bool)
    used[ends] = True
    read = np.zeros(trace.total, bool)
    for labels in trace.reads:
        read[labels] = True
    read[0] = False
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    places: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        places.setdefault(id(tensor), []).append(name)
    slots = [slot for slot, labels in trace.slots.items() if used[labels.start : labels.stop].any()]
    twins = {slot: places[id(tensors[slot[0]])] if slot[0] in tensors else [slot[0]] for slot in slots}
    roles = {slot: {_place(model, twin, slot[1])[0] for twin in twins[slot]} for slot in slots}
    reason = np.full(count, -1)  # the first of the reasons why a unit is fixed
    fixed = list(trace.fixed)
    for name, axis in slots:
        if "out" in roles[name, axis] and name.rpartition(".")[0] in ignore:
            fixed.insert(0, (np.array(trace.slots[name, axis]), "ignored", False))
    for place, (labels, _, _) in enumerate(fixed):
        found = unit[labels[labels > 0]]
        reason[found] = np.where(reason[found] < 0, place, reason[found])
    refused: dict[str, str] = {}
    said = np.zeros(count, bool)
    for name, axis in slots:
        here = unit[trace.slots[name, axis]]
        here = here[reason[here] >= 0]
        if len(here):
            _, why, loud = fixed[reason[here[0]]]
            refused[f"{name}:{axis}"] = why
            if "out" in roles[name, axis] and loud and not said[here].all():
                trace.told[name.rpartition(".")[0]] = why
                said[here] = True
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    order |= {name: place for place, name in enumerate(tensors) if name not in order}
    groups, taken = [], set()
    for parts in _alike(unit, reason, slots, trace):
        size = len(next(iter(parts.values())))
        if size < 2:
            refused.setdefault("{}:{}".format(*next(iter(parts))), _ONE)
            continue
        members: dict[tuple[str, str], Member] = {}
        for (name, axis), index in parts.items():
            for twin in twins[name, axis]:
                role, module, kind, counts = _place(model, twin, axis)
                if twin in tensors and kind != "Parameter" and module not in trace.ran:  # a function reads its weight
                    module, kind, counts = twin, "Parameter", ()
                if kind == "Parameter":
                    role = "in" if read[trace.slots[name, axis]].any() else "through"
                known = members.get((module, role))
                axes = (known.axes if known else {}) | ({twin: axis} if twin in tensors else {})
                members[module, role] = Member(module, kind, role, axes, counts, len(trace.slots[name, axis]), index)
        some = sorted(members.values(), key=lambda member: order.get(member.module, len(order)))
        name = next((member.module for member in some if member.role == "out"), some[0].module)
        while name in taken:
            name += "'"
        taken.add(name)
        kind = MEMORY if any(member.role == "again" for member in some) else CHANNELS
        groups.append(UnitGroup(name, size, tuple(some), kind))
    return sorted(groups, key=lambda group: order.get(group.name.rstrip("'"), len(order))), refused


def _alike(unit: np.ndarray, reason: np.ndarray, slots, trace: _Trace) -> list[dict[tuple[str, int], np.ndarray]]:
    """Free units that own as many slices of the same axes, together: axis to indices, shape ``(units, slices)``."""
    if not slots:
        return []
    labels = [trace.slots[slot] for slot in slots]
    owner = np.concatenate([unit[each] for each in labels])
    slot = np.repeat(np.arange(len(slots)), [len(each) for each in labels])
    index = np.concatenate([np.arange(len(each)) for each in labels])
    free = reason[owner] < 0
    owner, slot, index = owner[free], slot[free], index[free]
    first = np.full(len(reason), len(owner))
    np.minimum.at(first, owner, np.arange(len(owner)))  # units in the order of their first slice
    order = np.lexsort((index, slot, first[owner]))
    owner, slot, index = owner[order], slot[order], index[order]
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    found: dict[bytes, list[int]] = {}
    for start, stop in zip(starts, [*starts[1:], len(owner)]):
        found.setdefault(slot[start:stop].tobytes(), []).append(start)
    made = []
    for begins in found.values():
        stop = np.searchsorted(starts, begins[0], "right")
        length = (starts[stop] if stop < len(starts) else len(owner)) - begins[0]
        here = slot[begins[0] : begins[0] + length]
        table = index[np.array(begins)[:, None] + np.arange(length)]
        made.append({slots[each]: table[:, here == each] for each in np.unique(here)})
    return made


def _place(model: nn.Module, name: str, axis: int) -> tuple[str, str, str, tuple[str, ...]]:
    """Role, module, kind and counts of a tensor's axis, by the table of layers."""
    owner, _, tensor = name.rpartition(".")
    module = model.get_submodule(owner)
    for role, row in (layer_of(module) or {}).items():
        if not tensor or row.axes.get(tensor) == axis:
            return role, owner, type(module).__name__, row.counts
    return "through", name, "Parameter", ()
