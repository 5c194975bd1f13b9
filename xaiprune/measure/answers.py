"""What outputs say beside labels: rows of logits, one for everything that is classified.

Losses and metrics of classes read an output of any form through :func:`answer_rows`, so that an image, a pixel of a map
and a token of a sequence are treated alike, and one logit is two.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

#: A label that does not count, as of padding: torch's own.
IGNORED = -100


class Rows(NamedTuple):
    """Answers, one in a row, with their labels.

    Attributes
    ----------
    logits : torch.Tensor
        Shape ``(M, classes)``.
    labels : torch.Tensor, optional
        Shape ``(M,)``, int64.
    """

    logits: torch.Tensor
    labels: torch.Tensor | None


def answer_rows(
    outputs: torch.Tensor, labels: torch.Tensor | None = None, *, class_axis: int | None = None, name: str = "targets"
) -> Rows:
    """Outputs as rows of logits, with their labels.

    ========================  ================  ==========================================================
    outputs                   labels            rows
    ========================  ================  ==========================================================
    ``(N, C)``                ``(N,)``          as they are
    ``(N,)`` or ``(N, 1)``    ``(N,)``, 0 or 1  one logit z is the two ``[0, z]``: their softmax is sigmoid
    ``(N, C, H, W)``, more    ``(N, H, W)``     one for every place; classes on axis 1
    ``(N, T, C)``             ``(N, T)``        one for every step; classes on the last axis
    ``(N, C, T)``             ``(N, T)``        where ``class_axis=1`` says so, or the labels do
    ========================  ================  ==========================================================

    Parameters
    ----------
    outputs : torch.Tensor
    labels : torch.Tensor, optional
        Class numbers; those of -100 do not count, as in torch.
    class_axis : int, optional
        The axis of the classes, if it is another one than the table says.
    name : str
        What the labels are called, for messages.

    Returns
    -------
    Rows

    Raises
    ------
    ValueError
        If the labels cannot be meant: what came, and what is allowed.
    TypeError
        If they are no whole numbers.

    Examples
    --------
    >>> rows = xp.measure.answer_rows(torch.zeros(2, 5, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
    >>> rows.logits.shape, rows.labels.shape
    (torch.Size([32, 5]), torch.Size([32]))
    >>> xp.measure.answer_rows(torch.tensor([0.5, -1.0])).logits.tolist()
    [[0.0, 0.5], [0.0, -1.0]]
    """
    shape = tuple(outputs.shape)
    if not shape:
        raise ValueError(
            "model's output is one number, without a batch axis: outputs of classes have shape (N, classes)."
        )
    if len(shape) == 1:
        outputs = outputs[:, None]
    axis = _class_axis(outputs, labels, class_axis)
    classes = outputs.shape[axis]
    places = tuple(size for place, size in enumerate(outputs.shape) if place != axis)
    if labels is not None:
        labels = _checked(labels, shape, places, classes, name)
    if outputs.ndim > 2:
        outputs = outputs.movedim(axis, -1).reshape(-1, classes)
    if labels is not None:
        labels = labels.to(outputs.device).reshape(-1)
    if classes == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    return Rows(outputs, labels)


def cross_entropy(rows: Rows, name: str = "targets") -> torch.Tensor:
    """Mean cross-entropy of rows, one weight for each that counts.

    Parameters
    ----------
    rows : Rows
        With labels.
    name : str
        What the labels are called, for messages.

    Returns
    -------
    torch.Tensor
        A scalar.

    Raises
    ------
    ValueError
        If labels are missing.
    """
    if rows.labels is None:
        raise ValueError(f"{name} are missing: a class is needed for each answer.")
    return F.cross_entropy(rows.logits, rows.labels, ignore_index=IGNORED)


def _class_axis(outputs: torch.Tensor, labels: torch.Tensor | None, stated: int | None) -> int:
    """The axis of the classes: as stated, as the labels say, or as the number of axes has it."""
    axes, shape = outputs.ndim, tuple(outputs.shape)
    if stated is not None:
        if isinstance(stated, bool) or not isinstance(stated, int) or stated % axes == 0 or not -axes <= stated < axes:
            raise ValueError(
                f"class_axis must be an axis of outputs {shape} behind that of the batch, 1 to {axes - 1} or -1, got "
                f"{stated!r}."
            )
        return stated % axes
    if axes != 3:
        return 1
    if labels is None or tuple(labels.shape) != (shape[0], shape[2]):
        return 2
    if shape[1] == shape[2]:
        raise ValueError(
            f"class_axis must be said for outputs of shape {shape}, where it can be 1 or 2: "
            "functools.partial(xp.training.classification_loss, class_axis=1)."
        )
    return 1


def _checked(
    labels: torch.Tensor, shape: tuple[int, ...], places: tuple[int, ...], classes: int, name: str
) -> torch.Tensor:
    """Labels as int64, if they can be meant."""
    if not isinstance(labels, torch.Tensor):
        raise TypeError(f"{name} must be a tensor of classes, got {type(labels).__name__}.")
    came = f"got {name} of shape {tuple(labels.shape)} and type {str(labels.dtype).removeprefix('torch.')}"
    one = classes == 1
    fits = labels.shape == places or (one and tuple(labels.shape) == (*places, 1))
    if not fits:
        hints = {
            (*places, 1): f"; take {name}.squeeze(-1)",
            (*places, classes): f"; take {name}.argmax(-1) if they are one-hot",
        }
        if len(shape) == 3:
            hints[(shape[0], shape[2])] = "; or say class_axis=1"
        hint = hints.get(tuple(labels.shape), "")
        what = "0 or 1 for one logit" if one else f"a class, from 0 to {classes - 1}"
        raise ValueError(
            f"{name} cannot be meant: for outputs of shape {shape} they must have shape {places}, {what} each, {came}"
            f"{hint}."
        )
    whole = not (labels.is_floating_point() or labels.is_complex())
    if not whole and not (one and (_inside_vmap(labels) or bool(((labels == 0) | (labels == 1)).all()))):
        raise TypeError(
            f"{name} must be classes as whole numbers, {came}; for numbers that are to be predicted take the loss "
            "training.regression_loss and the metric measure.MSE."
        )
    labels = labels.long()
    if labels.numel() and not _inside_vmap(labels):
        counted = labels[labels != IGNORED] if (labels == IGNORED).any() else labels
        low, high = (bound.item() for bound in counted.aminmax()) if len(counted) else (0, 0)
        if low < 0 or high > max(classes - 1, 1):
            raise ValueError(
                f"{name} must be classes from 0 to {max(classes - 1, 1)}, as many as the model has, got "
                f"{low if low < 0 else high}; mark what does not count by {IGNORED}."
            )
    return labels


def _inside_vmap(tensor: torch.Tensor) -> bool:
    """Whether its values cannot be looked at."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def as_numbers(
    outputs: torch.Tensor, wanted: torch.Tensor | None, name: str = "targets"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and wanted numbers in one shape, for regression.

    Parameters
    ----------
    outputs, wanted : torch.Tensor
        Of one shape; of one number each, ``(N,)`` and ``(N, 1)`` are the same.
    name : str
        What the wanted numbers are called, for messages.

    Returns
    -------
    outputs, wanted : torch.Tensor
        Of one shape and type.

    Raises
    ------
    ValueError
        If they are missing or of different shapes: they are not broadcast.

    Examples
    --------
    >>> [each.shape for each in xp.measure.as_numbers(torch.zeros(3, 1), torch.zeros(3))]
    [torch.Size([3]), torch.Size([3])]
    """
    if not isinstance(wanted, torch.Tensor):
        raise ValueError(f"{name} are missing: regression needs the number that is wanted for each input.")
    shapes = tuple(outputs.shape), tuple(wanted.shape)
    if sorted(shapes, key=len) == [shapes[0][:1], (*shapes[0][:1], 1)]:
        outputs, wanted = outputs.reshape(-1), wanted.reshape(-1)
    elif shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} must have the shape of the outputs, {shapes[0]}, got {shapes[1]}: a number for each output."
        )
    return outputs, wanted.to(outputs)
