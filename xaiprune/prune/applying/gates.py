"""Gates: units multiplied by numbers wherever they are read, to weaken, close or differentiate them."""

# In stored tables: gates

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..units import Member, UnitGroup


@contextmanager
def gated_by(model: nn.Module, groups: list[UnitGroup], gates: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Multiply every unit by its gate wherever a layer reads it, with gradients for the gates.

    Parameters
    ----------
    model : nn.Module
    groups : list of UnitGroup
        Channels, neurons or heads.
    gates : mapping of str to torch.Tensor
        Group name to shape ``(units,)``, or ``(N, units)`` for gates that differ from image to image. Their values may
        be changed inside the ``with``.
    """

    def bound(member: Member, gate: torch.Tensor):
        index = torch.tensor(member.index)

        def hook(module: nn.Module, inputs: tuple) -> tuple:
            x = inputs[0]
            factors = x.new_ones(*gate.shape[:-1], member.width)
            factors[..., index] = gate.to(x)[..., None].expand(*gate.shape, index.shape[1])
            shape = [1] * x.ndim
            shape[-1 if isinstance(module, nn.Linear) else 1] = -1
            if gate.ndim == 2:
                shape[0] = len(x)
            return x * factors.view(shape), *inputs[1:]

        return hook

    with ExitStack() as stack:
        for group in groups:
            for member in group.members:
                if member.role == "in":
                    module = model.get_submodule(member.module)
                    hook = bound(member, gates[group.name])
                    stack.callback(module.register_forward_pre_hook(hook).remove)
        yield
