"""The criteria of the toy experiment in Yeom et al. 2021 (arXiv 1912.08881), as the authors' code computes them.

They differ from this kit's: each value is taken at the output of the layer that produces the unit, before its
activation function; values are summed over the reference samples first, so that samples can cancel each other; and each
layer is scaled on its own. ``lrp, sizes`` is ours: it drops the sign that the authors' code keeps. For stacks of dense
layers.
"""

# In stored tables: criterion of Yeom et al.

from __future__ import annotations

from dataclasses import replace

import torch

from ....core import Registry
from ....data import differentiable
from ....explain.relevance import modified_gradients
from ....graph import outputs
from ...units import CHANNELS
from .attribution import logits
from .evidence import QUANTITIES, Criterion, Evidence


def _weight(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Sum of the sizes of the incoming weights, as a share of the layer's total."""
    modules = {group.name: evidence.model.get_submodule(group.name) for group in evidence.groups}
    return {name: _share(module.weight.detach().abs().sum(1)) for name, module in modules.items()}


def _gradient(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Size of the loss's gradient, over the layer's Euclidean norm."""
    return {name: _unit((gradient.sum(0)).abs()) for name, (_, gradient) in _produced(evidence, _loss).items()}


def _taylor(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Size of output x gradient, over the layer's Euclidean norm."""
    found = _produced(evidence, _loss).items()
    return {name: _unit((value * gradient).sum(0).abs()) for name, (value, gradient) in found}


def _lrp(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Relevance of the label's logit, only positive weights counting, as a share of the layer's total.

    The sign stays, as in the authors' code: where a layer has no activation function, what speaks against the answer
    goes first.
    """
    return {name: _share(values) for name, values in _relevance(evidence).items()}


def _lrp_sizes(evidence: Evidence) -> dict[str, torch.Tensor]:
    """The same without its sign."""
    return {name: _share(values.abs()) for name, values in _relevance(evidence).items()}


def _relevance(evidence: Evidence) -> dict[str, torch.Tensor]:
    with modified_gradients(evidence.model, "w-plus"):
        found = _produced(evidence, lambda evidence: logits(evidence.model, *evidence.data).sum())
    return {name: (value * gradient).sum(0) for name, (value, gradient) in found.items()}


def _loss(evidence: Evidence) -> torch.Tensor:
    return evidence.loss(evidence.model, *evidence.data)


def _produced(evidence: Evidence, run) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Outputs of the layers that produce the units, and the gradients of a scalar there; each ``(samples, units)``."""
    layers = [group.name for group in evidence.groups]
    evidence = replace(evidence, data=evidence.data.replaced(inputs=differentiable(evidence.data.inputs)))
    with outputs(evidence.model, layers) as kept, torch.enable_grad():
        found = torch.autograd.grad(run(evidence), list(kept.values()))
    return {name: (value.detach().double(), part.double()) for (name, value), part in zip(kept.items(), found)}


def _share(values: torch.Tensor) -> torch.Tensor:
    return values / values.sum() if values.any() else values


def _unit(values: torch.Tensor) -> torch.Tensor:
    return values / values.norm() if values.any() else values


#: By the names of the paper's figure, and one more.
YEOM: Registry[Criterion] = Registry(
    "a criterion",
    Criterion,
    [
        Criterion("weight", {CHANNELS: _weight}),
        Criterion("gradient", {CHANNELS: _gradient}, reads="gradients", of=QUANTITIES),
        Criterion("taylor", {CHANNELS: _taylor}, reads="gradients", of=QUANTITIES),
        Criterion("lrp", {CHANNELS: _lrp}, reads="gradients", of="logit"),
        Criterion("lrp, sizes", {CHANNELS: _lrp_sizes}, reads="gradients", of="logit"),
    ],
)
