"""The checks behind the exercises: each names the likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class NotYet(AssertionError):
    """An answer to an exercise that is not right yet; the message names the likely mistake."""


@dataclass(frozen=True)
class Exercise:
    """One *Your turn*.

    Attributes
    ----------
    name : str
    check : callable
        Takes the answer; raises :class:`NotYet` with the likely mistake, or returns.
    minutes : int
        Time that it takes.
    """

    name: str
    check: Callable
    minutes: int


def exercise(name: str, answer) -> None:
    """Check an answer; prints that it is right, or raises :class:`NotYet` with a hint.

    Raises
    ------
    ValueError
        If there is no exercise of that name.
    NotYet
        If the answer is blank or not right.
    """
    if name not in EXERCISES:
        raise ValueError(f"name must be one of {', '.join(EXERCISES)}, got {name!r}.")
    if answer is None or answer is Ellipsis:
        raise NotYet(f"{name}: still blank. Replace the blank in the cell above and run it first.")
    EXERCISES[name].check(answer)
    print(f"{name}: right.")


def _number(answer, right: float, tolerance: float, mistakes: dict[float, str], otherwise: str) -> None:
    if not isinstance(answer, int | float) or isinstance(answer, bool):
        raise NotYet(f"a number is asked for, this is {type(answer).__name__}.")
    if math.isclose(answer, right, abs_tol=tolerance):
        return
    for wrong, message in mistakes.items():
        if math.isclose(answer, wrong, abs_tol=tolerance):
            raise NotYet(message)
    raise NotYet(otherwise)


def _parameters_of_a_neuron(answer) -> None:
    """One neuron between Linear(32, 256) and Linear(256, 1568)."""
    _number(
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


def _mask_is_not_cut(answer) -> None:
    """Parameters of a model of 834,577 under a mask that zeroes 10,000 of them."""
    _number(
        answer,
        right=834_577,
        tolerance=0.5,
        mistakes={824_577: "that is the number of non-zeros. A mask writes zeros, and zeros are still stored."},
        otherwise="a mask changes values, not shapes: how many numbers does the model hold?",
    )


def _psnr(function) -> None:
    """A function (original, reconstruction) -> dB, for arrays in [0, 1]."""
    if not callable(function):
        raise NotYet("write a function: psnr(original, reconstruction).")
    one = np.random.default_rng(0).random((4, 28, 28))
    other = np.clip(one + 0.1 * np.random.default_rng(1).standard_normal(one.shape), 0, 1)
    mse = float(((one - other) ** 2).mean())
    right = -10 * math.log10(mse)
    each = np.mean([-10 * math.log10(((a - b) ** 2).mean()) for a, b in zip(one, other)])
    got = float(_value(function, one, other))
    mistakes = {
        -right: "the sign is turned: a smaller error must give a larger PSNR.",
        -10 * math.log(mse): "that is the natural logarithm: decibels take the logarithm to base 10.",
        -20 * math.log10(mse): "20 log10 belongs to amplitudes: the MSE is a power already, so 10 log10.",
        each: "that is the mean of each image's PSNR. Pool the squared error over all images first.",
        mse: "that is the MSE itself: put it on the decibel scale.",
    }
    _number(
        float(got), right, 1e-6, mistakes, f"for this pair the PSNR is {right:.3f} dB, yours gives {float(got):.3f}."
    )
    try:
        equal = float(_value(function, one, one))
    except NotYet:
        equal = 0.0
    if equal != math.inf:
        raise NotYet("two equal images have no error: their PSNR is infinite, not a large number or an exception.")


def _value(function, *arguments):
    """What the learner's function returns."""
    try:
        value = function(*arguments)
    except Exception as error:
        raise NotYet(f"your function raises {type(error).__name__}: {error}.") from error
    if value is None:
        raise NotYet("your function returns nothing: is the return statement missing?")
    return value


def _smallest_step(answer) -> None:
    """Smallest step of alpha that moves one unit of a group of 32, whatever alpha is."""
    _number(
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


def _csr_break_even(answer) -> None:
    """Sparsity above which CSR with 4-byte values and 4-byte indices is smaller than dense float32."""
    _number(
        answer,
        right=0.5,
        tolerance=1e-3,
        mistakes={
            0.0: "a zero saves 4 bytes, but every weight that stays now costs 8: a value and its index.",
            2 / 3: "the row pointers are few; count 8 bytes for each weight that stays against 4 for each of all.",
            50: "right in per cent; the answer is a share, between 0 and 1.",
        },
        otherwise="solve 8 (1 - s) = 4 for the sparsity s.",
    )


def _cubic_half(answer) -> None:
    """Ratio of the cubic schedule to 0.8, half-way."""
    _number(
        answer,
        right=0.7,
        tolerance=1e-3,
        mistakes={
            0.4: "that is the straight line. The cubic is fast at first.",
            0.1: "that is what is still to go: the ratio is 0.8 minus it.",
            1 - 0.2**0.5: "that is the iterative schedule, which takes the same share of what is left.",
            0.6: "you squared: the power is 3.",
        },
        otherwise="put t = 1/2 into s_f - s_f (1 - t)^3.",
    )


def _exact_mask(function) -> None:
    """A function (weights, k) -> boolean array that is False for exactly k of the smallest weights, ties by index."""
    if not callable(function):
        raise NotYet("write a function: keep(weights, k).")
    weights = np.array([0.3, -0.1, 0.1, -0.5, -0.1, 0.2])
    got = np.asarray(_value(function, weights, 2))
    if got.shape != weights.shape or got.dtype != bool:
        raise NotYet(f"return one truth value per weight, not {got.dtype} of shape {got.shape}.")
    gone = sorted(np.flatnonzero(~got).tolist())
    if gone == [1, 2]:
        if np.asarray(_value(function, weights, 0)).sum() != 6:
            raise NotYet("for k = 0 everything stays.")
        return
    messages = {
        (1, 2, 4): "three weights tie, and you took them all: a threshold takes too many. Sort, and take exactly k.",
        (1, 4): "ties go by index: a stable sort keeps the order of equal values.",
        (2, 4): "ties go by index: a stable sort keeps the order of equal values.",
        (1, 3): "compare sizes, not signed values: -0.5 is a large weight.",
        (0, 3): "you took the largest. What is small goes.",
        (0, 3, 4, 5): "the mask is turned: True is for what stays.",
    }
    raise NotYet(messages.get(tuple(gone), f"entries {gone} went; the two smallest are 1 and 2."))


def _fisher_of_two(answer) -> None:
    """Fisher diagonal from two images with gradients 3 and -1."""
    _number(
        answer,
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


def _more_probes(answer) -> None:
    """How many times as many probes for half the standard error."""
    _number(
        answer,
        right=4,
        tolerance=1e-6,
        mistakes={
            2: "the error falls with the square root of the number of probes.",
            2**0.5: "turned round: twice the probes divide the error by the root of two.",
        },
        otherwise="the standard error is sigma / sqrt(n).",
    )


def _first_to_go(answer) -> None:
    """Which of three weights OBS removes: w = (0.5, 1, 2), diagonal of H^-1 = (0.1, 1, 8)."""
    _number(
        answer,
        right=2,
        tolerance=1e-6,
        mistakes={
            0: "the smallest by magnitude. Divide its square by twice the entry of H^-1: 1.25, the most of all.",
            1: "compare w^2 / (2 [H^-1]_qq) for all three: 1.25, 0.5, 0.25.",
            3: "count from 0.",
        },
        otherwise="the index, from 0, of the least w^2 / (2 [H^-1]_qq).",
    )


def _positive_share(answer) -> None:
    """What z-plus gives the first of the contributions 3, 1 and -2 to an output with relevance 4."""
    _number(
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


def _completeness(answer) -> None:
    """Per cent by which a heatmap that sums to 5.7 misses a logit of 7 over a baseline's 1."""
    _number(
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


def _shared_top(function) -> None:
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
    _number(float(_value(function, one, other, k)), right, 1e-6, mistakes, f"these two maps share {right:.3f}.")


EXERCISES: dict[str, Exercise] = {
    row.name: row
    for row in (
        Exercise("neuron", _parameters_of_a_neuron, 3),
        Exercise("mask", _mask_is_not_cut, 2),
        Exercise("psnr", _psnr, 5),
        Exercise("step", _smallest_step, 3),
        Exercise("csr", _csr_break_even, 3),
        Exercise("cubic", _cubic_half, 3),
        Exercise("keep", _exact_mask, 5),
        Exercise("fisher", _fisher_of_two, 3),
        Exercise("probes", _more_probes, 2),
        Exercise("surgeon", _first_to_go, 4),
        Exercise("z-plus", _positive_share, 3),
        Exercise("complete", _completeness, 3),
        Exercise("shared", _shared_top, 5),
    )
}
