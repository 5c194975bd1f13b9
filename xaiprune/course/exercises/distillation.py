"""Exercises on distillation."""

from __future__ import annotations

import math

import numpy as np

from .answers import Exercise, Function, Number, _one_number

#: Softmax of the logits 2 and 0 at T = 2: the first class.
_SOFT_LABEL = Number(
    right=1 / (1 + math.exp(-1)),
    tolerance=2e-3,
    mistakes={
        1 / (1 + math.exp(-2)): "that is T = 1: the temperature does something to the logits first.",
        1 / (1 + math.exp(-4)): "the temperature acts the other way: a high one makes the classes more alike.",
        1 / (1 + math.exp(1)): "that is the second class.",
        0.44: "the temperature acts on the logits, not on the probability.",
    },
    otherwise="a softmax, but of what? Mind the temperature.",
)


#: Weight that soft targets give to the wrong classes' order when the teacher gives 0.99 to the right one.
_SHARE_OF_THE_OTHERS = Number(
    right=0.01,
    tolerance=1e-4,
    mistakes={
        0.99: "that is what the right class has; the others share the rest.",
        0.01 / 9: "that is what each of nine others has on average; all of them together weigh more.",
        1.0: "that would be so if the teacher said nothing of the right class.",
    },
    otherwise="what is left for all wrong classes together?",
)


def _errors(generator: np.random.Generator) -> tuple[int, int, int]:
    teacher = int(generator.integers(40, 80))
    distilled = teacher + int(generator.integers(3, 30))
    return teacher, distilled + int(generator.integers(20, 60)), distilled


#: A function (teacher, alone, distilled) -> share of the gap in errors that is closed.
_GAP_CLOSED = Function(
    form="closed(teacher, alone, distilled)",
    draw=_errors,
    right=lambda teacher, alone, distilled: (alone - distilled) / (alone - teacher),
    mistakes=(
        (
            lambda teacher, alone, distilled: (alone - distilled) / alone,
            "that is how many of the errors are gone; the gap begins at the teacher's.",
        ),
        (
            lambda teacher, alone, distilled: (distilled - teacher) / (alone - teacher),
            "that is the part of the gap that is still open.",
        ),
        (
            lambda teacher, alone, distilled: (alone - distilled) / (distilled - teacher),
            "divide by the whole gap: what the student alone has beyond its teacher.",
        ),
        (
            lambda teacher, alone, distilled: (distilled - alone) / (alone - teacher),
            "a gap that closes counts as positive: alone less distilled.",
        ),
        (
            lambda teacher, alone, distilled: 100 * (alone - distilled) / (alone - teacher),
            "a share, not per cent: 1 is all of it.",
        ),
    ),
    otherwise="what was there to gain, and which part of it was gained?",
    kind=_one_number,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("soft label", _SOFT_LABEL, minutes=3),
    Exercise("others", _SHARE_OF_THE_OTHERS, minutes=2),
    Exercise("gap", _GAP_CLOSED, minutes=4),
)
