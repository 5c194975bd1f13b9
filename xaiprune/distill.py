"""Distillation: a smaller model learns from what a teacher answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from .train import classification_loss


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
    _check_teacher(teacher)

    def loss(student: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        answers = student(images)
        with torch.no_grad():
            soft = nn.functional.log_softmax(teacher(images) / temperature, dim=1)
        cooled = nn.functional.log_softmax(answers / temperature, dim=1)
        distance = nn.functional.kl_div(cooled, soft, reduction="batchmean", log_target=True)
        return (1 - alpha) * nn.functional.cross_entropy(answers, labels) + alpha * temperature**2 * distance

    return loss


def attention_transfer(
    teacher: nn.Module, layers: Sequence[str], weight: float = 10.0, loss: Callable = classification_loss
) -> Callable:
    """A loss for ``fit`` that asks a student to be active where its teacher is.

    After Zagoruyko and Komodakis 2017 (arXiv 1612.03928): a layer's map is the sum over channels of its squared
    activations, scaled to length one; ``weight`` times the squared distance of the maps, summed over layers and
    averaged over images, is added to another loss. Maps have no channels, so that the student may have fewer.

    Parameters
    ----------
    teacher : nn.Module
        In evaluation mode; it sees the batch that the student sees.
    layers : sequence of str
        Names of modules with outputs (N, C, H, W), in both models, of the same H and W.
    weight : float
        0 is the other loss alone.
    loss : callable
        ``(student, images, labels) -> scalar``, what is added to.

    Returns
    -------
    callable
        ``(student, images, labels) -> scalar``.

    Raises
    ------
    ValueError
        If ``weight`` is negative, ``layers`` is empty or names a module that the teacher lacks, or the teacher is in
        training mode.
    """
    if not weight >= 0:
        raise ValueError(f"weight must be at least 0, got {weight:g}.")
    known = dict(teacher.named_modules())
    if not layers or any(name not in known for name in layers):
        unknown = [name for name in layers if name not in known]
        raise ValueError(f"layers must name modules of the teacher, got {unknown or 'none'}.")
    _check_teacher(teacher)

    def total(student: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), _maps(teacher, layers) as wanted:
            teacher(images)
        with _maps(student, layers) as found:
            value = loss(student, images, labels)
        return value + weight * sum((found[name] - wanted[name]).square().sum(1).mean() for name in layers)

    return total


def _check_teacher(teacher: nn.Module) -> None:
    if teacher.training:
        raise ValueError("teacher is in training mode; call teacher.eval() first.")


@contextmanager
def _maps(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the attention maps (N, H W) of layers while the model runs."""
    found: dict[str, torch.Tensor] = {}

    def hook(name: str, output: torch.Tensor) -> None:
        found[name] = nn.functional.normalize(output.square().sum(1).flatten(1), dim=1)

    with ExitStack() as stack:
        for name in layers:
            handle = model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: hook(name, o))
            stack.callback(handle.remove)
        yield found
