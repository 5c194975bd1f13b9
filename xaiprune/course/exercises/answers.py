"""Answers: blank, wrong in a known way, or right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


class NotYet(AssertionError):
    """An answer to an exercise that is not right yet; the message names the likely mistake."""


@dataclass(frozen=True)
class Number:
    """The check of an exercise that asks for a number.

    Attributes
    ----------
    right, tolerance : float
        The answer may be off by the tolerance.
    mistakes : mapping of float to str
        Likely wrong numbers, and what to say to each.
    otherwise : str
        What to say to any other.
    """

    right: float
    tolerance: float
    mistakes: Mapping[float, str]
    otherwise: str

    def __call__(self, answer) -> None:
        """Raise :class:`NotYet` if the answer is not right."""
        if not isinstance(answer, int | float) or isinstance(answer, bool):
            raise NotYet(f"a number is asked for, this is {type(answer).__name__}.")
        if math.isclose(answer, self.right, abs_tol=self.tolerance):
            return
        for wrong, message in self.mistakes.items():
            if math.isclose(answer, wrong, abs_tol=self.tolerance):
                raise NotYet(message)
        raise NotYet(self.otherwise)

    @property
    def likely(self) -> list[str]:
        """The likely mistakes, for a teacher."""
        return [f"{wrong:.6g}: {message}" for wrong, message in self.mistakes.items()]


@dataclass(frozen=True)
class Function:
    """The check of an exercise that asks for a function: it is called, and its result compared.

    Attributes
    ----------
    form : str
        How it is called, such as ``keep(weights, k)``.
    arguments : tuple
        What it is called with.
    right : callable
        A function that is right.
    mistakes : sequence of (callable, str)
        Functions that are likely wrong ones, and what to say to each.
    otherwise : str
        What to say to any other; ``{found}`` and ``{right}`` stand for the two results.
    kind : callable, optional
        ``result -> message or None``: what to say to a result of a wrong type or shape.
    tolerance : float
        Absolute.
    then : callable, optional
        ``function -> message or None``: a second look at a function that was right.
    """

    form: str
    arguments: tuple
    right: Callable
    mistakes: Sequence[tuple[Callable, str]]
    otherwise: str
    kind: Callable[[object], str | None] = lambda result: None
    tolerance: float = 1e-6
    then: Callable[[Callable], str | None] = lambda function: None

    def __call__(self, answer) -> None:
        """Raise :class:`NotYet` if the answer is not right."""
        if not callable(answer):
            raise NotYet(f"write a function: {self.form}.")
        found, right = value(answer, *self.arguments), self.right(*self.arguments)
        if message := self.kind(found):
            raise NotYet(message)
        if not self._alike(found, right):
            for wrong, message in self.mistakes:
                if self._alike(found, wrong(*self.arguments)):
                    raise NotYet(message)
            raise NotYet(self.otherwise.format(found=found, right=right))
        if message := self.then(answer):
            raise NotYet(message)

    def _alike(self, one, other) -> bool:
        pairs = zip(one, other) if isinstance(one, tuple | list) else [(one, other)]
        return all(np.allclose(np.asarray(a), np.asarray(b), rtol=0, atol=self.tolerance) for a, b in pairs)

    @property
    def likely(self) -> list[str]:
        """The likely mistakes, for a teacher."""
        return [message for _, message in self.mistakes]


def one_number(result) -> str | None:
    """What to say to a result that is no number."""
    try:
        float(result)
    except (TypeError, ValueError):
        return f"return a number, this is {type(result).__name__}."
    return None


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
