"""Peak memory of activations, counted from the tensors that are alive."""

from __future__ import annotations

import math
import weakref

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ..graph import calling


class _Live(TorchDispatchMode):
    """Adds up the storages of all tensors that operations return, until they are freed."""

    def __init__(self, known):
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakSet(known)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a storage, once, until it is freed."""
        if storage not in self.known:
            self.known.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.now -= size


def peak_activation_bytes(model: nn.Module, example: torch.Tensor) -> int:
    """Most bytes of activations alive at once in a forward pass without gradients, the input included.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. Its parameters and buffers do not count.
    example : torch.Tensor, or tuple or mapping of torch.Tensor
        The batch.

    Returns
    -------
    int
    """
    call = calling(model, example)  # on a copy: a slice would bring the storage of all images along
    weights = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    with torch.no_grad(), _Live(weights) as live:
        for tensor in (*call.args, *call.keywords.values()):
            live.add(tensor.untyped_storage())
        call()
    return live.peak


def onnx_activation_bytes(content: bytes) -> int:
    """Most bytes of activations alive at once in an ONNX model at batch 1.

    Nodes run in the order of the file, each right after what it needs; a tensor lives from the node that makes it to
    the last one that reads it. Floats on their way into QuantizeLinear, or out of DequantizeLinear, are not held: the
    runtime's integer kernels read and write the bytes. An estimate: a runtime may work in place, or need room of its
    own.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    int
    """
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = 1
    constants = {tensor.name for tensor in graph.initializer}
    nodes = []
    for node in _ordered(graph):
        if constants.issuperset(name for name in node.input if name):
            constants.update(node.output)
        else:
            nodes.append(node)
    ordered = _ordered(graph)
    del graph.value_info[:], graph.node[:]
    graph.node.extend(ordered)
    graph = onnx.shape_inference.infer_shapes(model).graph
    sizes = {value.name: _bytes(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    return _peak(nodes, sizes, [value.name for value in graph.input], [value.name for value in graph.output])


def _peak(nodes: list, sizes: dict[str, int], inputs: list[str], outputs: list[str]) -> int:
    """Most bytes alive at once while nodes run one after another."""
    held = {node.output[0]: node.input[0] for node in nodes if node.op_type == "DequantizeLinear"}
    read = {name for node in nodes if node.op_type != "QuantizeLinear" for name in node.input}
    for node in nodes:
        if node.op_type == "QuantizeLinear" and node.input[0] not in read.union(inputs, outputs):
            held[node.input[0]] = node.output[0]

    def names(found) -> list[str]:
        return [held.get(name, name) for name in found if name]

    last = dict.fromkeys(inputs, 0)
    for place, node in enumerate(nodes):
        last |= dict.fromkeys(names(node.input), place)
    last |= dict.fromkeys(names(outputs), len(nodes))
    alive = {name: sizes[name] for name in inputs}
    peak = sum(alive.values())
    for place, node in enumerate(nodes):
        if node.op_type != "DequantizeLinear":
            alive |= {name: sizes[name] for name in names(node.output)}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > place}
    return peak


def _ordered(graph) -> list:
    """The nodes in the order of the file, each right after the nodes that it needs."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    found: dict[int, object] = {}
    waiting = list(range(len(graph.node)))[::-1]
    while waiting:
        place = waiting[-1]
        needed = [makers[name] for name in graph.node[place].input if name in makers]
        if missing := [other for other in needed if other not in found]:
            waiting += missing[::-1]
        else:
            found.setdefault(place, graph.node[place])
            waiting.pop()
    return list(found.values())


def _bytes(value) -> int:
    """Bytes of a tensor of an ONNX graph."""
    import onnx

    kind = value.type.tensor_type
    item = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    return item * math.prod(max(1, axis.dim_value) for axis in kind.shape.dim)
