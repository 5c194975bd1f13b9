"""Exercises on structured pruning."""

from __future__ import annotations

import numpy as np
import torch

from .answers import Exercise, Function, Number

#: MACs of one hidden channel of a block 64 -> 384 -> 64 with a 3 x 3 depthwise layer at 7 x 7 positions.
_HIDDEN_CHANNEL = Number(
    right=49 * (64 + 9 + 64),
    tolerance=0.5,
    mistakes={
        49 * 128: "the depthwise layer has a filter of 3 x 3 for the channel: it goes too.",
        49 * (64 + 9): "what reads the channel goes as well: the projection has 64 weights for it.",
        64 + 9 + 64: "these are its weights. Each works at every one of the 49 positions.",
        49 * (64 + 9 * 384 + 64): "a depthwise filter reads its own channel alone, not all 384.",
        49 * (64 * 384 + 9 * 384 + 384 * 64): "that is the whole block. One of its 384 channels is asked for.",
    },
    otherwise="three layers touch the channel: what does each of them compute for it, and where?",
)


#: Channels that stay of 144 where half should go, stays are multiples of 16, and no more go than asked for.
_ROUNDED = Number(
    right=80,
    tolerance=0.5,
    mistakes={
        72: "half of 144, but 72 is no multiple of 16.",
        64: "a multiple of 16, but then more than half go.",
        4.5: "that is how many times 16 goes into a half.",
    },
    otherwise="what stays is a multiple of 16, and no more go than asked for.",
)


def _channels(found, draw) -> str | None:
    if not isinstance(found, tuple | list) or len(found) != 2:
        return "return two tensors: the means and the variances."
    mean, variance = (torch.as_tensor(part) for part in found)
    shape = (draw.shape[1],)
    if mean.shape != shape or variance.shape != shape:
        return f"one number per channel: shape {shape}, not {tuple(mean.shape)} and {tuple(variance.shape)}."
    if not torch.allclose(mean, draw.mean((0, 2, 3)), rtol=1e-3):
        return "the means are off: average over images, rows and columns."
    return None


def _activations(generator: np.random.Generator) -> tuple[torch.Tensor]:
    values = generator.random((20, generator.integers(2, 6), 8, 8))
    return (torch.tensor(values * generator.uniform(1, 4, values.shape[1])[:, None, None]).float(),)


#: A function (activations) -> (mean, variance) per channel, for activations (N, C, H, W).
_STATISTICS = Function(
    form="statistics(activations)",
    draw=_activations,
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

#: The exercises of this topic.
EXERCISES = (
    Exercise("hidden", _HIDDEN_CHANNEL, minutes=3),
    Exercise("rounded", _ROUNDED, minutes=2),
    Exercise("statistics", _STATISTICS, minutes=5),
)
