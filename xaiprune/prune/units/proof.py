"""Proof that groups of units are right: mask against cut on a copy whose weights are drawn anew, in float64."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from .groups import UnitGroup
from .labels import grouped, traced
from .plan import Plan

#: How far mask and cut may lie apart, and how little a group may move the output, as shares of its largest value.
LAW, MOVES = 1e-9, 1e-3


@dataclass
class Proof:
    """What was proven, with its numbers."""

    groups: list[UnitGroup]
    refused: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    difference: float = 0.0
    movement: dict[str, float] = field(default_factory=dict)


def redrawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy in float64 whose parameters and running statistics are drawn anew, and hide nothing."""
    random = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            if "running_var" in name or (tensor.ndim < 2 and name.endswith("weight")):
                tensor.copy_(torch.rand(tensor.shape, generator=random, dtype=torch.float64) + 0.5)
            elif isinstance(tensor, nn.Parameter) or "running_mean" in name:
                scale = (2 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.3
                tensor.copy_(torch.randn(tensor.shape, generator=random, dtype=torch.float64) * scale)
    return model.requires_grad_(False)


def find_proven(model: nn.Module, example, ignore=()) -> Proof:
    """Groups of units by labels, those kept that pass the proof; where slices alone do not, ties are tried."""
    example = example if isinstance(example, tuple | list) else (example,)
    drawn = redrawn(model)
    inputs = tree_map(lambda t: t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t, example)
    proof, taken, told = Proof([]), set(), {}
    for ties in ("", "repeat", "block"):
        trace = traced(model, example, ties)
        groups, whys = grouped(model, trace, set(ignore))
        if not ties:
            proof.refused, told = dict(whys), dict(trace.told)
        fresh = [group for group in groups if _slots(group).isdisjoint(taken)]
        passed = _passing(drawn, inputs, fresh, proof)
        for group in passed:
            while group.name in {other.name for other in proof.groups}:
                object.__setattr__(group, "name", group.name + "'")
            proof.groups.append(group)
            taken |= _slots(group)
        if len(passed) == len(fresh):
            break
    for group in proof.groups:
        for tensor, axis, _ in _slots(group):
            proof.refused.pop(f"{tensor}:{axis}", None)
    held = {member.module for group in proof.groups for member in group.members if member.role == "out"}
    told |= {name: why for name, why in proof.refused.items() if ":" not in name or why.startswith("all go")}
    told = {name.rstrip("'").partition(":")[0]: why for name, why in told.items()}
    proof.told = {name: why for name, why in told.items() if name not in held}
    proof.movement = _movement(drawn, inputs, proof.groups)
    return proof


def _slots(group: UnitGroup) -> set[tuple[str, int, int]]:
    return {(t, k, int(i)) for m in group.members for t, k in m.axes.items() for i in m.index.ravel()}


def _passing(model, inputs, groups, proof) -> list[UnitGroup]:
    """The groups that pass together with those that did before, by halves."""
    if not groups:
        return []
    try:
        found = _difference(model, inputs, [*proof.groups, *groups])
        why = f"mask and cut differ by {found:.1e} of the largest output"
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        found, why = np.inf, f"the cut model fails ({str(error).splitlines()[0]})"
    if found <= LAW:
        proof.difference = found
        return groups
    if len(groups) == 1:
        proof.refused[groups[0].name] = why
        return []
    half, before = len(groups) // 2, proof.groups
    first = _passing(model, inputs, groups[:half], proof)
    proof.groups = [*before, *first]
    try:
        return [*first, *_passing(model, inputs, groups[half:], proof)]
    finally:
        proof.groups = before


def _difference(model, inputs, groups, seed: int = 0) -> float:
    """Mask against cut for two random subsets of every group, as a share of the largest output."""
    from ..applying import cut, masked

    worst, random = 0.0, np.random.default_rng(seed)
    trials = [_trials(group.size, random) for group in groups]
    for turn in (0, 1):
        removed = {group.name: trial[turn] for group, trial in zip(groups, trials)}
        plan = Plan(tuple(groups), removed)
        with torch.no_grad():
            with masked(model, plan):
                by_mask = _tensors(model(*copy.deepcopy(inputs)))
            by_cut = _tensors(cut(model, plan)(*copy.deepcopy(inputs)))
        for one, other in zip(by_mask, by_cut, strict=True):
            if one.shape != other.shape:
                raise ValueError(f"the cut gives shape {tuple(other.shape)} in place of {tuple(one.shape)}")
            worst = max(worst, ((one - other).abs().max() / one.abs().max().clamp(min=1e-300)).item())
    return worst if worst == worst else np.inf


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


def _movement(model, inputs, groups) -> dict[str, float]:
    """How much the units of each group move the output, to first order: one backward pass of a random projection."""
    random = torch.Generator().manual_seed(1)
    model = copy.deepcopy(model).requires_grad_(True)
    with torch.enable_grad():
        outputs = [t for t in _tensors(model(*copy.deepcopy(inputs))) if t.is_floating_point()]
        sum(
            (t * torch.randn(t.shape, generator=random, dtype=t.dtype)).sum() / t.numel() ** 0.5 for t in outputs
        ).backward()
    largest = max(t.abs().max().item() for t in outputs) or 1.0
    tensors = dict(model.named_parameters(remove_duplicate=False))
    found = {}
    for group in groups:
        moved = torch.zeros(group.size, dtype=torch.float64)
        reads = [m for m in group.members if m.role == "in"] or group.members
        for member in reads:
            for name, axis in member.axes.items():
                if name in tensors and tensors[name].grad is not None:
                    values = (tensors[name].grad * tensors[name].detach()).movedim(axis, 0).flatten(1).sum(1) if (
                        tensors[name].ndim > 1) else tensors[name].grad * tensors[name].detach()  # fmt: skip
                    moved += values[torch.as_tensor(member.index)].sum(1)
        found[group.name] = (moved.abs().max() / largest).item()
    return found


def _tensors(answer) -> list[torch.Tensor]:
    if hasattr(answer, "__dataclass_fields__"):
        answer = [getattr(answer, name) for name in answer.__dataclass_fields__]
    return [t for t in tree_leaves(answer) if isinstance(t, torch.Tensor)]
