"""The truth about one unit: the loss without it."""

from __future__ import annotations

import torch

from ...applying import masked
from ...units import Plan
from .evidence import Evidence


def _ablation(evidence: Evidence) -> dict[str, torch.Tensor]:
    """What the loss rises by when the unit alone is masked, at one pass over the data each."""
    found = {}
    with torch.no_grad():
        intact = evidence.loss(evidence.model, *evidence.data)
        for group in evidence.groups:
            rises = []
            for unit in range(group.size):
                with masked(evidence.model, Plan((group,), {group.name: [unit]})):
                    rises.append(evidence.loss(evidence.model, *evidence.data) - intact)
            found[group.name] = torch.stack(rises)
    return found
