"""Training with the statistics of batch normalisation as they are stored."""

# In stored tables: stored statistics

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from ...graph import hooks
from .recalibrate import running_norms


@contextmanager
def stored_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the ``with``, batch normalisations use their stored statistics in training as well, and keep them.

    In training they take mean and variance from the batch. That suits a batch that is like the data of the first
    training. Where recovery has other pictures, such as a few hundred cut-outs in place of a million photographs, the
    stored statistics are the better ones.

    Parameters
    ----------
    model : nn.Module
        Its other modes are not touched; scales and shifts of the normalisations are learned as before.

    Yields
    ------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        If the model has no batch normalisation with running statistics.

    Examples
    --------
    >>> model = nn.Sequential(nn.BatchNorm1d(1)).train()
    >>> with xp.prune.stored_statistics(model):
    ...     model(torch.tensor([[1.0], [3.0]])).flatten().round(decimals=3).tolist()
    [1.0, 3.0]
    >>> model[0].running_mean.item(), model[0].training
    (0.0, True)
    """
    if not (norms := running_norms(model)):
        raise ValueError("model has no batch normalisation with running statistics.")
    modes = [norm.training for norm in norms]
    names = {module: name for name, module in model.named_modules()}
    try:
        with hooks.changing(model, takes={names[norm]: partial(_stored, norm) for norm in norms}):
            yield model
    finally:
        for norm, mode in zip(norms, modes):
            norm.training = mode


def _stored(norm: nn.Module, given: torch.Tensor) -> torch.Tensor:
    norm.training = False
    return given
