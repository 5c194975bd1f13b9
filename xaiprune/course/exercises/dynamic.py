"""Exercises on dynamic pruning."""

from __future__ import annotations

from .answers import Function, Number, one_number

#: Trunk and branch cost 30, the tail 70; 60 % of the images leave: the mean cost.
MEAN_COST = Number(
    right=58.0,
    tolerance=1e-6,
    mistakes={
        72.0: "60 per cent leave; that is the cost where 40 per cent do.",
        28.0: "every image runs the trunk, those that stay too: add its 30.",
        46.0: "those that stay pay trunk and tail, 100.",
        0.58: "in the units of the costs: 58 of 100.",
    },
    otherwise="30 + (1 - 0.6) * 70.",
)

#: The same with the tail cut to half of its cost: the worst case.
WORST_COST = Number(
    right=65.0,
    tolerance=1e-6,
    mistakes={
        100.0: "the tail costs half now.",
        35.0: "whoever stays has run the trunk and the branch before.",
        44.0: "that is the mean.",
        50.0: "the trunk is not cut: only the tail is.",
    },
    otherwise="30 + 70 / 2.",
)

#: A function (first, tail, mean) -> share of the images that has to leave for a mean cost.
MUST_LEAVE = Function(
    form="leave(first, tail, mean)",
    arguments=(30.0, 70.0, 58.0),
    right=lambda first, tail, mean: 1 - (mean - first) / tail,
    mistakes=(
        (lambda first, tail, mean: (mean - first) / tail, "that is the share that stays."),
        (
            lambda first, tail, mean: 1 - mean / (first + tail),
            "all images pay for the first part: take it from the mean before you divide.",
        ),
        (lambda first, tail, mean: 1 - mean / tail, "the first part is paid by all: take it from the mean."),
        (lambda first, tail, mean: 100 * (1 - (mean - first) / tail), "a share, not per cent: 1 is all of them."),
    ),
    otherwise="mean = first + (1 - leave) * tail, solved for leave.",
    kind=one_number,
)
