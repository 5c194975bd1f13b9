"""Exercises on recipes of several steps."""

from __future__ import annotations

import numpy as np

from .answers import Exercise, Function, Number

#: A cut leaves 40 % of the parameters, in 8 bits in place of 32: how many times smaller is the file?
_TIMES_SMALLER = Number(
    right=10.0,
    tolerance=1e-6,
    mistakes={
        0.1: "that is the share that is left; how many times does it fit into the original?",
        2.5: "the bits count too: 8 in place of 32.",
        4.0: "the cut counts too: 40 per cent of the parameters are left.",
        6.5: "savings multiply, they do not add up.",
        20 / 3: "40 per cent are left, not gone.",
    },
    otherwise="what share of the bytes is left?",
)

#: An answer takes 10 ms, 8 of them in convolutions, and these become four times as fast: how many times faster is it?
_WHOLE_FASTER = Number(
    right=2.5,
    tolerance=1e-6,
    mistakes={
        4.0: "the other 2 ms are as slow as before.",
        0.4: "that is the share of the time that is left.",
        3.2: "add times, not speeds.",
        5.0: "the convolutions become faster, they do not vanish.",
        3.4: "add times, not speeds.",
    },
    otherwise="how many milliseconds does an answer take now?",
)

_Rows = list[tuple[float, float]]


def _recipes(generator: np.random.Generator) -> tuple[_Rows]:
    """Rows of which some are beaten in both, and one is as large as another and loses more."""
    sizes = np.sort(generator.choice(np.arange(1, 20), 4, replace=False)) / 20
    lost = np.sort(generator.choice(np.arange(1, 20), 4, replace=False))[::-1] / 10
    rows = [
        *zip(sizes.tolist(), lost.tolist()),
        (sizes[3].item(), lost[3].item() + 0.05),
        (sizes[1].item() + 0.01, 3.0),
    ]
    return ([rows[place] for place in generator.permutation(len(rows))],)


def _front(rows: _Rows) -> list[bool]:
    return [not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in rows) for a in rows]


def _beaten_in_both(rows: _Rows) -> list[bool]:
    return [any(b[0] < a[0] and b[1] < a[1] for b in rows) for a in rows]


def _one_each(result, rows) -> str | None:
    if not isinstance(result, list | tuple) or len(result) != len(rows):
        return "give back a list with one True or False for each of the rows."
    return None


#: A function rows -> for each whether no other beats it; a row is (size, points lost), and less of both is better.
_FRONT = Function(
    form="front(rows)",
    draw=_recipes,
    right=_front,
    mistakes=(
        (lambda rows: [a == min(rows) for a in rows], "that is the smallest alone; one that loses less is on it, too."),
        (
            lambda rows: [sum(a) == min(map(sum, rows)) for a in rows],
            "size and points have no common unit: they cannot be added.",
        ),
        (lambda rows: [not good for good in _front(rows)], "the other way round: True for those that nobody beats."),
        (_beaten_in_both, "the other way round, and one that is as small and loses less beats, too."),
        (
            lambda rows: [not bad for bad in _beaten_in_both(rows)],
            "a row is beaten, too, by one that is as small and loses less.",
        ),
    ),
    otherwise="take the rows by pairs: when does one make the other needless?",
    kind=_one_each,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("times smaller", _TIMES_SMALLER, minutes=2),
    Exercise("whole faster", _WHOLE_FASTER, minutes=3),
    Exercise("front", _FRONT, minutes=6),
)
