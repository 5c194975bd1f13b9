"""Captum's attributions, some images at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tqdm.auto import tqdm

from .beginning import _Beginnings, _joined
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
    """Attributions of so many inputs at a time, with their channels reduced.

    Parameters
    ----------
    attribute : callable
        ``(forward, values, along) -> attributions`` in the shape of the values, where ``forward(values, *along)`` gives
        ``(N,)``: the images themselves, or what ``Beginnings`` makes of other inputs.
    model : nn.Module
    images : torch.Tensor or Several
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor or None
    size : int
        Images at a time; at least one is taken.
    progress : bool
    reduce : callable
        Attributions to heatmaps ``(N, H, W)``.
    """
    images, targets = _check_request(model, images, targets, any_kind=True)
    beginnings = _Beginnings(model, images)
    size = max(1, size)
    bar = tqdm(total=len(images), disable=not progress, desc="explaining")
    found = []
    for some, answers in zip(images.split(size), targets.split(size)):
        begun = beginnings.of(some)
        values, kind = begun.values.detach().clone().requires_grad_(), begun.values.dtype

        def forward(values, targets, rows=None, begun=begun, kind=kind):
            return explained_output(begun.run(values.to(kind), rows), targets)

        along = (answers,) if beginnings.plain else (answers, torch.arange(len(some), device=some.device))
        given = attribute(forward, values, along).detach()
        found.append(begun.heatmaps(given, lambda part, kind=kind: reduce(part).to(kind)))
        bar.update(len(some))
    bar.close()
    return _joined(found)


def _check_count(name: str, value: int) -> None:
    """Refuse what is not a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}.")
