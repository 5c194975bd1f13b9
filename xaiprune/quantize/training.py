"""Quantization-aware training with learned steps (Esser et al. 2020, *LSQ*, arXiv 1902.08153)."""

# In stored tables: quantization-aware training

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from .calibrate import weight_quantizer
from .formats import quantized_layers
from .grid import Grid
from .simulate import FakeQuantizer


class LearnedStep(nn.Module):
    """A quantizer whose step is a parameter.

    Rounding passes the gradient on as if it were not there. What remains is the gradient of LSQ's eq. 3 for the step:
    the rounding error inside of the range, and the range's end outside; it is scaled by ``1 / sqrt(n most)``
    (section 2.2), n being the number of weights, or of values of one image.

    Parameters
    ----------
    grid : Grid
        To start from.
    batched : bool
        Whether the first axis of what comes is that of images.
    """

    def __init__(self, grid: Grid, batched: bool):
        super().__init__()
        self.scale = nn.Parameter(grid.scale.clone())
        self.register_buffer("zero_point", grid.zero_point.clone())
        self.ends, self.axis, self.batched = grid.ends, grid.axis, batched

    @property
    def numbers(self) -> Grid:
        """The grid as it is now."""
        return Grid(self.scale.detach().abs(), self.zero_point, *self.ends, self.axis)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Move every value to the nearest number of the grid, whose step learns from it.

        Parameters
        ----------
        x : torch.Tensor

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        count = x.numel() // max(1, len(x)) if self.batched else x.numel() / self.scale.numel()
        factor = 1 / math.sqrt(max(1, count) * self.ends[1])
        scale = self.scale.abs()
        scale = scale.detach() + factor * (scale - scale.detach())
        grid = self.numbers
        scale, zero = grid.along(scale, x), grid.along(self.zero_point, x)
        steps = (x / scale).clamp(self.ends[0] - zero, self.ends[1] - zero)
        steps = steps + (steps.round() - steps).detach()
        return steps * scale


def learnable(quantized: nn.Module) -> nn.Module:
    """A copy of a quantized model whose weights and steps can be trained: ``training.tune`` does it.

    Parameters
    ----------
    quantized : nn.Module
        From :func:`simulate`; with :func:`adaround` its rounding is forgotten. It stays as it is.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If no layer is on a grid.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.4, 0.2, -1.0], [0.0, 0.5, 0.5, 0.0]]))
    >>> images = torch.linspace(0, 1, 32).reshape(8, 1, 2, 2)
    >>> seen = xp.quantize.calibrate(model, images)
    >>> quantized = xp.quantize.simulate(model, seen, xp.quantize.Config(xp.quantize.Format(bits=3)))
    >>> trained = xp.quantize.learnable(quantized)
    >>> [name for name, parameter in trained.named_parameters() if parameter.requires_grad]
    ['1.parametrizations.weight.original', '1.parametrizations.weight.0.scale', '1.input_quantizer.scale']
    """
    found, trained = 0, copy.deepcopy(quantized)
    for layer in quantized_layers(trained).values():
        weights = weight_quantizer(layer)
        if isinstance(weights, FakeQuantizer) and isinstance(weights.numbers, Grid):
            layer.parametrizations["weight"][0], found = LearnedStep(weights.numbers, batched=False), found + 1
        inputs = getattr(layer, "input_quantizer", None)
        if isinstance(inputs, FakeQuantizer) and isinstance(inputs.numbers, Grid):
            layer.input_quantizer, found = LearnedStep(inputs.numbers, batched=True), found + 1
    if not found:
        raise ValueError("no layer of quantized is on a grid: pass what simulate gives with a Format.")
    return trained.eval()
