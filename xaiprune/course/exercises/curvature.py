"""Exercises on curvature."""

from __future__ import annotations

from .answers import Number

#: Fisher diagonal from two images with gradients 3 and -1.
FISHER_OF_TWO = Number(
    right=5,
    tolerance=1e-6,
    mistakes={
        1: "you squared the mean gradient. Square each image's gradient first, then take the mean.",
        2: "that is the mean of the sizes. The Fisher takes squares.",
        4: "that is the variance of the gradients. The mean is not subtracted.",
        10: "that is the sum. The Fisher is a mean over images.",
    },
    otherwise="the mean of the squared gradients.",
)


#: How many times as many probes for half the standard error.
MORE_PROBES = Number(
    right=4,
    tolerance=1e-6,
    mistakes={
        2: "the error falls with the square root of the number of probes.",
        2**0.5: "turned round: twice the probes divide the error by the root of two.",
    },
    otherwise="the standard error is sigma / sqrt(n).",
)


#: Which of three weights OBS removes: w = (0.5, 1, 2), diagonal of H^-1 = (0.1, 1, 8).
FIRST_TO_GO = Number(
    right=2,
    tolerance=1e-6,
    mistakes={
        0: "the smallest by magnitude. Divide its square by twice the entry of H^-1: 1.25, the most of all.",
        1: "compare w^2 / (2 [H^-1]_qq) for all three: 1.25, 0.5, 0.25.",
        3: "count from 0.",
    },
    otherwise="the index, from 0, of the least w^2 / (2 [H^-1]_qq).",
)
