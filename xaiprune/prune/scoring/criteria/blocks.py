"""Criteria for whole residual blocks: what matters is what a block adds to its input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch

from .evidence import Evidence

_BATCH = 256


def norm(power: int) -> Callable:
    """Norm of all of a block's weights."""

    def function(evidence: Evidence) -> dict[str, torch.Tensor]:
        found = {}
        for group in evidence.groups:
            blocks = [evidence.model.get_submodule(name) for name in group.blocks]
            sums = [sum(p.detach().double().abs().pow(power).sum() for p in block.parameters()) for block in blocks]
            found[group.name] = torch.stack(sums) ** (1 / power)
        return found

    return function


def activation(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean size of what a block adds, summed over channels and positions."""
    found = _added(evidence, lambda model, images, labels: model(images), lambda added, _: [a.abs() for a in added])
    return {name: values.mean(1) for name, values in found.items()}


def taylor(evidence: Evidence) -> dict[str, torch.Tensor]:
    """First-order change of the loss when a block adds nothing: mean over images of |sum of addition x gradient|."""
    return {name: values.abs().mean(1) for name, values in _gate_derivatives(evidence).items()}


def fisher(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Second-order change of the loss: half the mean square of the same derivative, per image."""
    return {name: values.square().mean(1) / 2 for name, values in _gate_derivatives(evidence).items()}


def _gate_derivatives(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Derivative of each image's own loss with respect to a gate on each block; shape ``(blocks, images)``."""

    def run(model, images, labels):
        return evidence.loss(model, images, labels) * len(images)

    def products(added, loss):
        return [a.detach() * g for a, g in zip(added, torch.autograd.grad(loss, added))]

    return _added(evidence, run, products)


def _added(evidence: Evidence, run: Callable, products: Callable) -> dict[str, torch.Tensor]:
    """Per block and image, the sum of a product of what the block adds; group name to shape ``(blocks, images)``."""
    names = [name for group in evidence.groups for name in group.blocks]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for images, labels in zip(evidence.data.images.split(_BATCH), evidence.data.labels.split(_BATCH)):
        added: dict[str, torch.Tensor] = {}

        def hook(name, inputs, output, added=added):
            added[name] = output - inputs[0]
            return inputs[0] + added[name]

        with ExitStack() as stack, torch.enable_grad():
            for name in names:
                module = evidence.model.get_submodule(name)
                stack.callback(module.register_forward_hook(lambda m, i, o, name=name: hook(name, i, o)).remove)
            result = run(evidence.model, images.detach().requires_grad_(), labels)
        for name, product in zip(added, products(list(added.values()), result)):
            found[name].append(product.detach().double().flatten(1).sum(1))
    return {group.name: torch.stack([torch.cat(found[name]) for name in group.blocks]) for group in evidence.groups}
