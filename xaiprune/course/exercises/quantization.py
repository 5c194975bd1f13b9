"""Exercises on quantization."""

from __future__ import annotations

import torch

from .answers import Function, Number

#: Step of an affine grid of 4 bits for values from 0.5 to 3.0.
STEP_OF_A_RANGE = Number(
    right=3.0 / 15,
    tolerance=1e-4,
    mistakes={
        2.5 / 15: "a grid has to hold zero, so the range is widened to it: it goes from 0 to 3.",
        3.0 / 16: "16 numbers have 15 steps between them.",
        3.0 / 7: "that is the symmetric grid: 7 steps on either side of zero.",
        3.0 / 8: "4 bits are 16 numbers.",
    },
    otherwise="(high - low) / (2^4 - 1), with zero inside of the range.",
)


#: Zero point 3, step 0.5, 4 bits affine: the q of 0.75.
ROUNDED_TIE = Number(
    right=5,
    tolerance=0.01,
    mistakes={
        4: "ties go to the even number of steps: 1.5 becomes 2, before the zero point is added.",
        4.5: "q is a whole number: 0.75 / 0.5 = 1.5 has to be rounded.",
        2: "add the zero point.",
        1: "ties go to the even number, and the zero point has to be added.",
    },
    otherwise="round(x / step), ties to even, plus the zero point.",
)


def _factors(found) -> str | None:
    if not isinstance(found, torch.Tensor) or found.shape != (3,):
        return "return one factor for each channel."
    return None


#: A function (r1, r2) -> s that makes r1 / s equal to r2 s.
EQUAL_RANGES = Function(
    form="factors(r1, r2)",
    arguments=(torch.tensor([4.0, 0.25, 9.0]), torch.tensor([1.0, 4.0, 1.0])),
    right=lambda ours, theirs: (ours / theirs).sqrt(),
    mistakes=(
        (
            lambda ours, theirs: ours / theirs,
            "take the root: with s = r1 / r2 the ranges change places instead of meeting.",
        ),
        (
            lambda ours, theirs: (theirs / ours).sqrt(),
            "that is 1 / s: the first layer is divided by s, the second multiplied.",
        ),
        (
            lambda ours, theirs: (ours * theirs).sqrt(),
            "that is the range that both end with; s is what the first is divided by.",
        ),
        (lambda ours, theirs: ours, "that makes the first range 1; the second has to end with the same."),
    ),
    otherwise="r1 / s = r2 s gives s = sqrt(r1 / r2).",
    kind=_factors,
    tolerance=1e-5,
)
