"""Small networks of the cases, and the two questions that most of them ask."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import xaiprune as xp
from xaiprune.prune import cut_error

IMAGES = (2, 3, 16, 16)
#: How far mask and cut may lie apart, as a share of the largest output.
LAW = 1e-5


def todo(reason: str):
    """A case that fails today: why, in a sentence."""
    return pytest.mark.xfail(reason=reason, strict=True)


def images(*shape: int) -> torch.Tensor:
    """Uniform noise of a shape, by default two small pictures; the same in every test."""
    return torch.rand(shape or IMAGES, generator=torch.Generator().manual_seed(0))


def apart(model: nn.Module, *x: torch.Tensor, find=xp.find_units, **how) -> float:
    """How far the outputs of mask and cut lie apart, as a share of the largest output."""
    units = find(model, x if len(x) > 1 else x[0])
    plan = xp.plan(xp.score(model, units, "l1"), **(how or {"ratio": 0.4, "scope": "uniform"}))
    assert sum(map(len, plan.removed.values())) > 0, "the plan removes nothing"
    return cut_error(model, plan, *x)


def right_or_refused(question: Callable[[], float], words: str = "ignore") -> None:
    """Mask and cut are one function, or the model is refused in a sentence that names the way out."""
    try:
        found, told = question(), words
    except ValueError as error:
        found, told = 0.0, str(error)
    assert found <= LAW
    assert words in told


def net(function, *layers: nn.Module) -> nn.Module:
    """Layers ``a``, ``b``, ... and a function ``(layers, *inputs) -> output``, in evaluation mode."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in zip("abcdefgh", layers):
                self.add_module(name, layer)

        def forward(self, *inputs):
            return function(self, *inputs)

    return Net().eval()
