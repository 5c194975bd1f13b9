"""What a layer reads, told apart from what other layers read of the same tensor."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..units import UnitGroup
from .evidence import Evidence, Rule


def apart(rule: Rule) -> Rule:
    """The rule with every layer reading a tensor of its own.

    A gate on a unit acts wherever the unit is read. Where several layers read the same tensor, its gradient already is
    the sum over all of them, and would count once for each.
    """

    @functools.wraps(rule)
    def function(evidence: Evidence) -> dict[str, torch.Tensor]:
        with ExitStack() as stack:
            for name in {member.module for group in evidence.groups for member in group.members if member.role == "in"}:
                module = evidence.model.get_submodule(name)
                stack.callback(module.register_forward_pre_hook(_own, prepend=True).remove)
            return rule(evidence)

    return function


def _own(module: nn.Module, inputs: tuple) -> tuple:
    return inputs[0].view_as(inputs[0]), *inputs[1:]


@contextmanager
def gated(model: nn.Module, group: UnitGroup, gates: torch.Tensor) -> Iterator[None]:
    """Multiply each unit by its gate wherever a layer reads it.

    Parameters
    ----------
    model : nn.Module
    group : UnitGroup
    gates : torch.Tensor
        Shape ``(units,)``; it may be changed inside the ``with``.
    """

    def hook(member, module, inputs):
        shape = [1] * inputs[0].ndim
        shape[-1 if isinstance(module, nn.Linear) else 1] = -1
        factors = inputs[0].new_ones(member.width)
        factors[torch.tensor(member.index)] = gates.to(factors)[:, None]
        return inputs[0] * factors.view(shape), *inputs[1:]

    with ExitStack() as stack:
        for member in group.members:
            if member.role == "in":
                module = model.get_submodule(member.module)
                handle = module.register_forward_pre_hook(functools.partial(hook, member))
                stack.callback(handle.remove)
        yield
