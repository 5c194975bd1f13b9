"""What a criterion is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from ....data import Split
from ...units import UnitGroup


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at: the arguments of :func:`score`."""

    model: nn.Module
    groups: tuple[UnitGroup, ...]
    data: Split | None
    loss: Callable
    seed: int


#: Kinds of units, in words.
KINDS = {
    "channels": "channels and neurons",
    "weights": "single weights",
    "blocks": "whole blocks",
    "memory": "units of a memory",
}

#: ``Evidence -> {group name: tensor of shape (units,)}``.
Rule = Callable[[Evidence], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Criterion:
    """A named way to score units.

    Attributes
    ----------
    name : str
    slices : callable or None
        ``Evidence -> {group name: tensor of shape (units,)}`` for channels and neurons; None if it does not rank them.
    needs : frozenset of {"data", "gradients"}
        What beside the weights it looks at.
    weights, blocks : callable or None
        The same for units that are single weights, and for whole blocks.
    stated : str
        In words, for channels: what is added up over the places where a unit lives, and in which unit it comes.
    memory : callable or None
        The same for units of a recurrent layer.
    """

    name: str
    slices: Rule | None
    needs: frozenset = frozenset()
    weights: Rule | None = None
    blocks: Rule | None = None
    stated: str = ""
    memory: Rule | None = None

    def __call__(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores of all groups; ValueError if there is a kind of unit that the criterion does not rank."""
        found = {}
        for kind, rule in zip(KINDS, (self.slices, self.weights, self.blocks, self.memory)):
            groups = tuple(group for group in evidence.groups if group.kind == kind)
            if groups and rule is None:
                raise ValueError(f"criterion {self.name!r} does not rank {KINDS[kind]}, such as {groups[0].name!r}.")
            if groups:
                found |= rule(replace(evidence, groups=groups))
        return found


def at_random(evidence: Evidence) -> dict[str, torch.Tensor]:
    """A control: uniform random numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(evidence.seed)
    return {group.name: torch.rand(group.size, generator=generator) for group in evidence.groups}
