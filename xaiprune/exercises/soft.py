"""Exercises on units and soft coefficients."""

from __future__ import annotations

import math

import numpy as np

from .answers import NotYet, number, value


def parameters_of_a_neuron(answer) -> None:
    """One neuron between Linear(32, 256) and Linear(256, 1568)."""
    number(
        answer,
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


def mask_is_not_cut(answer) -> None:
    """Parameters of a model of 834,577 under a mask that zeroes 10,000 of them."""
    number(
        answer,
        right=834_577,
        tolerance=0.5,
        mistakes={824_577: "that is the number of non-zeros. A mask writes zeros, and zeros are still stored."},
        otherwise="a mask changes values, not shapes: how many numbers does the model hold?",
    )


def psnr(function) -> None:
    """A function (original, reconstruction) -> dB, for arrays in [0, 1]."""
    if not callable(function):
        raise NotYet("write a function: psnr(original, reconstruction).")
    one = np.random.default_rng(0).random((4, 28, 28))
    other = np.clip(one + 0.1 * np.random.default_rng(1).standard_normal(one.shape), 0, 1)
    mse = float(((one - other) ** 2).mean())
    right = -10 * math.log10(mse)
    each = np.mean([-10 * math.log10(((a - b) ** 2).mean()) for a, b in zip(one, other)])
    got = float(value(function, one, other))
    mistakes = {
        -right: "the sign is turned: a smaller error must give a larger PSNR.",
        -10 * math.log(mse): "that is the natural logarithm: decibels take the logarithm to base 10.",
        -20 * math.log10(mse): "20 log10 belongs to amplitudes: the MSE is a power already, so 10 log10.",
        each: "that is the mean of each image's PSNR. Pool the squared error over all images first.",
        mse: "that is the MSE itself: put it on the decibel scale.",
    }
    number(
        float(got), right, 1e-6, mistakes, f"for this pair the PSNR is {right:.3f} dB, yours gives {float(got):.3f}."
    )
    try:
        equal = float(value(function, one, one))
    except NotYet:
        equal = 0.0
    if equal != math.inf:
        raise NotYet("two equal images have no error: their PSNR is infinite, not a large number or an exception.")


def smallest_step(answer) -> None:
    """Smallest step of alpha that moves one unit of a group of 32, whatever alpha is."""
    number(
        answer,
        right=1 / 32,
        tolerance=1e-4,
        mistakes={
            1 / 256: "that is one unit of the group of 256. The widest group is not the problem: the narrow one is.",
            1 / 64: "half a unit is enough only for some alphas: between two roundings nothing may move.",
            32: "that is a number of units. The step is a share of the group, between 0 and 1.",
        },
        otherwise="one unit of n is a share of 1/n.",
    )
