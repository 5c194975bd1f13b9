"""Exercises on quantization."""

from __future__ import annotations

import numpy as np
import torch

from .answers import Exercise, Function, Number

#: Step of an affine grid of 4 bits for values from 0.5 to 3.0.
_STEP_OF_A_RANGE = Number(
    right=3.0 / 15,
    tolerance=1e-4,
    mistakes={
        2.5 / 15: "a grid has to hold zero, so the range is widened to it: it goes from 0 to 3.",
        3.0 / 16: "4 bits are 16 numbers: how many steps lie between them?",
        3.0 / 7: "that is the symmetric grid: 7 steps on either side of zero.",
        3.0 / 8: "4 bits are 16 numbers.",
    },
    otherwise="which range does the grid cover, and how many steps does it have?",
)


#: Zero point 3, step 0.5, 4 bits affine: the q of 0.75.
_ROUNDED_TIE = Number(
    right=5,
    tolerance=0.01,
    mistakes={
        4: "ties go to the even number, and that before the zero point is added.",
        4.5: "q is a whole number: something has to be rounded.",
        2: "add the zero point.",
        1: "ties go to the even number, and the zero point has to be added.",
    },
    otherwise="how many steps is 0.75, and where does the grid have its zero?",
)


def _ranges(generator: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    ranges = torch.tensor(generator.uniform(0.1, 9, (2, generator.integers(2, 7)))).float()
    return ranges[0], ranges[1]


def _factors(found, ours, theirs) -> str | None:
    if not isinstance(found, torch.Tensor) or found.shape != ours.shape:
        return "return one factor for each channel."
    return None


#: A function (r1, r2) -> s that makes r1 / s equal to r2 s.
_EQUAL_RANGES = Function(
    form="factors(r1, r2)",
    draw=_ranges,
    right=lambda ours, theirs: (ours / theirs).sqrt(),
    mistakes=(
        (
            lambda ours, theirs: ours / theirs,
            "with that s the ranges change places instead of meeting.",
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
    otherwise="write down that both ranges are equal afterwards, and solve for s.",
    kind=_factors,
    tolerance=1e-5,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("grid", _STEP_OF_A_RANGE, minutes=2),
    Exercise("tie", _ROUNDED_TIE, minutes=3),
    Exercise("equalize", _EQUAL_RANGES, minutes=4),
)
