"""Proof that groups of units are right: mask against cut on a copy whose weights are drawn anew, in float64."""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map
from tqdm.auto import tqdm

from .groups import Member, UnitGroup
from .labels import ONE, called, evaluating, grouped, idle, traced
from .layers import layer_of
from .plan import Plan

#: Attributes of modules that may be numbers of units.
_NUMBERS = re.compile("head|dim|size|width|channel|feature|embed|hidden|planes|^nf$|^nx$")
#: How far mask and cut may lie apart, and how little a group may move the output, as shares of its largest value.
LAW, MOVES = 1e-9, 1e-3


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

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> proof = xp.prune.prove(model, xp.find_units(model, torch.zeros(1, 2)), torch.zeros(1, 2))
    >>> proof.groups, proof.difference < 1e-9, proof.movement["0"] > 1e-3
    ([UnitGroup('0', 3 units, 2 layers)], True, True)
    """
    trial = _Trial(model, example)
    proof = Proof([])
    proof.groups = trial.passing(list(units), proof)
    trial.move(proof)
    return proof


def find_proven(model: nn.Module, example, ignore=()) -> tuple[Proof, dict[str, str]]:
    """Groups of units by labels, those kept that pass the proof, and what has to be told: layer to reason.

    Where slices alone do not pass, ties are tried: see :class:`Trace`.
    """
    trace = traced(model, example)
    trial = _Trial(model, example)
    proof, taken, told = Proof([]), set(), {}
    for ties in ("", "repeat", "block"):
        if ties or trial.heads:
            trace = traced(model, example, ties, trial.heads)
        groups, whys = grouped(model, trace, set(ignore))
        if not ties:
            proof.refused, told = dict(whys), dict(trace.told)
        fresh = [group for group in groups if _slots(group).isdisjoint(taken)]
        passed = trial.passing(fresh, proof)
        for group in passed:
            name = group.name
            while name in {other.name for other in proof.groups}:
                name += "'"
            proof.groups.append(replace(group, name=name))
            taken |= _slots(group)
        tied = any(why == ONE for why in whys.values())
        if len(passed) == len(fresh) and not tied and not trace.told:
            break
    trial.move(proof)
    for group in proof.groups:
        for tensor, axis, _ in _slots(group):
            proof.refused.pop(f"{tensor}:{axis}", None)
    held = {member.module for group in proof.groups for member in group.members if member.role == "out"}
    told |= {name: why for name, why in proof.refused.items() if ":" not in name}
    told = {name.rstrip("'").partition(":")[0]: why for name, why in told.items()}
    names = {name for name, _ in model.named_modules()}
    told = {name if name in names else name.rpartition(".")[0]: why for name, why in told.items()}
    return proof, {name: why for name, why in told.items() if name not in held}


def redrawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy in float64 whose parameters and running statistics are drawn anew, and hide nothing."""
    random = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).double().cpu()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            if "running_var" in name or (tensor.ndim < 2 and name.endswith("weight")):
                tensor.copy_(torch.rand(tensor.shape, generator=random, dtype=torch.float64) + 0.5)
            elif isinstance(tensor, nn.Parameter) or "running_mean" in name:
                scale = (2 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.3
                drawn = torch.randn(tensor.shape, generator=random, dtype=torch.float64)
                tensor.copy_(drawn.mul_(scale))
    return model.requires_grad_(False)


class _Trial:
    """A model drawn anew, with its example, on which groups are tried."""

    def __init__(self, model: nn.Module, example):
        self.model, self.example, self.heads = redrawn(model), tree_map(_as_double, example), False
        if unused := self._idle(False):
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
        return idle(self.model, self.example, heads)

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
            found = difference(self.model, self.example, groups, turns=turns)
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
            return f"the cut model fails ({str(error).splitlines()[0]})"
        if found > LAW:
            return f"mask and cut differ by {found:.1e} of the largest output"
        proof.difference = found
        return ""

    def move(self, proof: Proof) -> None:
        """Write how much each group moves the output, and refuse those that the proof cannot see."""
        proof.movement = _movement(self.model, self.example, proof.groups)
        blind = [group for group in proof.groups if not proof.movement[group.name] >= MOVES]
        for group in list(blind):
            for seed, scale in enumerate((3.0, 0.1, 10.0, 1.0), 1):  # smaller where a gate is saturated
                drawn = evaluating(redrawn(self.model, seed), self.heads)
                tensors = dict(drawn.named_parameters(remove_duplicate=False))
                with torch.no_grad():
                    for name in {name for member in group.members for name in member.axes} & tensors.keys():
                        tensors[name].mul_(scale)
                moved = _movement(drawn, self.example, [group])[group.name]
                proof.movement[group.name] = max(moved, proof.movement[group.name])
                if moved >= MOVES and difference(drawn, self.example, [group]) <= LAW:
                    blind.remove(group)
                    break
        for group in blind:
            proof.groups.remove(group)
            proof.refused[group.name] = (
                f"not proven: its units move the output by {proof.movement[group.name]:.0e} of its largest value, "
                f"and {MOVES:g} is needed to see whether the cut is right"
            )


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


def _as_double(value):
    """Inputs in float64 on the CPU, drawn anew: zeros, as an example often holds, would hide a wrong cut."""
    if not isinstance(value, torch.Tensor):
        return value
    if not value.is_floating_point():
        return value.cpu()
    drawn = torch.randn(value.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return drawn + value.detach().double().cpu()


def _slots(group: UnitGroup) -> set[tuple[str, int, int]]:
    return {(t, k, int(i)) for m in group.members for t, k in m.axes.items() for i in m.index.ravel()}


def difference(model, example, groups, seed: int = 0, turns=(0, 1)) -> float:
    """Mask against cut for two random subsets of every group, as a share of the largest output."""
    from ..applying.apply import cut_shared, masked_shared

    worst, random = 0.0, np.random.default_rng(seed)
    trials = [_trials(group.size, random) for group in groups]
    for turn in turns:
        plan = Plan(tuple(groups), {group.name: trial[turn] for group, trial in zip(groups, trials)})
        with torch.no_grad():
            by_cut = _tensors(called(cut_shared(model, plan), example))
            with masked_shared(model, plan):
                by_mask = _tensors(called(model, example))
        for one, other in zip(by_mask, by_cut, strict=True):
            if one.shape != other.shape:
                raise ValueError(f"the cut gives shape {tuple(other.shape)} in place of {tuple(one.shape)}")
            if one.is_floating_point() and one.numel():
                worst = max(worst, ((one - other).abs().max() / one.abs().max().clamp(min=1e-300)).item())
    return worst if worst == worst else math.inf


def _trials(size: int, random) -> list[np.ndarray]:
    """Two sets of units that go: numbers that stay have no common divisor, and the ends go.

    So that a number of units, or a place among them, that is written into the model as a number is met.
    """
    low, high = max(1, size // 4), max(1, size - 1 - size // 8)
    draws = (random.integers(low, high + 1, 2).tolist() for _ in range(100))
    stay = next((pair for pair in draws if math.gcd(*pair) == 1), (1, 1))
    order = random.permutation(np.arange(1, size - 1)) if size > 2 else np.arange(0)
    gone = []
    for kept, sure in zip(random.permutation(stay), (0, size - 1)):
        gone.append(np.sort(np.r_[sure, random.permutation(order)[: size - kept - 1]]).astype(int))
    return gone


def _movement(model, example, groups: Sequence[UnitGroup]) -> Mapping[str, float]:
    """How much the units of each group move the output, to first order: one backward pass of a random projection."""
    if not groups:
        return {}
    random = torch.Generator().manual_seed(1)
    model.requires_grad_(True)
    try:
        with torch.enable_grad():
            outputs = [t for t in _tensors(called(model, example)) if t.is_floating_point()]
            signs = [torch.randn(t.shape, generator=random, dtype=t.dtype) for t in outputs]
            sum((t * sign).sum() / t.numel() ** 0.5 for t, sign in zip(outputs, signs)).backward()
        largest = max(t.abs().max().item() for t in outputs) or 1.0
        tensors = dict(model.named_parameters(remove_duplicate=False))
        found = {}
        for group in groups:
            moved = torch.zeros(group.size, dtype=torch.float64)
            for member in [member for member in group.members if member.role == "in"] or group.members:
                for name, axis in member.axes.items():
                    if name in tensors and tensors[name].grad is not None:
                        shares = (tensors[name].grad * tensors[name].detach()).movedim(axis, 0)
                        moved += shares.reshape(len(shares), -1).sum(1)[torch.as_tensor(member.index)].sum(1)
            found[group.name] = (moved.abs().max() / largest).item()
        return found
    finally:
        model.requires_grad_(False)
        for parameter in model.parameters():
            parameter.grad = None


def _tensors(answer) -> list[torch.Tensor]:
    if hasattr(answer, "__dataclass_fields__"):
        answer = [getattr(answer, name) for name in answer.__dataclass_fields__]
    return [t for t in tree_leaves(answer) if isinstance(t, torch.Tensor)]
