"""Criteria by a formula, for units of every kind: the kind gives the values, and the formula makes a score of them.

A gate is a number that multiplies a unit. The derivative of an image's loss with respect to it, where it is 1, is the
unit's activation times gradient, summed over all places: what the loss changes by, to first order, when the unit goes.
"""

# In stored tables: criteria of slices
# In stored tables: reading of models

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...applying import per_image
from .evidence import Evidence, _asking, _Rule


def _norm(power: int) -> _Rule:
    """Norm of all weights that a unit owns.

    Parameters
    ----------
    power : int
        1 for the sum of sizes, 2 for the Euclidean norm.

    Returns
    -------
    callable
    """

    def size(name: str, weight: torch.Tensor) -> torch.Tensor:
        return weight.abs().pow(power)

    @_asking("owned")
    def rule(evidence: Evidence) -> dict[str, torch.Tensor]:
        model = evidence.model
        return {group.name: group.kind.owned(model, group, size) ** (1 / power) for group in evidence.groups}

    return rule


@_asking("replaced")
def _activation(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean over images of the size of a unit's activation, summed over all places.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to torch.Tensor
    """

    def run(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return model(images)

    found = _values(evidence, run, lambda parts, _: [part.abs() for part in parts])
    return {name: each.mean(0) for name, each in found.items()}


@_asking("replaced")
def _taylor(evidence: Evidence) -> dict[str, torch.Tensor]:
    """First-order change of the loss when the unit goes: mean over images of the size of the gate's derivative.

    As in Molchanov et al. 2017 (arXiv 1611.06440). Of the logit it is what the epsilon rule of relevance gives.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to torch.Tensor
    """
    found = _values(evidence, _losses(evidence), _products)
    return {name: derivative.abs().mean(0) for name, derivative in found.items()}


@_asking("replaced")
def _fisher(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Second-order change of the loss: half the mean over images of the gate's squared derivative.

    The empirical Fisher of a gate on the unit, as in Theis et al. 2018 (arXiv 1801.05787).

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to torch.Tensor
    """
    found = _values(evidence, _losses(evidence), _products)
    return {name: derivative.square().mean(0) / 2 for name, derivative in found.items()}


@_asking("owned")
def _shrinking(evidence: Evidence) -> dict[str, torch.Tensor]:
    """First-order change of the loss when all weights of a unit shrink together: ``|sum of w x gradient|``.

    The gradient is that of the mean loss over all images, at once; in a memory it has come back through all steps.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to torch.Tensor
    """
    names = {name for group in evidence.groups for member in group.members for name in member.axes}
    weights = {name: tensor for name, tensor in evidence.model.named_parameters() if name in names}
    with torch.enable_grad():
        loss = evidence.loss(evidence.model, *evidence.data)
        gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values()))))

    def product(name: str, weight: torch.Tensor) -> torch.Tensor:
        return weight * gradients[name]

    return {group.name: group.kind.owned(evidence.model, group, product).abs() for group in evidence.groups}


def _values(evidence: Evidence, run: Callable, products: Callable) -> dict[str, torch.Tensor]:
    """Per image and unit, the sum of a product over all places.

    Parameters
    ----------
    evidence : Evidence
    run, products : callable
        As for ``per_image``.

    Returns
    -------
    dict of str to torch.Tensor
        Group name to shape ``(images, units)``.
    """
    return per_image(evidence.model, evidence.groups, evidence.data, run, products)


def _losses(evidence: Evidence) -> Callable:
    """The sum over images of their own losses, as what runs.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    callable
        ``(model, inputs, targets) -> scalar``.
    """
    return lambda model, inputs, targets: evidence.loss(model, inputs, targets) * len(inputs)


def _products(parts: list[torch.Tensor], result: torch.Tensor) -> list[torch.Tensor]:
    """Activation times gradient; zero where the result does not depend on a part.

    Parameters
    ----------
    parts : list of torch.Tensor
    result : torch.Tensor
        A scalar.

    Returns
    -------
    list of torch.Tensor
    """
    found = torch.autograd.grad(result, parts, allow_unused=True)
    return [part.detach() * (0 if gradient is None else gradient) for part, gradient in zip(parts, found)]
