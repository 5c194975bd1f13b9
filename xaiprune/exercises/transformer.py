"""Exercises on transformers."""

from __future__ import annotations

import torch

from .answers import NotYet, number, value


def head_weights(answer) -> None:
    """Weights and biases that go with one head of width 16 where tokens have 64 dimensions."""
    number(
        answer,
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


def softmax_remainder(answer) -> None:
    """What the softmax rule leaves over: relevance (0.6, 0.2) at the outputs (0.75, 0.25) of inputs (1.1, 0.0)."""
    number(
        answer,
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


def rollout_step(function) -> None:
    """A function (weights) -> step of rollout, for attention of shape (heads, T, T)."""
    if not callable(function):
        raise NotYet("write a function: step(weights).")
    weights = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    found = value(function, weights)
    if not isinstance(found, torch.Tensor) or found.shape != (4, 4):
        raise NotYet("return one matrix of shape (T, T): take the mean over heads.")
    mean, eye = weights.mean(0), torch.eye(4)
    for wrong, message in (
        (mean, "tokens also pass by the attention: half of the step is the identity."),
        (mean + eye, "rows have to sum to one: take half of each part."),
        ((weights.amax(0) + eye) / 2, "the mean over heads, not the largest."),
        ((weights.sum(0) + eye) / 2, "the mean over heads, not their sum."),
        (((mean + eye) / 2).T, "row i is where token i looks: do not transpose."),
    ):
        if torch.allclose(found, wrong, atol=1e-5):
            raise NotYet(message)
    if not torch.allclose(found, (mean + eye) / 2, atol=1e-5):
        raise NotYet("half of the mean over heads, and half of the identity.")
