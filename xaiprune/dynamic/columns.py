"""What a dynamic network costs over many images, for a scorecard beside static ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..measure import Column, Shipped, macs
from .routing import Dynamic, route_macs

MEAN = Column("MACs per image, mean over images", -1, lambda value: f"{value:,.0f}")
WORST = Column("MACs per image, costliest way", -1, lambda value: f"{value:,.0f}")


def cost_columns(images: torch.Tensor) -> dict[Column, Callable[[nn.Module], float]]:
    """Columns for ``scorecards(extra=...)``: operations on average and at worst; of a static model both are the same.

    The scorecard's own row of operations, and its latency at batch 1, are those of the first image's way.

    Parameters
    ----------
    images : torch.Tensor
        By which the ways are weighed, shape ``(N, ...)``.

    Returns
    -------
    dict of Column to callable
        Each a function of a model, in operations per image.

    Raises
    ------
    ValueError
        If there is no image.

    Examples
    --------
    >>> columns = xp.dynamic.cost_columns(torch.zeros(3, 4))
    >>> {column.title: measured(nn.Linear(4, 2)) for column, measured in columns.items()}
    {'MACs per image, mean over images': 8.0, 'MACs per image, costliest way': 8.0}
    """
    if len(images) == 0:
        raise ValueError("images is empty: at least one image is needed.")

    def told(name: str) -> Callable[[nn.Module], float]:
        def own(model: nn.Module) -> float:
            model = model.made_from if isinstance(model, Shipped) else model
            return route_macs(model, images)[name] if isinstance(model, Dynamic) else float(macs(model, images[:1]))

        return own

    return {MEAN: told("mean"), WORST: told("worst")}
