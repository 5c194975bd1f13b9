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

# ruff: noqa: SIM905
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from .channels import CHANNELS
from .copies import copied
from .groups import Member, UnitGroup
from .layers import axis_of_norm, layer_of, normalises
from .recurrent import MEMORY

#: Operations of aten by what they do with units; pointwise ones carry a tag of torch's.
MOVES = set(
    "view _unsafe_view reshape _reshape_alias permute transpose t slice select split split_with_sizes chunk unbind "
    "unsafe_split unsafe_split_with_sizes unsafe_chunk expand repeat flip roll index index_select unfold "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle squeeze unsqueeze im2col diagonal narrow "
    "tile repeat_interleave rot90 numpy_T".split()
)
SAME = set(
    "clone _to_copy detach alias lift_fresh lift_fresh_copy contiguous _prelu_kernel prelu copy_ native_dropout "
    "_weight_norm_interface tril triu masked_fill masked_fill_ bernoulli_ dropout relu_ relu hardtanh_ fill_ zero_ "
    "zeros_like ones_like full_like rand_like empty_like silu hardswish hardsigmoid mish elu celu selu leaky_relu "
    "softplus hardshrink softshrink log_sigmoid_forward as_strided".split()
)
ADDS = {"sum", "linalg_vector_norm", "norm"}  # over units: zeros add nothing, which the proof judges
REDUCES = ADDS | set("mean amax amin max min var std var_mean std_mean prod logsumexp argmax argmin any all".split())
MIXES = set("_softmax _log_softmax cumsum cumprod sort topk _fft_r2c _fft_c2r _fft_c2c cummax logcumsumexp".split())
PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
SPATIAL = (
    "avg_pool", "max_pool", "adaptive_", "_adaptive_", "upsample_", "_upsample", "reflection_pad", "replication_pad",
    "grid_sampler", "constant_pad", "fractional_max", "mkldnn_adaptive", "mkldnn_max", "quantized_max",
)  # fmt: skip
NORMS = set("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm".split())
ATTENTION = "scaled_dot_product"
ONE = "all go together, as one unit"


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


class Trace(TorchDispatchMode):
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
        super().__init__()
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

    # What rules are made of ----------------------------------------------------------------------------------------

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

    # The rules -----------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.inside_norm:
            return function(*args, **kwargs)
        given = {id(t): self.labels.get(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        given = {key: labels for key, labels in given.items() if labels is not None}
        if given and function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the forward pass reads a value, as `if x.sum() > 0` does, so its graph is not fixed")
        result = function(*args, **kwargs)
        name = function._schema.name.partition("::")[2]
        if not given:
            module = self.model.get_submodule(self.entered[-1])
            if name == "zeros" and isinstance(module, nn.RNNBase) and result.shape[-1] == module.hidden_size:
                numbers = self.slots[self._memory(self.entered[-1], module)[0]]  # what it remembers at first
                layer = torch.arange(numbers.start, numbers.stop).expand(result.shape)
                self.labels[result] = _Labels(tuple(result.shape), [layer])
            return result

        def of(tensor) -> _Labels:
            found = given.get(id(tensor)) or _Labels(tuple(tensor.shape))
            steps = tensor.stride() if tensor.layout is torch.strided else ()
            spread = tuple(k for k, step in enumerate(steps) if step == 0 and tensor.shape[k] > 1)
            return _Labels(found.shape, found.layers, spread, found.raw)

        named = {a.name: v for a, v in zip(function._schema.arguments, args)} | kwargs
        made = self._rule(function, name, args, kwargs, named, result, of)
        for tensor, labels in zip([t for t in tree_leaves(result) if isinstance(t, torch.Tensor)], made):
            layers = [_wide(layer, tensor.shape) for layer in labels.layers]
            labels.layers = [layer for layer in layers if any(_varies(layer, axis) for axis in range(layer.ndim))]
            for layer in layers:  # what is alike everywhere is a single unit, taken by its number, or can never go
                if not any(layer is kept for kept in labels.layers):
                    self.fix(layer, f"{name.strip('_')}, which takes one by its number or all at once,")
            if function._schema.is_mutable and tensor is args[0]:
                before = given.get(id(tensor), _Labels(()))
                for layer in labels.layers if name == "copy_" else ():  # what was there goes with what comes
                    for old in before.layers or [torch.zeros_like(layer)]:
                        self.unite(layer, old, name)
            self.labels[tensor] = labels
        return result

    def _stand_in(self, width: int) -> _Labels:
        """Labels of a layer that counts units and has no tensor that would."""
        name = f"{self.entered[-1]}."
        if (name, 0) in self.slots:
            numbers = self.slots[name, 0]
            return _Labels((width,), [torch.arange(numbers.start, numbers.stop)])
        return self._own(name, torch.empty(width))

    def _rule(self, function, name, args, kwargs, named, result, of) -> list[_Labels]:
        """Labels of an operation's results."""
        base = name.rstrip("_") if name.endswith("_") else name
        out = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        shape = tuple(out[0].shape) if out else ()
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if base in MOVES:
            return self._move(function, base, args, kwargs, of, out)
        if base in ("cat", "stack"):
            return [self._side_by_side(base, [*args[0]], named.get("dim", 0), shape, of)]
        if torch.Tag.pointwise in function.tags or name in SAME or base in SAME:
            return [self.pointwise([of(t) for t in tensors], shape, name)]
        if base in PRODUCTS:
            first = PRODUCTS[base]
            one, other = of(args[first]), of(args[first + 1])
            if len(one.shape) >= 2 and len(other.shape) >= 2:
                product = self.product(one, other, shape, name)
                return [self.pointwise([of(args[0]), product], shape, name) if first else product]
        if base in ("convolution", "convolution_overrideable"):
            return [self._convolution(of, shape, *args[:3], args[6], args[8])]
        if base in NORMS or base == "native_group_norm" or base == "native_layer_norm":
            return [self._norm(base, args, of, shape)]
        if base == "embedding":
            weight = of(args[0])
            for layer in weight.varying(0):
                self.fix(layer, "embedding, whose rows are looked up by number,", False)
            lines = [layer.select(0, 0).expand(shape) for layer in weight.steady(0)]
            return [_Labels(shape, lines)]
        if ATTENTION in base:
            query, key, value = (_spread_heads(of(t), args[0].shape) for t in args[:3])
            turned = _Labels((*key.shape[:-2], key.shape[-1], key.shape[-2]), [k.mT for k in key.layers])
            weights = self.product(query, turned, (*query.shape[:-1], key.shape[-2]), name)
            mask = named.get("attn_mask", named.get("attn_bias"))
            if mask is not None:
                alike = tuple(
                    k for k, n in enumerate(mask.shape) if n == 1 or bool((mask == mask.narrow(k, 0, 1)).all())
                )
                seen = _Labels(tuple(mask.shape), of(mask).layers, alike)  # one mask, laid out for every head
                weights = self.pointwise([weights, seen], weights.shape, name)
            return [self.product(weights, value, shape, name), *(_Labels(tuple(t.shape)) for t in out[1:])]
        if base in REDUCES:
            return [self._reduce(base, of(args[0]), named, t) for t in out]
        if base == "glu":
            dim = named.get("dim", -1)
            parts = [_Labels(shape, list(each)) for each in zip(*(layer.chunk(2, dim) for layer in of(args[0]).layers))]
            return [self.pointwise(parts, shape, name)]
        if base.startswith("new_"):
            return []
        if base in MIXES:
            dim = named.get("dim", -1)
            return [_Labels(shape, self.mix(of(args[0]), dim if isinstance(dim, list) else [dim], name.strip("_")))]
        if base.startswith(SPATIAL) and args[0].ndim > 2:
            labels = of(args[0])
            axes = [k for k in range(args[0].ndim) if args[0].shape[k] != shape[k] or k >= 2]
            if base == "constant_pad_nd":
                axes = [k for k in range(args[0].ndim) if args[0].shape[k] != shape[k]]
            found = []
            for layer in labels.layers:
                if any(_varies(layer, axis) for axis in axes) and base == "constant_pad_nd":
                    found.append(function(layer, args[1], 0))
                else:
                    mixed = self.mix(_Labels(layer.shape, [layer]), axes, name.strip("_"))
                    found += [_compact(each).expand(shape) for each in mixed]
            return [_Labels(shape, found)]
        for tensor in tensors:
            for layer in of(tensor).layers:
                self.fix(layer, f"{name.strip('_')}")
        return [_Labels(tuple(t.shape)) for t in out]

    def _move(self, function, name, args, kwargs, of, out) -> list[_Labels]:
        source = of(args[0])
        for tensor in tree_leaves((args[1:], kwargs)):
            if isinstance(tensor, torch.Tensor):
                for layer in of(tensor).layers:
                    self.fix(layer, f"{name} by its value")
        made = [_Labels(tuple(t.shape), raw=source.raw) for t in out]
        for layer in source.layers:
            if self.ties == "repeat" and name.endswith("channel_shuffle"):
                layer = self.collapse(layer.unflatten(1, (args[1], -1)), [1]).flatten(1, 2)
            layer = self._tied(name, layer, out)
            try:
                moved = function(layer, *args[1:], **kwargs)
            except RuntimeError:  # a view that strides cannot follow, or no kernel for whole numbers
                dense = layer.contiguous()
                try:
                    moved = function(dense, *args[1:], **kwargs)
                except RuntimeError:
                    moved = tree_map(lambda t: t.long(), function(dense.double(), *args[1:], **kwargs))
            moved = [t for t in tree_leaves(moved) if isinstance(t, torch.Tensor)]
            for labels, part in zip(made, moved):
                labels.layers.append(part)
            if self.ties == "repeat" and len(moved) > 1 and len({t.shape for t in moved}) == 1:
                for part in moved[1:]:
                    self.unite(moved[0], part, both=True)
        return made

    def _tied(self, name: str, layer: torch.Tensor, out) -> torch.Tensor:
        """Where a view splits an axis, tie what ``ties`` says."""
        if self.ties and name in ("view", "_unsafe_view", "reshape", "_reshape_alias") and len(out) == 1:
            split = _split_axes(layer.shape, out[0].shape)
            if split:
                seen = layer.reshape(out[0].shape)
                for axes in split:
                    seen = self.collapse(seen, axes[:-1] if self.ties == "repeat" else axes[1:])
                return seen.reshape(layer.shape)
        return layer

    def _side_by_side(self, name, tensors, dim, shape, of) -> _Labels:
        parts = [of(t) for t in tensors]
        dim = dim % len(shape)
        if name == "stack":
            sizes = [(*p.shape[:dim], 1, *p.shape[dim:]) for p in parts]
            parts = [_Labels(s, [layer.unsqueeze(dim) for layer in p.layers]) for s, p in zip(sizes, parts)]
        parts = [p for p in parts if len(p.shape) == len(shape)]
        steady = [_Labels((*p.shape[:dim], 1, *p.shape[dim + 1 :]), [s.narrow(dim, 0, 1) for s in p.steady(dim)])
                  for p in parts]  # fmt: skip
        made = self.pointwise(steady, (*shape[:dim], 1, *shape[dim + 1 :]), name)
        made = _Labels(shape, [_wide(layer, shape) for layer in made.layers])
        varying = [p.varying(dim) for p in parts]
        for place in range(max(map(len, varying))):
            nothing = (torch.zeros(p.shape, dtype=torch.long) for p in parts)
            some = [layers[place] if place < len(layers) else none for layers, none in zip(varying, nothing)]
            made.layers.append(torch.cat(some, dim))
        return made

    def _convolution(self, of, shape, given, weight, bias, transposed, groups) -> _Labels:
        x, w = of(given), of(weight)
        inside, outside = (0, 1) if transposed else (1, 0)
        space = [k for k in range(given.ndim) if k != 1]
        lines = []
        for layer in x.layers:
            if not _varies(layer, 1):
                self.fix(layer, "a convolution over its axis")
                continue
            lines.append(self.collapse(layer, space).movedim(1, 0).flatten(1)[:, 0])
        taps = {axis: [] for axis in (inside, outside)}
        for layer in w.layers:
            for axis in (inside, outside):
                if _varies(layer, axis):
                    rest = [k for k in range(weight.ndim) if k != axis]
                    taps[axis].append(self.collapse(layer, rest).movedim(axis, 0).flatten(1)[:, 0])
            if not _varies(layer, 0) and not _varies(layer, 1):
                self.fix(layer, "the window of a convolution", False)
        self.reads += [np.unique(layer.numpy()) for layer in taps[inside]]
        rows = _Labels((weight.shape[outside],), taps[outside])
        channels = given.shape[1]
        if groups == 1:
            if channels > 1:
                self.pointwise([_Labels((channels,), lines), _Labels((channels,), taps[inside])], (channels,), "conv")
        else:
            rows = self._groups(lines, taps, channels, shape[1], groups)
        if bias is not None and shape[1] > 1:
            rows = self.pointwise([rows, of(bias)], (shape[1],), "bias")
        return _Labels(shape, [r.view(1, -1, *[1] * (len(shape) - 2)).expand(shape) for r in rows.layers])

    def _groups(self, lines, taps, channels, width, groups) -> _Labels:
        """Each group of channels goes as a whole, with the group that it makes."""
        full = taps[0]  # axis 0 of the weight runs over all groups; axis 1 lies within one
        for layer in taps[1]:
            self.fix(layer, "a grouped convolution", False)
        if channels != width:
            for layer in (*lines, *full):
                self.fix(layer, "a grouped convolution that makes another number of channels")
            return _Labels((width,))
        blocks = _Labels((groups,))
        for layer in (*lines, *full):
            block = self.collapse(layer.reshape(groups, -1), [1])[:, 0]
            blocks.layers.append(block)
        if not lines:
            for layer in full:
                self.fix(layer, "a grouped convolution of what has no units", False)
        for block in blocks.layers[1:]:
            self.unite(blocks.layers[0], block, "groups")
        return _Labels((width,), full or lines)

    def _norm(self, name, args, of, shape) -> _Labels:
        labels = of(args[0])
        module = self.model.get_submodule(self.entered[-1])
        if name == "native_layer_norm":
            axes = list(range(-len(args[1]), 0))
            if isinstance(module, nn.LayerNorm) and len(axes) == 1:
                vectors = [of(t) for t in args[2:4] if t is not None]
                self.along(labels, -1, vectors or [self._stand_in(shape[-1])], name)
                return _Labels(shape, labels.layers)
            return _Labels(shape, self.mix(labels, axes, "layer_norm, whose statistics the absent would change,"))
        if name == "native_group_norm":
            groups = args[6]
            if not isinstance(module, nn.GroupNorm):
                return _Labels(shape, self.mix(labels, range(1, len(shape)), "group_norm"))
            for layer in labels.layers if groups > 1 else ():
                self.collapse(layer.reshape(shape[0], groups, -1), [2])
            vectors = [of(t) for t in args[1:3] if t is not None]
            self.along(labels, 1, vectors or [self._stand_in(shape[1])], name)
            return _Labels(shape, labels.layers)
        vectors = [of(t) for t in args[1:5] if isinstance(t, torch.Tensor)]
        self.along(labels, 1, vectors, name)
        return _Labels(shape, labels.layers)

    def _reduce(self, name, labels, named, out) -> _Labels:
        dim = named.get("dim")
        dims = list(range(len(labels.shape))) if dim is None or dim == [] else dim if isinstance(dim, list) else [dim]
        dims = sorted({d % len(labels.shape) for d in dims}) if labels.shape else []
        if name in ADDS:
            steady = [[k for k in range(layer.ndim) if _varies(layer, k) and k not in dims] for layer in labels.layers]
            layers = [self.collapse(layer, dims) for layer, others in zip(labels.layers, steady) if others]
        else:
            layers = self.mix(labels, dims, name)
        for axis in reversed(dims):
            keeps = out.ndim == len(labels.shape)
            layers = [layer.narrow(axis, 0, 1) if keeps else layer.select(axis, 0) for layer in layers]
        return _Labels(tuple(out.shape), layers)


def _spread_heads(labels: _Labels, query) -> _Labels:
    """Keys and values of grouped queries: each of their heads beside every query head that reads it."""
    if len(labels.shape) < 4 or labels.shape[-3] == query[-3]:
        return labels
    times = query[-3] // labels.shape[-3]
    shape = (*labels.shape[:-3], query[-3], *labels.shape[-2:])
    return _Labels(shape, [_wide(layer.repeat_interleave(times, -3), shape) for layer in labels.layers])


def _ones(layer: torch.Tensor, lead: int) -> tuple[int, ...]:
    return (1,) * lead + tuple(_compact(layer).shape)


def _split_axes(before, after) -> list[list[int]]:
    """For each axis that a view splits, the axes that it becomes."""
    found, at = [], 0
    for size in before:
        if at < len(after) and after[at] == size:
            at += 1
            continue
        parts = []
        while at < len(after) and prod(after[k] for k in parts) < size:
            parts.append(at)
            at += 1
        if prod(after[k] for k in parts) != size:
            return found
        if len(parts) > 1:
            found.append(parts)
    return found


def called(model: nn.Module, example):
    """What the model gives for an input, a tuple of inputs or a dictionary of them, which it may change in place."""
    example = tree_map(lambda t: t.detach().clone() if isinstance(t, torch.Tensor) else t, example)
    if isinstance(example, Mapping):
        return model(**example)
    return model(*example) if isinstance(example, tuple | list) else model(example)


def evaluating(model: nn.Module, heads: bool = False) -> nn.Module:
    """The model in evaluation mode; with ``heads`` its containers are as in training, so that more of them may run."""
    for module in model.modules():
        module.training = heads and any(True for _ in module.children())
    return model


class _Seen(TorchDispatchMode):
    """Which tensors take part in a forward pass."""

    def __init__(self):
        super().__init__()
        self.ids: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.ids |= {id(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        return function(*args, **(kwargs or {}))


def idle(model: nn.Module, example, heads: bool) -> list[str]:
    """Layers none of whose parameters take part in a forward pass of the model, whose modes are set."""
    with torch.no_grad(), _Seen() as seen:
        called(evaluating(model, heads), example)
    return [
        name
        for name, module in model.named_modules()
        if (own := list(module.parameters(recurse=False))) and not any(id(tensor) in seen.ids for tensor in own)
    ]


def traced(model: nn.Module, example, ties: str = "", heads: bool = False) -> Trace:
    """One forward pass under watch; what reaches the output is fixed. The model is not changed."""
    shared = {id(t): nn.Parameter(t.detach(), False) for t in model.parameters()}
    model = evaluating(copied(model, shared), heads)
    trace = Trace(model, ties)
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda m, given, name=name: trace.enter(name))
        module.register_forward_hook(lambda m, given, output: trace.left())
        if normalises(module) and not isinstance(module, nn.LayerNorm | nn.GroupNorm):
            module.register_forward_pre_hook(lambda m, given: setattr(trace, "inside_norm", True))
            module.register_forward_hook(partial(_passed, trace, name))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation in place of many
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False), trace:
                answer = called(model, example)
    except Exception as error:
        raise ValueError(
            f"example does not run through the model: it failed in {trace.entered[-1] or 'the model itself'!r} "
            f"({type(error).__name__}: {error})."
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    for tensor in tree_leaves(answer):
        if isinstance(tensor, torch.Tensor) and tensor in trace.labels:
            for layer in trace.labels[tensor].layers:
                trace.fixed.insert(0, (np.unique(_compact(layer).numpy()), "it reaches the model's output", False))
    return trace


def _passed(trace: Trace, name: str, module: nn.Module, given: tuple, output: torch.Tensor) -> None:
    trace.inside_norm = False
    trace.norm(name, module, given[0], output)


def grouped(model: nn.Module, trace: Trace, ignore: set[str] = frozenset()) -> tuple[list[UnitGroup], dict[str, str]]:
    """Slices that are connected, as groups of units; and why the slices of a tensor are fixed, for messages."""
    ends = np.concatenate([np.zeros((2, 0), int), *trace.edges], axis=1)
    graph = coo_array((np.ones(ends.shape[1], np.int8), ends), shape=(trace.total, trace.total))
    count, unit = connected_components(graph, directed=False)
    used = np.zeros(trace.total, bool)
    used[ends] = True
    read = np.zeros(trace.total, bool)
    for labels in trace.reads:
        read[labels] = True
    read[0] = False
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    places: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        places.setdefault(id(tensor), []).append(name)
    slots = [slot for slot, labels in trace.slots.items() if used[labels.start : labels.stop].any()]
    twins = {slot: places[id(tensors[slot[0]])] if slot[0] in tensors else [slot[0]] for slot in slots}
    roles = {slot: {_place(model, twin, slot[1])[0] for twin in twins[slot]} for slot in slots}
    reason = np.full(count, -1)  # the first of the reasons why a unit is fixed
    fixed = list(trace.fixed)
    for name, axis in slots:
        if "out" in roles[name, axis] and name.rpartition(".")[0] in ignore:
            fixed.insert(0, (np.array(trace.slots[name, axis]), "ignored", False))
    for place, (labels, _, _) in enumerate(fixed):
        found = unit[labels[labels > 0]]
        reason[found] = np.where(reason[found] < 0, place, reason[found])
    refused: dict[str, str] = {}
    said = np.zeros(count, bool)
    for name, axis in slots:
        here = unit[trace.slots[name, axis]]
        here = here[reason[here] >= 0]
        if len(here):
            _, why, loud = fixed[reason[here[0]]]
            refused[f"{name}:{axis}"] = why
            if "out" in roles[name, axis] and loud and not said[here].all():
                trace.told[name.rpartition(".")[0]] = why
                said[here] = True
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    order |= {name: place for place, name in enumerate(tensors) if name not in order}
    groups, taken = [], set()
    for parts in _alike(unit, reason, slots, trace):
        size = len(next(iter(parts.values())))
        if size < 2:
            refused.setdefault("{}:{}".format(*next(iter(parts))), ONE)
            continue
        members: dict[tuple[str, str], Member] = {}
        for (name, axis), index in parts.items():
            for twin in twins[name, axis]:
                role, module, kind, counts = _place(model, twin, axis)
                if twin in tensors and kind != "Parameter" and module not in trace.ran:  # a function reads its weight
                    module, kind, counts = twin, "Parameter", ()
                if kind == "Parameter":
                    role = "in" if read[trace.slots[name, axis]].any() else "through"
                known = members.get((module, role))
                axes = (known.axes if known else {}) | ({twin: axis} if twin in tensors else {})
                members[module, role] = Member(module, kind, role, axes, counts, len(trace.slots[name, axis]), index)
        some = sorted(members.values(), key=lambda member: order.get(member.module, len(order)))
        name = next((member.module for member in some if member.role == "out"), some[0].module)
        while name in taken:
            name += "'"
        taken.add(name)
        kind = MEMORY if any(member.role == "again" for member in some) else CHANNELS
        groups.append(UnitGroup(name, size, tuple(some), kind))
    return sorted(groups, key=lambda group: order.get(group.name.rstrip("'"), len(order))), refused


def _alike(unit: np.ndarray, reason: np.ndarray, slots, trace: Trace) -> list[dict[tuple[str, int], np.ndarray]]:
    """Free units that own as many slices of the same axes, together: axis to indices, shape ``(units, slices)``."""
    if not slots:
        return []
    labels = [trace.slots[slot] for slot in slots]
    owner = np.concatenate([unit[each] for each in labels])
    slot = np.repeat(np.arange(len(slots)), [len(each) for each in labels])
    index = np.concatenate([np.arange(len(each)) for each in labels])
    free = reason[owner] < 0
    owner, slot, index = owner[free], slot[free], index[free]
    first = np.full(len(reason), len(owner))
    np.minimum.at(first, owner, np.arange(len(owner)))  # units in the order of their first slice
    order = np.lexsort((index, slot, first[owner]))
    owner, slot, index = owner[order], slot[order], index[order]
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    found: dict[bytes, list[int]] = {}
    for start, stop in zip(starts, [*starts[1:], len(owner)]):
        found.setdefault(slot[start:stop].tobytes(), []).append(start)
    made = []
    for begins in found.values():
        stop = np.searchsorted(starts, begins[0], "right")
        length = (starts[stop] if stop < len(starts) else len(owner)) - begins[0]
        here = slot[begins[0] : begins[0] + length]
        table = index[np.array(begins)[:, None] + np.arange(length)]
        made.append({slots[each]: table[:, here == each] for each in np.unique(here)})
    return made


def _place(model: nn.Module, name: str, axis: int) -> tuple[str, str, str, tuple[str, ...]]:
    """Role, module, kind and counts of a tensor's axis, by the table of layers."""
    owner, _, tensor = name.rpartition(".")
    module = model.get_submodule(owner)
    for role, row in (layer_of(module) or {}).items():
        if not tensor or row.axes.get(tensor) == axis:
            return role, owner, type(module).__name__, row.counts
    return "through", name, "Parameter", ()
