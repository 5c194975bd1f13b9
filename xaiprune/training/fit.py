"""Training a model on data with a loss."""

# In stored tables: training

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..data import Split
from ..graph import asks
from .loop import by_loss, iterate
from .losses import TASK_LOSSES
from .options import TrainOptions


@asks("model", changes=True)
def fit(
    model: nn.Module,
    train: Split,
    loss: str | Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor],
    options: TrainOptions | None = None,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    output: str | int | Callable | None = None,
    **changes,
) -> list[dict]:
    """Train a model in place.

    Parameters
    ----------
    model : nn.Module
        Trained in place; it ends in evaluation mode. If the call is interrupted and has ``resume``, the model goes back
        to the state that was saved last.
    train : Split, pair of tensors, Dataset, DataLoader or iterable of batches
        Inputs (N, ...) and targets (N, ...); several inputs as ``data.batches`` takes them. Each epoch draws its own
        permutation from ``seed`` and its number, so that a resumed run sees the batches of an uninterrupted one.
    loss : callable or str
        ``(model, inputs, targets) -> scalar tensor``, or a key of ``TASK_LOSSES``. A loss that changes on the way has a
        method ``at(moment)``, which is called with a :class:`Moment` before each batch.
    options : TrainOptions, optional
    validate : callable, optional
        ``model -> float`` after each epoch, kept in the history.
    output : str, int or callable, optional
        As for ``measure.predict``: what ``model(inputs)`` is in the loss, of a model that gives more than a tensor.
    **changes
        Options by name: ``epochs``, ``lr``, ``batch_size``, ``seed`` ...; see :class:`TrainOptions`.

    Returns
    -------
    list of dict
        One row per epoch: ``epoch``, ``loss``, ``seconds`` and, with ``validate``, ``validation``.

    Raises
    ------
    ValueError
        If ``train`` holds less than one batch, an option is out of its range, the loss is not finite (the epoch is
        named), or ``resume`` holds the state of a call with another argument (it is named).
    TypeError
        If an option is unknown, or ``epochs`` is missing.

    Examples
    --------
    >>> points = torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8)
    >>> loss = xp.training.classification_loss
    >>> rows = xp.training.fit(nn.Linear(4, 4), points, loss, epochs=2, batch_size=8, progress=False)
    >>> [row["epoch"] for row in rows]
    [0, 1]
    """
    options = TrainOptions.of(options, changes)
    source, loss = options.batches(train), TASK_LOSSES.find(loss, "loss")
    identity = {"train": source, "loss": loss, "validate": validate} | ({} if output is None else {"output": output})
    return iterate(model, source, by_loss(model, loss), options, identity=identity, validate=validate)
