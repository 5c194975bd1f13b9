"""The checks behind the exercises: each names the likely mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import curvature, distillation, explanations, quantization, soft, structure, transformer, weights
from .answers import NotYet


@dataclass(frozen=True)
class Exercise:
    """One *Your turn*.

    Attributes
    ----------
    name : str
    check : callable
        Takes the answer; raises :class:`NotYet` with the likely mistake, or returns.
    minutes : int
        Time that it takes.
    """

    name: str
    check: Callable
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
        Exercise("neuron", soft.parameters_of_a_neuron, 3),
        Exercise("mask", soft.mask_is_not_cut, 2),
        Exercise("psnr", soft.psnr, 5),
        Exercise("step", soft.smallest_step, 3),
        Exercise("csr", weights.csr_break_even, 3),
        Exercise("cubic", weights.cubic_half, 3),
        Exercise("keep", weights.exact_mask, 5),
        Exercise("fisher", curvature.fisher_of_two, 3),
        Exercise("probes", curvature.more_probes, 2),
        Exercise("surgeon", curvature.first_to_go, 4),
        Exercise("z-plus", explanations.positive_share, 3),
        Exercise("complete", explanations.completeness, 3),
        Exercise("shared", explanations.shared_top, 5),
        Exercise("hidden", structure.hidden_channel, 3),
        Exercise("rounded", structure.rounded, 2),
        Exercise("statistics", structure.statistics, 5),
        Exercise("head", transformer.head_weights, 3),
        Exercise("remainder", transformer.softmax_remainder, 4),
        Exercise("rollout", transformer.rollout_step, 4),
        Exercise("grid", quantization.step_of_a_range, 2),
        Exercise("tie", quantization.rounded_tie, 3),
        Exercise("equalize", quantization.equal_ranges, 4),
        Exercise("soft label", distillation.soft_label, 3),
        Exercise("others", distillation.share_of_the_others, 2),
        Exercise("gap", distillation.gap_closed, 4),
    )
}

__all__ = ["EXERCISES", "Exercise", "NotYet", "exercise"]
