"""Criteria for the units of a memory, which are read in every step: reading its last output would miss the others.

What goes with a unit are its weights, so these are looked at, through all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ...units import UnitGroup
from .evidence import Evidence


def norm(power: int) -> Callable:
    """Norm of all weights that a unit owns, each counted once."""

    def function(evidence: Evidence) -> dict[str, torch.Tensor]:
        powers = {name: tensor.detach().abs().pow(power) for name, tensor in evidence.model.named_parameters()}
        return {group.name: _owned(group, powers) ** (1 / power) for group in evidence.groups}

    return function


def taylor(evidence: Evidence) -> dict[str, torch.Tensor]:
    """First-order change of the loss when all weights of a unit shrink together: ``|sum of w x gradient|``.

    The gradient has come back through all steps. It is that of the mean loss over all images.
    """
    names = {name for group in evidence.groups for member in group.members for name in member.axes}
    weights = {name: tensor for name, tensor in evidence.model.named_parameters() if name in names}
    with torch.enable_grad():
        loss = evidence.loss(evidence.model, *evidence.data)
        gradients = torch.autograd.grad(loss, list(weights.values()))
    products = {name: tensor.detach() * gradient for (name, tensor), gradient in zip(weights.items(), gradients)}
    return {group.name: _owned(group, products).abs() for group in evidence.groups}


def _owned(group: UnitGroup, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Sum of values over the weights of each unit; what is in a row and in a column of it counts once."""
    places: dict[str, dict[int, torch.Tensor]] = {}
    for member in group.members:
        for name, axis in member.axes.items():
            places.setdefault(name, {})[axis] = torch.as_tensor(member.index)
    total = torch.zeros(group.size, dtype=torch.float64)
    for name, axes in places.items():
        tensor = values[name].double()
        for axis, index in axes.items():
            slices = tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1).sum(1)
            total += slices[index].sum(1)
        if len(axes) == 2:
            total -= torch.stack([tensor[row][:, column].sum() for row, column in zip(axes[0], axes[1])])
    return total
