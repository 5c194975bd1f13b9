"""Layers that multiply by weights, and how relevance passes through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .ledger import _Entry
from .rules import Part, PixelRule, Rule

#: Numbers of the largest tensor that are worked on at a time: some images after the other stay in the caches.
_PIECE = 2**21


@dataclass(frozen=True)
class _Product:
    """A layer's sum of products, as three functions.

    Attributes
    ----------
    push : callable
        ``(x, weight, bias) -> z``.
    pull : callable
        ``(s, x, weight) -> gradient of sum(s z) with respect to x``.
    weigh : callable
        ``(s, x, weight) -> the same with respect to the weight``.
    scale : callable
        ``(weight, factors) -> the weight of a layer whose outputs are multiplied``, with a factor per channel of z.
    axis : int
        Axis of z that the bias runs over.
    """

    push: Callable
    pull: Callable
    weigh: Callable
    scale: Callable
    axis: int

    def along(self, bias: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """A bias in a shape that can be added to z."""
        return bias if self.axis == -1 else bias.view(-1, *(1,) * (z.ndim - 2))

    def per_channel(self, z: torch.Tensor) -> torch.Tensor:
        """Sums over everything but images and channels; shape ``(N, channels)``."""
        z = z.movedim(self.axis, 1)
        return z.flatten(2).sum(2) if z.ndim > 2 else z


def _dense() -> _Product:
    """A dense layer: inputs (..., n), weight (m, n)."""
    return _Product(
        push=nn.functional.linear,
        pull=lambda s, x, weight: s @ weight,
        weigh=lambda s, x, weight: s.flatten(0, -2).mT @ x.flatten(0, -2),
        scale=lambda weight, factors: weight * factors[:, None],
        axis=-1,
    )


def _convolution(stride, padding, dilation, transposed: bool, output_padding, groups: int) -> _Product:
    """A convolution of any number of axes, or a transposed one."""
    settings = (stride, padding, dilation, transposed, output_padding, groups)

    def backward(s, x, weight, which):
        return torch.ops.aten.convolution_backward(s, x, weight, None, *settings, which)

    def scale(weight, factors):
        if not transposed:
            return weight * factors.view(-1, *(1,) * (weight.ndim - 1))
        factors = factors.view(groups, 1, -1, *(1,) * (weight.ndim - 2))
        return (weight.unflatten(0, (groups, -1)) * factors).flatten(0, 1)

    return _Product(
        push=lambda x, weight, bias: torch.ops.aten.convolution(x, weight, bias, *settings),
        pull=lambda s, x, weight: backward(s, x, weight, [True, False, False])[0],
        weigh=lambda s, x, weight: backward(s, x, weight, [False, True, False])[1],
        scale=scale,
        axis=1,
    )


def _general(function: Callable) -> _Product:
    """A sum of products of any kind without a bias, ``function(x, weight)``, whose first axes are the images."""

    def back(s, x, weight, which: int):
        with torch._C.DisableTorchFunction(), torch.enable_grad():
            operands = [x.detach().requires_grad_(), weight.detach().requires_grad_()]
            return torch.autograd.grad(function(*operands), operands[which], s)[0]

    return _Product(
        push=lambda x, weight, bias: function(x, weight),
        pull=lambda s, x, weight: back(s, x, weight, 0),
        weigh=lambda s, x, weight: back(s, x, weight, 1),
        scale=lambda weight, factors: weight * factors,
        axis=-1,
    )


class _Propagate(torch.autograd.Function):
    """A product whose backward pass follows a rule, so that input x gradient is the relevance of the input.

    Where the weight asks for a gradient, weight x gradient is the relevance that passed through it. The rule is looked
    up on the way back, when the number of layers is known.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, output, product: _Product, entry: _Entry):
        """Return ``output``, which has been computed already."""
        ctx.save_for_backward(x, weight, bias, output)
        ctx.product, ctx.entry = product, entry
        return output.view_as(output)

    @staticmethod
    def backward(ctx, gradient):
        """Gradients of the input and of the weight, and the layer's line in the ledger."""
        (x, weight, bias, output), wanted, entry = ctx.saved_tensors, ctx.needs_input_grad, ctx.entry
        rule, size = entry.rule(), max(1, _PIECE // max(1, x[0].numel(), output[0].numel()))
        if isinstance(rule, PixelRule) and wanted[1]:
            raise ValueError(f"{entry.name!r}: the rule {rule.name} gives no relevance of weights.")
        of_x, of_weight = (torch.zeros_like(each) if asked else None for each, asked in zip((x, weight), wanted))
        line = x.new_zeros(4, len(x))
        for start in range(0, len(x), size):
            some = slice(start, start + size)
            operands = x[some], weight, bias, output[some]
            found = _back(rule, ctx.product, operands, gradient[some], wanted)
            if found[0] is not None:
                of_x[some] = found[0]
            if found[1] is not None:
                of_weight += found[1]
            for sums, each in zip(line, found[2:]):
                if each is not None:
                    sums[some] = each
        if of_weight is not None and rule.bias == "redistribute" and bias is not None:
            of_weight = _hand_on(weight[None], of_weight[None], (line[1] + line[3]).sum()[None])[0][0]
        entry.write(*line)
        return of_x, of_weight, *(None,) * 4


def _back(rule: Rule | PixelRule, product: _Product, operands, gradient: torch.Tensor, wanted) -> list:
    """The way back of some images.

    Parameters
    ----------
    rule : Rule or PixelRule
    product : Product
    operands : tuple of torch.Tensor
        Input, weight, bias (or None) and output of the layer.
    gradient : torch.Tensor
        Of the outputs.
    wanted : sequence of bool
        Whether the gradients of the input and of the weight are wanted.

    Returns
    -------
    list
        Gradients of the input and of the weight; and for each image, shape ``(N,)``, what the outputs had, and of it
        what went to the biases, what nobody got, and what the inputs have in place of the biases. None for nothing.
    """
    x, *_, output = operands
    relevance = output * gradient
    total = _per_image(relevance)
    if isinstance(rule, PixelRule):
        of_x, kept = _pixels(rule, product, operands, relevance)
        return [of_x, None, total, None, kept, None]
    found = [None] * 5
    for number, part in enumerate(rule.parts):
        relevance = relevance if number == 0 else output * gradient
        if part.times != 1:
            relevance *= part.times
        if part.outputs:
            relevance *= output > 0 if part.outputs > 0 else output < 0
        if not part.outputs or relevance.any():
            shares = _divide(part, rule, product, operands, relevance, wanted)
            found = [new if old is None else old if new is None else old + new for old, new in zip(found, shares)]
    of_x, of_weight, of_bias, kept, instead = found
    if rule.bias == "redistribute" and of_bias is not None and wanted[0]:
        of_x, of_bias, instead = _hand_on(x, of_x, of_bias)
    return [of_x, of_weight, total, of_bias, kept, instead]


def _divide(part: Part, rule: Rule, product: _Product, operands, relevance: torch.Tensor, wanted) -> list:
    """Divide the outputs' relevance among the contributions.

    Parameters
    ----------
    part : Part
        How positive and negative contributions count.
    rule : Rule
        That it is of: its epsilon, and its treatment of biases.
    product : Product
    operands : tuple of torch.Tensor
        Input, weight, bias (or None) and output of the layer.
    relevance : torch.Tensor
        Of the outputs, in their shape; it is overwritten.
    wanted : sequence of bool
        Whether the gradients of the input and of the weight are wanted.

    Returns
    -------
    list
        Gradients of the input and of the weight (None where not wanted); and for each image, shape ``(N,)``, the
        relevance that went to the biases, that nobody got, and that the inputs have in place of the biases (None for
        nothing).
    """
    x, weight, bias, output = operands
    if part.positive == part.negative == 1:
        sides = [(x, weight, 1.0)]
    else:
        pairs = (part.positive, part.negative), (part.negative, part.positive)
        up, down = (_counting(weight, *pair) for pair in pairs)
        one_sided = not part.mirror or x.min() >= 0
        sides = [(x, *up)] if one_sided else [(x.clamp(min=0), *up), (x.clamp(max=0), *down)]
        bias = None if bias is None else _counting(bias, *pairs[0])[0]
    counts = bias is not None and part.bias and rule.bias != "zero"
    if sides[0][1] is weight and (counts or bias is None):
        total = output
    else:
        total = product.push(*sides[0][:2], bias if counts else None)
        for side, counted, _ in sides[1:]:
            total += product.push(side, counted, None)
    before, of_x, of_weight, of_bias, instead = _per_image(relevance), None, None, None, None
    if bias is not None and not counts:
        alone = torch.where(total == 0, relevance, 0)  # the bias alone made these outputs
        of_bias = product.per_channel(alone) @ (bias != 0).to(bias)
        torch.div(relevance, torch.add(total, product.along(bias, total), out=alone), out=alone).nan_to_num_(0, 0, 0)
        instead = product.per_channel(alone) @ bias - of_bias
    share = _over(relevance, _away(total, rule.epsilon))
    if wanted[0]:
        pulled = [product.pull(share, side, counted) for side, counted, _ in sides]
        of_x = pulled[0] if len(pulled) == 1 else torch.where(x > 0, *pulled)
    if wanted[1]:
        of_weight = sum(product.weigh(share, side, counted) * factor for side, counted, factor in sides)
    if counts:
        of_bias = product.per_channel(share) @ bias
    kept = before - _per_image(share.mul_(total))
    return [of_x, of_weight, of_bias, kept if counts or of_bias is None else kept - of_bias, instead]


def _hand_on(x: torch.Tensor, of_x: torch.Tensor, taken: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Give a layer's inputs the relevance of its biases, in proportion to the sizes of the relevance that they have.

    Parameters
    ----------
    x, of_x : torch.Tensor
        The inputs, and their gradient: its product with them is their relevance.
    taken : torch.Tensor
        Shape ``(N,)``: what the biases have.

    Returns
    -------
    tuple of torch.Tensor
        The new gradient; and of shape ``(N,)``, what is left to the biases where no input has any relevance, and what
        the inputs got.
    """
    relevance = x * of_x
    sizes = _per_image(relevance.abs())
    factor = _over(taken.clone(), sizes)
    got = factor * sizes
    more = relevance.sign_().mul_(of_x)
    return torch.addcmul(of_x, more, factor.view(-1, *(1,) * (x.ndim - 1))), taken - got, got


def _pixels(rule: PixelRule, product: _Product, operands, relevance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Relevance of the pixels under a rule for them, and what nobody got.

    Parameters
    ----------
    rule : PixelRule
    product : Product
    operands : tuple of torch.Tensor
        Input, weight, bias (or None) and output of the layer; the bias gets nothing.
    relevance : torch.Tensor
        Of the outputs, in their shape; it is overwritten.

    Returns
    -------
    tuple of torch.Tensor
        In the shape of the input; and of shape ``(N,)``.
    """
    x, weight = operands[:2]
    if rule.low is None:
        sides = [(torch.ones_like(x), torch.ones_like(weight))]
    else:
        if not rule.low <= x.min() <= x.max() <= rule.high:
            found = f"{x.min():.3g} to {x.max():.3g}"
            raise ValueError(f"the rule {rule.name} is for pixels from {rule.low:g} to {rule.high:g}, got {found}.")
        low, high = torch.full_like(x, -rule.low), torch.full_like(x, -rule.high)
        sides = [(x, weight), (low, weight.clamp(min=0)), (high, weight.clamp(max=0))]
    total = sum(product.push(side, counted, None) for side, counted in sides)
    before = _per_image(relevance)
    share = _over(relevance, total)
    found = sum(side * product.pull(share, side, counted) for side, counted in sides)
    return found, before - _per_image(share.mul_(total))


def _counting(weight: torch.Tensor, positive: float, negative: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights with their positive and negative entries multiplied, and the factors."""
    factor = torch.where(weight > 0, weight.new_tensor(positive), weight.new_tensor(negative))
    return weight * factor, factor


def _away(total: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Sums that are farther from zero by epsilon."""
    return torch.add(total, total.sign(), alpha=epsilon) if epsilon else total


def _over(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """``above / below``, written to ``above``; 0 where ``below`` is 0."""
    return above.div_(below).nan_to_num_(0, 0, 0)


def _per_image(values: torch.Tensor) -> torch.Tensor:
    """Sum over everything but the images; shape ``(N,)``."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values
