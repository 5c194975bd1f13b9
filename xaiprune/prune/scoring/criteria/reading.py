"""What a layer reads, told apart from what other layers read of the same tensor."""

# In stored tables: reading of models

from __future__ import annotations

import functools
from contextlib import ExitStack

import torch
from torch import nn

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
