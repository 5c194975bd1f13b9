"""Exercises on recipes of several steps."""

from __future__ import annotations

from .answers import Function, Number

#: A cut leaves 40 % of the parameters, in 8 bits in place of 32: how many times smaller is the file?
TIMES_SMALLER = Number(
    right=10.0,
    tolerance=1e-6,
    mistakes={
        0.1: "that is the share that is left; how many times does it fit into the original?",
        2.5: "the bits count too: 8 in place of 32.",
        4.0: "the cut counts too: 40 per cent of the parameters are left.",
        6.5: "savings multiply, they do not add up.",
        20 / 3: "40 per cent are left, not gone.",
    },
    otherwise="1 / (0.4 * 8 / 32).",
)

#: An answer takes 10 ms, 8 of them in convolutions, and these become four times as fast: how many times faster is it?
WHOLE_FASTER = Number(
    right=2.5,
    tolerance=1e-6,
    mistakes={
        4.0: "the other 2 ms are as slow as before.",
        0.4: "that is the share of the time that is left.",
        3.2: "add times, not speeds: 2 ms stay, 8 become 2.",
        5.0: "8 ms become 2, they do not vanish; and the other 2 stay.",
        3.4: "add times, not speeds: 2 ms stay, 8 become 2.",
    },
    otherwise="10 / (2 + 8 / 4).",
)

Rows = list[tuple[float, float]]


def _front(rows: Rows) -> list[bool]:
    return [not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in rows) for a in rows]


def _beaten_in_both(rows: Rows) -> list[bool]:
    return [any(b[0] < a[0] and b[1] < a[1] for b in rows) for a in rows]


def _one_each(result) -> str | None:
    if not isinstance(result, list | tuple) or len(result) != 5:
        return "give back a list with one True or False for each of the rows."
    return None


#: A function rows -> for each whether no other beats it; a row is (size, points lost), and less of both is better.
FRONT = Function(
    form="front(rows)",
    arguments=([(0.1, 2.0), (0.2, 1.0), (0.3, 1.5), (0.4, 0.5), (0.4, 0.9)],),
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
    otherwise="a row stays where no other row is at most as large and loses at most as much.",
    kind=_one_each,
)
