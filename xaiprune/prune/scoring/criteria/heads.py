"""Criteria for attention heads alone: how sharply a head looks."""

# In stored tables: criteria of heads

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ....explain import watching_attention
from .evidence import Evidence


def _entropy(evidence: Evidence) -> dict[str, torch.Tensor]:
    """How far a head is from looking everywhere alike: log T less the mean entropy of its T rows, in nats."""

    def sharpness(weights: torch.Tensor) -> torch.Tensor:
        rows = -torch.special.entr(weights).sum(-1) + math.log(weights.shape[-1])
        return rows.mean(-1)

    return _of_heads(evidence, sharpness)


def _confidence(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Mean over images and tokens of a head's largest weight (Voita et al. 2019, arXiv 1905.09418)."""
    return _of_heads(evidence, lambda weights: weights.amax(-1).mean(-1))


def _of_heads(evidence: Evidence, measure: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean over images of a measure of each head's attention ``(N, heads, T, T) -> (N, heads)``."""
    total = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in evidence.groups}
    with torch.no_grad(), watching_attention(evidence.model) as seen:
        for inputs in evidence.data.inputs.split(100):
            evidence.model(inputs)
            for group in evidence.groups:
                total[group.name] += measure(seen[f"{group.name}.weights"].double()).sum(0)
    return {name: value / len(evidence.data.inputs) for name, value in total.items()}
