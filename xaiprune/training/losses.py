"""What a training makes small: ``(model, inputs, targets) -> scalar tensor``."""

# In stored tables: training

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..core import Registry
from ..graph import answer
from ..measure import answer_rows, as_numbers, cross_entropy


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
    found = answer(model, inputs)
    if not isinstance(inputs, torch.Tensor) or found.shape != inputs.shape:
        came = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else "several inputs"
        raise ValueError(f"the model must reproduce its input: {came} became {tuple(found.shape)}.")
    return nn.functional.mse_loss(found, inputs)


def classification_loss(
    model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *, class_axis: int | None = None
) -> torch.Tensor:
    """Mean cross-entropy of a classifier's logits against labels; of maps and sequences over all places and steps.

    Parameters
    ----------
    model : nn.Module
        Inputs (N, ...) to logits (N, classes), or to another shape that ``measure.answer_rows`` knows: one logit for
        two classes, maps, sequences.
    inputs : torch.Tensor
        Shape ``(N, ...)``; or several, as ``data.Several``.
    targets : torch.Tensor
        Labels (N,), int64, or one for each place; those of -100 do not count.
    class_axis : int, optional
        As for ``measure.answer_rows``; ``functools.partial(classification_loss, class_axis=1)`` is a loss.

    Returns
    -------
    torch.Tensor
        A scalar.

    Raises
    ------
    TypeError, ValueError
        If labels are missing or cannot be meant, or the model's output is no tensor.

    Examples
    --------
    >>> xp.training.classification_loss(nn.Identity(), torch.zeros(2, 4), torch.tensor([0, 3])).item()  # log 4
    1.3862943649291992
    """
    return cross_entropy(answer_rows(answer(model, inputs), targets, class_axis=class_axis))


def regression_loss(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error between a model's outputs and the numbers that are wanted.

    Parameters
    ----------
    model : nn.Module
    inputs : torch.Tensor
        Shape ``(N, ...)``; or several, as ``data.Several``.
    targets : torch.Tensor
        In the shape of the outputs; of one number each, (N,) and (N, 1) are the same.

    Returns
    -------
    torch.Tensor
        A scalar.

    Raises
    ------
    ValueError
        If targets are missing or of another shape.

    Examples
    --------
    >>> xp.training.regression_loss(nn.Identity(), torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])).item()
    2.0
    """
    return nn.functional.mse_loss(*as_numbers(answer(model, inputs), targets))


#: What a model can be trained for, by name; any function ``(model, inputs, targets) -> scalar`` goes where a name goes.
TASK_LOSSES: Registry[Callable] = Registry(
    "a loss",
    callable,
    [("classification", classification_loss), ("reconstruction", reconstruction_loss), ("regression", regression_loss)],
)


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
