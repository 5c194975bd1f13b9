"""Exercises on structured pruning."""

from __future__ import annotations

import torch

from .answers import Function, Number

#: MACs of one hidden channel of a block 64 -> 384 -> 64 with a 3 x 3 depthwise layer at 7 x 7 positions.
HIDDEN_CHANNEL = Number(
    right=49 * (64 + 9 + 64),
    tolerance=0.5,
    mistakes={
        49 * 128: "the depthwise layer has a filter of 3 x 3 for the channel: it goes too.",
        49 * (64 + 9): "what reads the channel goes as well: the projection has 64 weights for it.",
        64 + 9 + 64: "these are its weights. Each works at every one of the 49 positions.",
        49 * (64 + 9 * 384 + 64): "a depthwise filter reads its own channel alone, not all 384.",
        49 * (64 * 384 + 9 * 384 + 384 * 64): "that is the whole block. One of its 384 channels is asked for.",
    },
    otherwise="weights that make, filter and read the channel, times the 49 positions.",
)


#: Channels that stay of 144 where half should go, stays are multiples of 16, and no more go than asked for.
ROUNDED = Number(
    right=80,
    tolerance=0.5,
    mistakes={
        72: "half of 144, but 72 is no multiple of 16.",
        64: "a multiple of 16, but then 80 channels go: more than half.",
        4.5: "that is how many times 16 goes into a half.",
    },
    otherwise="the smallest multiple of 16 that is at least 72.",
)


def _channels(found) -> str | None:
    if not isinstance(found, tuple | list) or len(found) != 2:
        return "return two tensors: the means and the variances."
    mean, variance = (torch.as_tensor(part) for part in found)
    if mean.shape != (3,) or variance.shape != (3,):
        return f"one number per channel: shape (3,), not {tuple(mean.shape)} and {tuple(variance.shape)}."
    if not torch.allclose(mean, _DRAW.mean((0, 2, 3)), rtol=1e-3):
        return "the means are off: average over images, rows and columns."
    return None


_DRAW = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
_DRAW = _DRAW * torch.tensor([1.0, 2.0, 4.0])[:, None, None]

#: A function (activations) -> (mean, variance) per channel, for activations (N, C, H, W).
STATISTICS = Function(
    form="statistics(activations)",
    arguments=(_DRAW,),
    right=lambda draw: (draw.mean((0, 2, 3)), draw.var((0, 2, 3))),
    mistakes=(
        (
            lambda draw: (draw.mean((0, 2, 3)), draw.std((0, 2, 3))),
            "these are standard deviations: batch normalisation stores variances.",
        ),
    ),
    otherwise="the variances are off: over images, rows and columns together.",
    kind=_channels,
    tolerance=5e-3,
)
