"""Criteria that need no gradient: the scale of a batch normalisation, and how much an activation varies."""

# In stored tables: criteria by statistics

from __future__ import annotations

import torch
from torch import nn

from ....graph import BATCH_NORMS, reading
from .evidence import Evidence


def _batch_norm_scale(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Size of the scale of a unit's batch normalisation, as in Liu et al. 2017 (arXiv 1708.06519).

    The mean over all the group's batch normalisations, and over the unit's slices of each.

    Raises
    ------
    ValueError
        If a group has no batch normalisation with a scale.
    """
    found, modules = {}, dict(evidence.model.named_modules())
    for group in evidence.groups:
        scales = []
        for member in group.members:
            module = modules.get(member.module)
            if isinstance(module, BATCH_NORMS) and module.weight is not None:
                scales.append(module.weight.detach().abs()[torch.tensor(member.index)].mean(1))
        if not scales:
            raise ValueError(f"criterion 'bn-scale' needs a batch normalisation, and {group.name!r} has none.")
        found[group.name] = torch.stack(scales).mean(0)
    return found


def _variance(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Variance of a unit's activation over images and positions, summed over the places where it is read.

    A unit that never varies is a constant, and the layers that read it could take it into their biases.
    """
    places = [(group, member) for group in evidence.groups for member in group.members if member.role == "in"]
    readers = list(dict.fromkeys(member.module for _, member in places))
    sums = dict.fromkeys(readers, 0.0)

    def see(name: str, inputs: tuple, output: object) -> None:
        axis = -1 if isinstance(evidence.model.get_submodule(name), nn.Linear) else 1
        values = inputs[0].detach().double().movedim(axis, 0).flatten(1)
        sums[name] = sums[name] + torch.stack([values.new_full((len(values),), values.shape[1]), *_powers(values)])

    with reading(evidence.model, readers, see), torch.no_grad():
        for inputs in evidence.data.inputs.split(256):
            evidence.model(inputs)
    found = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in evidence.groups}
    for group, member in places:
        count, first, second = sums[member.module]
        spread = (second / count - (first / count).square()).clamp(min=0)
        found[group.name] += spread[torch.tensor(member.index)].sum(1)
    return found


def _powers(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of the values and of their squares; shapes ``(channels,)``."""
    return values.sum(1), values.square().sum(1)
