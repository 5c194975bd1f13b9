"""Exercises on heatmaps."""

from __future__ import annotations

import numpy as np

from .answers import NotYet, number, value


def positive_share(answer) -> None:
    """What z-plus gives the first of the contributions 3, 1 and -2 to an output with relevance 4."""
    number(
        answer,
        right=3,
        tolerance=1e-6,
        mistakes={
            6: "that is the epsilon rule: 3 of a sum of 2. Under z-plus the -2 does not count, so the sum is 4.",
            2: "you divided by the sum of the sizes. Negative contributions do not count at all.",
            0.75: "that is the share. Times the relevance of the output, which is 4.",
        },
        otherwise="divide the positive contributions alone, in proportion, and share out the relevance of 4.",
    )


def completeness(answer) -> None:
    """Per cent by which a heatmap that sums to 5.7 misses a logit of 7 over a baseline's 1."""
    number(
        answer,
        right=5,
        tolerance=1e-6,
        mistakes={
            0.05: "right, but as a share: in per cent it is 100 times that.",
            0.3: "that is the difference itself. Relative to what the image adds to the baseline.",
            100 * 1.3 / 7: "the baseline's own logit of 1 has to be taken off first: the values share out 7 - 1.",
            100 * 0.3 / 7: "relative to what the image adds, 7 - 1, and not to the logit.",
        },
        otherwise="|sum - (f(x) - f(x'))| / |f(x) - f(x')|, in per cent.",
    )


def shared_top(function) -> None:
    """A function (one, other, k) -> share of the k highest pixels that both maps have in common."""
    if not callable(function):
        raise NotYet("write a function: shared(one, other, k).")
    draw = np.random.default_rng(2)
    one, other, k = draw.standard_normal((6, 7)), draw.standard_normal((6, 7)), 12
    other += 0.5 * one

    def common(a, b):
        return len(set(np.argsort(-a.ravel())[:k]) & set(np.argsort(-b.ravel())[:k]))

    mistakes = {
        common(abs(one), abs(other)) / k: "you took absolute values: strong evidence against is not among the highest.",
        common(-one, -other) / k: "these are the lowest pixels. The highest are meant.",
        common(one, other) / one.size: "divide by k, so that two equal maps share 1.",
        float(common(one, other)): "that is how many they share. Which part of k is it?",
    }
    right = common(one, other) / k
    number(float(value(function, one, other, k)), right, 1e-6, mistakes, f"these two maps share {right:.3f}.")
