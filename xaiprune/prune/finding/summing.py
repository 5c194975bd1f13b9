"""What adds entries up, on labels: convolutions, norms, attention and reductions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .labels import _Labels, _varies, _wide
from .moving import _Moving
from .operations import _ADDS


class _Summing(_Moving):
    """Rules of operations whose results are sums over units, or need all of them."""

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
        if name in _ADDS:
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
