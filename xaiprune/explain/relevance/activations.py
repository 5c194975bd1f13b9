"""Functions of one value at a time: activations, gates, powers and sizes.

An activation function passes on what it gets (y / x in place of the derivative): Bach et al. 2015, and the identity
rule of Achtibat et al. 2024 (arXiv 2402.05602). Where f(0) is not 0, as with Softplus, f(x) is f(0) + (f(x) - f(0)),
and f(0) is a constant like a bias. A gate or a size that multiplies or divides another signal counts as a constant, so
that the signal takes all (Arras et al. 2017, arXiv 1706.07206, for gates; proposition 3.4 of Achtibat et al. for the
standard deviation); alone, it is a signal.
"""

from __future__ import annotations

import torch
from torch import nn

from .affine import _Affine, _is_signal

_F = nn.functional
#: Activation functions with f(0) = 0, without their in-place forms.
ACTIVATIONS = {
    "celu": _F.celu,
    "elu": _F.elu,
    "gelu": _F.gelu,
    "hardswish": _F.hardswish,
    "hardtanh": _F.hardtanh,
    "leaky_relu": _F.leaky_relu,
    "mish": _F.mish,
    "relu": _F.relu,
    "relu6": _F.relu6,
    "selu": _F.selu,
    "silu": _F.silu,
    "tanh": torch.tanh,
    "hardshrink": _F.hardshrink,
    "softshrink": _F.softshrink,
    "softsign": _F.softsign,
    "tanhshrink": _F.tanhshrink,
    "atan": torch.atan,
    "erf": torch.erf,
    "expm1": torch.expm1,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "square": torch.square,
    # of straight lines through 0: their own derivative is y / x
    "abs": torch.abs,
    "prelu": _F.prelu,
    "rrelu": _F.rrelu,
    # f(0) may be another value
    "clamp": torch.clamp,
    "clamp_max": torch.clamp_max,
    "clamp_min": torch.clamp_min,
    "clip": torch.clip,
    "log_sigmoid": _F.logsigmoid,
    "softplus": _F.softplus,
    "_threshold": _F.threshold,
    "threshold": _F.threshold,
}
_LINES = frozenset({"relu", "leaky_relu", "prelu", "rrelu", "abs"})
_BOUNDED = {"_threshold", "clamp", "clamp_max", "clamp_min", "clip", "hardtanh", "threshold"}
_SHIFTED = frozenset(_BOUNDED | {"log_sigmoid", "softplus"})
#: Values between 0 and 1 that multiply a signal; softmax is one where the composite takes attention as given.
GATES = {"hardsigmoid": _F.hardsigmoid, "sigmoid": torch.sigmoid}


_DIVIDES = (
    "divides by a signal that is no size (a norm, a root, a deviation); divide by its .detach() to count it as constant"
)


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


class _Share(torch.autograd.Function):
    """A signal as it is, with a part of its gradient: one of ``times`` factors, or a degree of homogeneity."""

    @staticmethod
    def forward(ctx, x, times: float = 2):
        """Return the signal."""
        ctx.times = times
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        """A part of the gradient."""
        return gradient / ctx.times, None


def _passed(trace, x: torch.Tensor, output: torch.Tensor, zero: torch.Tensor | None = None) -> torch.Tensor:
    """Values of a function of one value each, given f(x) and f(0); ``zero`` None says that it is 0."""
    if zero is None or not zero.any():
        return _Pass.apply(x, output)
    with torch.no_grad():
        scale, zero = ((output - zero) / x).nan_to_num_(0, 0, 0), zero.expand_as(output)
    return _Affine.apply(x, scale, zero, output, trace.entry("activation", x), trace.composite.bias)


def _activation(trace, function, args, kwargs):
    """An activation function; the derivative of those made of straight lines through 0 is y / x already."""
    name = function.__name__
    if name in _LINES:
        return function(*args, **kwargs)
    kwargs = dict(kwargs)
    x, *others = args or (kwargs.pop("input"),)
    if any(map(_is_signal, (*others, *kwargs.values()))):
        trace.refuse(function, "has bounds that depend on the input")
    output = ACTIVATIONS[name](x.detach(), *others, **kwargs)
    if output.shape != x.shape:
        x = x.expand_as(output)
    zero = ACTIVATIONS[name](torch.zeros_like(x.detach()), *others, **kwargs) if name in _SHIFTED else None
    return _passed(trace, x, output, zero)


def _gate(trace, function, args, kwargs):
    """A gate: no relevance goes to where it came from, if it multiplies a signal; else an activation of f(0) = 1/2."""
    kwargs = dict(kwargs)
    x, *others = args or (kwargs.pop("input"),)
    output = function(x.detach(), *others, **kwargs)
    gate = _passed(trace, x, output, torch.full_like(output, 0.5))
    trace.factors[gate] = True
    return gate


def _scale(trace, function, args, kwargs):
    """One over a size: a factor, which counts as a constant."""
    if function.__name__ == "reciprocal" and args[0] not in trace.factors:
        trace.refuse(function, _DIVIDES)
    return function(*args, **kwargs).detach()


def _power(trace, function, args, kwargs):
    """A power: x to the n is a product of signals and passes on what it gets; with n below 0 it is a factor."""
    x, exponent = _pair(args, kwargs)
    if not _is_signal(x) or _is_signal(exponent):
        trace.refuse(function, "has a signal as its exponent")
    signs = torch.as_tensor(exponent)
    if not ((signs > 0).all() or (signs < 0).all()):
        trace.refuse(function, "has exponents of more than one sign, or 0")
    output = torch.pow(x.detach(), exponent)
    if (signs < 0).all():
        return output
    result = _passed(trace, x.expand_as(output), output)
    if (signs < 1).all():
        trace.factors[result] = True
    return result


def _size(trace, function, args, kwargs):
    """A norm or a deviation: positively homogeneous, so that gradient x input is all of it (Euler); also a factor."""
    x, *others = args or (kwargs["input"],)
    if function.__name__ == "sqrt":
        result = _passed(trace, x, function(x.detach()))
    else:
        kwargs = {key: value for key, value in kwargs.items() if key != "input"}
        result = function(_Share.apply(x, 2) if function.__name__ == "var" else x, *others, **kwargs)
    trace.factors[result] = True
    return result


def _normalised(trace, function, args, kwargs):
    """A signal over its size (RMSNorm, a norm, LocalResponseNorm): the size counts as a constant, so all is passed."""
    kwargs = dict(kwargs)
    x, *others = args or (kwargs.pop("input"),)
    return _Pass.apply(x, function(x.detach(), *others, **kwargs))


def _pair(args, kwargs) -> tuple:
    """Both operands, however they were given."""
    first = args[0] if args else kwargs.get("input", kwargs.get("self"))
    second = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("mat2", kwargs.get("exponent")))
    return first, second
