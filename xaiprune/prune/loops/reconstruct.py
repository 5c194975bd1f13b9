"""Recovery without labels and without training: least squares for the layers that read what was cut."""

# In stored tables: reconstruction

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...core import evaluating, nonempty, real
from ...data import Split, as_split
from ...graph import hooks
from ..units import Plan


@torch.no_grad()
def reconstruct(
    smaller: nn.Module,
    model: nn.Module,
    plan: Plan,
    inputs: torch.Tensor | Split,
    *,
    ridge: float = 0.1,
    batch_size: int = 200,
) -> nn.Module:
    """Let every layer that reads fewer channels than before give again what it gave, as nearly as it can, in place.

    A cut takes a channel away and leaves the layer that read it as it was. Often the channels that stay can say most of
    what the lost one said: the layer's weights W become those of least squares, the minimum of
    ``|A W - Y|^2 + ridge g |W - V|^2``, with A what it reads now, Y what it gave before the cut, V its present weights,
    and g the mean of the diagonal of ``A^T A``. Layers are treated in the order in which they run, so that a later one
    makes up for what an earlier one still lacks. He, Zhang and Sun 2017 (arXiv 1707.06168), section 3.1, step (ii), and
    3.2; the pull towards V is added here, since a few hundred images leave directions of A open.

    Parameters
    ----------
    smaller : nn.Module
        As ``cut`` gives it, in evaluation mode; also trained since.
    model : nn.Module
        The one that it was cut from, in evaluation mode; it stays as it is.
    plan : Plan
        That it was cut by.
    inputs : torch.Tensor, Split, or data of another form
        Shape ``(N, ...)``; a few hundred images. Targets are not used.
    ridge : float
        At least 0.
    batch_size : int

    Returns
    -------
    nn.Module
        ``smaller`` itself. Depthwise and other grouped convolutions stay as they are.

    Raises
    ------
    ValueError
        If a model is in training mode, ``ridge`` is below 0, there is no image, the plan takes no channel
        from what a layer reads, or a layer's equations have no single solution (it is named).

    Examples
    --------
    Both hidden units are the same, so that one of them can say all:

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> for parameter in model.parameters():
    ...     _ = nn.init.ones_(parameter)
    >>> points = torch.linspace(0, 1, 5)[:, None]
    >>> plan = xp.prune.Plan(tuple(xp.find_units(model, points)), {"0": [1]})
    >>> smaller = xp.prune.reconstruct(xp.cut(model, plan), model, plan, points, ridge=0)
    >>> [round(value, 3) for value in (smaller[2].weight.item(), smaller[2].bias.item())]
    [2.0, 1.0]
    """
    evaluating(smaller, "smaller")
    evaluating(model)
    if not 0 <= real(ridge, "ridge") < float("inf"):
        raise ValueError(f"ridge must be at least 0, got {ridge:g}.")
    batches = nonempty(as_split(inputs, on=model, name="inputs"), "inputs").inputs.split(batch_size)
    for name in _narrowed(smaller, plan, batches[0][:1]):
        _refit(name, smaller, model, plan, batches, ridge)
    return smaller


def _narrowed(smaller: nn.Module, plan: Plan, example: torch.Tensor) -> list[str]:
    """Layers that read fewer channels than before, in the order in which they run."""
    narrower = []
    for name, layer in smaller.named_modules():
        plain = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if plain and len(plan.slices.get(f"{name}.weight", {}).get(1, ())):
            narrower.append(name)
    if not narrower:
        raise ValueError("plan takes no channel from what a layer of smaller reads: there is nothing to reconstruct.")
    with hooks.outputs(smaller, narrower) as ran:
        smaller(example)
    return list(ran)


def _refit(name: str, smaller: nn.Module, model: nn.Module, plan: Plan, batches, ridge: float) -> None:
    """Least squares for one layer, from sums over batches, in float64."""
    gone = plan.slices[f"{name}.weight"].get(0, ())
    stay = np.delete(np.arange(len(model.get_submodule(name).weight)), gone)
    layer = smaller.get_submodule(name)
    rows = _rows(layer)
    gram = wanted = 0.0
    for batch in batches:
        with hooks.inputs(smaller, [name]) as read, hooks.outputs(model, [name]) as gave:
            smaller(batch), model(batch)
        a, y = rows(read[name].double()), gave[name].double()
        y = (y.movedim(1, -1) if isinstance(layer, nn.Conv2d) else y).flatten(0, -2)[:, stay]
        gram, wanted = gram + a.T @ a, wanted + a.T @ y
    now = layer.weight.double().flatten(1).T
    pull = torch.full((len(gram),), ridge * gram.diagonal()[: len(now)].mean().item(), dtype=torch.float64)
    if layer.bias is not None:
        pull[-1] = 0
        now = torch.cat([now, layer.bias.double()[None]])
    gram.diagonal().add_(pull)
    solved, info = torch.linalg.solve_ex(gram, wanted + pull[:, None] * now)
    if info or not torch.isfinite(solved).all():
        raise ValueError(f"inputs leave the weights of layer {name!r} open; give more images, or a larger ridge.")
    if layer.bias is not None:
        layer.bias.copy_(solved[-1])
        solved = solved[:-1]
    layer.weight.copy_(solved.T.reshape(layer.weight.shape))


def _rows(layer: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """From what a layer reads to the rows that its weights are multiplied by, with a 1 for its bias."""

    def rows(read: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, nn.Linear):
            found = read.flatten(0, -2)
        elif layer.kernel_size == (1, 1) and layer.stride == (1, 1):
            found = read.movedim(1, -1).flatten(0, 2)
        else:
            patches = F.unfold(read, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            found = patches.movedim(1, -1).flatten(0, 1)
        return found if layer.bias is None else F.pad(found, (0, 1), value=1.0)

    return rows
