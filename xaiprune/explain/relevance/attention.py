"""Products of signals, and attention, which is made of them.

A product of several signals gives the same part to each (Achtibat et al. 2024, arXiv 2402.05602, proposition 3.3);
softmax keeps its own gradient, with a remainder (proposition 3.1 there), where the composite explains attention. Fused
attention is carried out in its parts: products with weights by the composite's rule, scores, softmax, values.
"""

from __future__ import annotations

import inspect
import math
from functools import partial

import torch
from torch import nn

from .activations import _pair, _Share
from .affine import _is_signal
from .ledger import _Entry
from .products import _general, _per_image, _Propagate


class _Softmax(torch.autograd.Function):
    """Softmax by its own gradient: what the inputs do not get is written to the ledger as kept."""

    @staticmethod
    def forward(ctx, x, output, dim: int, entry: _Entry):
        """Return ``output``, which has been computed already."""
        ctx.dim, ctx.entry = dim, entry
        ctx.save_for_backward(x, output)
        return output.view_as(output)

    @staticmethod
    def backward(ctx, gradient):
        """Gradient of the input, and the line in the ledger."""
        x, output = ctx.saved_tensors
        relevance = output * gradient
        total = _per_image(ctx.entry.by_image(relevance))
        found = relevance - output * relevance.sum(ctx.dim, keepdim=True)
        passed = x * found if x.isfinite().all() else torch.where(output == 0, 0, x) * found  # masked by -inf
        ctx.entry.write(total, kept=total - _per_image(ctx.entry.by_image(passed)))
        return found, *(None,) * 3


def _is_weight(value) -> bool:
    return isinstance(value, nn.Parameter) or isinstance(getattr(value, "_base", None), nn.Parameter)


def _factors(trace, values) -> list:
    """Factors of a product: of several signals each gets a part; gates and sizes beside a signal are constants."""
    signals = [value for value in values if _is_signal(value) and not _is_weight(value)]
    if len(signals) > 1 and any(value not in trace.factors for value in signals):
        values = [value.detach() if _is_signal(value) and value in trace.factors else value for value in values]
        signals = [value for value in values if _is_signal(value) and not _is_weight(value)]
    if len(signals) < 2:
        return list(values)
    return [_Share.apply(v, len(signals)) if _is_signal(v) and not _is_weight(v) else v for v in values]


def _softmax(trace, function, args, kwargs):
    """Softmax: a gate, or by its own gradient where the composite explains attention."""
    if not trace.composite.attention:
        result = function(*args, **kwargs).detach()
        trace.closed[result], trace.closing = True, trace.layer
        return result
    x = args[0] if args else kwargs["input"]
    with torch.no_grad():
        output = function(*args, **kwargs)
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    return _Softmax.apply(x, output, -1 if dim is None else dim, trace.entry("softmax", x))


def _matrices(trace, function, args, kwargs):
    """A product of two matrices: with weights by the composite's rule, half to each of two signals."""
    one, other = _pair(args, kwargs)
    if _is_signal(one) and not _is_weight(one) and _is_weight(other) and other.ndim == 2 and one.ndim > 1:
        with trace:
            return nn.functional.linear(one, other.mT)
    if _is_signal(other) and not _is_weight(other) and _is_weight(one) and one.ndim == 2 and other.ndim > 2:
        with trace:
            return nn.functional.linear(other.mT, one).mT
    kwargs = {key: value for key, value in kwargs.items() if key not in ("input", "other", "mat2")}
    return function(*_factors(trace, (one, other)), *args[2:], **kwargs)


def _added_product(trace, function, args, kwargs):
    """A sum and a product of matrices (addmm, baddbmm) or of values (addcmul), one after the other."""
    names = dict.fromkeys(("input", "tensor1", "tensor2", "batch1", "batch2", "mat1", "mat2"))
    first, *pair = [*args, *(kwargs[name] for name in names if name in kwargs)][:3]
    beta, alpha = kwargs.get("beta", 1), kwargs.get("alpha", kwargs.get("value", 1))
    if function.__name__ == "addmm" and beta == alpha == 1 and _is_weight(pair[1]) and not _is_signal(first):
        with trace:
            return nn.functional.linear(pair[0], pair[1].mT, first)
    with trace:
        product = pair[0] * pair[1] if function.__name__ == "addcmul" else pair[0] @ pair[1]
        product = product if alpha == 1 else product * alpha
        return product + (first if beta == 1 else first * beta)


def _einsum(trace, function, args, kwargs):
    """A sum of products by indices: with weights by the composite's rule, equal parts to several signals."""
    equation, *operands = args or (kwargs["equation"], kwargs["operands"])
    operands = list(operands[0]) if len(operands) == 1 and not isinstance(operands[0], torch.Tensor) else operands
    if not isinstance(equation, str):
        trace.refuse(function, "is given without an equation; write it as einsum('bij,bjk->bik', ...)")
    places = [place for place, value in enumerate(operands) if _is_signal(value) and not _is_weight(value)]
    if len(operands) == 2 and len(places) == 1 and _is_weight(operands[1 - places[0]]) and "->" in equation:
        terms, found = equation.replace(" ", "").split("->")
        terms, place = terms.split(","), places[0]
        lead = terms[place][:1]
        if lead.isalpha() and lead == found[:1] and lead not in terms[1 - place]:
            x, weight = operands[place], operands[1 - place]
            layer = _general(partial(_ordered, equation, place))
            trace.axes.leading(x, trace.layer)
            entry = trace.entry("dense", x)
            with torch.no_grad():
                output = layer.push(x, weight, None)
            return _Propagate.apply(x, weight, None, output, layer, entry)
    return function(equation, *_factors(trace, operands))


def _ordered(equation: str, place: int, x, weight):
    return torch.einsum(equation, *((x, weight) if place == 0 else (weight, x)))


def _bilinear(trace, function, args, kwargs):
    """A bilinear layer: half to each of two signals, and the bias is a constant."""
    one, other, weight, *bias = [*args, *kwargs.values()]
    result = function(*_factors(trace, (one, other)), weight.detach())
    with trace:
        return result if not bias or bias[0] is None else result + bias[0]


def _attention(trace, function, args, kwargs):
    """Fused attention, part by part."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args)) | kwargs
    query, key, value, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
    scale = given.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if given.get("is_causal"):
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    with trace:
        if given.get("enable_gqa"):
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
        return _attend(query, key, value, mask, scale)[0]


def _attend(query, key, value, mask, scale: float):
    """Under the trace: the mixture of values, and its weights."""
    scores = (query @ key.mT) * scale
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    weights = torch._safe_softmax(scores, -1)
    return weights @ value, weights


def _multi_head(trace, function, args, kwargs):
    """``nn.MultiheadAttention``, part by part; its tokens come first, (T, N, width) or (T, width)."""
    given = inspect.signature(nn.functional.multi_head_attention_forward).bind(*args, **kwargs)
    given.apply_defaults()
    given = given.arguments
    if given["static_k"] is not None or given["static_v"] is not None:
        trace.refuse(function, "has static keys or values")
    query, key, value = (given[name] for name in ("query", "key", "value"))
    single, alike, bias = query.ndim == 2, query is key is value, given["in_proj_bias"]
    weights, more, linear = given["in_proj_weight"], 0, nn.functional.linear
    if given["use_separate_proj_weight"]:
        weights, alike = [given[f"{each}_proj_weight"] for each in "qkv"], False
    with trace:
        query = query[None] if single else query.transpose(0, 1)
        if alike:
            query, key, value = linear(query, weights, bias).chunk(3, -1)
        else:
            key, value = (each[None] if single else each.transpose(0, 1) for each in (key, value))
            weights = weights.chunk(3) if isinstance(weights, torch.Tensor) else weights
            biases = (None,) * 3 if bias is None else bias.chunk(3)
            query, key, value = map(linear, (query, key, value), weights, biases)
        if given["bias_k"] is not None:
            key, value, more = (
                *(
                    torch.cat([each, given[name].transpose(0, 1).expand(len(each), -1, -1)], 1)
                    for each, name in ((key, "bias_k"), (value, "bias_v"))
                ),
                1,
            )
        query, key, value = (
            each.unflatten(-1, (given["num_heads"], -1)).transpose(1, 2) for each in (query, key, value)
        )
        if given["add_zero_attn"]:
            key, value, more = *(nn.functional.pad(each, (0, 0, 0, 1)) for each in (key, value)), more + 1
        mask = _additive(given["attn_mask"], given["key_padding_mask"], query, more)
        mixed, found = _attend(query, key, value, mask, 1 / math.sqrt(query.shape[-1]))
        mixed = linear(mixed.transpose(1, 2).flatten(2), given["out_proj_weight"], given["out_proj_bias"])
        mixed = mixed[0] if single else mixed.transpose(0, 1)
        if not given["need_weights"]:
            return mixed, None
        found = found.mean(1) if given["average_attn_weights"] else found
        return mixed, found[0] if single else found


def _additive(mask, padding, query, more: int):
    """Both masks as one that is added to the scores, (N or 1, heads or 1, T, S); None without any."""
    masks = []
    if mask is not None:
        masks.append(mask.view(-1, query.shape[1], *mask.shape[1:]) if mask.ndim == 3 else mask)
    if padding is not None:
        masks.append(padding.reshape(-1, 1, 1, padding.shape[-1]))
    kind = query.dtype
    masks = [
        torch.zeros_like(each, dtype=kind).masked_fill(each, -math.inf) if each.dtype == torch.bool else each.to(kind)
        for each in masks
    ]
    return nn.functional.pad(sum(masks), (0, more)) if masks else None
