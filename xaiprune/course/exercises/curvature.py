"""Exercises on curvature."""

from __future__ import annotations

from .answers import Exercise, Number

#: Fisher diagonal from two images with gradients 3 and -1.
_FISHER_OF_TWO = Number(
    right=5,
    tolerance=1e-6,
    mistakes={
        1: "you squared the mean gradient. Here every image counts by itself, before a mean is taken.",
        2: "that is the mean of the sizes. The Fisher takes squares.",
        4: "that is the variance of the gradients. The mean is not subtracted.",
        10: "that is the sum. The Fisher is a mean over images.",
    },
    otherwise="begin with one image: what does it add?",
)


#: How many times as many probes for half the standard error.
_MORE_PROBES = Number(
    right=4,
    tolerance=1e-6,
    mistakes={
        2: "the error falls more slowly than the number of probes rises.",
        2**0.5: "turned round: that is how far the error falls with twice the probes.",
    },
    otherwise="how does a standard error fall with the number of samples?",
)


#: Which of three weights OBS removes: w = (0.5, 1, 2), diagonal of H^-1 = (0.1, 1, 8).
_FIRST_TO_GO = Number(
    right=2,
    tolerance=1e-6,
    mistakes={
        0: "the smallest by magnitude. OBS asks for more than the size of a weight.",
        1: "compare what OBS says of all three.",
        3: "count from 0.",
    },
    otherwise="the index, from 0, of the weight that is cheapest by OBS.",
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("fisher", _FISHER_OF_TWO, minutes=3),
    Exercise("probes", _MORE_PROBES, minutes=2),
    Exercise("surgeon", _FIRST_TO_GO, minutes=4),
)
