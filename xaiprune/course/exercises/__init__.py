"""The checks behind the exercises: each names the likely mistake, and none the right answer.

An exercise is a row: an :class:`Exercise` in the tuple ``EXERCISES`` of a module here. One of your own, for your own
notebooks, becomes known by ``EXERCISES.add(Exercise("mine", Number(...), minutes=3))``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil

from ...core import Registry
from ..claims import STRICT
from .answers import Exercise, Function, NotYet, Number

#: All exercises by name: those of every module of this package, and what was added.
EXERCISES: Registry[Exercise] = Registry("an exercise", Exercise)
for _module in pkgutil.iter_modules(__path__):
    for _row in getattr(importlib.import_module(f"{__name__}.{_module.name}"), "EXERCISES", ()):
        EXERCISES.add(_row)


def check(name: str | Exercise, answer) -> None:
    """Check an answer.

    Parameters
    ----------
    name : str or Exercise
    answer : object
        A number or a function, as the exercise asks.

    Raises
    ------
    ValueError
        If there is no exercise of that name.
    NotYet
        If the answer is blank or not right; the message is one line that names the likely mistake.
    """
    row = EXERCISES.find(name, "name")
    if answer is None or answer is Ellipsis:
        raise NotYet("still blank. Replace the blank in the cell above and run it first.")
    row.check(answer)


def exercise(name: str | Exercise, answer) -> None:
    """Check an answer and print what is to be said of it, in one line.

    Parameters
    ----------
    name : str or Exercise
    answer : object

    Raises
    ------
    ValueError
        If there is no exercise of that name.
    NotYet
        Where the environment variable ``XAIPRUNE_STRICT`` is 1, as under the runner and in the tests: if the answer is
        wrong. A blank never stops.

    Examples
    --------
    >>> xp.exercise("fisher", ...)
    fisher: still blank. Replace the blank in the cell above and run it first.
    """
    called = EXERCISES.name_of(name)
    try:
        check(name, answer)
    except NotYet as said:
        blank = answer is None or answer is Ellipsis
        if os.environ.get(STRICT) == "1" and not blank:
            raise NotYet(f"{called}: {said}") from None
        print(f"{called}: {said}" if blank else f"{called}: not yet: {said}")
    else:
        print(f"{called}: right.")


__all__ = ["EXERCISES", "Exercise", "Function", "NotYet", "Number", "check", "exercise"]
