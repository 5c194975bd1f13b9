"""Claims: sentences of a lesson that are checked when it runs. And the checks behind the exercises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class ClaimError(AssertionError):
    """A sentence of a lesson that does not hold on this machine."""


class NotYet(AssertionError):
    """An answer to an exercise that is not right yet; the message names the likely mistake."""


def claim(text: str, condition: bool, value: float | str | None = None) -> None:
    """Check a sentence of the lesson and print it.

    Parameters
    ----------
    text : str
        The sentence, as the prose says it.
    condition : bool
        Whether it holds.
    value : float or str, optional
        The measured value, printed with four digits.

    Raises
    ------
    ClaimError
        If ``condition`` is false; the message holds the sentence and the value.
    """
    shown = "" if value is None else f" [{value:.4g}]" if isinstance(value, int | float) else f" [{value}]"
    if not bool(condition):
        raise ClaimError(f"this does not hold here: {text}{shown}")
    print(f"holds: {text}{shown}")


def guess(value: float, low: float, high: float, what: str) -> float:
    """Note down the learner's guess before the result is shown, and return it.

    Parameters
    ----------
    value : float
        The guess.
    low, high : float
        Between them any guess is accepted: a guess cannot be wrong, only not a number of this kind.
    what : str
        What is guessed, with its unit.

    Raises
    ------
    ValueError
        If ``value`` is not a number from ``low`` to ``high``.
    """
    if not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"your guess of {what} must be a number from {low:g} to {high:g}, got {value!r}.")
    print(f"your guess: {value:g} ({what})")
    return float(value)


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
    got = _call(function, one, other)
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
        equal = _call(function, one, one)
    except NotYet:
        equal = 0.0
    if equal != math.inf:
        raise NotYet("two equal images have no error: their PSNR is infinite, not a large number or an exception.")


def _call(function, *arrays) -> float:
    """What the learner's function returns, as a number."""
    try:
        value = function(*arrays)
    except Exception as error:
        raise NotYet(f"your function raises {type(error).__name__}: {error}.") from error
    if value is None:
        raise NotYet("your function returns nothing: is the return statement missing?")
    return float(value)


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


EXERCISES: dict[str, Exercise] = {
    row.name: row
    for row in (
        Exercise("neuron", _parameters_of_a_neuron, 3),
        Exercise("mask", _mask_is_not_cut, 2),
        Exercise("psnr", _psnr, 5),
        Exercise("step", _smallest_step, 3),
    )
}
