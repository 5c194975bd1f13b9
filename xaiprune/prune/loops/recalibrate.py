"""Recovery without labels: statistics of batch normalisation, measured anew."""

# In stored tables: recovery

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ...core import nonempty
from ...data import Split, as_split
from ...graph import BATCH_NORMS


def running_norms(model: nn.Module) -> list[nn.Module]:
    """The batch normalisations that store running statistics: what :func:`recalibrate` measures anew.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    list of nn.Module
        In the model's order.
    """
    return [module for module in model.modules() if isinstance(module, BATCH_NORMS) and module.track_running_stats]


def recalibrate(model: nn.Module, inputs: torch.Tensor | Split, batch_size: int = 200) -> nn.Module:
    """Measure the statistics of every batch normalisation anew, in place, without labels.

    After a cut the activations have other means and variances than those stored. Running statistics become plain means
    over batches of equal size, to one image; weights stay as they are. If a batch fails, the old statistics come back.

    Parameters
    ----------
    model : nn.Module
    inputs : torch.Tensor, Split, or data of another form
        Of training or calibration, shape ``(N, ...)``; a thousand are enough. Targets are not used.
    batch_size : int
        At most.

    Returns
    -------
    nn.Module
        ``model`` itself, with its modes as before.

    Raises
    ------
    ValueError
        If the model has no batch normalisation with running statistics, or there is no image.

    Examples
    --------
    >>> model = nn.Sequential(nn.BatchNorm1d(1)).eval()
    >>> xp.prune.recalibrate(model, torch.tensor([[1.0], [3.0]]))[0].running_mean
    tensor([2.])
    """
    norms = running_norms(model)
    if not norms:
        raise ValueError("model has no batch normalisation with running statistics: nothing can be re-calibrated.")
    inputs = nonempty(as_split(inputs, on=model, name="inputs"), "inputs").inputs
    with _accumulating(model, norms), torch.no_grad():
        for batch in inputs.tensor_split(math.ceil(len(inputs) / batch_size)):
            model(batch)
    return model


@contextmanager
def _accumulating(model: nn.Module, norms: list[nn.Module]) -> Iterator[None]:
    """Batch normalisations alone in training mode, with fresh statistics that become means over batches."""
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    except BaseException:
        for norm, buffers in zip(norms, before):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        raise
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
