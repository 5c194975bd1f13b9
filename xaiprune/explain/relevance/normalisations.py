"""Normalisation: a factor that counts as a constant, and a constant that takes its share.

Fixed statistics are folded into the product before them. Where statistics are those of the signal itself, as in
LayerNorm, GroupNorm, InstanceNorm and RMSNorm, the mean is part of the signal, and the standard deviation counts as a
constant: the LN-rule of Ali et al. 2022 (arXiv 2202.07304), the identity rule of Achtibat et al. 2024 (arXiv
2402.05602), proposition 3.4.
"""

from __future__ import annotations

import inspect

import torch
from torch import nn

from .affine import _Affine
from .products import _Propagate


def _bound(reference, args, kwargs) -> inspect.BoundArguments:
    """Arguments by the names of the functional form; torch's own form has a flag more at its end."""
    signature = inspect.signature(reference)
    given = signature.bind(*args[: len(signature.parameters)], **kwargs)
    given.apply_defaults()
    return given


def _statistics_first(function, args):
    """Arguments of torch's own batch_norm and instance_norm in the order of their functional forms."""
    if function in (torch.batch_norm, torch.instance_norm):
        x, weight, bias, mean, variance, *others = args
        args = (x, mean, variance, weight, bias, *others)
    return args


def _normalisation(trace, function, args, kwargs):
    """Batch normalisation with its running statistics: folded into the product before it, else an affine layer."""
    given = _bound(nn.functional.batch_norm, _statistics_first(function, args), kwargs)
    x, mean, variance, weight, bias, training, _, eps = given.arguments.values()
    if training or mean is None:
        trace.refuse(function, "normalises by the statistics of its batch; call model.eval()")
    with torch.no_grad():
        scale = torch.rsqrt(variance + eps) * (1 if weight is None else weight)
        shift = -mean * scale + (0 if bias is None else bias)
        spread = (1, -1) + (1,) * (x.ndim - 2)
        output = torch.addcmul(shift.view(spread), x, scale.view(spread))
    folded = trace.products.get(x)
    if folded is None or (folded[3].axis == -1 and x.ndim > 2):
        return _Affine.apply(
            *(x, scale.view(spread), shift.view(spread), output),
            *(trace.entry("normalisation", x), trace.composite.bias),
        )
    x, weight, bias, layer, entry = folded
    entry = trace.again(entry)
    bias = shift if bias is None else torch.addcmul(shift, bias.detach(), scale)
    return _Propagate.apply(x, layer.scale(weight, scale), bias, output, layer, entry)


def _layer_normalisation(trace, function, args, kwargs):
    """Layer normalisation: linear, since its standard deviation counts as a constant; the bias takes its share."""
    x, shape, weight, bias, eps = _bound(nn.functional.layer_norm, args, kwargs).arguments.values()
    axes = tuple(range(-len(shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    with torch.no_grad():
        scale = torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps) * (1 if weight is None else weight)
        shift = x.new_zeros(()) if bias is None else bias.detach()
        output = centred * scale + shift
    return _Affine.apply(centred, scale, shift, output, trace.entry("normalisation", x), trace.composite.bias)


def _group_normalisation(trace, function, args, kwargs):
    """Group normalisation: as layer normalisation, over the channels of a group and all places."""
    x, groups, weight, bias, eps = _bound(nn.functional.group_norm, args, kwargs).arguments.values()
    return _by_groups(trace, x, groups, weight, bias, eps)


def _instance_normalisation(trace, function, args, kwargs):
    """Instance normalisation: every channel is a group; with running statistics it is batch normalisation."""
    given = _bound(nn.functional.instance_norm, _statistics_first(function, args), kwargs)
    x, mean, variance, weight, bias, own, _, eps = given.arguments.values()
    if own:
        return _by_groups(trace, x, x.shape[1], weight, bias, eps)
    return _normalisation(trace, nn.functional.batch_norm, (x, mean, variance, weight, bias, False, 0.1, eps), {})


def _by_groups(trace, x, groups: int, weight, bias, eps: float):
    spread, inner = (1, -1) + (1,) * (x.ndim - 2), x.reshape(len(x), groups, -1)
    centred = inner - inner.mean(-1, keepdim=True)
    with torch.no_grad():
        scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps).expand(-1, -1, x.shape[1] // groups)
        scale = scale.reshape(len(x), -1, *(1,) * (x.ndim - 2)) * (1 if weight is None else weight.view(spread))
        shift = x.new_zeros(()) if bias is None else bias.detach().view(spread)
        output = centred.view_as(x) * scale + shift
    entry = trace.entry("normalisation", x)
    return _Affine.apply(centred.view_as(x), scale, shift, output, entry, trace.composite.bias)
