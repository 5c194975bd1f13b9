"""What quantization does, layer by layer: error, saturation, sensitivity."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from tqdm.auto import tqdm

from ..data import Split, as_split, mark
from ..measure import ACCURACY, Metric, predict
from .calibrate import float_copy
from .formats import Config, quantized_layers
from .grid import Grid
from .simulate import FakeQuantizer, simulate
from .statistics import Statistics
from .walk import layerwise


def sqnr(signal: torch.Tensor, quantized: torch.Tensor) -> float:
    """Signal-to-quantization-noise ratio in decibels: ``10 log10(sum s^2 / sum (s - q)^2)``; infinite without noise.

    Parameters
    ----------
    signal, quantized : torch.Tensor
        Of one shape.

    Returns
    -------
    float
        In dB.

    Examples
    --------
    >>> round(xp.quantize.sqnr(torch.tensor([1.0, 1.0]), torch.tensor([1.1, 0.9])), 2)  # noise is 1 % of the signal
    20.0
    """
    signal = signal.detach().double()
    noise = (signal - quantized.detach().double()).square().sum()
    return float(10 * torch.log10(signal.square().sum() / noise)) if noise else math.inf


def rounding_and_clipping(seen: Statistics, grid: Grid) -> tuple[float, float]:
    """Mean squared error of the values inside of a grid's range, and of those outside, each bin taken at its middle.

    Both are shares of the same mean, so that their sum is the whole error.

    Parameters
    ----------
    seen : Statistics
        With a histogram.
    grid : Grid
        With one scale.

    Returns
    -------
    tuple of float
        Inside (rounding) and outside (clipping), in the square of the values' unit.

    Raises
    ------
    ValueError
        If there is no histogram.
    """
    middles, (low, high) = seen.middles, grid.range
    outside = (middles < low) | (middles > high)
    errors = seen.shares() * (grid(middles) - middles).double().square()
    return errors[~outside].sum().item(), errors[outside].sum().item()


def layer_errors(model: nn.Module, quantized: nn.Module, inputs: object) -> list[dict]:
    """Error of every layer of a quantized model, with all layers before it quantized too.

    Parameters
    ----------
    model : nn.Module
        The float model.
    quantized : nn.Module
        From :func:`simulate`.
    inputs : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        As for :func:`calibrate`.

    Returns
    -------
    list of dict
        In order of execution: ``layer``; ``weights``, ``inputs`` and ``output``, SQNR in dB of the weights, of the step
        that the inputs take on their way in, and of what the layer gives against the float model; ``saturated``, the
        share of inputs outside of their grid.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.4, 0.2, -1.0], [0.0, 0.5, 0.5, 0.0]]))
    >>> images = torch.linspace(0, 1, 32).reshape(8, 1, 2, 2)
    >>> seen = xp.quantize.calibrate(model, images)
    >>> quantized = xp.quantize.simulate(model, seen, xp.quantize.Config(xp.quantize.Format(bits=3)))
    >>> [row] = xp.quantize.layer_errors(model, quantized, images)
    >>> {name: value if name == "layer" else round(value, 1) for name, value in row.items()}  # weights have 3 bits
    {'layer': '1', 'weights': 15.4, 'inputs': 54.4, 'output': 10.1, 'saturated': 0.0}
    """
    weights = {name: layer.weight for name, layer in quantized_layers(float_copy(model)).items()}
    rows = []
    for step in layerwise(model, quantized, inputs):
        quantizer = getattr(step.layer, "input_quantizer", None)
        row = {"layer": step.name, "weights": sqnr(weights[step.name], step.layer.weight)}
        row["inputs"] = sqnr(step.read, quantizer(step.read)) if quantizer else float("inf")
        row["output"] = sqnr(step.wanted, step.given())
        rows.append(row | {"saturated": _saturated(quantizer, step.read)})
    return rows


def _saturated(quantizer: FakeQuantizer | None, values: torch.Tensor) -> float:
    if quantizer is None or not isinstance(quantizer.numbers, Grid):
        return 0.0
    return quantizer.numbers.saturated(values).double().mean().item()


def sensitivity(
    model: nn.Module,
    seen: Mapping[str, Statistics],
    split: Split,
    config: Config = Config(),  # noqa: B008
    *,
    metric: Metric = ACCURACY,
    progress: bool = True,
) -> list[dict]:
    """What a model loses if one layer alone is quantized.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    seen : mapping of str to Statistics
        From :func:`calibrate`.
    split : Split, or data of another form
        Not the test split.
    config : Config
    metric : Metric
    progress : bool

    Returns
    -------
    list of dict
        ``layer``, ``metric`` with that layer quantized, and ``sqnr`` of the outputs in dB.

    Raises
    ------
    ValueError
        As for :func:`simulate`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.4, 0.2, -1.0], [0.0, 0.5, 0.5, 0.0]]))
    >>> images = torch.linspace(0, 1, 32).reshape(8, 1, 2, 2)
    >>> seen = xp.quantize.calibrate(model, images)
    >>> split = xp.data.Split(images, model(images).argmax(1))
    >>> [row] = xp.quantize.sensitivity(model, seen, split, progress=False)
    >>> row["layer"], row["metric"], row["sqnr"] > 30  # with 8 bits: per cent right, and dB
    ('1', 100.0, True)
    """
    split = as_split(split, name="split")
    before, rows = predict(model, split.inputs), []
    for name in tqdm(quantized_layers(model), disable=not progress, desc="layers"):
        alone = simulate(model, seen, Config(None, None, {name: config.of(name)}))
        outputs = predict(alone, split.inputs)
        rows.append({"layer": name, "metric": metric(alone, split, in_sample=True), "sqnr": sqnr(before, outputs)})
    return mark(rows, seen, data=split, what="sensitivity")
