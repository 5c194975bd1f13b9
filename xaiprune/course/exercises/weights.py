"""Exercises on single weights."""

from __future__ import annotations

import numpy as np

from .answers import Exercise, Function, Number, _value

#: Sparsity above which CSR with 4-byte values and 4-byte indices is smaller than dense float32.
_CSR_BREAK_EVEN = Number(
    right=0.5,
    tolerance=1e-3,
    mistakes={
        0.0: "a zero saves 4 bytes, but every weight that stays now costs 8: a value and its index.",
        2 / 3: "the row pointers are few; count 8 bytes for each weight that stays against 4 for each of all.",
        50: "right in per cent; the answer is a share, between 0 and 1.",
    },
    otherwise="write the bytes of both formats down for some sparsity, and look where they are equal.",
)


#: Ratio of the cubic schedule to 0.8, half-way.
_CUBIC_HALF = Number(
    right=0.7,
    tolerance=1e-3,
    mistakes={
        0.4: "that is the straight line. The cubic is fast at first.",
        0.1: "that is what is still to go. How much has gone by then?",
        1 - 0.2**0.5: "that is the iterative schedule, which takes the same share of what is left.",
        0.6: "you squared. The schedule is a cubic.",
    },
    otherwise="put half of the time into the cubic schedule.",
)


def _keep(weights, k):
    stays = np.ones(len(weights), bool)
    stays[np.argsort(np.abs(weights), kind="stable")[:k]] = False
    return stays


def _truths(found, weights, k) -> str | None:
    found = np.asarray(found)
    if found.shape != weights.shape or found.dtype != bool:
        return f"return one truth value per weight, not {found.dtype} of shape {found.shape}."
    return None


def _of_none(function) -> str | None:
    return None if np.asarray(_value(function, np.arange(6.0), 0)).sum() == 6 else "for k = 0 everything stays."


def _tied(generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """Weights of which several tie for the last that goes."""
    small, large = generator.choice([-1, 1], 4) * 0.1, generator.uniform(0.2, 0.9, generator.integers(3, 8))
    large *= generator.choice([-1, 1], len(large))
    large[0] = -abs(large[0])
    return generator.permutation(np.concatenate([small, large])), int(generator.integers(1, 4))


_TIES = "ties go by index: a stable sort keeps the order of equal values."

#: A function (weights, k) -> boolean array that is False for exactly k of the smallest weights, ties by index.
_EXACT_MASK = Function(
    form="keep(weights, k)",
    draw=_tied,
    right=_keep,
    mistakes=(
        (
            lambda w, k: np.abs(w) > np.sort(np.abs(w))[k - 1],
            "three weights tie, and you took them all: a threshold takes too many. Sort, and take exactly k.",
        ),
        (lambda w, k: _keep(w[::-1], k)[::-1], _TIES),
        (lambda w, k: _keep(w - w.min(), k), "compare sizes, not signed values: -0.5 is a large weight."),
        (lambda w, k: _keep(1 / w, k), "you took the largest. What is small goes."),
        (lambda w, k: ~_keep(w, k), "the mask is turned: True is for what stays."),
    ),
    otherwise="exactly k have to go, and the smallest: count them, and look which they are.",
    kind=_truths,
    then=_of_none,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("csr", _CSR_BREAK_EVEN, minutes=3),
    Exercise("cubic", _CUBIC_HALF, minutes=3),
    Exercise("keep", _EXACT_MASK, minutes=5),
)
