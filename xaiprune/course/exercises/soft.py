"""Exercises on units and soft coefficients."""

from __future__ import annotations

import math

import numpy as np

from .answers import Function, NotYet, Number, one_number, value

#: One neuron between Linear(32, 256) and Linear(256, 1568).
PARAMETERS_OF_A_NEURON = Number(
    right=32 + 1 + 1568,
    tolerance=0.5,
    mistakes={
        33: "you counted what produces the neuron. What reads it goes too: a column of the next layer.",
        32: "you counted the weights that produce the neuron. Its bias goes, and so does what reads it.",
        32 + 1568: "nearly: the neuron has a bias of its own.",
        32 + 1 + 1568 + 1: "one too many: the next layer keeps its biases, since its outputs stay.",
    },
    otherwise="count a row of the layer before, its bias, and a column of the layer after.",
)


#: Parameters of a model of 834,577 under a mask that zeroes 10,000 of them.
MASK_IS_NOT_CUT = Number(
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
        found = float(value(function, one, one))
    except NotYet:
        found = 0.0
    if found != math.inf:
        return "two equal images have no error: their PSNR is infinite, not a large number or an exception."
    return None


_ONE = np.random.default_rng(0).random((4, 28, 28))
_OTHER = np.clip(_ONE + 0.1 * np.random.default_rng(1).standard_normal(_ONE.shape), 0, 1)

#: A function (original, reconstruction) -> dB, for arrays in [0, 1].
PSNR = Function(
    form="psnr(original, reconstruction)",
    arguments=(_ONE, _OTHER),
    right=_psnr,
    mistakes=(
        (lambda a, b: -_psnr(a, b), "the sign is turned: a smaller error must give a larger PSNR."),
        (
            lambda a, b: -10 * math.log(_mse(a, b)),
            "that is the natural logarithm: decibels take the logarithm to base 10.",
        ),
        (
            lambda a, b: 2 * _psnr(a, b),
            "20 log10 belongs to amplitudes: the MSE is a power already, so 10 log10.",
        ),
        (
            lambda a, b: np.mean([_psnr(x, y) for x, y in zip(a, b)]),
            "that is the mean of each image's PSNR. Pool the squared error over all images first.",
        ),
        (_mse, "that is the MSE itself: put it on the decibel scale."),
    ),
    otherwise="for this pair the PSNR is {right:.3f} dB, yours gives {found:.3f}.",
    kind=one_number,
    then=_of_equal,
)


#: Smallest step of alpha that moves one unit of a group of 32, whatever alpha is.
SMALLEST_STEP = Number(
    right=1 / 32,
    tolerance=1e-4,
    mistakes={
        1 / 256: "that is one unit of the group of 256. The widest group is not the problem: the narrow one is.",
        1 / 64: "half a unit is enough only for some alphas: between two roundings nothing may move.",
        32: "that is a number of units. The step is a share of the group, between 0 and 1.",
    },
    otherwise="one unit of n is a share of 1/n.",
)
