"""Answers: blank, wrong in a known way, or right."""

from __future__ import annotations

import math


class NotYet(AssertionError):
    """An answer to an exercise that is not right yet; the message names the likely mistake."""


def number(answer, right: float, tolerance: float, mistakes: dict[float, str], otherwise: str) -> None:
    """Check that an answer is a certain number.

    Parameters
    ----------
    answer : int or float
    right, tolerance : float
        It may be off by the tolerance.
    mistakes : dict of float to str
        Likely wrong numbers, and what to say to each.
    otherwise : str
        What to say to any other.

    Raises
    ------
    NotYet
        If it is not right.
    """
    if not isinstance(answer, int | float) or isinstance(answer, bool):
        raise NotYet(f"a number is asked for, this is {type(answer).__name__}.")
    if math.isclose(answer, right, abs_tol=tolerance):
        return
    for wrong, message in mistakes.items():
        if math.isclose(answer, wrong, abs_tol=tolerance):
            raise NotYet(message)
    raise NotYet(otherwise)


def value(function, *arguments):
    """What the learner's function returns.

    Parameters
    ----------
    function : callable
    *arguments

    Raises
    ------
    NotYet
        If it raises, or returns nothing.
    """
    try:
        value = function(*arguments)
    except Exception as error:
        raise NotYet(f"your function raises {type(error).__name__}: {error}.") from error
    if value is None:
        raise NotYet("your function returns nothing: is the return statement missing?")
    return value
