"""The checks behind the exercises: each names the likely mistake."""

from __future__ import annotations

from dataclasses import dataclass

from . import (
    curvature,
    distillation,
    dynamic,
    explanations,
    quantization,
    recipes,
    soft,
    structure,
    transformer,
    weights,
)
from .answers import Function, NotYet, Number


@dataclass(frozen=True)
class Exercise:
    """One *Your turn*.

    Attributes
    ----------
    name : str
    check : Number or Function
        Takes the answer; raises :class:`NotYet` with the likely mistake, or returns.
    minutes : int
        Time that it takes.
    """

    name: str
    check: Number | Function
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


EXERCISES: dict[str, Exercise] = {
    row.name: row
    for row in (
        Exercise("neuron", soft.PARAMETERS_OF_A_NEURON, 3),
        Exercise("mask", soft.MASK_IS_NOT_CUT, 2),
        Exercise("psnr", soft.PSNR, 5),
        Exercise("step", soft.SMALLEST_STEP, 3),
        Exercise("csr", weights.CSR_BREAK_EVEN, 3),
        Exercise("cubic", weights.CUBIC_HALF, 3),
        Exercise("keep", weights.EXACT_MASK, 5),
        Exercise("fisher", curvature.FISHER_OF_TWO, 3),
        Exercise("probes", curvature.MORE_PROBES, 2),
        Exercise("surgeon", curvature.FIRST_TO_GO, 4),
        Exercise("z-plus", explanations.POSITIVE_SHARE, 3),
        Exercise("complete", explanations.COMPLETENESS, 3),
        Exercise("shared", explanations.SHARED_TOP, 5),
        Exercise("hidden", structure.HIDDEN_CHANNEL, 3),
        Exercise("rounded", structure.ROUNDED, 2),
        Exercise("statistics", structure.STATISTICS, 5),
        Exercise("head", transformer.HEAD_WEIGHTS, 3),
        Exercise("remainder", transformer.SOFTMAX_REMAINDER, 4),
        Exercise("rollout", transformer.ROLLOUT_STEP, 4),
        Exercise("grid", quantization.STEP_OF_A_RANGE, 2),
        Exercise("tie", quantization.ROUNDED_TIE, 3),
        Exercise("equalize", quantization.EQUAL_RANGES, 4),
        Exercise("soft label", distillation.SOFT_LABEL, 3),
        Exercise("others", distillation.SHARE_OF_THE_OTHERS, 2),
        Exercise("gap", distillation.GAP_CLOSED, 4),
        Exercise("mean cost", dynamic.MEAN_COST, 3),
        Exercise("worst cost", dynamic.WORST_COST, 2),
        Exercise("leave", dynamic.MUST_LEAVE, 4),
        Exercise("times smaller", recipes.TIMES_SMALLER, 2),
        Exercise("whole faster", recipes.WHOLE_FASTER, 3),
        Exercise("front", recipes.FRONT, 6),
    )
}

__all__ = ["EXERCISES", "Exercise", "NotYet", "exercise"]
