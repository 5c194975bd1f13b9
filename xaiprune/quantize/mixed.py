"""Mixed precision: more bits where they matter, at the size of uniform bits.

A *sensitivity* says what a layer loses at a number of bits; :func:`allocate_bits` then chooses bits for all
layers at once.
"""

# In stored tables: mixed precision

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..curvature import HessianProduct
from ..data import Split, as_split, carries, mark
from ..explain import explained_output
from ..explain.relevance import modified_gradients
from ..training import classification_loss
from .calibrate import float_copy
from .formats import Config, Format, quantized_layers
from .simulate import weight_numbers

#: Bits that a layer may have.
_CHOICES = (2, 3, 4, 5, 6, 8)


def weight_errors(
    model: nn.Module,
    form: Format = Format(),  # noqa: B008
    choices: Sequence[int] = _CHOICES,
) -> dict[str, dict[int, float]]:
    """``|Q(W) - W|^2`` of every layer at every number of bits, batch normalisation folded.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode.
    form : Format
        How weights are held, but for the bits.
    choices : sequence of int
        Bits.

    Returns
    -------
    dict of str to dict
        Layer to bits to noise.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 0.4]]))
    >>> found = xp.quantize.weight_errors(model, choices=(2, 8))
    >>> round(found["0"][2], 3), found["0"][8] < 1e-4  # with 2 bits 0.4 becomes 0
    (0.16, True)
    """
    found = {}
    for name, layer in quantized_layers(float_copy(model)).items():
        weight, found[name] = layer.weight.detach(), {}
        for bits in choices:
            grid = weight_numbers(layer, replace(form, bits=bits), name)
            found[name][bits] = (grid(weight) - weight).double().square().sum().item()
    return found


def hessian_traces(
    model: nn.Module, data: Split, loss: Callable = classification_loss, *, probes: int = 50, seed: int = 0
) -> dict[str, float]:
    """Mean diagonal of the Hessian, ``Tr(H_l) / n_l``, for the weights of every layer (HAWQ-V2, arXiv 1911.03852).

    Hutchinson's estimator for all layers at once: with random signs v, the part of ``v . H v`` that belongs to a layer
    has its trace as its mean.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; batch normalisation is folded first.
    data : Split, or data of another form
    loss : callable
        ``(model, inputs, targets) -> scalar``.
    probes, seed : int

    Returns
    -------
    dict of str to float
        By layer.
    """
    folded = float_copy(model)
    layers = quantized_layers(folded)
    names = [f"{name}.weight" for name in layers]
    sums, products = dict.fromkeys(layers, 0.0), HessianProduct(folded, data, loss, names)
    for _, (vector, product) in zip(range(probes), products.probes(seed)):
        for name in layers:
            key = f"{name}.weight"
            sums[name] += (vector[key] * product[key]).sum(dtype=torch.float64).item() / probes
    traces = {name: sums[name] / layer.weight.numel() for name, layer in layers.items()}
    return mark(traces, data=data, what="traces")


def relevance_shares(model: nn.Module, data: Split) -> dict[str, float]:
    """How much relevance passes through the weights of a layer, as a share of the explained logits.

    The size of what passes through single weights by the epsilon rule, ``|w dR/dw|``, summed over a layer. In a chain
    every layer passes on all of it; in a residual block some takes the way around.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; batch normalisation is folded first.
    data : Split, or data of another form
        Images and the labels whose logits are explained.

    Returns
    -------
    dict of str to float
        By the layers' names.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)).eval()
    >>> _ = nn.init.ones_(model[1].weight), nn.init.ones_(model[2].weight)
    >>> shares = xp.quantize.relevance_shares(model, xp.data.Split(torch.ones(1, 1, 2, 2), torch.tensor([0])))
    >>> {name: round(share, 3) for name, share in shares.items()}  # a chain: everything passes through both
    {'1': 1.0, '2': 1.0}
    """
    data = as_split(data, on=model)
    folded = float_copy(model)
    layers = quantized_layers(folded)
    weights = [layer.weight for layer in layers.values()]
    with modified_gradients(folded, "epsilon 1e-06"), torch.enable_grad():
        for weight in weights:
            weight.requires_grad_()
        total = explained_output(folded(data.inputs), data.targets).sum()
        gradients = torch.autograd.grad(total, weights)
    scale = abs(total.item())
    shares = {
        name: (weight.detach() * gradient).abs().sum().item() / scale
        for name, weight, gradient in zip(layers, weights, gradients)
    }
    return mark(shares, data=data, what="shares of relevance")


@carries
def losses_by_trace(traces: Mapping[str, float], noise: Mapping[str, Mapping[int, float]]) -> dict[str, dict]:
    """``|Tr(H)| / n x |Q(W) - W|^2`` (HAWQ-V2, which takes the Hessian to be positive; here its size counts).

    Parameters
    ----------
    traces : mapping of str to float
        Layer to ``Tr(H) / n``, from :func:`hessian_traces`.
    noise : mapping of str to mapping of int to float
        Layer to bits to ``|Q(W) - W|^2``, from :func:`noise`.

    Returns
    -------
    dict of str to dict
        Layer to bits to loss.
    """
    return {name: {bits: abs(traces[name]) * value for bits, value in noise[name].items()} for name in noise}


@carries
def losses_by_relevance(
    shares: Mapping[str, float], noise: Mapping[str, Mapping[int, float]], model: nn.Module
) -> dict[str, dict]:
    """Share of relevance x ``|Q(W) - W|^2 / |W|^2``: the relative noise on what the evidence passes through.

    Parameters
    ----------
    shares : mapping of str to float
        Layer to its share of relevance, from :func:`relevance_shares`.
    noise : mapping of str to mapping of int to float
        Layer to bits to ``|Q(W) - W|^2``, from :func:`noise`.
    model : nn.Module
        Float; its weights are W, batch normalisation folded.

    Returns
    -------
    dict of str to dict
        Layer to bits to loss.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 2, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight)
    >>> xp.quantize.losses_by_relevance({"0": 0.5}, {"0": {2: 4.0}}, model)  # 0.5 x 4 / 8
    {'0': {2: 0.25}}
    """
    layers = quantized_layers(float_copy(model))
    power = {name: layer.weight.detach().double().square().sum().item() for name, layer in layers.items()}
    return {name: {bits: shares[name] * v / power[name] for bits, v in noise[name].items()} for name in noise}


@carries
def allocate_bits(
    losses: Mapping[str, Mapping[int, float]], sizes: Mapping[str, int], average: float
) -> dict[str, int]:
    """Bits for every layer with the least sum of losses, at no more than an average number of bits for a weight.

    An integer programme, solved exactly by HiGHS.

    Parameters
    ----------
    losses : mapping of str to mapping of int to float
        Layer to bits to loss.
    sizes : mapping of str to int
        Layer to number of weights.
    average : float
        Bits, at most.

    Returns
    -------
    dict of str to int

    Raises
    ------
    ValueError
        If even the fewest bits are more than the average, or the layers differ.

    Examples
    --------
    >>> losses = {"conv": {2: 10.0, 8: 0.0}, "fc": {2: 1.0, 8: 0.0}}
    >>> xp.quantize.allocate_bits(losses, {"conv": 100, "fc": 100}, average=5)
    {'conv': 8, 'fc': 2}
    """
    if set(losses) != set(sizes) or not losses:
        raise ValueError(f"losses and sizes must name the same layers, got {list(losses)} and {list(sizes)}.")
    total = sum(sizes.values())
    least = sum(sizes[name] * min(losses[name]) for name in losses) / total
    if average < least:
        raise ValueError(f"average must be at least {least:g}, the fewest bits that losses has, got {average:g}.")
    bound = math.inf
    while True:  # the solver's tolerance is absolute: losses above what was found are left out, and it solves again
        options = [(n, b) for n in losses for b, loss in losses[n].items() if loss <= bound]
        chosen = _solved(options, losses, sizes, average * total)
        found = sum(losses[name][bits] for name, bits in chosen.items())
        if found >= bound * (1 - 1e-9) or found == 0:
            return chosen
        bound = found


def _solved(options: list[tuple[str, int]], losses: Mapping, sizes: Mapping, most: float) -> dict[str, int]:
    from scipy.optimize import Bounds, LinearConstraint, milp

    values = np.array([losses[name][bits] for name, bits in options])
    one_each = np.array([[name == other for name, _ in options] for other in losses], dtype=float)
    weight = np.array([sizes[name] * bits / most for name, bits in options])
    found = milp(
        values / max(values.max(), 1e-300),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(weight[None], -np.inf, 1 + 1e-12)],
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    if not found.success:
        raise ValueError(f"no bits were found: {found.message}")
    return {name: bits for (name, bits), taken in zip(options, found.x) if taken > 0.5}


@carries
def with_bits(config: Config, bits: Mapping[str, int]) -> Config:
    """A config whose layers have weights of the given bits, and what the config says otherwise.

    Parameters
    ----------
    config : Config
        With a Format for weights.
    bits : mapping of str to int
        Layer to bits.

    Returns
    -------
    Config

    Raises
    ------
    ValueError
        If a layer's weights have no Format.

    Examples
    --------
    >>> config = xp.quantize.with_bits(xp.quantize.Config(), {"fc": 4})
    >>> config.of("fc").weights.bits, config.of("conv").weights.bits
    (4, 8)
    """
    layers = dict(config.layers)
    for name, count in bits.items():
        mine = config.of(name)
        if not isinstance(mine.weights, Format):
            raise ValueError(f"config must have a Format for the weights of {name!r}, got {mine.weights}.")
        layers[name] = Config(replace(mine.weights, bits=count), mine.activations)
    return Config(config.weights, config.activations, layers)
