"""Criteria for channels and neurons: a unit owns slices of several tensors, and is read in known places."""

# In stored tables: criteria of slices

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from torch import nn

from ...units import Member, UnitGroup
from .evidence import Evidence


def norm(power: int) -> Callable:
    """Norm of all weights that a unit owns, over every layer of its group."""

    def function(evidence: Evidence) -> dict[str, torch.Tensor]:
        parameters = dict(evidence.model.named_parameters())
        return {group.name: _total(group, parameters, power) ** (1 / power) for group in evidence.groups}

    return function


def _total(group: UnitGroup, parameters: dict[str, nn.Parameter], power: int) -> torch.Tensor:
    """Sum of |w|^power over the slices of each unit; shape ``(units,)``."""
    total = torch.zeros(group.size, dtype=torch.float64)
    for member in group.members:
        for name, axis in member.axes.items():
            if name in parameters:
                weights = parameters[name].detach().movedim(axis, 0).reshape(member.width, -1)
                per_slice = weights.abs().pow(power).sum(1, dtype=torch.float64)
                total += per_slice[torch.tensor(member.index)].sum(1)
    return total


def activation(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean absolute activation where the unit is read."""
    sums = _per_image(
        evidence, lambda model, images, labels: model(images), lambda values, _: [value.abs() for value in values]
    )
    return {name: per_image.mean(0) for name, per_image in sums.items()}


def taylor(evidence: Evidence) -> dict[str, torch.Tensor]:
    """First-order change of the loss when the unit goes: mean over images of |sum of activation x gradient|.

    The derivative of each image's own loss with respect to a gate on the unit, as in Molchanov et al. 2017
    (arXiv 1611.06440).
    """
    sums = _gate_derivatives(evidence)
    return {name: per_image.abs().mean(0) for name, per_image in sums.items()}


def fisher(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Second-order change of the loss: half the mean square of the same derivative, per image.

    The empirical Fisher of a gate on the unit, as in Theis et al. 2018 (arXiv 1801.05787).
    """
    sums = _gate_derivatives(evidence)
    return {name: per_image.square().mean(0) / 2 for name, per_image in sums.items()}


def _gate_derivatives(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Derivative of each image's own loss with respect to a gate on each unit: activation x gradient, summed."""

    def products(values: list[torch.Tensor], loss: torch.Tensor) -> list[torch.Tensor]:
        return [value.detach() * gradient for value, gradient in zip(values, torch.autograd.grad(loss, values))]

    def total_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return evidence.loss(model, images, labels) * len(images)

    return _per_image(evidence, total_loss, products)


def _per_image(evidence: Evidence, run: Callable, products: Callable, batch_size: int = 256) -> dict[str, torch.Tensor]:
    """Per image and unit, the sum of a product over all places where the unit is read.

    ``run(model, images, labels)`` gives a result, and ``products(values, result)`` one tensor for each of the values
    that were read on the way. Returns group name to a tensor of shape ``(images, units)``.
    """
    found = {group.name: [] for group in evidence.groups}
    readers = {m.module for group in evidence.groups for m in group.members if m.role == "in"}
    for images, labels in zip(evidence.data.images.split(batch_size), evidence.data.labels.split(batch_size)):
        read: list[tuple[str, torch.Tensor]] = []
        with ExitStack() as stack, torch.enable_grad():
            for name in readers:
                hook = partial(_keep_input, read, name)
                stack.callback(evidence.model.get_submodule(name).register_forward_pre_hook(hook).remove)
            result = run(evidence.model, images.detach().requires_grad_(), labels)
        values = products([value for _, value in read], result)
        for group in evidence.groups:
            parts = [
                _per_unit(value.double(), member, evidence.model)
                for (name, _), value in zip(read, values)
                for member in group.members
                if member.role == "in" and member.module == name
            ]
            found[group.name].append(torch.stack(parts).sum(0).detach())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _keep_input(read: list[tuple[str, torch.Tensor]], name: str, module: nn.Module, inputs: tuple) -> None:
    read.append((name, inputs[0]))


def _per_unit(values: torch.Tensor, member: Member, model: nn.Module) -> torch.Tensor:
    """Sum a layer's input (N, ...) over everything but images and units; shape ``(N, units)``."""
    axis = -1 if isinstance(model.get_submodule(member.module), nn.Linear) else 1
    values = values.movedim(axis, 1)
    per_slice = values.flatten(2).sum(2) if values.ndim > 2 else values
    return per_slice[:, torch.tensor(member.index)].sum(2)
