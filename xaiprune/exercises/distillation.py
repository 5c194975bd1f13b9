"""Exercises on distillation."""

from __future__ import annotations

import math

from .answers import NotYet, number, value


def soft_label(answer) -> None:
    """Softmax of the logits 2 and 0 at T = 2: the first class."""
    number(
        answer,
        right=1 / (1 + math.exp(-1)),
        tolerance=2e-3,
        mistakes={
            1 / (1 + math.exp(-2)): "that is T = 1: divide the logits by the temperature first.",
            1 / (1 + math.exp(-4)): "a temperature divides the logits; you multiplied.",
            1 / (1 + math.exp(1)): "that is the second class.",
            0.44: "dividing the probability is not it: divide the logits, then take the softmax.",
        },
        otherwise="e^(2/T) / (e^(2/T) + e^(0/T)).",
    )


def share_of_the_others(answer) -> None:
    """Weight that soft targets give to the wrong classes' order when the teacher gives 0.99 to the right one."""
    number(
        answer,
        right=0.01,
        tolerance=1e-4,
        mistakes={
            0.99: "that is what the right class has; the others share the rest.",
            0.01 / 9: "that is what each of nine others has on average; all of them together weigh more.",
            1.0: "that would be so if the teacher said nothing of the right class.",
        },
        otherwise="1 - p(right class).",
    )


def gap_closed(function) -> None:
    """A function (teacher, alone, distilled) -> share of the gap in errors that is closed."""
    if not callable(function):
        raise NotYet("write a function: closed(teacher, alone, distilled).")
    found = value(function, 67, 146, 74)
    if not isinstance(found, int | float):
        raise NotYet(f"return a number, this is {type(found).__name__}.")
    for wrong, message in (
        ((146 - 74) / 146, "that is how many of the errors are gone; the gap begins at the teacher's."),
        ((74 - 67) / (146 - 67), "that is the part of the gap that is still open."),
        ((146 - 74) / (74 - 67), "divide by the whole gap: what the student alone has beyond its teacher."),
        (-(146 - 74) / (146 - 67), "a gap that closes counts as positive: alone less distilled."),
        (100 * (146 - 74) / (146 - 67), "a share, not per cent: 1 is all of it."),
    ):
        if math.isclose(found, wrong, rel_tol=1e-6):
            raise NotYet(message)
    if not math.isclose(found, (146 - 74) / (146 - 67), rel_tol=1e-6):
        raise NotYet("(alone - distilled) / (alone - teacher).")
