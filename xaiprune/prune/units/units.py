"""Units: the smallest things that can go, and which of them must go together.

torch-pruning's dependency graph says which layers share a dimension; here its answer becomes data. Vision transformers
say it by their architecture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from ...nn import VisionTransformer
from .channels import CHANNELS
from .dependency import _raw_groups, _trace
from .groups import Member, UnitGroup
from .layers import block_size, layer_of
from .transformer import _refuse_hidden, _transformer_units


def find_units(model: nn.Module, example, ignore: Iterable[str] = ()) -> list[UnitGroup]:
    """Find the groups of units of a model: its channels and neurons, coupled as its graph demands.

    Groups that reach the model's output (the classes of a classifier, the pixels of an autoencoder) are left
    out, since removing one of their units changes what the model answers.

    Parameters
    ----------
    model : nn.Module
        Any model that torch-pruning's dependency graph can trace, or a VisionTransformer of the zoo: its heads, its
        neurons and the dimensions of its tokens. It is not changed.
    example : torch.Tensor or tuple
        An input, or a tuple of inputs, of the model; batch size 1 is enough.
    ignore : iterable of str, optional
        Names of layers whose produced units stay.

    Returns
    -------
    list of UnitGroup
        In the model's order, each named after the first layer that produces its units.

    Raises
    ------
    TypeError
        If ``model`` is not an nn.Module.
    ValueError
        If ``example`` does not run through the model, a layer cannot be traced or is of a type that cannot be
        cut (the message names it), or a name in ``ignore`` does not exist.

    Examples
    --------
    The first layer's channels go together with the second's inputs; the second makes the output, so that its own stay:

    >>> xp.find_units(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.zeros(1, 2))
    [UnitGroup('0', 3 units, 2 layers)]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}.")
    _refuse_hidden(model)
    ignore = {ignore} if isinstance(ignore, str) else set(ignore)
    names = {name for name, _ in model.named_modules()}
    if unknown := sorted(ignore - names):
        raise ValueError(f"ignore names layers that the model lacks: {', '.join(unknown)}.")
    if isinstance(model, VisionTransformer):
        return _transformer_units(model, example, ignore)
    graph, names, outputs, grouped = _trace(model, example)
    order = {name: position for position, name in enumerate(names.values())}
    groups = []
    for raw in _raw_groups(graph):
        produced = [item.dep.target for item in raw if graph.is_out_channel_pruning_fn(item.dep.handler)]
        if outputs.isdisjoint(produced) and not {names.get(node.module) for node in produced} & ignore:
            parts = sorted(_parts(graph, raw, names, grouped), key=lambda part: order[part[0].module])
            groups.append(_group(parts))
    return sorted(groups, key=lambda group: order[group.name])


def _parts(graph, raw, names, grouped) -> list[tuple[Member, int, np.ndarray]]:
    """The layers that a group touches: members without an index yet, block sizes, and pairs (root, slice)."""
    parts = []
    for item in raw:
        module = item.dep.target.module
        if module in names and not (isinstance(module, nn.Module) and _is_transparent(module)):
            produces = graph.is_out_channel_pruning_fn(item.dep.handler)
            original = grouped.get(names[module], module)
            member, block = _member(original, names[module], produces, item.dep.target.pruning_dim)
            parts.append((member, block, np.array([item.root_idxs, item.idxs])))
    return parts


def _is_transparent(module: nn.Module) -> bool:
    """Activations, pooling, dropout: units pass them, and nothing in them has to change."""
    return layer_of(module) is None and not list(module.parameters())


def _member(module, name: str, produces: bool, pruning_dim: int) -> tuple[Member, int]:
    """A layer's part, but for the index, and how many of its neighbouring slices can only go together."""
    unknown = np.empty((0, 0), int)
    if isinstance(module, nn.Parameter):
        axis = pruning_dim % module.ndim
        return Member(name, "Parameter", "through", {name: axis}, (), module.shape[axis], unknown), 1
    layer = layer_of(module)
    if layer is None or (getattr(module, "groups", 1) > 1 and "through" not in layer):
        kind = "a grouped convolution" if layer else f"of type {type(module).__name__}"
        raise ValueError(
            f"{name!r} is {kind}, which cannot be cut. Name the layers whose units reach it in ignore=[...]."
        )
    role = "through" if "through" in layer else "out" if produces else "in"
    row = layer[role]
    tensors = {t: getattr(module, t) for t in row.axes if getattr(module, t, None) is not None}
    axes = {f"{name}.{t}": row.axes[t] for t in tensors}
    widths = [tensor.shape[row.axes[t]] for t, tensor in tensors.items()]
    width = widths[0] if widths else int(np.ravel(getattr(module, row.counts[0]))[-1])
    return Member(name, type(module).__name__, role, axes, row.counts, width, unknown), block_size(module)


def _group(parts: list[tuple[Member, int, np.ndarray]]) -> UnitGroup:
    """Roots that share a slice somewhere are one unit: number the connected components."""
    shared = parts[0][2][0]
    if all(b == 1 and np.array_equal(pairs[0], shared) and (np.diff(pairs) > 0).all() for _, b, pairs in parts):
        return _named([replace(member, index=pairs[1][:, None]) for member, _, pairs in parts], len(shared))
    roots = np.unique(np.concatenate([pairs[0] for _, _, pairs in parts]))
    numbered = [(np.searchsorted(roots, root), piece) for _, _, (root, piece) in parts]
    first = unit_of = np.arange(len(roots))
    if any(block > 1 or len(np.unique(piece)) < len(piece) for (_, block, _), (_, piece) in zip(parts, numbered)):
        first, unit_of = _merged(parts, numbered, len(roots))
    size, members = len(first), []
    for (member, _, _), (root, piece) in zip(parts, numbered):
        unit, piece = np.divmod(np.unique(unit_of[root] * member.width + piece), member.width)
        if len(unit) % size or not (np.bincount(unit, minlength=size) == len(unit) // size).all():
            raise ValueError(f"{member.module!r} does not have the same number of slices for each of {size} units.")
        members.append(replace(member, index=piece.reshape(size, -1)))
    return _named(members, size)


def _named(members: list[Member], size: int) -> UnitGroup:
    """The group, named after the first layer that produces its units."""
    for member in members:
        member.index.setflags(write=False)
    producers = [member.module for member in members if member.role == "out"] or [members[0].module]
    return UnitGroup(producers[0], size, tuple(members), CHANNELS)


def _merged(parts, numbered, roots: int) -> tuple[np.ndarray, np.ndarray]:
    """First root of each unit, and the unit of each root, where roots share slices or go in blocks."""
    edges, offset = [], roots
    for (member, block, _), (root, piece) in zip(parts, numbered):
        edges.append(np.stack([root, offset + piece // block]))
        offset += member.width
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1], np.int8), ends), shape=(offset, offset))
    labels = connected_components(graph, directed=False)[1][:roots]
    _, first, unit_of = np.unique(labels, return_index=True, return_inverse=True)
    return first, np.argsort(np.argsort(first))[unit_of]  # units keep the order of their first root
