"""torch's own way to integers: an exported graph, quantized by torchao and compiled by the Inductor for x86."""

# In stored tables: integer kernels of torch

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import torch
from torch import nn

from ..data import check_images
from ..deploy import lacks_compiler, lacks_packages, need
from ..graph import fold_batch_norm
from .calibrate import check_float


def pt2e(model: nn.Module, images: torch.Tensor, example: torch.Tensor) -> Callable:
    """A function that runs a model with 8-bit weights and activations, compiled for one batch size.

    Ranges come from torchao's own observers (histograms for activations, extremes per channel for weights). Compiling
    takes about a minute for MobileNetV2 and needs a C++ compiler.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; it stays as it is.
    images : torch.Tensor
        To calibrate on, shape ``(N, C, H, W)``; as many of them are used as fill batches of the example's size.
    example : torch.Tensor
        A batch; the function takes no other size.

    Returns
    -------
    callable
        From images to outputs.

    Raises
    ------
    ValueError
        If the model is in training mode or quantized, or there are fewer images than one batch.
    UnavailableError
        If torchao is not installed, or there is no C++ compiler.
    """
    check_float(model)
    check_images(images, bounds=None)
    if len(images) < len(example):
        raise ValueError(f"images must fill a batch of {len(example)}, the example's size, got {len(images)}.")
    need("quantize.pt2e", lacks_packages("torchao") or lacks_compiler())
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        graph = torch.export.export(fold_batch_norm(model), (example,)).module()
        quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(graph, quantizer)
        for batch in images.split(len(example)):
            if len(batch) == len(example):
                prepared(batch)
        compiled = torch.compile(convert_pt2e(prepared), dynamic=False)
        compiled(example)

    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return compiled(batch)

    return run
