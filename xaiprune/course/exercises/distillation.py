"""Exercises on distillation."""

from __future__ import annotations

import math

from .answers import Function, Number, one_number

#: Softmax of the logits 2 and 0 at T = 2: the first class.
SOFT_LABEL = Number(
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


#: Weight that soft targets give to the wrong classes' order when the teacher gives 0.99 to the right one.
SHARE_OF_THE_OTHERS = Number(
    right=0.01,
    tolerance=1e-4,
    mistakes={
        0.99: "that is what the right class has; the others share the rest.",
        0.01 / 9: "that is what each of nine others has on average; all of them together weigh more.",
        1.0: "that would be so if the teacher said nothing of the right class.",
    },
    otherwise="1 - p(right class).",
)


#: A function (teacher, alone, distilled) -> share of the gap in errors that is closed.
GAP_CLOSED = Function(
    form="closed(teacher, alone, distilled)",
    arguments=(67, 146, 74),
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
    otherwise="(alone - distilled) / (alone - teacher).",
    kind=one_number,
)
