"""A model in two parts: what every image runs, and what only some do."""

# In stored tables: dynamic networks

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..core import evaluating
from ..data import mark
from ..graph import traced
from ..prune import UnitGroup


class Halves(NamedTuple):
    """A model cut in two after a layer; both parts share its weights.

    Attributes
    ----------
    trunk : nn.Module
        Images (N, C, H, W) to the layer's output.
    tail : nn.Module
        That output to the model's.
    """

    trunk: nn.Module
    tail: nn.Module


def split_at(model: nn.Module, layer: str) -> Halves:
    """Cut a model in two after one of its layers.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, of one input, that ``torch.fx`` can follow.
    layer : str
        Name of a module that runs once, such as ``features.7``; it may have parts.

    Returns
    -------
    Halves
        ``tail(trunk(x))`` is ``model(x)``.

    Raises
    ------
    ValueError
        If the model is in training mode, has no such layer, or something beside the layer's output goes past it.

    Examples
    --------
    >>> model, images = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.rand(5, 4)
    >>> trunk, tail = xp.dynamic.split_at(model, "1")
    >>> trunk(images).shape, torch.equal(tail(trunk(images)), model(images))
    (torch.Size([5, 3]), True)
    """
    evaluating(model)
    graph = traced(model, whole=layer)
    calls = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
    if len(calls) != 1:
        known = [name for name, _ in model.named_children()]
        raise ValueError(f"layer must be a module that runs once, got {layer!r}; the model has {', '.join(known)}.")
    [middle], nodes = calls, list(graph.nodes)
    before = _needed_by(middle)
    after = [node for node in nodes if node not in before and node.op != "output"]
    for node in after:
        if passed := [other for other in node.all_input_nodes if other in before and other is not middle]:
            raise ValueError(
                f"the model cannot be cut after {layer!r}: {node.target} also reads {passed[0].target or passed[0]}, "
                "from before it."
            )
    trunk, tail, copied = torch.fx.Graph(), torch.fx.Graph(), {}
    for node in nodes:
        if node in before:
            copied[node] = trunk.node_copy(node, copied.__getitem__)
    trunk.output(copied[middle])
    copied = {middle: tail.placeholder("features")}
    for node in after:
        copied[node] = tail.node_copy(node, copied.__getitem__)
    tail.output(copied[next(node for node in nodes if node.op == "output").args[0]])
    return Halves(*(mark(torch.fx.GraphModule(model, part).eval(), model) for part in (trunk, tail)))


def groups_behind(model: nn.Module, units: Sequence[UnitGroup], layer: str) -> list[UnitGroup]:
    """The groups of units of which every part runs behind a layer.

    Parameters
    ----------
    model : nn.Module
    units : sequence of UnitGroup
    layer : str
        As for :func:`split_at`.

    Returns
    -------
    list of UnitGroup
        In the order of ``units``.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> [group.name for group in units], [group.name for group in xp.dynamic.groups_behind(model, units, "1")]
    (['0', '2'], ['2'])
    """
    names = {name for name, _ in split_at(model, layer).tail.named_modules()}
    return [group for group in units if names.issuperset(group.modules)]


def _needed_by(node: torch.fx.Node) -> set[torch.fx.Node]:
    """A node and all that it depends on."""
    found, waiting = set(), [node]
    while waiting:
        now = waiting.pop()
        if now not in found:
            found.add(now)
            waiting += now.all_input_nodes
    return found
