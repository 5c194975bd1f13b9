"""Distillation: a smaller model learns from what a teacher answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def soft_targets(teacher: nn.Module, temperature: float = 4.0, alpha: float = 0.9) -> Callable:
    """A loss for ``fit``: ``(1 - a) CE + a T^2 KL(teacher || student)`` (Hinton, Vinyals and Dean 2015, section 2).

    Parameters
    ----------
    teacher : nn.Module
        In evaluation mode; it sees the batch that the student sees, augmentation included.
    temperature : float
        T: both sets of logits are divided by it. T^2 keeps the size of the gradient, which falls with its square.
    alpha : float
        a in [0, 1]: 0 is cross-entropy alone.

    Returns
    -------
    callable
        ``(student, images, labels) -> scalar``.

    Raises
    ------
    ValueError
        If ``temperature`` is not positive, ``alpha`` is outside [0, 1], or the teacher is in training mode.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature:g}.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha:g}.")
    if teacher.training:
        raise ValueError("teacher is in training mode; call teacher.eval() first.")

    def loss(student: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        answers = student(images)
        with torch.no_grad():
            soft = nn.functional.log_softmax(teacher(images) / temperature, dim=1)
        cooled = nn.functional.log_softmax(answers / temperature, dim=1)
        distance = nn.functional.kl_div(cooled, soft, reduction="batchmean", log_target=True)
        return (1 - alpha) * nn.functional.cross_entropy(answers, labels) + alpha * temperature**2 * distance

    return loss
