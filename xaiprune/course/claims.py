"""Claims: sentences of a lesson that are checked when it runs. And guesses, which are noted down before."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..core import arguments
from ..experiments.controls import Headline
from .headlines import HEADLINES

#: Set to 1 where a false claim must stop: by the runner, by the tests, and for the kernels that they start.
STRICT = "XAIPRUNE_STRICT"
#: Characters that a value may take.
_LONGEST = 120


class ClaimError(AssertionError):
    """A sentence of a lesson that does not hold on this machine."""


def claim(
    text: str, condition: bool, value: object, *, timed: bool = False, headline: Headline | str | None = None
) -> None:
    """Check a sentence of the lesson, and print it with the number that was measured.

    Whoever tries other settings in a notebook is told where a sentence no longer holds, and goes on. Under the course's
    runner and in the tests, where the environment variable ``XAIPRUNE_STRICT`` is 1, a false sentence is an error. A
    sentence about time never is: another machine, or a busy one, is no broken course.

    Parameters
    ----------
    text : str
        The sentence, as the prose says it.
    condition : bool
        Whether it holds.
    value : float, str or sequence
        What was measured: numbers are printed with four digits.
    timed : bool
        Whether the sentence is about time.
    headline : Headline or str, optional
        For a sentence that says that a method is better: its row in ``HEADLINES``, whose verdict is printed too.
        ``value`` is then the lead that the lesson measured, or ``(lead, low, high)``, which must agree with the row.

    Raises
    ------
    ValueError
        If ``value`` takes more than a line: a sentence stands beside a number or a few, not beside a page. If ``text``
        is not the sentence of the headline.
    ClaimError
        If ``condition`` is false, ``XAIPRUNE_STRICT`` is 1, and the sentence is not about time.

    Examples
    --------
    >>> xp.claim("half of it is left", 0.5 <= 0.5, 0.5)
    holds: half of it is left [0.5]
    """
    shown = _shown(value)
    if len(shown) > _LONGEST or "\n" in shown:
        raise ValueError(f"value must be short, a number or a few, got {len(shown)} characters: {shown[:40]!r} ...")
    shown = f"{text} [{shown}]"
    if headline is not None:
        headline = HEADLINES.find(headline, "headline")
        if text != headline.sentence:
            raise ValueError(f"text must be the sentence of headline {headline.name!r}: {headline.sentence!r}.")
        verdict = headline.verdict()
        condition = bool(condition) and verdict.agrees(value)
        shown += f"\n  the headline {headline.name!r} {verdict}"
    if bool(condition):
        print(f"holds: {shown}")
    elif timed:
        print(f"not on this machine, now: {shown}")
    elif os.environ.get(STRICT) == "1":
        raise ClaimError(f"this does not hold here: {shown}")
    else:
        print(f"does not hold with your settings: {shown}")


def guess(value: float, low: float, high: float, what: str) -> float:
    """Note down the learner's guess before the result is shown.

    Parameters
    ----------
    value : float
        The guess. A blank, ``...``, asks for one and goes on.
    low, high : float
        Between them any guess is accepted: a guess cannot be wrong, only not a number of this kind.
    what : str
        What is guessed, with its unit.

    Returns
    -------
    float
        The guess; NaN for a blank, which figures leave out.

    Raises
    ------
    ValueError
        If ``value`` is not a number from ``low`` to ``high``.

    Examples
    --------
    >>> xp.guess(12, 0, 100, "points")
    your guess: 12 (points)
    12.0
    """
    if value is None or value is Ellipsis:
        print(f"your guess of {what}: write a number first, from {low:g} to {high:g}, and run this cell again.")
        return _Blank("nan")
    number = _number(value)
    if number is None or not low <= number <= high:
        raise ValueError(f"your guess of {what} must be a number from {low:g} to {high:g}, got {value!r}.")
    print(f"your guess: {number:g} ({what})")
    return number


class _Blank(float):
    """A guess that nobody has made: not a number, and told as such."""

    def __format__(self, form: str) -> str:
        return "nothing yet"


def _number(value: object) -> float | None:
    """A number of Python, NumPy or torch as a float; None for anything else, truth values included."""
    try:
        return arguments.real(value, "value")
    except (TypeError, ValueError):
        return None


def _shown(value: object) -> str:
    """A measured value in print."""
    number = _number(value)
    if number is not None:
        return f"{number:,.0f}" if isinstance(value, int) else f"{number:.4g}"
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    listed = sorted(value, key=str) if isinstance(value, set | frozenset) else value
    pairs = value.items() if isinstance(value, dict) else (("", one) for one in listed)
    return ", ".join(f"{name} {_shown(one)}".strip() for name, one in pairs)
