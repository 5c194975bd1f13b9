"""Two models walked side by side, layer by layer: what repairs and errors per layer are made from."""

# In stored tables: quantization layer by layer

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ..core import arguments
from ..graph import traced
from ..graph.calls import batched, check_inputs, inputs_of, spread, tensors, to
from ..graph.folding import folded_in_place, plain_weights
from .formats import quantized_layers


@dataclass(frozen=True, eq=False)
class LayerComparison:
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

    def given(self) -> torch.Tensor:
        """What the quantized layer gives, as it is now.

        Returns
        -------
        torch.Tensor
            Shape (N, ...).
        """
        with torch.no_grad():
            return torch.cat([self.layer(some) for some in self.read.split(256)])


def layerwise(
    model: nn.Module, quantized: nn.Module, inputs: object, batch_size: int = 256
) -> Iterator[LayerComparison]:
    """Run a float model and its quantized copy side by side, one layer after another, and stop at every layer.

    The whole walk costs one pass of each. A change that is made to a layer while the walk stops at it is seen by all
    later layers.

    Parameters
    ----------
    model : nn.Module
        The float model, in evaluation mode.
    quantized : nn.Module
        A copy of it from :func:`simulate`.
    inputs : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        As for :func:`calibrate`.
    batch_size : int
        Inputs in one pass of a layer.

    Yields
    ------
    LayerComparison

    Raises
    ------
    ValueError
        If there is no input, ``torch.fx`` cannot follow the models, the quantized one has other layers, or a layer runs
        more than once.
    """
    inputs = to(check_inputs(inputs_of(inputs), "inputs"), model)
    model = folded_in_place(plain_weights(arguments.evaluating(model)))
    batches = [_arguments(model, batch) for batch in batched(inputs, batch_size)]
    graph = traced(model, fixed={name: value for name, value in batches[0].items() if not tensors(value)})
    layers = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(layers[node.target] for node in graph.nodes if node.op == "call_module")
    uses = {node: len(node.users) for node in graph.nodes}
    stops = set(quantized_layers(model))
    if lost := stops - set(quantized_layers(quantized)):
        raise ValueError(f"quantized lacks layer {min(lost)!r} of model: pass what simulate made of this model.")
    values: dict[torch.fx.Node, tuple[list, list]] = {}
    count = len(batches)
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = tuple([_own(batch.get(node.target.lstrip("*"))) for batch in batches] for _ in range(2))
            elif node.op == "output":
                return
            else:
                plain = _run(node, model, model, values, 0, count)
                if node.op == "call_module" and node.target in stops:
                    if calls[layers[node.target]] > 1:
                        raise ValueError(
                            f"layer {node.target!r} runs more than once: it cannot be repaired for each use. Give each "
                            "use a layer of its own (copy.deepcopy), or leave the model as simulate made it."
                        )
                    [source] = (*node.args, *node.kwargs.values())
                    layer, read = quantized.get_submodule(node.target), torch.cat(values[source][1])
                    yield LayerComparison(node.target, layer, read, torch.cat(plain))
                values[node] = plain, _run(node, quantized, model, values, 1, count)
            for before in node.all_input_nodes:
                uses[before] -= 1
                if not uses[before]:
                    values.pop(before, None)


def _arguments(model: nn.Module, inputs: object) -> dict[str, object]:
    """What each argument of a model is."""
    given, named = spread(model, inputs)
    try:
        bound = inspect.signature(model.forward).bind(*given, **named)
    except TypeError as error:
        raise ValueError(f"inputs must be what the model takes: {error}.") from error
    bound.apply_defaults()
    return bound.arguments


def _own(value: object) -> object:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _run(node: torch.fx.Node, model: nn.Module, constants: nn.Module, values: dict, side: int, count: int) -> list:
    """What a node gives for every batch, on one of the sides; constants of ``forward`` are kept by the traced model."""
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
            found.append(_attribute(model, constants, node.target))
    return found


def _attribute(model: nn.Module, constants: nn.Module, path: str):
    owner, _, name = path.rpartition(".")
    root = model if hasattr(model.get_submodule(owner), name) else constants
    return getattr(root.get_submodule(owner), name)


def _by_channel(layer: nn.Module, outputs: torch.Tensor) -> torch.Tensor:
    """What a layer gives, as ``(channels, places)``: images in order, then positions."""
    return outputs.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1)
