"""Exercises on single weights."""

from __future__ import annotations

import numpy as np

from .answers import NotYet, number, value


def csr_break_even(answer) -> None:
    """Sparsity above which CSR with 4-byte values and 4-byte indices is smaller than dense float32."""
    number(
        answer,
        right=0.5,
        tolerance=1e-3,
        mistakes={
            0.0: "a zero saves 4 bytes, but every weight that stays now costs 8: a value and its index.",
            2 / 3: "the row pointers are few; count 8 bytes for each weight that stays against 4 for each of all.",
            50: "right in per cent; the answer is a share, between 0 and 1.",
        },
        otherwise="solve 8 (1 - s) = 4 for the sparsity s.",
    )


def cubic_half(answer) -> None:
    """Ratio of the cubic schedule to 0.8, half-way."""
    number(
        answer,
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


def exact_mask(function) -> None:
    """A function (weights, k) -> boolean array that is False for exactly k of the smallest weights, ties by index."""
    if not callable(function):
        raise NotYet("write a function: keep(weights, k).")
    weights = np.array([0.3, -0.1, 0.1, -0.5, -0.1, 0.2])
    got = np.asarray(value(function, weights, 2))
    if got.shape != weights.shape or got.dtype != bool:
        raise NotYet(f"return one truth value per weight, not {got.dtype} of shape {got.shape}.")
    gone = sorted(np.flatnonzero(~got).tolist())
    if gone == [1, 2]:
        if np.asarray(value(function, weights, 0)).sum() != 6:
            raise NotYet("for k = 0 everything stays.")
        return
    messages = {
        (1, 2, 4): "three weights tie, and you took them all: a threshold takes too many. Sort, and take exactly k.",
        (1, 4): "ties go by index: a stable sort keeps the order of equal values.",
        (2, 4): "ties go by index: a stable sort keeps the order of equal values.",
        (1, 3): "compare sizes, not signed values: -0.5 is a large weight.",
        (0, 3): "you took the largest. What is small goes.",
        (0, 3, 4, 5): "the mask is turned: True is for what stays.",
    }
    raise NotYet(messages.get(tuple(gone), f"entries {gone} went; the two smallest are 1 and 2."))
