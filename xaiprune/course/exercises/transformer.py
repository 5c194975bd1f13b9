"""Exercises on transformers."""

from __future__ import annotations

import torch

from .answers import Function, Number

#: Weights and biases that go with one head of width 16 where tokens have 64 dimensions.
HEAD_WEIGHTS = Number(
    right=3 * (64 * 16 + 16) + 16 * 64,
    tolerance=0.5,
    mistakes={
        3 * 64 * 16 + 16 * 64: "those are the weights. Query, key and value have a bias for each of its numbers.",
        3 * (64 * 16 + 16): "the output layer reads the head: its columns go too.",
        3 * (64 * 16 + 16) + 16 * 64 + 64: "the output's bias belongs to no head: it stays.",
        64 * 16: "that is one of four layers.",
    },
    otherwise="rows of query, key and value with their biases, and columns of the output.",
)


#: What the softmax rule leaves over: relevance (0.6, 0.2) at the outputs (0.75, 0.25) of inputs (1.1, 0.0).
SOFTMAX_REMAINDER = Number(
    right=0.8,
    tolerance=0.005,
    mistakes={
        0.0: "the inputs get x (R - s times the sum of R). Put in the numbers: 1.1 (0.6 - 0.75 x 0.8) and 0.",
        -0.8: "what is left over is what came in, less what the inputs get.",
        0.6: "all outputs' relevance comes in: 0.6 + 0.2.",
        1.6: "the inputs get nothing here: what comes in is counted once.",
    },
    otherwise="the sum of R less the sum over inputs of x (R - s sum R).",
)


def _step(mean: torch.Tensor) -> torch.Tensor:
    return (mean + torch.eye(mean.shape[-1])) / 2


def _square(found) -> str | None:
    if not isinstance(found, torch.Tensor) or found.shape != (4, 4):
        return "return one matrix of shape (T, T): take the mean over heads."
    return None


#: A function (weights) -> step of rollout, for attention of shape (heads, T, T).
ROLLOUT_STEP = Function(
    form="step(weights)",
    arguments=(torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(-1),),
    right=lambda weights: _step(weights.mean(0)),
    mistakes=(
        (lambda weights: weights.mean(0), "tokens also pass by the attention: half of the step is the identity."),
        (lambda weights: 2 * _step(weights.mean(0)), "rows have to sum to one: take half of each part."),
        (lambda weights: _step(weights.amax(0)), "the mean over heads, not the largest."),
        (lambda weights: _step(weights.sum(0)), "the mean over heads, not their sum."),
        (lambda weights: _step(weights.mean(0)).T, "row i is where token i looks: do not transpose."),
    ),
    otherwise="half of the mean over heads, and half of the identity.",
    kind=_square,
    tolerance=1e-5,
)
