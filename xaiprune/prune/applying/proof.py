"""Proof that groups of units are right."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map
from tqdm.auto import tqdm

from ..units import Member, UnitGroup, layer_of
from .trials import _as_double, _difference, _idle, _movement, _redrawn, evaluating

#: Attributes of modules that may be numbers of units.
_NUMBERS = re.compile("head|dim|size|width|channel|feature|embed|hidden|planes|^nf$|^nx$")
#: How far mask and cut may lie apart, and how little a group may move the output, as shares of its largest value.
_LAW, _MOVES = 1e-9, 1e-3


@dataclass
class Proof:
    """What was proven of groups of units, with its numbers.

    Attributes
    ----------
    groups : list of UnitGroup
        The groups that are proven.
    refused : dict of str to str
        Name of a group, or of a tensor and its axis, to the reason why its units cannot go.
    difference : float
        Mask against cut, all proven groups at once: the largest difference of their outputs as a share of the largest
        output. 1e-9 is allowed.
    movement : dict of str to float
        Group name to how much its units move the output, to first order, as a share of the largest output. A proof
        sees a group only if this is at least 1e-3.
    """

    groups: list[UnitGroup]
    refused: dict[str, str] = field(default_factory=dict)
    difference: float = 0.0
    movement: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Proof({len(self.groups)} groups, {len(self.refused)} refused, difference {self.difference:.1e})"


def prove(model: nn.Module, units: Sequence[UnitGroup], example) -> Proof:
    """Try groups of units: is the cut model the masked one, and does the output depend on them at all?

    Two random subsets of every group are masked and cut on a copy in float64 whose parameters and running statistics
    are drawn anew, so that zeros, tiny scales and symmetric weights hide nothing; all groups at once, and by halves
    where that fails.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    units : sequence of UnitGroup
        As :func:`find_units` gives them, which proves them already; or loaded with a plan, or made by hand.
    example : torch.Tensor, tuple or dict
        An input of the model, a tuple of inputs or a dictionary of them by name.

    Returns
    -------
    Proof

    Raises
    ------
    ValueError
        If units are single weights, of which a cut leaves zeros.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> proof = xp.prune.prove(model, xp.find_units(model, torch.zeros(1, 2)), torch.zeros(1, 2))
    >>> proof.groups, proof.difference < 1e-9, proof.movement["0"] > 1e-3
    ([UnitGroup('0', 3 units, 2 layers)], True, True)
    """
    if other := [group for group in units if group.kind.entries]:
        raise ValueError(
            f"units must be of kinds that a cut takes out, and {other[0].name!r} holds {other[0].kind.words}: a cut "
            "leaves zeros in their place, as the mask does. Leave them out."
        )
    trial = Trial(model, example)
    proof = Proof([])
    proof.groups = trial.passing(list(units), proof)
    trial.move(proof)
    return proof


class Trial:
    """A model drawn anew, with its example, on which groups are tried."""

    def __init__(self, model: nn.Module, example):
        self.model, self.example, self.heads = _redrawn(model), tree_map(_as_double, example), False
        unused = self.idle = self._idle(False)  # by itself: what runs in training only is cut with the rest
        if unused:
            try:
                in_training = self._idle(True)
                self.heads = len(in_training) < len(unused)
                unused = in_training
            except Exception:  # what runs in training only may need another input
                pass
        if unused:
            more = f" and {len(unused) - 1} more layers have" if len(unused) > 1 else " has"
            warnings.warn(
                f"{unused[0]!r}{more} parameters but no part in the forward pass, so that what is around them shrinks "
                "without them. Build the model without them, as with aux_logits=False, or leave the layers around them "
                "out with ignore=[...].",
                stacklevel=5,
            )
        evaluating(self.model, self.heads)
        self.bar = tqdm(desc="trying groups of units", delay=10, leave=False, mininterval=1)

    def _idle(self, heads: bool) -> list[str]:
        return _idle(self.model, self.example, heads)

    def passing(self, groups: list[UnitGroup], proof: Proof) -> list[UnitGroup]:
        """The groups that pass together with those that did before; why others do not is written into the proof."""
        rest = groups
        for turns in ((0,), (0, 1)):  # most that is wrong fails at once
            if rest and self._wrong([*proof.groups, *rest], proof):
                rest = self._halves(rest, proof, turns)
        return rest

    def _halves(self, groups: list[UnitGroup], proof: Proof, turns) -> list[UnitGroup]:
        if not groups or not (why := self._wrong([*proof.groups, *groups], proof, turns)):
            return groups
        if len(groups) == 1:
            for counted in _counting(self.model, groups[0]):
                if not self._wrong([*proof.groups, counted], proof, turns):
                    return [counted]
            proof.refused[groups[0].name] = why
            return []
        half, before = len(groups) // 2, proof.groups
        first = self._halves(groups[:half], proof, turns)
        proof.groups = [*before, *first]
        try:
            return [*first, *self._halves(groups[half:], proof, turns)]
        finally:
            proof.groups = before

    def _wrong(self, groups, proof: Proof, turns=(0, 1)) -> str:
        """Why mask and cut are not the same, or nothing."""
        self.bar.update()
        try:
            found = _difference(self.model, self.example, groups, turns=turns)
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
            return f"the cut model fails ({str(error).splitlines()[0]})"
        if found > _LAW:
            return f"mask and cut differ by {found:.1e} of the largest output"
        proof.difference = found
        return ""

    def move(self, proof: Proof) -> None:
        """Write how much each group moves the output, and refuse those that the proof cannot see."""
        proof.movement = _movement(self.model, self.example, proof.groups)
        blind = [group for group in proof.groups if not proof.movement[group.name] >= _MOVES]
        for group in list(blind):
            for seed, scale in enumerate((3.0, 0.1, 10.0, 1.0), 1):  # smaller where a gate is saturated
                drawn = evaluating(_redrawn(self.model, seed), self.heads)
                tensors = dict(drawn.named_parameters(remove_duplicate=False))
                with torch.no_grad():
                    for name in {name for member in group.members for name in member.axes} & tensors.keys():
                        tensors[name].mul_(scale)
                moved = _movement(drawn, self.example, [group])[group.name]
                proof.movement[group.name] = max(moved, proof.movement[group.name])
                if moved >= _MOVES and _difference(drawn, self.example, [group]) <= _LAW:
                    blind.remove(group)
                    break
        for group in blind:
            proof.groups.remove(group)
            proof.refused[group.name] = (
                f"not proven: its units move the output by {proof.movement[group.name]:.0e} of its largest value, "
                f"and {_MOVES:g} is needed to see whether the cut is right"
            )
        self.bar.close()


def _counting(model: nn.Module, group: UnitGroup) -> list[UnitGroup]:
    """The group with numbers that its layers, or the modules around them, have written down: of heads, of features.

    Which of them count its units is not known: those of the layers, then all, then each of those around them alone.
    """
    places: dict[str, dict[int, np.ndarray]] = {}
    around: dict[str, dict[int, np.ndarray]] = {}
    for member in group.members:
        layer = member.module.rpartition(".")[0] if member.kind == "Parameter" else member.module
        if member.role != "in":
            places.setdefault(layer, {})[member.width] = member.index
        if layer:
            parent = around.setdefault(layer.rpartition(".")[0], {group.size: np.arange(group.size)[:, None]})
            parent[member.width] = member.index
    near, far = (_numbers(model, modules) for modules in (places, around))
    sets = [near, [*near, *far], *([*near, one] for one in far if len(far) > 1)]
    return [replace(group, members=(*group.members, *some)) for some in sets if some]


def _numbers(model: nn.Module, places: Mapping[str, Mapping[int, np.ndarray]]) -> list[Member]:
    """Attributes of modules that hold one of some widths, and are not in the table of layers."""
    found = []
    for name, known in places.items():
        module = model.get_submodule(name)
        counts = {count for role in (layer_of(module) or {}).values() for count in role.counts}
        for count, value in vars(module).items():
            if type(value) is int and value in known and count not in counts and _NUMBERS.search(count):
                found.append(Member(name, type(module).__name__, "number", {}, (count,), value, known[value]))
    return found
