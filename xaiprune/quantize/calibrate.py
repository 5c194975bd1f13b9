"""Calibration: a look at what layers read, before their numbers are made coarser."""

# In stored tables: calibration

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..core import arguments
from ..data import Choice, Split, mark
from ..graph.calls import batched, check_inputs, inputs_of, run
from ..graph.folding import folded_in_place, plain_weights
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
        In evaluation mode; it is left as it was. Of a model in ``DataParallel`` or ``torch.compile`` the layers inside
        are watched, under the names that they have there.
    bins : int
        Of the histograms; 0 keeps none, which is enough for "min-max" and "moving-average".

    Yields
    ------
    dict of str to Statistics
        For the input of every convolution and linear layer; of one that runs several times, over all its runs.

    Raises
    ------
    ValueError
        If the model is in training mode, has no such layer, or is quantized already; on the way, if a layer reads NaN
        or infinite values (it is named); at the end, if no image came.
    """
    check_float(model)
    layers = quantized_layers(model)
    seen = {name: Statistics(bins, counted=COUNTED) for name in layers}

    def watch(name: str) -> Callable:
        def see(module, given, keywords):
            try:
                seen[name].update(*given[:1] or [*keywords.values()][:1])
            except ValueError as error:
                raise ValueError(f"layer {name!r} cannot be calibrated: {error} in what it reads.") from error

        return see

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(watch(name), with_kwargs=True).remove)
        yield seen
    if not any(statistics.batches for statistics in seen.values()):
        raise ValueError(
            "the calibration set is empty: no image went through the model. (A compiled model passes hooks by: run the "
            "one inside, model._orig_mod.)"
        )


def calibrate(model: nn.Module, images: object, *, bins: int = _BINS, batch_size: int = 64) -> dict[str, Statistics]:
    """Statistics of what layers read, over all images (or tables, sequences, tokens): one pass.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        What the model takes, ``(N, ...)``, in the range that it was trained on; a few hundred are enough. Several
        inputs come as a tuple, in order, or as a dictionary by the names of ``forward``. They go to the model's device.
        For any other way to run it there is :func:`calibrating`.
    bins, batch_size : int

    Returns
    -------
    dict of str to Statistics
        As :func:`calibrating` gives them.

    Raises
    ------
    ValueError
        If the model is in training mode, or the images are empty, not finite, or nothing that the model takes.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> seen = xp.quantize.calibrate(model, torch.linspace(0, 1, 32).reshape(8, 1, 2, 2))
    >>> list(seen), seen["1"].low, seen["1"].high
    (['1'], 0.0, 1.0)
    """
    inputs = check_inputs(inputs_of(images), "images")
    with calibrating(model, bins) as seen, torch.no_grad():
        for batch in batched(inputs, batch_size):
            run(model, batch, "images")
    return told_of(seen, images, "ranges")


def told_of(result: object, data: object, what: str, *things: object) -> object:
    """A result that carries by which data it was chosen: of several inputs that are no split, only that it was."""
    if isinstance(data, torch.Tensor | Split | DataLoader | Dataset):
        return mark(result, *things, data=data, what=what)
    return mark(result, *things, Choice(unknown=(what,)))


def float_copy(model: nn.Module) -> nn.Module:
    """A float model's copy to quantize or to change: its weights are parameters, its batch normalisations folded."""
    check_float(model)
    return folded_in_place(plain_weights(model))


def check_float(model: nn.Module) -> None:
    """Raise if a model is in training mode, has no layer to quantize, or has been quantized."""
    arguments.evaluating(model)
    if not quantized_layers(model):
        raise ValueError(f"model ({type(model).__name__}) has no convolution and no linear layer to quantize.")
    for name, layer in quantized_layers(model).items():
        if hasattr(layer, "input_quantizer") or weight_quantizer(layer) is not None:
            raise ValueError(f"model is quantized already (layer {name!r} is): pass the float model.")
        if layer.weight.dtype != torch.float32:
            raise ValueError(f"layer {name!r} has weights in {layer.weight.dtype}: call model.float() first.")


def weight_quantizer(layer: nn.Module) -> nn.Module | None:
    """What moves a layer's weights to their grid; None for a layer in float."""
    found = getattr(layer, "parametrizations", {})
    return found["weight"][0] if "weight" in found and hasattr(found["weight"][0], "numbers") else None
