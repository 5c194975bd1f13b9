"""What moves entries, on labels: views, slices, shuffles, and tensors side by side."""

from __future__ import annotations

from math import prod

import torch
from torch.utils._pytree import tree_leaves, tree_map

from .labels import _Labels, _Ledger, _wide


class _Moving(_Ledger):
    """Rules of operations that move entries, which are replayed on the labels."""

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
