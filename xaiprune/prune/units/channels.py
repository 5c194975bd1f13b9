"""Channels and neurons: slices of tensors, which other layers read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import nn

from ...graph import changing
from .groups import Member, UnitGroup
from .kinds import KINDS, UnitKind


class _Channels(UnitKind):
    """Channels of convolutions, neurons of dense layers, and dimensions that several layers share.

    A unit lives wherever a layer reads it: a gate on it multiplies slices of these layers' inputs.
    """

    name, words = "channels", "channels and neurons"

    def owned(self, model: nn.Module, group: UnitGroup, value: Callable) -> torch.Tensor:
        """Sum of a value over the slices that a unit owns in every layer of its group."""
        parameters = dict(model.named_parameters())
        total = torch.zeros(group.size, dtype=torch.float64)
        for member in group.members:
            for name, axis in member.axes.items():
                if name in parameters:
                    values = value(name, parameters[name].detach()).movedim(axis, 0).reshape(member.width, -1)
                    total += values.sum(1, dtype=torch.float64)[torch.tensor(member.index)].sum(1)
        return total

    def replaced(self, model: nn.Module, groups: Sequence[UnitGroup], function: Callable) -> AbstractContextManager:
        """Inside the ``with``, layers that read the units take something else."""
        readers = {member.module: member for group in groups for member in group.members if member.role == "in"}
        for name, member in readers.items():
            if member.kind == "Parameter":
                raise ValueError(
                    f"{name!r} reads units in an operation that is no layer, where no gate can stand. Use "
                    "criterion='l1' or 'l2', which look at weights alone, or let a layer be called in its place."
                )
        return changing(model, takes={name: partial(function, name) for name in readers})

    def per_unit(self, model: nn.Module, group: UnitGroup, place: str, values: torch.Tensor) -> list[torch.Tensor]:
        """Sum of a layer's input over everything but images and units."""
        values = values.movedim(_axis(model, place), 1)
        per_slice = values.flatten(2).sum(2) if values.ndim > 2 else values
        return [per_slice[:, torch.tensor(member.index)].sum(2) for member in _reads(group, place)]

    def scaled(
        self, model: nn.Module, group: UnitGroup, place: str, part: torch.Tensor, gate: torch.Tensor
    ) -> torch.Tensor:
        """A layer's input with each unit multiplied by its gate."""
        for member in _reads(group, place):
            index = torch.tensor(member.index)
            factors = part.new_ones(*gate.shape[:-1], member.width)
            factors[..., index] = gate.to(part)[..., None].expand(*gate.shape, index.shape[1])
            shape = [1] * part.ndim
            shape[_axis(model, place)] = -1
            if gate.ndim == 2:
                shape[0] = len(part)
            part = part * factors.view(shape)
        return part


def _reads(group: UnitGroup, place: str) -> Iterator[Member]:
    return (member for member in group.members if member.role == "in" and member.module == place)


def _axis(model: nn.Module, place: str) -> int:
    """Axis of a layer's input that runs over its channels or features."""
    return -1 if isinstance(model.get_submodule(place), nn.Linear | nn.RNNBase) else 1


CHANNELS = KINDS.add(_Channels())
