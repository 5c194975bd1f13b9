"""What relevance does at every operation of a model: tables that the context manager reads.

Relevance is activation x gradient, so operations that are linear without a constant (sums, concatenation, averages,
pooling by the maximum, reshaping) need no rule of their own: their gradient is right as it is. What needs one:

- products with weights, which follow the composite;
- normalisation and added constants, whose constant takes its share, and whose standard deviation counts as a constant;
- activation functions, which pass on what they get: y / x in place of the derivative;
- gates (sigmoid, softmax) and sizes (norms), which count as constants: a gate times a signal leaves all relevance to
  the signal;
- attention, where the composite explains it, and products of signals, of which each gets the same part.

The modules beside this one give the sources. Everything else is refused by name.
"""

from __future__ import annotations

import inspect

import torch
from torch import nn

from .activations import _DIVIDES, _activation, _gate, _normalised, _pair, _power, _scale, _size
from .activations import ACTIVATIONS as ACTIVATIONS
from .activations import GATES as GATES
from .affine import _Affine, _is_signal
from .attention import (
    _added_product,
    _attention,
    _bilinear,
    _einsum,
    _factors,
    _is_weight,
    _matrices,
    _multi_head,
    _softmax,
)
from .normalisations import _group_normalisation, _instance_normalisation, _layer_normalisation, _normalisation
from .products import _convolution, _dense, _Propagate

_PLAIN = """
    __get__ __getitem__ adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d alpha_dropout amax amin avg_pool1d avg_pool2d avg_pool3d bfloat16
    broadcast_to channel_shuffle chunk clone contiguous cpu cuda diagonal double dropout dropout1d dropout2d dropout3d
    expand expand_as feature_alpha_dropout flatten flip fliplr flipud float fold gather half index_select interpolate
    max_pool1d max_pool2d max_pool3d mean moveaxis movedim narrow native_channel_shuffle neg negative permute
    pixel_shuffle pixel_unshuffle positive ravel repeat repeat_interleave requires_grad_ reshape reshape_as roll rot90
    select sort split split_with_sizes squeeze sum swapaxes swapdims t take_along_dim tensor_split tile to topk
    transpose tril triu type type_as unbind unflatten unfold unsqueeze upsample upsample_bilinear upsample_nearest view
    view_as __neg__
"""
_MOVES = "clone contiguous flatten movedim permute reshape squeeze to transpose unsqueeze view"
#: Operations whose own gradient is right: linear without a constant, or a choice among values.
PLAIN = frozenset(_PLAIN.split())
#: Those of them that only move pixels: a first layer behind them still reads the pixels themselves.
MOVES = frozenset(_MOVES.split())
_RECURRENT = "hides its gates; write the cell out with linear layers, sigmoid and tanh"
_ENDS = "is no sum of contributions; explain the logits before it"
_BY_HAND = "is no sum of contributions; for a softmax by hand take torch.softmax"
#: Operations that are known, and cannot be explained: why, and what to do.
REFUSED = {
    **dict.fromkeys(("_native_multi_head_attention", "_transformer_encoder_layer_fwd"), "hides its attention"),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"), _RECURRENT),
    **dict.fromkeys(("log_softmax", "log", "logsumexp", "cross_entropy", "nll_loss"), _ENDS),
    **dict.fromkeys(("exp", "exp2", "__rpow__"), _BY_HAND),
}


def _product(trace, function, args, kwargs):
    """A dense layer or a convolution: under the composite's rule."""
    name = function.__name__
    names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    if "transpose" in name:
        names = ["input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"]
    given = dict(zip(names, args)) | kwargs
    x, weight, bias, back = given["input"], given["weight"], given.get("bias"), None
    if (weight.requires_grad and not weight.is_leaf) or (bias is not None and not bias.is_leaf and bias.requires_grad):
        return _made_weights(trace, function, x, weight, bias, given)
    if name == "linear":
        x, back = trace.axes.first(x, trace.layer)
        kind, layer = "dense", _dense()
    else:
        trace.axes.leading(x, trace.layer)
        axes = weight.ndim - 2
        if x.ndim == axes + 1:
            with trace:
                return function(**given | {"input": x[None]})[0]

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
    if back:
        return back(result)
    trace.products[result] = (x, weight, bias, layer, entry)
    return result


def _made_weights(trace, function, x, weight, bias, given):
    """A product whose weights the model makes from its signal: a product of two signals, the bias a summand."""
    x, weight = _factors(trace, (x, weight))
    result = function(**given | {"input": x, "weight": weight, "bias": None})
    if bias is None:
        return result
    with trace:
        return result + (bias if function.__name__ == "linear" else bias.view(-1, *(1,) * (weight.ndim - 2)))


def _noted(trace, function, args, kwargs, result: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """A result that is linear in signals and constants, with the share of the constants, ``shift``, in the books."""
    trace.axes.follow(function, args, kwargs, result)
    entry = trace.entry("constant", result)
    return _Affine.apply(result, result.new_ones(()), shift.expand_as(result), result.detach(), entry)


def _without_signals(value):
    return torch.zeros_like(value, requires_grad=False) if _is_signal(value) else value


def _concatenation(trace, function, args, kwargs):
    """Signals side by side as they are; of constants among them the share is noted."""
    tensors, others = (args[0], args[1:]) if args else (kwargs["tensors"], ())
    result = function(*args, **kwargs)
    if all(map(_is_signal, tensors)):
        return result
    kwargs = {key: value for key, value in kwargs.items() if key != "tensors"}
    with torch.no_grad():
        shift = function([*map(_without_signals, tensors)], *others, **kwargs)
    return _noted(trace, function, (tensors, *others), kwargs, result, shift)


def _choice(trace, function, args, kwargs):
    """One of two values at each place (where, masked_fill, maximum, minimum): linear once the choice is made."""
    name, result = function.__name__, function(*args, **kwargs)
    given = [*args, *kwargs.values()]
    if name in ("max", "min") and not (len(given) == 2 and isinstance(given[1], torch.Tensor)):
        return result
    if name in ("maximum", "minimum", "max", "min"):
        given = [given[0] > given[1] if "max" in name else given[0] < given[1], *given]
    elif name == "masked_fill":
        given = [given[1], given[2], given[0]]
    if len(given) != 3 or all(map(_is_signal, given[1:])):
        return result
    with torch.no_grad():
        shift = torch.where(given[0], *map(_without_signals, given[1:])).to(result)
    return _noted(trace, function, args, kwargs, result, shift)


def _padding(trace, function, args, kwargs):
    """Padding: linear where it adds zeros or copies pixels; another value is a constant."""
    given = inspect.signature(nn.functional.pad).bind(*args, **kwargs).arguments
    result = function(*args, **kwargs)
    if given.get("mode", "constant") != "constant" or not given.get("value"):
        return result
    with torch.no_grad():
        shift = function(**given | {"input": torch.zeros_like(given["input"])})
    return _noted(trace, function, args, kwargs, result, shift)


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
    trace.axes.follow(function, args, kwargs, result)
    entry = trace.entry("constant", x, like=result)
    return _Affine.apply(x.expand_as(result), result.new_tensor(scale), shift, result.detach(), entry)


def _multiplication(trace, function, args, kwargs):
    """A signal times or over a constant, a gate or a size: linear; a product of two signals gives half to each."""
    name, pair = function.__name__, _pair(args, kwargs)
    if "div" in name:
        over = pair[0] if name in ("__rtruediv__", "__rdiv__") else pair[1]
        if not _is_signal(over) or _is_weight(over):
            return function(*args, **kwargs)
        if over not in trace.factors:
            trace.refuse(function, _DIVIDES)
        pair = [value.detach() if value is over else value for value in pair]
        return function(*pair, *args[2:], **{key: kwargs[key] for key in kwargs if key == "rounding_mode"})
    if not all(_is_signal(value) and not _is_weight(value) for value in pair):
        return function(*args, **kwargs)
    return function(*_factors(trace, pair))


def _gated(trace, function, args, kwargs):
    """GLU: one half of the channels, gated by the other."""
    x, dim = _pair(args, {"other": kwargs.get("dim", -1)} | kwargs)
    with trace:
        signal, gate = x.chunk(2, dim)
        return signal * gate.sigmoid()


def _sampled(trace, function, args, kwargs):
    """Sampling at places that the model makes from its signal would move relevance in a way that is not known."""
    if any(_is_signal(value) for value in (*args[1:], *(kwargs[key] for key in kwargs if key != "input"))):
        trace.refuse(function, "samples at places that depend on the input")
    return function(*args, **kwargs)


_ADD = "add sub __add__ __radd__ __sub__ __rsub__ rsub subtract"
_MULTIPLY = "mul div __mul__ __rmul__ __truediv__ __rtruediv__ __div__ __rdiv__ multiply true_divide divide"
_PRODUCT = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
_ROWS = {
    _normalisation: "batch_norm",
    _layer_normalisation: "layer_norm",
    _group_normalisation: "group_norm",
    _instance_normalisation: "instance_norm",
    _normalised: "rms_norm normalize local_response_norm",
    _softmax: "softmax _safe_softmax",
    _padding: "pad",
    _matrices: "matmul __matmul__ bmm mm",
    _added_product: "addmm baddbmm addcmul",
    _einsum: "einsum",
    _bilinear: "bilinear",
    _attention: "scaled_dot_product_attention",
    _multi_head: "multi_head_attention_forward",
    _gated: "glu",
    _concatenation: "cat concat concatenate stack",
    _choice: "where masked_fill maximum minimum max min",
    _power: "pow __pow__",
    _size: "norm vector_norm linalg_vector_norm linalg_norm std var sqrt",
    _scale: "rsqrt reciprocal",
    _sampled: "grid_sample",
    _addition: _ADD,
    _multiplication: _MULTIPLY,
    _product: _PRODUCT,
    _activation: " ".join(ACTIVATIONS),
    _gate: " ".join(GATES),
}
#: Name of an operation to what is done in its place, ``(trace, function, args, kwargs) -> result``: what torch's
#: function gives for these arguments, with the gradient that relevance needs. ``trace`` keeps the books, and refuses.
HANDLERS = {name: handler for handler, names in _ROWS.items() for name in names.split()}
