"""Training on several devices or machines, through Lightning Fabric; the loop stays ``training.fit``."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from ..graph import BATCH_NORMS


def distributed_loss(
    fabric, model: nn.Module, loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
) -> Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]:
    """A loss for ``fit`` of which every process computes its part of the batch.

    All processes run the same ``fit`` on the same images with the same seed, so that they draw the same batches. Each
    computes the loss of its share; Fabric averages the gradients, and the value that is given back is the mean over
    all. So the training is that of one process with the same batches, but for rounding and for dropout, which every
    process draws for its own share (and alike, from the same seed)::

        fabric = lightning_fabric.Fabric(devices=2, num_nodes=4)
        fabric.launch()
        fit(model, train, distributed_loss(fabric, model, classification_loss), epochs=3, lr=1e-3, batch_size=512)

    Parameters
    ----------
    fabric : lightning_fabric.Fabric
        Launched.
    model : nn.Module
        Is moved to the process's device; the model that ``fit`` trains. A loss sees the model that Fabric has wrapped,
        and may only call it.
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.

    Returns
    -------
    callable
        The same, for whole batches.

    Raises
    ------
    ValueError
        When it is called: if the batch cannot be shared out evenly.

    Warns
    -----
    UserWarning
        If the model has batch normalisation: its statistics are then those of one process's share.
    """
    if fabric.world_size > 1 and any(isinstance(module, BATCH_NORMS) for module in model.modules()):
        warnings.warn("batch normalisation counts each process's share of a batch by itself.", stacklevel=2)
    wrapped = fabric.setup_module(model)

    def value(_, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(inputs) % fabric.world_size:
            raise ValueError(f"batch_size must be a multiple of {fabric.world_size} processes, got {len(inputs)}.")
        mine = slice(fabric.global_rank, None, fabric.world_size)
        own = loss(wrapped, *(fabric.to_device(tensor[mine]) for tensor in (inputs, targets)))
        return own + (fabric.all_reduce(own.detach(), reduce_op="mean") - own.detach())

    return value
