"""Exercises on single weights."""

from __future__ import annotations

import numpy as np

from .answers import Function, Number, value

#: Sparsity above which CSR with 4-byte values and 4-byte indices is smaller than dense float32.
CSR_BREAK_EVEN = Number(
    right=0.5,
    tolerance=1e-3,
    mistakes={
        0.0: "a zero saves 4 bytes, but every weight that stays now costs 8: a value and its index.",
        2 / 3: "the row pointers are few; count 8 bytes for each weight that stays against 4 for each of all.",
        50: "right in per cent; the answer is a share, between 0 and 1.",
    },
    otherwise="solve 8 (1 - s) = 4 for the sparsity s.",
)


#: Ratio of the cubic schedule to 0.8, half-way.
CUBIC_HALF = Number(
    right=0.7,
    tolerance=1e-3,
    mistakes={
        0.4: "that is the straight line. The cubic is fast at first.",
        0.1: "that is what is still to go: the ratio is 0.8 minus it.",
        1 - 0.2**0.5: "that is the iterative schedule, which takes the same share of what is left.",
        0.6: "you squared: the power is 3.",
    },
    otherwise="put t = 1/2 into s_f - s_f (1 - t)^3.",
)


def _keep(weights, k):
    stays = np.ones(len(weights), bool)
    stays[np.argsort(np.abs(weights), kind="stable")[:k]] = False
    return stays


def _truths(found) -> str | None:
    found = np.asarray(found)
    if found.shape != (6,) or found.dtype != bool:
        return f"return one truth value per weight, not {found.dtype} of shape {found.shape}."
    return None


def _of_none(function) -> str | None:
    return None if np.asarray(value(function, _WEIGHTS, 0)).sum() == 6 else "for k = 0 everything stays."


_WEIGHTS = np.array([0.3, -0.1, 0.1, -0.5, -0.1, 0.2])
_TIES = "ties go by index: a stable sort keeps the order of equal values."

#: A function (weights, k) -> boolean array that is False for exactly k of the smallest weights, ties by index.
EXACT_MASK = Function(
    form="keep(weights, k)",
    arguments=(_WEIGHTS, 2),
    right=_keep,
    mistakes=(
        (
            lambda w, k: np.abs(w) > np.sort(np.abs(w))[k - 1],
            "three weights tie, and you took them all: a threshold takes too many. Sort, and take exactly k.",
        ),
        (lambda w, k: _keep(w[::-1], k)[::-1], _TIES),
        (lambda w, k: np.isin(np.arange(len(w)), (1, 4), invert=True), _TIES),
        (lambda w, k: _keep(w - w.min(), k), "compare sizes, not signed values: -0.5 is a large weight."),
        (lambda w, k: _keep(1 / w, k), "you took the largest. What is small goes."),
        (lambda w, k: ~_keep(w, k), "the mask is turned: True is for what stays."),
    ),
    otherwise="the two smallest are 1 and 2; yours gives {found}.",
    kind=_truths,
    then=_of_none,
)
