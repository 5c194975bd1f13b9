"""Exercises on dynamic pruning."""

from __future__ import annotations

import numpy as np

from .answers import Exercise, Function, Number, _one_number

#: Trunk and branch cost 30, the tail 70; 60 % of the images leave: the mean cost.
_MEAN_COST = Number(
    right=58.0,
    tolerance=1e-6,
    mistakes={
        72.0: "60 per cent leave; that is the cost where 40 per cent do.",
        28.0: "every image runs the trunk, those that stay too: add its 30.",
        46.0: "those that stay pay trunk and tail, 100.",
        0.58: "in the units of the costs, not as a share.",
    },
    otherwise="what does an image pay that leaves, and what one that stays?",
)

#: The same with the tail cut to half of its cost: the worst case.
_WORST_COST = Number(
    right=65.0,
    tolerance=1e-6,
    mistakes={
        100.0: "the tail costs half now.",
        35.0: "whoever stays has run the trunk and the branch before.",
        44.0: "that is the mean.",
        50.0: "the trunk is not cut: only the tail is.",
    },
    otherwise="which way through the network is the longest now?",
)


def _costs(generator: np.random.Generator) -> tuple[float, float, float]:
    first, tail = generator.uniform(10, 50), generator.uniform(40, 90)
    return first, tail, first + generator.uniform(0.2, 0.8) * tail


#: A function (first, tail, mean) -> share of the images that has to leave for a mean cost.
_MUST_LEAVE = Function(
    form="leave(first, tail, mean)",
    draw=_costs,
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
    otherwise="write the mean cost down with the unknown share in it, and solve.",
    kind=_one_number,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("mean cost", _MEAN_COST, minutes=3),
    Exercise("worst cost", _WORST_COST, minutes=2),
    Exercise("leave", _MUST_LEAVE, minutes=4),
)
