"""Trials of groups of units: mask against cut on a copy whose weights are drawn anew, in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...graph.calls import call, mapped
from ..units import Plan, UnitGroup
from .apply import _cut_shared, _masked_shared


def called(model: nn.Module, example):
    """What the model gives for an input, a tuple of inputs or a dictionary of them, which it may change in place."""
    return call(model, mapped(lambda tensor: tensor.detach().clone(), example))


def evaluating(model: nn.Module, heads: bool = False) -> nn.Module:
    """The model in evaluation mode; with ``heads`` its containers are as in training, so that more of them may run."""
    for module in model.modules():
        module.training = heads and any(True for _ in module.children())
    return model


class _Seen(TorchDispatchMode):
    """Which tensors take part in a forward pass."""

    def __init__(self):
        super().__init__()
        self.ids: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.ids |= {id(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        return function(*args, **(kwargs or {}))


def _idle(model: nn.Module, example, heads: bool) -> list[str]:
    """Layers none of whose parameters take part in a forward pass of the model, whose modes are set."""
    with torch.no_grad(), _Seen() as seen:
        called(evaluating(model, heads), example)
    return [
        name
        for name, module in model.named_modules()
        if (own := list(module.parameters(recurse=False))) and not any(id(tensor) in seen.ids for tensor in own)
    ]


def _redrawn(model: nn.Module, seed: int = 0) -> nn.Module:
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


def _as_double(value):
    """Inputs in float64 on the CPU, drawn anew: zeros, as an example often holds, would hide a wrong cut."""
    if not isinstance(value, torch.Tensor):
        return value
    if not value.is_floating_point():
        return value.cpu()
    drawn = torch.randn(value.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return drawn + value.detach().double().cpu()


def _difference(model, example, groups, seed: int = 0, turns=(0, 1)) -> float:
    """Mask against cut for two random subsets of every group, as a share of the largest output."""
    worst, random = 0.0, np.random.default_rng(seed)
    trials = [_trials(group.size, random) for group in groups]
    for turn in turns:
        plan = Plan(tuple(groups), {group.name: trial[turn] for group, trial in zip(groups, trials)})
        with torch.no_grad():
            by_cut = _tensors_of(called(_cut_shared(model, plan), example))
            with _masked_shared(model, plan):
                by_mask = _tensors_of(called(model, example))
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
            outputs = [t for t in _tensors_of(called(model, example)) if t.is_floating_point()]
            signs = [torch.randn(t.shape, generator=random, dtype=t.dtype) for t in outputs]
            sum((t * sign).sum() / t.numel() ** 0.5 for t, sign in zip(outputs, signs)).backward()
        largest = max(t.abs().max().item() for t in outputs) or 1.0
        tensors = dict(model.named_parameters(remove_duplicate=False))
        found = {}
        for group in groups:
            moved = torch.zeros(group.size, dtype=torch.float64)
            for unit, block in enumerate(group.blocks):
                own = [p for p in model.get_submodule(block).parameters() if p.grad is not None]
                moved[unit] = sum((p.grad * p.detach()).sum() for p in own)
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


def _tensors_of(answer) -> list[torch.Tensor]:
    if hasattr(answer, "__dataclass_fields__"):
        answer = [getattr(answer, name) for name in answer.__dataclass_fields__]
    return [t for t in tree_leaves(answer) if isinstance(t, torch.Tensor)]
