"""Exercises on transformers."""

from __future__ import annotations

import numpy as np
import torch

from .answers import Exercise, Function, Number

#: Weights and biases that go with one head of width 16 where tokens have 64 dimensions.
_HEAD_WEIGHTS = Number(
    right=3 * (64 * 16 + 16) + 16 * 64,
    tolerance=0.5,
    mistakes={
        3 * 64 * 16 + 16 * 64: "those are the weights. Query, key and value have a bias for each of its numbers.",
        3 * (64 * 16 + 16): "the output layer reads the head: its columns go too.",
        3 * (64 * 16 + 16) + 16 * 64 + 64: "the output's bias belongs to no head: it stays.",
        64 * 16: "that is one of four layers.",
    },
    otherwise="which rows and which columns of the four layers belong to the head?",
)


#: What the softmax rule leaves over: relevance (0.6, 0.2) at the outputs (0.75, 0.25) of inputs (1.1, 0.0).
_SOFTMAX_REMAINDER = Number(
    right=0.8,
    tolerance=0.005,
    mistakes={
        0.0: "that is what the rule gives the inputs. What is left over?",
        -0.8: "what is left over is what came in, less what the inputs get.",
        0.6: "the relevance of all outputs comes in, not of the first alone.",
        1.6: "the inputs get nothing here: what comes in is counted once.",
    },
    otherwise="put the numbers into the rule of section 2, input by input.",
)


def _attention(generator: np.random.Generator) -> tuple[torch.Tensor]:
    heads, tokens = generator.integers(2, 5), generator.integers(3, 7)
    return (torch.tensor(generator.random((heads, tokens, tokens))).float().softmax(-1),)


def _step(mean: torch.Tensor) -> torch.Tensor:
    return (mean + torch.eye(mean.shape[-1])) / 2


def _square(found, weights) -> str | None:
    if not isinstance(found, torch.Tensor) or found.shape != weights.shape[1:]:
        return "return one matrix of shape (T, T): take the mean over heads."
    return None


#: A function (weights) -> step of rollout, for attention of shape (heads, T, T).
_ROLLOUT_STEP = Function(
    form="step(weights)",
    draw=_attention,
    right=lambda weights: _step(weights.mean(0)),
    mistakes=(
        (lambda weights: weights.mean(0), "tokens also pass by the attention: that part is missing."),
        (lambda weights: 2 * _step(weights.mean(0)), "rows have to sum to one, as those of attention do."),
        (lambda weights: _step(weights.amax(0)), "the mean over heads, not the largest."),
        (lambda weights: _step(weights.sum(0)), "the mean over heads, not their sum."),
        (lambda weights: _step(weights.mean(0)).T, "row i is where token i looks: do not transpose."),
    ),
    otherwise="a step is what a token takes from others, and what passes by: in equal parts.",
    kind=_square,
    tolerance=1e-5,
)

#: The exercises of this topic.
EXERCISES = (
    Exercise("head", _HEAD_WEIGHTS, minutes=3),
    Exercise("remainder", _SOFTMAX_REMAINDER, minutes=4),
    Exercise("rollout", _ROLLOUT_STEP, minutes=4),
)
