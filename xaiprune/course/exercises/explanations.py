"""Exercises on heatmaps."""

from __future__ import annotations

import numpy as np

from .answers import Exercise, Function, Number, _one_number

#: What z-plus gives the first of the contributions 3, 1 and -2 to an output with relevance 4.
_POSITIVE_SHARE = Number(
    right=3,
    tolerance=1e-6,
    mistakes={
        6: "that is the epsilon rule. Under z-plus a negative contribution does not count, in the sum either.",
        2: "you divided by the sum of the sizes. Negative contributions do not count at all.",
        0.75: "that is the share. Times the relevance of the output, which is 4.",
    },
    otherwise="which contributions count, and what do they share out?",
)


#: Per cent by which a heatmap that sums to 5.7 misses a logit of 7 over a baseline's 1.
_COMPLETENESS = Number(
    right=5,
    tolerance=1e-6,
    mistakes={
        0.05: "right, but as a share: in per cent it is 100 times that.",
        0.3: "that is the difference itself. Relative to what the image adds to the baseline.",
        100 * 1.3 / 7: "the baseline's own logit of 1 has to be taken off first: the values share out 7 - 1.",
        100 * 0.3 / 7: "relative to what the image adds, 7 - 1, and not to the logit.",
    },
    otherwise="compare the sum with what the image adds to the baseline's logit.",
)


def _top(values, k) -> set:
    return set(np.argsort(-values.ravel())[:k])


def _common(one, other, k) -> float:
    return float(len(_top(one, k) & _top(other, k)))


def _maps(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    one, noise = generator.standard_normal((2, 6, generator.integers(5, 9)))
    return one, noise + 0.5 * one, int(generator.integers(8, 16))


#: A function (one, other, k) -> share of the k highest pixels that both maps have in common.
_SHARED_TOP = Function(
    form="shared(one, other, k)",
    draw=_maps,
    right=lambda one, other, k: _common(one, other, k) / k,
    mistakes=(
        (
            lambda one, other, k: _common(abs(one), abs(other), k) / k,
            "you took absolute values: strong evidence against is not among the highest.",
        ),
        (
            lambda one, other, k: _common(-one, -other, k) / k,
            "these are the lowest pixels. The highest are meant.",
        ),
        (lambda one, other, k: _common(one, other, k) / one.size, "divide by k, so that two equal maps share 1."),
        (_common, "that is how many they share. Which part of k is it?"),
    ),
    otherwise="take two maps of four pixels, work it out by hand, and compare.",
    kind=_one_number,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("z-plus", _POSITIVE_SHARE, minutes=3),
    Exercise("complete", _COMPLETENESS, minutes=3),
    Exercise("shared", _SHARED_TOP, minutes=5),
)
