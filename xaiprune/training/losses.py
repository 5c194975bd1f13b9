"""What a training makes small: ``(model, inputs, targets) -> scalar tensor``."""

# In stored tables: training

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn


def reconstruction_loss(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error between a model's output and its input; targets are not used.

    Parameters
    ----------
    model : nn.Module
        An autoencoder.
    inputs : torch.Tensor
        Shape ``(N, ...)``.
    targets : torch.Tensor, optional

    Returns
    -------
    torch.Tensor
        A scalar.

    Examples
    --------
    >>> xp.training.reconstruction_loss(nn.Identity(), torch.rand(2, 3)).item()
    0.0
    """
    return nn.functional.mse_loss(model(inputs), inputs)


def classification_loss(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a classifier's logits against labels.

    Parameters
    ----------
    model : nn.Module
        Inputs (N, ...) to logits (N, classes).
    inputs : torch.Tensor
        Shape ``(N, ...)``.
    targets : torch.Tensor
        Labels (N,), int64.

    Returns
    -------
    torch.Tensor
        A scalar.

    Examples
    --------
    >>> xp.training.classification_loss(nn.Identity(), torch.zeros(2, 4), torch.tensor([0, 3])).item()  # log 4
    1.3862943649291992
    """
    return nn.functional.cross_entropy(model(inputs), targets)


def scoring_loss(loss: Callable | Sequence[Callable]) -> Callable:
    """The loss that units are scored by, where a model is trained with this one.

    It is the same, but for a loss that names another one as its ``scored_by``: a student that begins as a copy of its
    teacher has no gradient towards it, so that what a teacher teaches says nothing about single units. Of several
    losses it is that of the first.

    Parameters
    ----------
    loss : callable or sequence of callable

    Returns
    -------
    callable
        ``(model, inputs, targets) -> scalar``.
    """
    first = loss if callable(loss) else loss[0]
    return getattr(first, "scored_by", first)
