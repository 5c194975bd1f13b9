"""Biases repaired: large ones moved on, and the mean error of a layer taken back (Nagel et al. 2019)."""

# In stored tables: bias correction

from __future__ import annotations

import copy

import torch
from torch import nn

from ..graph.calls import batched, check_inputs, inputs_of, run
from .calibrate import float_copy, told_of
from .equalize import channel_clamp, equalizable_pairs, own_activations
from .walk import _by_channel, layerwise


@torch.no_grad()
def absorb_bias(model: nn.Module, inputs: object) -> nn.Module:
    """A copy in which the part of a bias that activations never go below is moved on (section 4.1.3).

    Where a channel's values before its activation have mean m and deviation d, ``c = max(0, m - 3 d)`` is taken off the
    bias and ``W c`` added to that of the next layer: what is left to quantize has a smaller range. Exact for values
    above c. Only layers are treated whose next one does not pad its input with zeros, which would have to become -c.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; equalized, usually. It stays as it is; batch normalisation is folded first.
    inputs : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        To measure means and deviations on, as for :func:`calibrate`. (The paper takes them from batch normalisation.)

    Returns
    -------
    nn.Module
        Of the same class.

    Raises
    ------
    ValueError
        As for :func:`equalize`.

    Examples
    --------
    A layer that gives 10 to 11, of which the next one can have the most as its bias:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).eval()
    >>> _ = nn.init.ones_(model[1].weight), nn.init.constant_(model[1].bias, 10)
    >>> images = torch.linspace(0, 1, 9).reshape(9, 1, 1, 1)
    >>> better = xp.quantize.absorb_bias(model, images)
    >>> better[1].bias.item() < 1, torch.allclose(better(images), model(images), atol=1e-5)
    (True, True)
    """
    better = own_activations(float_copy(model))
    layer, treated = better.get_submodule, []
    for first, between, second in equalizable_pairs(better, padded=False):
        if layer(first).bias is not None and not any(getattr(layer(second), "padding", ())):
            treated.append((layer(first), between, layer(second)))
    moments = _moments(better, [one for one, *_ in treated], inputs)
    for one, between, two in treated:
        mean, deviation = moments[one]
        moved = (mean - 3 * deviation).clamp(min=0)
        one.bias -= moved
        kernel = two.weight.flatten(2).sum(2) if two.weight.ndim > 2 else two.weight
        added = kernel[:, 0] * moved if kernel.shape[1] == 1 else kernel @ moved
        two.bias = nn.Parameter(added if two.bias is None else two.bias + added)
        if between is not None:
            clamp = channel_clamp(better, between, one)
            clamp.maximum -= moved.view(clamp.maximum.shape)
    return told_of(better, inputs, "biases")


def _moments(
    model: nn.Module, layers: list[nn.Module], inputs: object
) -> dict[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and standard deviation of what layers give, channel by channel, from one pass."""
    sums: dict[nn.Module, torch.Tensor] = {}

    def add(module, inputs, output):
        values = _by_channel(module, output.double())
        count = torch.full((len(values),), values.shape[1], device=values.device)
        new = torch.stack([count, values.sum(1), values.square().sum(1)])
        sums[module] = sums.get(module, 0) + new

    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        for batch in batched(check_inputs(inputs_of(inputs), "inputs"), 256):
            run(model, batch, "inputs")
    finally:
        for handle in handles:
            handle.remove()
    names, found = {module: name for name, module in model.named_modules()}, {}
    for layer in layers:
        if layer not in sums or not sums[layer][0].all() or not torch.isfinite(sums[layer]).all():
            raise ValueError(f"layer {names[layer]!r} gives NaN or infinite values for these inputs.")
        count, total, squares = sums[layer]
        mean, square = total / count, squares / count
        found[layer] = mean.float(), (square - mean.square()).clamp(min=0).sqrt().float()
    return found


@torch.no_grad()
def correct_bias(model: nn.Module, quantized: nn.Module, inputs: object) -> nn.Module:
    """A copy of a quantized model without the mean error of its layers (section 4.2, measured instead of derived).

    Rounding shifts the mean of a channel. Layer by layer, with all layers before it corrected, the mean difference
    between what the float and the quantized layer give is added to the bias.

    Parameters
    ----------
    model : nn.Module
        The float model; of an equalized model, that one.
    quantized : nn.Module
        From :func:`simulate`; it stays as it is.
    inputs : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        As for :func:`calibrate`; a few hundred.

    Returns
    -------
    nn.Module
        Of the same class.

    Raises
    ------
    ValueError
        If a layer gives NaN or infinite values, or runs more than once.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.4, 0.2, -1.0], [0.0, 0.5, 0.5, 0.0]]))
    >>> images = torch.linspace(0, 1, 32).reshape(8, 1, 2, 2)
    >>> seen = xp.quantize.calibrate(model, images)
    >>> quantized = xp.quantize.simulate(model, seen, xp.quantize.Config(xp.quantize.Format(bits=3)))
    >>> better = xp.quantize.correct_bias(model, quantized, images)
    >>> for some in (quantized, better):
    ...     print((some(images) - model(images)).mean(0).abs().max().item() < 1e-5)
    False
    True
    """
    better = copy.deepcopy(quantized)
    for step in layerwise(model, better, inputs):
        shift = _by_channel(step.layer, (step.wanted - step.given()).double()).mean(1).float()
        if not torch.isfinite(shift).all():
            raise ValueError(f"layer {step.name!r} gives NaN or infinite values for these inputs.")
        step.layer.bias = nn.Parameter(shift if step.layer.bias is None else step.layer.bias + shift)
    return told_of(better, inputs, "biases", model)
