"""What relevance does at every operation of a model: tables that the context manager reads.

Relevance is activation x gradient, so operations that are linear without a constant (sums, concatenation, averages,
pooling by the maximum, reshaping) need no rule of their own: their gradient is right as it is. What needs one:

- products with weights, which follow the composite;
- normalisation with fixed statistics and added constants, whose constant takes its share;
- layer normalisation, whose standard deviation counts as a constant (the identity rule, Achtibat et al. 2024,
  arXiv 2402.05602, proposition 3.4);
- activation functions, which pass on what they get: y / x in place of the derivative;
- gates (sigmoid, softmax), which are detached: a gate times a signal leaves all relevance to the signal;
- attention, where the composite explains it: softmax keeps its own gradient, with a remainder (proposition 3.1 there),
  and a product of two signals gives half to each (proposition 3.3).

Everything else is refused by name.
"""

from __future__ import annotations

import inspect

import torch
from torch import nn

from .affine import _Affine
from .ledger import _Entry
from .products import _convolution, _dense, _per_image, _Propagate

_PLAIN = """
    __get__ __getitem__ adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d amax avg_pool1d avg_pool2d avg_pool3d channel_shuffle chunk clone contiguous double dropout
    dropout1d dropout2d dropout3d expand flatten flip float gather index_select interpolate max_pool1d max_pool2d
    max_pool3d mean movedim narrow neg permute pixel_shuffle repeat requires_grad_ reshape roll select split squeeze
    stack sum swapaxes t to transpose unbind unflatten unfold unsqueeze upsample view view_as
"""
_MOVES = "clone contiguous flatten movedim permute reshape squeeze to transpose unsqueeze view"
#: Operations whose own gradient is right: linear without a constant, or a choice among values.
PLAIN = frozenset(_PLAIN.split())
#: Those of them that only move pixels: a first layer behind them still reads the pixels themselves.
MOVES = frozenset(_MOVES.split())
#: Activation functions with f(0) = 0, without their in-place forms.
ACTIVATIONS = {
    "celu": nn.functional.celu,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "hardswish": nn.functional.hardswish,
    "hardtanh": nn.functional.hardtanh,
    "leaky_relu": nn.functional.leaky_relu,
    "mish": nn.functional.mish,
    "relu": nn.functional.relu,
    "relu6": nn.functional.relu6,
    "selu": nn.functional.selu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
#: Values between 0 and 1 that multiply a signal; softmax is one where the composite takes attention as given.
GATES = frozenset({"hardsigmoid", "sigmoid"})
#: Attention that never shows its weights.
HIDDEN = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward", "_native_multi_head_attention"})


class _Pass(torch.autograd.Function):
    """An activation function: the input gets the relevance of the output, so its gradient is gradient times y / x."""

    @staticmethod
    def forward(ctx, x, output):
        """Return ``output``, which has been computed already."""
        ctx.save_for_backward(x, output)
        return output.view_as(output)

    @staticmethod
    def backward(ctx, gradient):
        """Gradient of the input."""
        x, output = ctx.saved_tensors
        return (output / x).nan_to_num_(0, 0, 0).mul_(gradient), None


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
        total = _per_image(relevance)
        found = relevance - output * relevance.sum(ctx.dim, keepdim=True)
        ctx.entry.write(total, kept=total - _per_image(x * found))
        return found, *(None,) * 3


class _Half(torch.autograd.Function):
    """A signal as it is, with half of its gradient."""

    @staticmethod
    def forward(ctx, x):
        """Return the signal."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        """Half of the gradient."""
        return gradient / 2


def _product(trace, function, args, kwargs):
    """A dense layer or a convolution: under the composite's rule."""
    name = function.__name__
    names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    if "transpose" in name:
        names = ["input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"]
    given = dict(zip(names, args)) | kwargs
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    if name == "linear":
        kind, layer = "dense", _dense()
    else:
        axes = weight.ndim - 2

        def each(key: str, default: int) -> list[int]:
            value = given.get(key, default)
            value = (value,) if isinstance(value, int) else value
            return list(value) * (axes if len(value) == 1 else 1)

        dilation, padding = each("dilation", 1), given.get("padding", 0)
        if isinstance(padding, str):
            total = [d * (size - 1) * (padding == "same") for d, size in zip(dilation, weight.shape[2:])]
            given["padding"] = [n // 2 for n in total]
            if any(n % 2 for n in total):
                sides = [side for n in reversed(total) for side in (n // 2, n - n // 2)]
                x, given["padding"] = nn.functional.pad(x, sides), 0
        settings = (each("stride", 1), each("padding", 0), dilation, "transpose" in name, each("output_padding", 0))
        kind, layer = "convolution", _convolution(*settings, given.get("groups", 1))
    with torch.no_grad():
        output = layer.push(x, weight, bias)
    entry = trace.entry(kind, x)
    result = _Propagate.apply(x, weight, bias, output, layer, entry)
    trace.products[result] = (x, weight, bias, layer, entry)
    return result


def _normalisation(trace, function, args, kwargs):
    """Batch normalisation with its running statistics: folded into the product before it, else an affine layer."""
    given = inspect.signature(nn.functional.batch_norm).bind(*args, **kwargs)
    given.apply_defaults()
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
    bias = shift if bias is None else torch.addcmul(shift, bias.detach(), scale)
    return _Propagate.apply(x, layer.scale(weight, scale), bias, output, layer, entry)


def _layer_normalisation(trace, function, args, kwargs):
    """Layer normalisation: linear, since its standard deviation counts as a constant; the bias takes its share."""
    given = inspect.signature(nn.functional.layer_norm).bind(*args, **kwargs)
    given.apply_defaults()
    x, shape, weight, bias, eps = given.arguments.values()
    axes = tuple(range(-len(shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    with torch.no_grad():
        scale = torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps) * (1 if weight is None else weight)
        shift = x.new_zeros(()) if bias is None else bias.detach()
        output = centred * scale + shift
    return _Affine.apply(centred, scale, shift, output, trace.entry("normalisation", x), trace.composite.bias)


def _softmax(trace, function, args, kwargs):
    """Softmax: a gate, or by its own gradient where the composite explains attention."""
    if not trace.composite.attention:
        return function(*args, **kwargs).detach()
    x = args[0] if args else kwargs["input"]
    with torch.no_grad():
        output = function(*args, **kwargs)
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    return _Softmax.apply(x, output, -1 if dim is None else dim, trace.entry("softmax", x))


def _matrices(trace, function, args, kwargs):
    """A product of two matrices: linear in a signal and a constant, half to each of two signals."""
    if all(map(_is_signal, _pair(args, kwargs))):
        args = (*(_Half.apply(value) for value in _pair(args, kwargs)), *args[2:])
        kwargs = {key: value for key, value in kwargs.items() if key not in ("input", "other", "mat2")}
    return function(*args, **kwargs)


def _concatenation(trace, function, args, kwargs):
    """Signals side by side as they are; of constants among them the share is noted."""
    tensors = args[0] if args else kwargs["tensors"]
    result = function(*args, **kwargs)
    if all(map(_is_signal, tensors)):
        return result
    with torch.no_grad():
        constants = [torch.zeros_like(value) if _is_signal(value) else value for value in tensors]
        shift = function(constants, *args[1:], **{key: value for key, value in kwargs.items() if key != "tensors"})
    entry = trace.entry("constant", next(filter(_is_signal, tensors)))
    return _Affine.apply(result, result.new_ones(()), shift, result.detach(), entry)


def _hidden(trace, function, args, kwargs):
    """Fused attention, which cannot be explained."""
    trace.refuse(function, "hides the weights of its attention; xp.zoo.from_torchvision lays them open")


def _addition(trace, function, args, kwargs):
    """A sum or a difference: of two signals as it is, of a signal and a constant with the constant's share noted."""
    result = function(*args, **kwargs)
    pair = _pair(args, kwargs)
    signals = [place for place, value in enumerate(pair) if _is_signal(value)]
    if len(signals) != 1:
        return result
    [place], alpha = signals, kwargs.get("alpha", 1.0)
    x, name = pair[place], function.__name__
    scale = (1.0, alpha)[place]
    if "sub" in name:
        scale = (-alpha, 1.0)[place] if name in ("rsub", "__rsub__") else (1.0, -alpha)[place]
    shift = (result - scale * x).detach()
    entry = trace.entry("constant", x)
    return _Affine.apply(x.expand_as(result), result.new_tensor(scale), shift, result.detach(), entry)


def _multiplication(trace, function, args, kwargs):
    """A signal times or over a constant or a gate: linear."""
    first, second = (_is_signal(value) for value in _pair(args, kwargs))
    if second and (first or "div" in function.__name__):
        trace.refuse(function, "multiplies or divides one signal by another; only gates (sigmoid, softmax) may")
    return function(*args, **kwargs)


def _activation(trace, function, args, kwargs):
    """An activation function; the derivative of those made of straight lines through 0 is y / x already."""
    if function.__name__ in ("relu", "leaky_relu"):
        return function(*args, **kwargs)
    kwargs = dict(kwargs)
    x, *others = args or (kwargs.pop("input"),)
    return _Pass.apply(x, ACTIVATIONS[function.__name__](x.detach(), *others, **kwargs))


def _gate(trace, function, args, kwargs):
    """A gate: no relevance goes to where it came from."""
    return function(*args, **kwargs).detach()


def _padding(trace, function, args, kwargs):
    """Padding: linear where it adds zeros or copies pixels."""
    given = inspect.signature(nn.functional.pad).bind(*args, **kwargs).arguments
    if given.get("mode", "constant") == "constant" and given.get("value"):
        trace.refuse(function, "adds a constant; pad with zeros")
    return function(*args, **kwargs)


def _pair(args, kwargs) -> tuple:
    """Both operands, however they were given."""
    first = args[0] if args else kwargs.get("input", kwargs.get("self"))
    return first, args[1] if len(args) > 1 else kwargs.get("other")


def _is_signal(value) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


_ADD = "add sub __add__ __radd__ __sub__ __rsub__ rsub subtract"
_MULTIPLY = "mul div __mul__ __rmul__ __truediv__ __div__ multiply true_divide divide"
_PRODUCT = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
#: Name of an operation to what is done in its place, ``(trace, function, args, kwargs) -> result``: what torch's
#: function gives for these arguments, with the gradient that relevance needs. ``trace`` keeps the books, and refuses.
HANDLERS = {
    "batch_norm": _normalisation,
    "layer_norm": _layer_normalisation,
    "softmax": _softmax,
    "pad": _padding,
    **dict.fromkeys(("matmul", "__matmul__", "bmm", "mm"), _matrices),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenation),
    **dict.fromkeys(HIDDEN, _hidden),
    **dict.fromkeys(_ADD.split(), _addition),
    **dict.fromkeys(_MULTIPLY.split(), _multiplication),
    **dict.fromkeys(_PRODUCT.split(), _product),
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(GATES, _gate),
}
