"""torch's own way to integers: an exported graph, quantized by torchao and compiled by the Inductor for x86."""

# In stored tables: integer kernels of torch

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from ..deploy import lacks_compiler, lacks_packages, need
from ..graph.calls import batched, call, check_inputs, inputs_of, spread, tensors, to
from .calibrate import check_float, float_copy
from .formats import quantized_layers


def pt2e(model: nn.Module, images: object, example: object) -> Callable:
    """A function that runs a model with 8-bit weights and activations, compiled for one batch size.

    Ranges come from torchao's own observers (histograms for activations, extremes per channel for weights). Compiling
    takes about a minute for MobileNetV2 and needs a C++ compiler. Weights are *frozen* into the code as constants:
    unless they are, which is the Inductor's default, it puts no integer kernel in the place of a layer, and computes in
    float on numbers that were rounded before.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; it stays as it is.
    images : torch.Tensor, a tuple of tensors, Split, Dataset or DataLoader
        To calibrate on, as for :func:`calibrate`; as many of them are used as fill batches of the example's size.
    example : torch.Tensor or tuple of tensors
        A batch; the function takes no other size.

    Returns
    -------
    callable
        From inputs, one argument for each, to outputs.

    Raises
    ------
    ValueError
        If the model is in training mode or quantized, there are fewer images than one batch, or inputs come by name.
    UnavailableError
        If torchao is not installed, there is no C++ compiler, or the compiled code has no integer kernel.

    Warns
    -----
    UserWarning
        If it has fewer of them than the model has layers: the others run in float.
    """
    check_float(model)
    images = check_inputs(inputs_of(images), "images")
    if isinstance(example, Mapping) or isinstance(images, Mapping):
        raise ValueError("images and example must be a tensor or a tuple here, in the order of the model's arguments.")
    count, size = (len(tensors(some)[0]) for some in (images, example))
    if count < size:
        raise ValueError(f"images must fill a batch of {size}, the example's size, got {count}.")
    need("quantize.pt2e", lacks_packages("torchao") or lacks_compiler())
    graph = converted(model, images, example)
    run_graph, code = compiled(graph, example)
    count, layers = integer_kernels(code), len(quantized_layers(model))
    need("quantize.pt2e", "" if count else "the Inductor has no integer kernels for this processor or these layers")
    if count < layers:
        message = f"the compiled code has {count} integer kernels for {layers} layers; the others run in float."
        warnings.warn(message, stacklevel=2)

    def run(*batch: torch.Tensor) -> torch.Tensor:
        wanted, got = ([tuple(tensor.shape) for tensor in tensors(some)] for some in (example, batch))
        if wanted != got:
            told = (", ".join(map(str, shapes)) for shapes in (wanted, got))
            raise ValueError("batch must have the example's shape, {}, got {}.".format(*told))
        with torch.no_grad():
            return run_graph(*map(plain, batch))

    return run


def converted(model: nn.Module, images: object, example: object) -> nn.Module:
    """The exported graph that :func:`pt2e` compiles: layers in float between steps that round.

    Parameters
    ----------
    model, images, example
        As for :func:`pt2e`.

    Returns
    -------
    nn.Module
    """
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        folded = float_copy(model).cpu()
        graph = torch.export.export(folded, spread(folded, to(example, None))[0]).module()
        quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(graph, quantizer)
        size = len(tensors(example)[0])
        for batch in batched(to(images, None), size):
            if len(tensors(batch)[0]) == size:
                call(prepared, batch)
        return convert_pt2e(prepared)


def integer_kernels(code: str) -> int:
    """How many integer convolutions and products compiled code calls.

    Parameters
    ----------
    code : str
        That the Inductor wrote.

    Returns
    -------
    int
    """
    return len(re.findall(r"onednn\.q(?:conv|linear)\w*\.\w+\(", code))


def compiled(graph: nn.Module, example: object, freezing: bool = True) -> tuple[Callable, str]:
    """A graph, in float or converted, compiled for batches of one size.

    By the Inductor alone: what ``torch.compile`` makes was seen to run in float, although it had integer kernels, once
    another graph of the same layers was compiled.

    Parameters
    ----------
    graph : nn.Module
        Exported.
    example : torch.Tensor or tuple of tensors
        A batch.
    freezing : bool
        Whether its weights become constants of the code.

    Returns
    -------
    callable, str
        From images to outputs, under ``torch.no_grad``; and the code that the Inductor wrote.
    """
    from torch._inductor import config
    from torch._inductor.utils import run_and_get_code

    with _quiet(), config.patch(freezing=freezing):
        function, code = run_and_get_code(
            torch._inductor.compile, graph, [plain(tensor) for tensor in tensors(example)]
        )
    return function, "\n".join(code)


def plain(batch: torch.Tensor) -> torch.Tensor:
    """A batch with the strides of a new tensor: for others the graph would be compiled anew, and not frozen.

    Parameters
    ----------
    batch : torch.Tensor

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    return batch.flatten().view(batch.shape)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of torch and torchao to their own users, and no gradients."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
