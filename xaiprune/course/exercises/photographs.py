"""Exercises on a network that others trained: evidence on a thing, noise on weights, the scale of drift."""

from __future__ import annotations

import numpy as np

from .answers import Exercise, Function, _one_number


def _scene(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    heatmap = generator.standard_normal((4, 6))
    heatmap[0, 0], heatmap[0, 1] = 2.0, 1.0  # something speaks for the answer, on the thing and beside it
    mask = generator.random((4, 6)) < 0.4
    mask[0, :2] = True, False
    return heatmap, mask


#: A function (heatmap, mask) -> the share of the positive evidence that lies on the thing.
_MASS = Function(
    form="mass(heatmap, mask)",
    draw=_scene,
    right=lambda heatmap, mask: (heatmap.clip(0) * mask).sum() / heatmap.clip(0).sum(),
    mistakes=(
        (
            lambda heatmap, mask: (abs(heatmap) * mask).sum() / abs(heatmap).sum(),
            "here evidence against the answer counts as if it spoke for it. Only positive values count.",
        ),
        (
            lambda heatmap, mask: (heatmap * mask).sum() / heatmap.sum(),
            "evidence against the answer is subtracted here, so that this is no share. Only positive values count.",
        ),
        (
            lambda heatmap, mask: (heatmap.clip(0) * mask).sum(),
            "that is an amount, in the heatmap's unit. A share of what?",
        ),
        (
            lambda heatmap, mask: (heatmap.clip(0) * mask).sum() / (heatmap.clip(0) * ~mask).sum(),
            "divide by all positive evidence, not by what lies beside the thing.",
        ),
        (
            lambda heatmap, mask: ((heatmap > 0) & mask).sum() / (heatmap > 0).sum(),
            "that counts pixels. A pixel counts by how much it says.",
        ),
        (
            lambda heatmap, mask: (heatmap.clip(0) * ~mask).sum() / heatmap.clip(0).sum(),
            "that is the share beside the thing.",
        ),
        (lambda heatmap, mask: mask.mean(), "that is the thing's share of the picture: the heatmap is not used."),
    ),
    otherwise="take two pixels on the thing, 3 and -1, and one beside it, 2; work it out by hand, and compare.",
    kind=_one_number,
)


def _weights(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    shape = 3, int(generator.integers(4, 9))
    weights = generator.uniform(0.2, 3) * generator.standard_normal(shape) + 1
    return weights, generator.standard_normal(shape), float(generator.uniform(0.005, 0.1))


#: A function (weights, drawn, share) -> the weights with noise of so large a share of their standard deviation.
_NOISY = Function(
    form="noisy(weights, drawn, share)",
    draw=_weights,
    right=lambda weights, drawn, share: weights + share * weights.std() * drawn,
    mistakes=(
        (
            lambda weights, drawn, share: weights + share * drawn,
            "this noise is as large for small weights as for large ones. It is a share of their standard deviation.",
        ),
        (
            lambda weights, drawn, share: weights * (1 + share * drawn),
            "each weight gets noise in proportion to itself. All weights of a tensor get noise of one size.",
        ),
        (
            lambda weights, drawn, share: share * weights.std() * drawn,
            "that is the noise. Where are the weights?",
        ),
        (
            lambda weights, drawn, share: weights + share * abs(weights).max() * drawn,
            "the largest weight says little about the others. Take the standard deviation.",
        ),
        (
            lambda weights, drawn, share: weights + share * weights.var() * drawn,
            "that is the variance, which is in squared units.",
        ),
    ),
    otherwise="take weights 0 and 2, numbers 1 and -1, and a share of a half; work it out by hand, and compare.",
)


#: A function (drift, noise, chance) -> its place between the two.
_PLACE = Function(
    form="place(drift, noise, chance)",
    draw=lambda generator: (
        float(generator.uniform(0, 1.5)),
        *sorted(generator.uniform((0.05, 0.6), (0.4, 1.2)).tolist()),
    ),
    right=lambda drift, noise, chance: (drift - noise) / (chance - noise),
    mistakes=(
        (lambda drift, noise, chance: drift / chance, "what harmless changes give has to be taken off first."),
        (
            lambda drift, noise, chance: (drift - noise) / chance,
            "a network that has learned nothing should come to 1: does it?",
        ),
        (
            lambda drift, noise, chance: (chance - drift) / (chance - noise),
            "this runs the other way: harmless changes should come to 0.",
        ),
        (
            lambda drift, noise, chance: min(1.0, max(0.0, (drift - noise) / (chance - noise))),
            "do not cut it off: below 0 and above 1 it says something, too.",
        ),
        (lambda drift, noise, chance: drift / noise, "where does a network that has learned nothing come to lie?"),
    ),
    otherwise="which drift should come to 0, and which to 1? The way between is a straight line.",
    kind=_one_number,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("object mass", _MASS, minutes=4),
    Exercise("noisy", _NOISY, minutes=3),
    Exercise("place", _PLACE, minutes=3),
)
