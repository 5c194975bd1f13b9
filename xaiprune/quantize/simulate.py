"""Simulation: a model that computes with the numbers of its formats, in float32."""

# In stored tables: simulated quantization

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..data import carries
from ..graph import TRANSPOSED_CONVOLUTIONS
from .calibrate import float_copy
from .formats import Cast, Config, Format, quantized_layers
from .grid import Grid, grid_of
from .statistics import Statistics

#: A channel whose weights are all smaller is one of zeros: any step will do.
DEAD = 1e-30


class FakeQuantizer(nn.Module):
    """Values moved to the nearest number of a format; the gradient passes where they are inside of its range.

    That gradient, 1 inside and 0 outside, is the straight-through estimator (Bengio et al. 2013): the true one is 0
    almost everywhere.

    Parameters
    ----------
    numbers : Grid or Cast
    """

    def __init__(self, numbers: Grid | Cast):
        super().__init__()
        self._cast = numbers if isinstance(numbers, Cast) else None
        if self._cast is None:
            self.register_buffer("scale", numbers.scale.clone())
            self.register_buffer("zero_point", numbers.zero_point.clone())
            self.ends, self.axis = numbers.ends, numbers.axis

    @property
    def numbers(self) -> Grid | Cast:
        """What values move to."""
        return self._cast or Grid(self.scale, self.zero_point, *self.ends, self.axis)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Move every value to the nearest number.

        Parameters
        ----------
        x : torch.Tensor

        Returns
        -------
        torch.Tensor
            Of the same shape; gradients pass as if nothing was rounded, within the range.
        """
        return _Rounded.apply(x, self.numbers)

    def extra_repr(self) -> str:
        return str(self.numbers)


class _Rounded(torch.autograd.Function):
    passes_relevance = True  # as if nothing was rounded

    @staticmethod
    def forward(context, x, numbers):
        if isinstance(numbers, Cast):
            return x.to(numbers.dtype).to(x.dtype)
        context.save_for_backward(numbers.saturated(x))
        return numbers(x)

    @staticmethod
    def backward(context, gradient):
        outside = context.saved_tensors
        return gradient.masked_fill(outside[0], 0) if outside else gradient, None


@carries
def simulate(model: nn.Module, seen: Mapping[str, Statistics], config: Config = Config()) -> nn.Module:  # noqa: B008
    """A copy of a model that computes with the numbers of its formats.

    Batch normalisation is folded first. Every convolution and linear layer then moves its weights, and what it reads,
    to the nearest numbers of their formats; biases stay in float32, as sums of 32 bits would hold them. A layer that
    did not run while it was calibrated stays in float, with a warning.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it stays as it is.
    seen : mapping of str to Statistics
        What :func:`calibrate` found, of this model or of the folded one.
    config : Config

    Returns
    -------
    nn.Module
        Of the same class, with layers of the same names.

    Raises
    ------
    ValueError
        If the model is in training mode or quantized already, a layer was not calibrated, its values are all zero, its
        statistics lack a histogram that its calibrator reads, or ``config.layers`` names a layer that does not exist.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.4, 0.2, -1.0], [0.0, 0.5, 0.5, 0.0]]))
    >>> images = torch.linspace(0, 1, 32).reshape(8, 1, 2, 2)
    >>> seen = xp.quantize.calibrate(model, images)
    >>> quantized = xp.quantize.simulate(model, seen, xp.quantize.Config(xp.quantize.Format(bits=3)))
    >>> (3 * quantized[1].weight[0]).round(decimals=3).tolist()  # of 1, 0.4, 0.2 and -1, in thirds
    [3.0, 1.0, 1.0, -3.0]
    """
    folded = float_copy(model)
    layers = quantized_layers(folded)
    if unknown := [name for name in config.layers if name not in layers]:
        raise ValueError(f"config.layers names {unknown[0]!r}, which is not among {', '.join(layers)}.")
    idle = [name for name in layers if isinstance(config.of(name).activations, Format) and _idle(seen, name)]
    if idle:
        warnings.warn(
            f"{', '.join(idle)} did not run as layers while they were calibrated, and stay in float: they take no part "
            "in evaluation, or a function reads their weights.",
            stacklevel=3,
        )
    run = {name: layer for name, layer in layers.items() if name not in idle}
    return _attach(
        folded,
        {name: weight_numbers(layer, config.of(name).weights, name) for name, layer in run.items()},
        {name: input_numbers(seen, config.of(name).activations, name) for name in run},
    )


@carries
def simulate_on_grids(
    model: nn.Module, weights: Mapping[str, Grid | Cast | None], inputs: Mapping[str, Grid | Cast | None]
) -> nn.Module:
    """A copy of a model whose layers compute on the numbers given, as :func:`simulate` chooses them.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it stays as it is. Batch normalisation is folded first.
    weights, inputs : mapping of str to Grid or Cast, optional
        Layer to the numbers that its weights move to, and what it reads; a layer that is not named, or None, stays as
        it is.

    Returns
    -------
    nn.Module
        Of the same class, with layers of the same names.

    Raises
    ------
    ValueError
        If the model is in training mode or quantized already, or a name is no layer.
    """
    folded = float_copy(model)
    layers = quantized_layers(folded)
    for argument, numbers in (("weights", weights), ("inputs", inputs)):
        if unknown := [name for name in numbers if name not in layers]:
            raise ValueError(f"{argument} names {unknown[0]!r}, which is not among {', '.join(layers)}.")
    return _attach(folded, weights, inputs)


def _idle(seen: Mapping[str, Statistics], name: str) -> bool:
    return name in seen and not seen[name].batches


def _attach(folded: nn.Module, weights: Mapping, inputs: Mapping) -> nn.Module:
    """Give the layers of a folded model, in place, what moves their weights and inputs."""
    for name, layer in quantized_layers(folded).items():
        if weights.get(name) is not None:
            parametrize.register_parametrization(layer, "weight", FakeQuantizer(weights[name]), unsafe=True)
        if inputs.get(name) is not None:
            layer.input_quantizer = FakeQuantizer(inputs[name])
            layer.register_forward_pre_hook(_quantize_input, with_kwargs=True)
    return folded.eval()


def _quantize_input(layer: nn.Module, given: tuple, keywords: dict) -> tuple:
    if given:
        return (layer.input_quantizer(given[0]), *given[1:]), keywords
    first = next(iter(keywords))
    return given, {**keywords, first: layer.input_quantizer(keywords[first])}


def weight_numbers(layer: nn.Module, form: Format | Cast | None, name: str) -> Grid | Cast | None:
    """The numbers that a layer's weights move to: a calibrated grid, or the format itself."""
    if not isinstance(form, Format):
        return form
    weight = layer.weight.detach()
    try:
        if not form.per_channel:
            return _calibrated(weight, form)
        axis = 1 if isinstance(layer, TRANSPOSED_CONVOLUTIONS) else 0
        if axis and layer.groups > 1:
            raise ValueError(
                "a transposed convolution in groups has no axis of its output channels; take per_channel=False."
            )
        rows = [_calibrated_range(row, form) if row.abs().max() > DEAD else (0.0, 1.0) for row in weight.unbind(axis)]
        low, high = (torch.tensor(bounds) for bounds in zip(*rows))
        return grid_of(low, high, bits=form.bits, scheme=form.scheme, axis=axis)
    except ValueError as error:
        raise ValueError(f"weights of layer {name!r}: {error}") from error


def input_numbers(seen: Mapping[str, Statistics], form: Format | Cast | None, name: str) -> Grid | Cast | None:
    """The numbers that a layer's inputs move to."""
    if not isinstance(form, Format):
        return form
    if name not in seen:
        raise ValueError(f"layer {name!r} was not calibrated: seen holds {', '.join(seen) or 'nothing'}.")
    if form.ranges.histogram and not seen[name].bins:
        raise ValueError(f"calibrator {form.ranges.name!r} reads a histogram; calibrate with bins > 0.")
    try:
        low, high = form.ranges.function(seen[name], form.bits, form.scheme)
        return grid_of(low, high, bits=form.bits, scheme=form.scheme)
    except ValueError as error:
        raise ValueError(f"what layer {name!r} reads: {error}") from error


def _calibrated_range(values: torch.Tensor, form: Format) -> tuple[float, float]:
    row = form.ranges
    seen = Statistics() if row.histogram else Statistics(bins=0)
    seen.update(values)
    return row.function(seen, form.bits, form.scheme)


def _calibrated(values: torch.Tensor, form: Format) -> Grid:
    return grid_of(*_calibrated_range(values, form), bits=form.bits, scheme=form.scheme)
