"""A dependency graph by labels: every entry of every tensor knows which slices of which parameters it stands for.

The model runs once on its example. Each parameter (and buffer) carries one *layer* of labels for each of its axes:
layer k gives entry i of axis k the number of that slice. Whatever moves entries is replayed on the labels by the same
call, so that shuffles, gates of two halves and interleaved repeats are exact. What combines entries makes *edges*
between labels: slices that are connected can only go together. A product of two tensors connects them along the axis
that it sums over, and what it gives keeps the labels of the other axes: the outputs of a layer carry the labels of
the rows of its weight, so that layers that run twice, tied weights and bare parameters need no case of their own.
What mixes slices fixes them, and the reason is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..units import axis_of_norm


@dataclass
class _Labels:
    """The layers of labels of one tensor; label 0 belongs to nothing that can go."""

    shape: tuple[int, ...]
    layers: list[torch.Tensor] = field(default_factory=list)
    spread: tuple[int, ...] = ()  # axes that an expand has made
    raw: bool = False  # a parameter, or a view of one

    def varying(self, axis: int) -> list[torch.Tensor]:
        return [layer for layer in self.layers if _varies(layer, axis)]

    def steady(self, axis: int) -> list[torch.Tensor]:
        return [layer for layer in self.layers if not _varies(layer, axis)]


def _varies(layer: torch.Tensor, axis: int) -> bool:
    return layer.shape[axis] > 1 and layer.stride(axis) != 0


def _compact(layer: torch.Tensor) -> torch.Tensor:
    """The layer with size 1 on every axis along which it does not vary."""
    for axis in range(layer.ndim):
        if layer.shape[axis] > 1:
            first = layer.narrow(axis, 0, 1)
            if layer.stride(axis) == 0 or bool((layer == first).all()):
                layer = first
    return layer


def _wide(layer: torch.Tensor, shape) -> torch.Tensor:
    return _compact(layer).expand(tuple(shape))


def _ones(layer: torch.Tensor, lead: int) -> tuple[int, ...]:
    return (1,) * lead + tuple(_compact(layer).shape)


class _Ledger:
    """Watches a forward pass: labels of its tensors, edges between slices, and slices that are fixed, with the reason.

    Parameters
    ----------
    model : nn.Module
        Whose tensors carry labels of their own.
    ties : {"", "repeat", "block"}
        Where an axis is split into several (a view, equal chunks): leave its slices free, tie those at the same place
        of each part, or tie all of one part. A model that writes the number of parts as a number needs the second, one
        that writes their size the third.
    """

    def __init__(self, model: nn.Module, ties: str = ""):
        self.model, self.ties = model, ties
        self.slots: dict[tuple[str, int], range] = {}
        self.total = 1
        self.edges: list[np.ndarray] = []
        self.told: dict[str, str] = {}
        self.fixed: list[tuple[np.ndarray, str, bool]] = []
        self.reads: list[np.ndarray] = []
        self.ran: set[str] = set()
        self.labels = WeakTensorKeyDictionary()
        self.entered: list[str] = [""]
        self.inside_norm = False
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point():
                self.labels[tensor] = self._own(name, tensor)

    def _own(self, name: str, tensor: torch.Tensor) -> _Labels:
        found = _Labels(tuple(tensor.shape), raw=True)
        for axis, size in enumerate(tensor.shape):
            if size > 1:
                self.slots[name, axis] = range(self.total, self.total + size)
                shape = [size if k == axis else 1 for k in range(tensor.ndim)]
                numbers = torch.arange(self.total, self.total + size).view(shape)
                found.layers.append(numbers.expand(tensor.shape))
                self.total += size
        return found

    def fix(self, layer: torch.Tensor, why: str, loud: bool = True) -> None:
        """Slices that can never go, and the reason; loud where a user may have thought that they can."""
        self.fixed.append((np.unique(_compact(layer).numpy()), f"{why} in {self.where}", loud))

    def enter(self, name: str) -> None:
        self.entered.append(name)
        self.ran.add(name)
        if isinstance(module := self.model.get_submodule(name), nn.RNNBase):  # one width for all layers and directions
            first, *others = (self.slots[slot] for slot in self._memory(name, module))
            self.edges += [np.array([first, other]) for other in others]

    def _memory(self, name: str, module: nn.RNNBase) -> list[tuple[str, int]]:
        prefix = f"{name}." if name else ""
        return [(f"{prefix}{weight}", 1) for weight, _ in module.named_parameters() if weight.startswith("weight_hh")]

    def left(self) -> None:
        self.entered.pop()

    def norm(self, name: str, module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> None:
        """A layer that normalises in operations of its own passes each unit on, with its entries of each vector."""
        vectors = [self.labels[tensor] for tensor in module.parameters()]
        labels = self.labels.get(x) or _Labels(tuple(x.shape))
        self.along(labels, axis_of_norm(module, x.shape, vectors[0].shape[0]), vectors, type(module).__name__)
        self.labels[output] = _Labels(tuple(output.shape), labels.layers)

    @property
    def where(self) -> str:
        return repr(self.entered[-1]) if self.entered[-1] else "the model's own forward"

    def collapse(self, layer: torch.Tensor, axes) -> torch.Tensor:
        """Connect what lies along axes; the layer no longer varies there."""
        shape, axes = layer.shape, [axis for axis in axes if _varies(layer, axis)]
        layer = _compact(layer)
        for axis in axes:
            first = layer.amax(axis, keepdim=True)  # zeros, as padding leaves them, belong to whatever is beside them
            self.unite(first.expand(layer.shape), layer, both=True)
            layer = first
        return _wide(layer, shape)

    def unite(self, one: torch.Tensor, other: torch.Tensor, why: str = "", both: bool = False) -> None:
        """Connect two layers entry by entry; what meets label 0 is fixed unless ``both`` must be there."""
        one, other = (layer.numpy().ravel() for layer in torch.broadcast_tensors(_compact(one), _compact(other)))
        there = (one > 0) & (other > 0)
        pairs = np.stack(np.divmod(np.unique(one[there] * self.total + other[there]), self.total))
        self.edges.append(pairs[:, pairs[0] != pairs[1]])
        alone = np.unique(np.where(there, 0, np.maximum(one, other)))
        if not both and alone.any():
            self.fixed.append((alone, f"{why} in {self.where} joins it with what cannot go", False))

    def pointwise(self, operands: list[_Labels], shape, why: str) -> _Labels:
        """Entry by entry: layers along the same axes meet, and a layer that meets a full axis without one is fixed."""
        result = _Labels(tuple(shape))
        padded = []
        for operand in operands:
            lead = len(shape) - len(operand.shape)
            if lead < 0 or any(a != b and a != 1 for a, b in zip(operand.shape, shape[lead:])):
                for layer in operand.layers:
                    self.fix(layer, why)
                continue
            sizes = (1,) * lead + tuple(1 if k in operand.spread else n for k, n in enumerate(operand.shape))
            padded.append((sizes, [_compact(layer).reshape(_ones(layer, lead)) for layer in operand.layers]))
        for place, (_, layers) in enumerate(padded):
            for layer in layers:
                axes = {axis for axis in range(len(shape)) if layer.shape[axis] > 1}
                for other, (their_sizes, theirs) in enumerate(padded):
                    if other == place or not any(their_sizes[axis] > 1 for axis in axes):
                        continue
                    meets = [m for m in theirs if any(m.shape[axis] > 1 for axis in axes)]
                    for meet in meets:
                        self.unite(layer, meet, why)
                    if not meets:
                        self.fix(layer, f"{why} with what has no units", False)
                if not any(any(_varies(m, axis) for axis in axes) for m in result.layers):
                    result.layers.append(layer.expand(result.shape))
        return result

    def product(self, one: _Labels, other: _Labels, shape, why: str) -> _Labels:
        """(..., M, K) by (..., K, N): slices along K meet, the others are the result's."""
        sides = []
        for labels, summed, kept in ((one, -1, -2), (other, -2, -1)):
            along = [self.collapse(layer, [kept]).narrow(kept, 0, 1).squeeze(kept) for layer in labels.varying(summed)]
            sides.append(_Labels((*labels.shape[:-2], labels.shape[summed]), along))
            if labels.raw:
                self.reads += [np.unique(layer.numpy()) for layer in along]
        if one.shape[-1] > 1:
            self.pointwise(sides, sides[0].shape, why)
        rest = []
        for labels, side, summed, kept in ((one, sides[0], -1, -2), (other, sides[1], -2, -1)):
            size = list(labels.shape)
            size[summed] = 1
            layers = [layer.narrow(summed, 0, 1) for layer in labels.steady(summed)]
            for layer in side.layers:  # heads: what varies from product to product goes with the whole of it
                if any(_varies(layer, axis) for axis in range(layer.ndim - 1)):
                    layers.append(_wide(self.collapse(layer, [-1]).narrow(-1, 0, 1).unsqueeze(kept), size))
            rest.append(_Labels(tuple(size), layers))
        return self.pointwise(rest, shape, why)

    def along(self, labels: _Labels, axis: int, parameters: list[_Labels], why: str) -> None:
        """Vectors of parameters meet an axis."""
        width = labels.shape[axis]
        lead = _Labels((width,), [])
        for layer in labels.varying(axis):
            others = [k for k in range(layer.ndim) if k != axis % layer.ndim]
            line = self.collapse(layer, others)
            for k in reversed(others):
                line = line.select(k, 0)
            lead.layers.append(line)
        for parameter in parameters:
            if width > 1:
                self.pointwise([lead, parameter], (width,), why)

    def mix(self, labels: _Labels, axes, why: str) -> list[torch.Tensor]:
        """Along axes everything is mixed: layers of these axes only are fixed, others go as a whole there."""
        kept = []
        for layer in labels.layers:
            axes = [axis % layer.ndim for axis in axes]
            along = {axis for axis in range(layer.ndim) if _varies(layer, axis)}
            if along and along <= set(axes):
                self.fix(layer, f"{why} over its axis")
                continue
            kept.append(self.collapse(layer, axes))
        return kept
