"""Captum's attributions, some images at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tqdm.auto import tqdm

from .target import _check_request, explained_output


def _summed(values: torch.Tensor) -> torch.Tensor:
    """Channels added up: (N, C, H, W) to (N, H, W)."""
    return values.sum(1)


def _largest(values: torch.Tensor) -> torch.Tensor:
    """The size of the largest channel: (N, C, H, W) to (N, H, W)."""
    return values.abs().amax(1)


def _in_batches(
    attribute: Callable, model, images, targets, size: int, progress: bool, reduce: Callable = _summed
) -> torch.Tensor:
    """Attributions of so many images at a time, with their channels reduced.

    Parameters
    ----------
    attribute : callable
        ``(forward, images, targets) -> attributions (N, C, H, W)``, where ``forward(images, targets)`` gives ``(N,)``.
    model : nn.Module
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor or None
    size : int
        Images at a time; at least one is taken.
    progress : bool
    reduce : callable
        Attributions to heatmaps ``(N, H, W)``.
    """
    images, targets = _check_request(model, images, targets)

    def forward(some, targets):
        return explained_output(model(some), targets)

    size = max(1, size)
    bar = tqdm(total=len(images), disable=not progress, desc="explaining")
    found = []
    for some, answers in zip(images.split(size), targets.split(size)):
        found.append(reduce(attribute(forward, some.detach().clone().requires_grad_(), answers).detach()))
        bar.update(len(some))
    bar.close()
    return torch.cat(found).to(images.dtype)


def _check_count(name: str, value: int) -> None:
    """Refuse what is not a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}.")
