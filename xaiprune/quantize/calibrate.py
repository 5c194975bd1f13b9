"""Calibration: a look at what layers read, before their numbers are made coarser."""

# In stored tables: calibration

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..core import arguments
from ..data import check_images, mark
from .formats import quantized_layers
from .statistics import _BINS, Statistics

#: At most so many values of a batch are counted: a calibration has several batches, and counting all of them would take
#: as long as the forward pass.
COUNTED = 2**16


@contextmanager
def calibrating(model: nn.Module, bins: int = _BINS) -> Iterator[dict[str, Statistics]]:
    """Inside the ``with``, every forward pass is added to the statistics of what layers read.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is left as it was.
    bins : int
        Of the histograms; 0 keeps none, which is enough for "min-max" and "moving-average".

    Yields
    ------
    dict of str to Statistics
        For the input of every convolution and linear layer.

    Raises
    ------
    ValueError
        If the model is in training mode, has no such layer, or is quantized already; on the way, if a layer reads NaN
        or infinite values (it is named); at the end, if no image came.
    """
    check_float(model)
    layers = quantized_layers(model)
    seen = {name: Statistics(bins, counted=COUNTED) for name in layers}
    handles = []
    try:
        for name, layer in layers.items():

            def watch(module, inputs, name=name):
                try:
                    seen[name].update(inputs[0])
                except ValueError as error:
                    raise ValueError(f"layer {name!r} cannot be calibrated: {error} in what it reads.") from error

            handles.append(layer.register_forward_pre_hook(watch))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    if not any(statistics.batches for statistics in seen.values()):
        raise ValueError("the calibration set is empty: no image went through the model.")


def calibrate(
    model: nn.Module, images: torch.Tensor, *, bins: int = _BINS, batch_size: int = 64
) -> dict[str, Statistics]:
    """Statistics of what layers read, over all images: one pass.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``, in the range that the model was trained on; a few hundred are enough.
    bins, batch_size : int

    Returns
    -------
    dict of str to Statistics
        As :func:`calibrating` gives them.

    Raises
    ------
    ValueError
        If the model is in training mode, or the images are not as :func:`xaiprune.data.check_images` wants them.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> seen = xp.quantize.calibrate(model, torch.linspace(0, 1, 32).reshape(8, 1, 2, 2))
    >>> list(seen), seen["1"].low, seen["1"].high
    (['1'], 0.0, 1.0)
    """
    check_images(images, bounds=None)
    with calibrating(model, bins) as seen, torch.no_grad():
        for batch in images.split(batch_size):
            model(batch)
    return mark(seen, data=images, what="ranges")


def check_float(model: nn.Module) -> None:
    """Raise if a model is in training mode, has no layer to quantize, or has been quantized."""
    arguments.evaluating(model)
    if not quantized_layers(model):
        raise ValueError(f"model ({type(model).__name__}) has no convolution and no linear layer to quantize.")
    for name, layer in quantized_layers(model).items():
        if hasattr(layer, "input_quantizer") or weight_quantizer(layer) is not None:
            raise ValueError(f"model is quantized already (layer {name!r} is): pass the float model.")
        if "weight" not in dict(layer.named_parameters(recurse=False)):
            raise ValueError(f"the weight of layer {name!r} is computed from other tensors: make it a parameter first.")
        if layer.weight.dtype != torch.float32:
            raise ValueError(f"layer {name!r} has weights in {layer.weight.dtype}: call model.float() first.")


def weight_quantizer(layer: nn.Module) -> nn.Module | None:
    """What moves a layer's weights to their grid; None for a layer in float."""
    found = getattr(layer, "parametrizations", {})
    return found["weight"][0] if "weight" in found and hasattr(found["weight"][0], "numbers") else None
