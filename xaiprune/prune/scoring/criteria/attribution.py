"""Criteria that explain: how much of the answer passes through a unit.

What is explained is the logit of each image's label, but for the gradient's size and Shapley's game, which take the
loss where no quantity is asked for.
"""

# In stored tables: criteria by attribution

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ....curvature import gradient_moments
from ....data import batches
from ....explain import explained_output
from ....explain.relevance import Composite, modified_gradients
from ....measure import answer_rows
from ...applying import gated_by
from .evidence import Evidence
from .formulas import _losses, _products, _values

#: Points on the path of integrated gradients, and random orders of Shapley's sampling.
STEPS, ORDERS = 10, 10


def relevance(composite: Composite | str) -> Callable:
    """Mean over images of the size of a unit's relevance, as a share of its group's total (Yeom et al. 2021).

    Relevance is summed over all places where the unit is read. Every layer divides the same output, so that shares in
    different groups can be compared.

    By the epsilon rule alone, on a net of linear layers, ReLU and pooling, this is Taylor's criterion of the logit. Let
    the outputs of a layer have relevance ``R_k = z_k df/dz_k``. Then its inputs get ``R_j = sum_k a_j w_jk R_k / z_k
    = a_j sum_k w_jk df/dz_k = a_j df/da_j``, which is activation times gradient again; a ReLU changes neither side, and
    the output starts with ``R = f``. Biases are part of z and change nothing. What is left to choose is a rule like
    z-plus, and the scale: a share of the group here, logits there.

    Parameters
    ----------
    composite : Composite or str
        Or a key of ``COMPOSITES``.

    Returns
    -------
    callable
        A rule of a :class:`Criterion`.
    """

    def function(evidence: Evidence) -> dict[str, torch.Tensor]:
        with modified_gradients(evidence.model, composite):
            found = _values(evidence, _answers, _products)
        return _shares({name: relevance.abs().mean(0) for name, relevance in found.items()})

    return function


def gradient(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean over images of the size of the gradient with respect to the unit, summed over all places."""
    found = _values(evidence, _losses(evidence), lambda parts, loss: torch.autograd.grad(loss, parts))
    return {name: each.abs().mean(0) for name, each in found.items()}


def integrated_gradients(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean over images of the size of a unit's integrated gradient, as all units of its group rise together from zero.

    Sundararajan et al. 2017, on the group's gates, 10 Gauss-Legendre steps; other groups stay as they are.
    """
    return {name: each.abs().mean(0) for name, each in gate_integrals(evidence, _losses(evidence)).items()}


def gate_integrals(evidence: Evidence, run: Callable | None = None) -> dict[str, torch.Tensor]:
    """Integrated gradients of each image and unit; group name to shape ``(images, units)``.

    Their sum over a group is the logit less the logit without the group, but for the error of 10 steps; with ``run``,
    that of another quantity, ``(model, inputs, targets) -> its sum over images``.
    """
    points, weights = np.polynomial.legendre.leggauss(STEPS)
    found = {}
    for group in evidence.groups:
        mine, total = replace(evidence, groups=(group,)), 0.0
        for point, weight in zip((points + 1) / 2, weights / 2):
            with gated_by(evidence.model, [group], {group.name: torch.full((group.size,), float(point))}):
                total = total + weight / point * _values(mine, run or _answers, _products)[group.name]
        found[group.name] = total
    return found


def shapley(evidence: Evidence) -> dict[str, torch.Tensor]:
    """What a unit takes off the loss, on average over 10 random orders in which a group's units are switched on.

    Castro, Gomez and Tejada 2009. The values of a group add up to what it takes off the loss as a whole. One pass
    over the data for every unit and order: meant for small groups and a few hundred images.
    """
    generator, found = torch.Generator().manual_seed(evidence.seed), {}
    with torch.no_grad():
        for group in evidence.groups:
            worth = torch.zeros(group.size, dtype=torch.float64)
            for _ in range(ORDERS):
                gates = torch.zeros(group.size)
                with gated_by(evidence.model, [group], {group.name: gates}):
                    before = _loss(evidence)
                    for unit in torch.randperm(group.size, generator=generator):
                        gates[unit] = 1
                        after = _loss(evidence)
                        worth[unit] += (before - after) / ORDERS
                        before = after
            found[group.name] = worth
    return found


def weight_relevance(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Size of the relevance that passes through a weight, summed over all images, as a share of its tensor's total.

    The epsilon rule in all layers: z-plus gives negative weights nothing, so that all of them would go first.
    """
    model, names = evidence.model, [group.name for group in evidence.groups]
    parameters = dict(model.named_parameters())
    chosen = [parameters[name] for name in names]
    total = [torch.zeros(weight.shape, dtype=torch.float64) for weight in chosen]
    for inputs, targets in batches(evidence.data, 256):
        with modified_gradients(model, "epsilon 1e-06"), torch.enable_grad():
            for weight in chosen:
                weight.requires_grad_()
            found = torch.autograd.grad(logits(model, inputs, targets).sum(), chosen, allow_unused=True)
        for place, gradient in enumerate(found):
            total[place] += 0 if gradient is None else chosen[place].detach() * gradient
    return _shares({name: value.abs().flatten() for name, value in zip(names, total)})


def weight_gradient(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean over images of the size of the loss's gradient with respect to the weight."""
    names = [group.name for group in evidence.groups]
    found = gradient_moments(evidence.model, evidence.data, evidence.loss, power=1, names=names)
    return {name: found[name].flatten() for name in names}


def logits(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Each image's logit of its label, shape ``(N,)``: of one logit z for two classes, z and -z.

    Raises
    ------
    ValueError
        For a model without classes, and labels that cannot be meant.
    """
    outputs = model(inputs)
    single = outputs.ndim == 1 or outputs.shape[1:] == (1,)
    if outputs.ndim != 2 and not single:
        raise ValueError(
            f"this criterion explains a class's logit, but the model's outputs have shape {tuple(outputs.shape)}; "
            "take taylor or fisher with a loss instead, or a mean over places: output=lambda out: out.mean((2, 3))."
        )
    if targets is None:
        raise ValueError("data has no targets: what is explained is the logit of each input's label.")
    if targets.is_floating_point() and not single:
        return explained_output(outputs, targets)
    rows = answer_rows(outputs, targets)
    if single:
        return (2 * rows.labels - 1) * rows.logits[:, 1]
    return explained_output(rows.logits, rows.labels)


def minus_logit(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """What takes the loss's place where the logit is explained: minus the mean over images of their labels' logits."""
    return -logits(model, inputs, targets).mean()


def _answers(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum over images of their labels' logits."""
    return logits(model, inputs, targets).sum()


def _loss(evidence: Evidence) -> float:
    return evidence.loss(evidence.model, *evidence.data).item()


def _shares(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value / value.sum() if value.any() else value for name, value in values.items()}
