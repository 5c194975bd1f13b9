"""Exercises on units and soft coefficients."""

from __future__ import annotations

import math

import numpy as np

from .answers import Exercise, Function, NotYet, Number, _one_number, _value

#: One neuron between Linear(32, 256) and Linear(256, 1568).
_PARAMETERS_OF_A_NEURON = Number(
    right=32 + 1 + 1568,
    tolerance=0.5,
    mistakes={
        33: "you counted what produces the neuron. What reads it goes too: a column of the next layer.",
        32: "you counted the weights that produce the neuron. Its bias goes, and so does what reads it.",
        32 + 1568: "nearly: the neuron has a bias of its own.",
        32 + 1 + 1568 + 1: "one too many: the next layer keeps its biases, since its outputs stay.",
    },
    otherwise="count all that is of no use once the neuron is gone: where it is made, and where it is read.",
)


#: Parameters of a model of 834,577 under a mask that zeroes 10,000 of them.
_MASK_IS_NOT_CUT = Number(
    right=834_577,
    tolerance=0.5,
    mistakes={824_577: "that is the number of non-zeros. A mask writes zeros, and zeros are still stored."},
    otherwise="a mask changes values, not shapes: how many numbers does the model hold?",
)


def _psnr(original, reconstruction) -> float:
    return -10 * math.log10(_mse(original, reconstruction))


def _mse(original, reconstruction) -> float:
    return float(((original - reconstruction) ** 2).mean())


def _of_equal(function) -> str | None:
    one = np.ones((2, 4, 4))
    try:
        found = float(_value(function, one, one))
    except NotYet:
        found = 0.0
    if found != math.inf:
        return "two equal images have no error: their PSNR is infinite, not a large number or an exception."
    return None


def _images(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    one = generator.random((generator.integers(2, 5), 8, generator.integers(6, 10)))
    noise = generator.uniform(0.05, 0.3) * generator.standard_normal(one.shape)
    return one, np.clip(one + noise * generator.random((len(one), 1, 1)), 0, 1)


#: A function (original, reconstruction) -> dB, for arrays in [0, 1].
_PSNR = Function(
    form="psnr(original, reconstruction)",
    draw=_images,
    right=_psnr,
    mistakes=(
        (lambda a, b: -_psnr(a, b), "the sign is turned: a smaller error must give a larger PSNR."),
        (
            lambda a, b: -10 * math.log(_mse(a, b)),
            "that is the natural logarithm: decibels take the logarithm to base 10.",
        ),
        (
            lambda a, b: 2 * _psnr(a, b),
            "twice as many decibels: that factor belongs to amplitudes, and the MSE is a power already.",
        ),
        (
            lambda a, b: np.mean([_psnr(x, y) for x, y in zip(a, b)]),
            "that is the mean of each image's PSNR. Pool the squared error over all images first.",
        ),
        (_mse, "that is the MSE itself: put it on the decibel scale."),
    ),
    otherwise="take two small images, work it out by hand, and compare.",
    kind=_one_number,
    then=_of_equal,
)


#: Smallest step of alpha that moves one unit of a group of 32, whatever alpha is.
_SMALLEST_STEP = Number(
    right=1 / 32,
    tolerance=1e-4,
    mistakes={
        1 / 256: "that is one unit of the group of 256. The widest group is not the problem: the narrow one is.",
        1 / 64: "half a unit is enough only for some alphas: between two roundings nothing may move.",
        32: "that is a number of units. The step is a share of the group, between 0 and 1.",
    },
    otherwise="look at the group with the fewest units: how much must alpha move until one more goes?",
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("neuron", _PARAMETERS_OF_A_NEURON, minutes=3),
    Exercise("mask", _MASK_IS_NOT_CUT, minutes=2),
    Exercise("psnr", _PSNR, minutes=5),
    Exercise("step", _SMALLEST_STEP, minutes=3),
)
