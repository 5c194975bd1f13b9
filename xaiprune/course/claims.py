"""Claims: sentences of a lesson that are checked when it runs. And guesses, which are noted down before."""

from __future__ import annotations


class ClaimError(AssertionError):
    """A sentence of a lesson that does not hold on this machine."""


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
