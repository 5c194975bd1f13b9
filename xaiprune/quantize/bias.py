"""Biases repaired: large ones moved on, and the mean error of a layer taken back (Nagel et al. 2019)."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..folding import fold_batch_norm
from .calibrate import check_float
from .equalize import channel_clamp, pairs
from .walk import by_channel, walk


@torch.no_grad()
def absorb_bias(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """A copy in which the part of a bias that activations never go below is moved on (section 4.1.3).

    Where a channel's values before its activation have mean m and deviation d, ``c = max(0, m - 3 d)`` is taken off the
    bias and ``W c`` added to that of the next layer: what is left to quantize has a smaller range. Exact for values
    above c. Only layers are treated whose next one does not pad its input with zeros, which would have to become -c.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; equalized, usually. It stays as it is; batch normalisation is folded first.
    images : torch.Tensor
        To measure means and deviations on, shape ``(N, C, H, W)``. (The paper takes them from batch normalisation.)

    Returns
    -------
    nn.Module
        Of the same class.
    """
    check_float(model)
    better = fold_batch_norm(model)
    for first, between, second in pairs(better):
        one, two = better.get_submodule(first), better.get_submodule(second)
        if one.bias is None or any(getattr(two, "padding", ())):
            continue
        mean, deviation = _moments(better, first, images)
        moved = (mean - 3 * deviation).clamp(min=0)
        one.bias -= moved
        kernel = two.weight.flatten(2).sum(2) if two.weight.ndim > 2 else two.weight
        added = kernel[:, 0] * moved if kernel.shape[1] == 1 else kernel @ moved
        two.bias = nn.Parameter(added if two.bias is None else two.bias + added)
        if between is not None:
            clamp = channel_clamp(better, between, one)
            clamp.maximum -= moved.view(clamp.maximum.shape)
    return better


def _moments(model: nn.Module, layer: str, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of what a layer gives, channel by channel."""
    sums = torch.zeros(3, len(model.get_submodule(layer).weight), dtype=torch.float64)

    def add(module, inputs, output):
        values = by_channel(module, output.double())
        sums.add_(torch.stack([torch.ones(len(values)) * values.shape[1], values.sum(1), values.square().sum(1)]))

    handle = model.get_submodule(layer).register_forward_hook(add)
    try:
        for batch in images.split(256):
            model(batch)
    finally:
        handle.remove()
    if not sums[0].all() or not torch.isfinite(sums).all():
        raise ValueError(f"images is empty, or layer {layer!r} gives NaN or infinite values for them.")
    mean, square = sums[1] / sums[0], sums[2] / sums[0]
    return mean.float(), (square - mean.square()).clamp(min=0).sqrt().float()


@torch.no_grad()
def correct_bias(model: nn.Module, quantized: nn.Module, images: torch.Tensor) -> nn.Module:
    """A copy of a quantized model without the mean error of its layers (section 4.2, measured instead of derived).

    Rounding shifts the mean of a channel. Layer by layer, with all layers before it corrected, the mean difference
    between what the float and the quantized layer give is added to the bias.

    Parameters
    ----------
    model : nn.Module
        The float model; of an equalized model, that one.
    quantized : nn.Module
        From :func:`simulate`; it stays as it is.
    images : torch.Tensor
        Unlabelled, shape ``(N, C, H, W)``; a few hundred.

    Returns
    -------
    nn.Module
        Of the same class.
    """
    better = copy.deepcopy(quantized)
    for step in walk(model, better, images):
        shift = by_channel(step.layer, (step.wanted - step.given()).double()).mean(1).float()
        if not torch.isfinite(shift).all():
            raise ValueError(f"layer {step.name!r} gives NaN or infinite values for these images.")
        step.layer.bias = nn.Parameter(shift if step.layer.bias is None else step.layer.bias + shift)
    return better
