"""Copies of models in which some tensors are others."""

from __future__ import annotations

import copy
from collections import OrderedDict

from torch import nn


def copied(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """A deep copy of a model in which tensors are replaced: ``memo`` holds id of the old -> the new.

    Most of a plain deep copy's time goes into the empty dictionaries of hooks that every module carries.
    """
    kept = [value for module in model.modules() for value in vars(module).values()]
    empty = {id(value): OrderedDict() for value in kept if type(value) is OrderedDict and not value}
    return copy.deepcopy(model, empty | memo)
