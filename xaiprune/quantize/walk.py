"""Two models walked side by side, layer by layer: what repairs and errors per layer are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ..folding import fold_batch_norm, traced
from .formats import quantized_layers


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of a walk.

    Attributes
    ----------
    name : str
    layer : nn.Module
        Of the quantized model; what is changed in it now counts from here on.
    read : torch.Tensor
        What the quantized layer reads, before its own input quantizer.
    wanted : torch.Tensor
        What the float layer gives.
    """

    name: str
    layer: nn.Module
    read: torch.Tensor
    wanted: torch.Tensor


def walk(model: nn.Module, quantized: nn.Module, images: torch.Tensor, batch_size: int = 256) -> Iterator[Step]:
    """Run a float model and its quantized copy side by side, one layer after another, and stop at every layer.

    The whole walk costs one pass of each. A change that is made to a layer while the walk stops at it is seen by all
    later layers.

    Parameters
    ----------
    model : nn.Module
        The float model, in evaluation mode.
    quantized : nn.Module
        A copy of it from :func:`simulate`.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    batch_size : int
        Images in one pass of a layer.

    Yields
    ------
    Step

    Raises
    ------
    ValueError
        If ``torch.fx`` cannot follow the models.
    """
    model = fold_batch_norm(model)
    graph = traced(model)
    uses = {node: len(node.users) for node in graph.nodes}
    stops = set(quantized_layers(model))
    values: dict[torch.fx.Node, tuple[list, list]] = {}
    batches = list(images.split(batch_size))
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = batches, batches
            elif node.op == "output":
                return
            else:
                plain = _run(node, model, values, 0, len(batches))
                if node.op == "call_module" and node.target in stops:
                    layer = quantized.get_submodule(node.target)
                    read = torch.cat([values[node.args[0]][1][place] for place in range(len(batches))])
                    yield Step(node.target, layer, read, torch.cat(plain))
                values[node] = plain, _run(node, quantized, values, 1, len(batches))
            for before in node.all_input_nodes:
                uses[before] -= 1
                if not uses[before]:
                    values.pop(before, None)


def _run(node: torch.fx.Node, model: nn.Module, values: dict, side: int, count: int) -> list:
    """What a node gives for every batch, on one of the sides."""
    found = []
    for place in range(count):

        def value(argument, place=place):
            return values[argument][side][place]

        args, kwargs = (torch.fx.node.map_arg(some, value) for some in (node.args, node.kwargs))
        if node.op == "call_module":
            found.append(model.get_submodule(node.target)(*args, **kwargs))
        elif node.op == "call_function":
            found.append(node.target(*args, **kwargs))
        elif node.op == "call_method":
            found.append(getattr(args[0], node.target)(*args[1:], **kwargs))
        else:  # get_attr
            found.append(_attribute(model, node.target))
    return found


def _attribute(model: nn.Module, path: str):
    for part in path.split("."):
        model = getattr(model, part)
    return model
