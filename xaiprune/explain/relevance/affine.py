"""A factor and a constant, value by value: normalisation with fixed statistics, and constants that a model adds."""

from __future__ import annotations

import torch

from .ledger import _Entry
from .products import _away, _hand_on, _over, _per_image
from .rules import _STABILIZER


class _Affine(torch.autograd.Function):
    """``x * scale + shift``: relevance in proportion, the shift's share by the treatment of biases."""

    @staticmethod
    def forward(ctx, x, scale, shift, output, entry: _Entry, bias: str = "absorb"):
        """Return ``output``, which has been computed already."""
        ctx.entry, ctx.bias = entry, bias
        if entry.kind == "constant":
            shift, kept = _finite(shift), _finite(output)
        else:
            kept = output
        ctx.save_for_backward(None if bias == "absorb" else x, scale, shift, kept)
        return output.view_as(output)

    @staticmethod
    def backward(ctx, gradient):
        """Gradient of the input, and the line in the ledger."""
        x, scale, shift, output = ctx.saved_tensors
        entry = ctx.entry
        relevance, of_shift = output * gradient, _per_image(entry.by_image(shift * gradient))
        total, found = _per_image(entry.by_image(relevance)), scale * gradient
        if ctx.bias == "absorb":
            entry.write(total, of_shift)
        elif ctx.bias == "redistribute":
            handed, *sums = _hand_on(entry.by_image(x), entry.by_image(found), of_shift)
            found = entry.put_back(handed, found)
            entry.write(total, sums[0], redistributed=sums[1])
        else:
            share = _over(relevance, _away(x * scale, _STABILIZER))
            found = share * scale
            entry.write(total, kept=total - _per_image(entry.by_image(x * found)), redistributed=of_shift)
        return found, *(None,) * 5


def _finite(values: torch.Tensor) -> torch.Tensor:
    """Values with 0 in place of what is infinite, as masks are: no relevance passes there."""
    return values if values.isfinite().all() else torch.where(values.isfinite(), values, 0)


def _is_signal(value) -> bool:
    """Whether relevance can pass through a value."""
    return isinstance(value, torch.Tensor) and value.requires_grad
