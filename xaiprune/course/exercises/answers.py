"""Answers: blank, wrong in a known way, or right. A check names the likely mistake, never the right answer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...core import arguments

#: How many cases a function is called with.
_CASES = 5


class NotYet(AssertionError):
    """An answer to an exercise that is not right yet; the message names the likely mistake."""


@dataclass(frozen=True)
class Number:
    """The check of an exercise that asks for a number: of Python, NumPy or torch.

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
        try:
            answer = arguments.real(answer, "answer")
        except (TypeError, ValueError):
            raise NotYet(f"a number is asked for, this is {type(answer).__name__}.") from None
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
    """The check of an exercise that asks for a function: it is called on several cases, and its results compared.

    Attributes
    ----------
    form : str
        How it is called, such as ``keep(weights, k)``.
    draw : callable
        ``numpy generator -> arguments`` of one case, whose sizes differ from case to case.
    right : callable
        A function that is right.
    mistakes : sequence of (callable, str)
        Functions that are likely wrong ones, and what to say to each: a mistake is known by its results.
    otherwise : str
        What to say to any other.
    kind : callable, optional
        ``(result, *arguments) -> message or None``: what to say to a result of a wrong type or shape.
    tolerance : float
        Absolute.
    then : callable, optional
        ``function -> message or None``: a second look at a function that was right.
    """

    form: str
    draw: Callable[[np.random.Generator], tuple]
    right: Callable
    mistakes: Sequence[tuple[Callable, str]]
    otherwise: str
    kind: Callable[..., str | None] = lambda result, *arguments: None
    tolerance: float = 1e-6
    then: Callable[[Callable], str | None] = lambda function: None

    def __call__(self, answer) -> None:
        """Raise :class:`NotYet` if the answer is not right."""
        if not callable(answer):
            raise NotYet(f"write a function: {self.form}.")
        cases = [self.draw(np.random.default_rng(seed)) for seed in range(_CASES)]
        found = []
        for case in cases:
            found.append(_value(answer, *copy.deepcopy(case)))
            if message := self._form(found[-1], case):
                raise NotYet(message)
        if not self._gives(self.right, cases, found):
            for wrong, message in self.mistakes:
                if self._gives(wrong, cases, found):
                    raise NotYet(message)
            raise NotYet(self.otherwise)
        if message := self.then(answer):
            raise NotYet(message)

    def _form(self, result: object, case: tuple) -> str | None:
        """What to say to a result of a wrong type or shape, one that no array can hold included."""
        try:
            return self.kind(result, *case)
        except (TypeError, ValueError, RuntimeError) as error:
            return f"your function returns something of another form than {self.form} should ({error})."

    def _gives(self, function: Callable, cases: Sequence[tuple], found: Sequence) -> bool:
        """Whether a function gives these results."""
        return all(self._alike(result, function(*case)) for case, result in zip(cases, found))

    def _alike(self, one, other) -> bool:
        pairs = zip(one, other) if isinstance(one, tuple | list) else [(one, other)]
        try:
            return all(np.allclose(np.asarray(a), np.asarray(b), rtol=0, atol=self.tolerance) for a, b in pairs)
        except (TypeError, ValueError):  # of another shape, or no numbers
            return False

    @property
    def likely(self) -> list[str]:
        """The likely mistakes, for a teacher."""
        return [message for _, message in self.mistakes]


@dataclass(frozen=True)
class Exercise:
    """One *Your turn*.

    Attributes
    ----------
    name : str
    check : Number or Function
        Takes the answer; raises :class:`NotYet` with the likely mistake, or returns. Any callable that does so will do.
    minutes : int
        Time that it takes.
    """

    name: str
    check: Callable[[object], None]
    minutes: int


def _one_number(result, *arguments_) -> str | None:
    """What to say to a result that is no number."""
    try:
        arguments.real(result, "result")
    except (TypeError, ValueError):
        return f"return a number, this is {type(result).__name__}."
    return None


def _value(function, *arguments_):
    """What the learner's function returns.

    Parameters
    ----------
    function : callable
    *arguments_

    Returns
    -------
    object

    Raises
    ------
    NotYet
        If it raises, or returns nothing.
    """
    try:
        found = function(*arguments_)
    except Exception as error:
        raise NotYet(f"your function raises {type(error).__name__}: {error}.") from error
    if found is None:
        raise NotYet("your function returns nothing: is the return statement missing?")
    return found
