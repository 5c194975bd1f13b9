"""Units: the smallest things that can go, and which of them must go together.

torch-pruning's dependency graph says which layers share a dimension. Here its answer becomes data: a
:class:`UnitGroup` holds, for every layer that takes part, which slices belong to which unit.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch_pruning as tp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from .layers import block_size, layer_of


@dataclass(frozen=True, eq=False)
class Member:
    """One layer's part in a group.

    Attributes
    ----------
    module : str
        Qualified name of the layer in the model; for a bare parameter, the parameter's name.
    kind : str
        Type of the layer, as printed: ``Conv2d``, ``Linear``, ``Parameter``.
    role : {"out", "in", "through"}
        Whether the layer produces the units, reads them, or lets them pass one by one.
    axes : dict of str to int
        Qualified names of the tensors that lose slices, with the axis.
    counts : tuple of str
        Attributes of the module that hold the width.
    width : int
        Size of the axis before anything is removed.
    index : numpy.ndarray
        Shape ``(units, slices per unit)``: the slices along the axis that belong to each unit.
    """

    module: str
    kind: str
    role: str
    axes: dict[str, int]
    counts: tuple[str, ...]
    width: int
    index: np.ndarray

    @property
    def component(self) -> str:
        """The model's child that holds this layer."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        each = self.index.shape[1]
        verb = {"out": "produces", "in": "reads", "through": "passes on"}[self.role]
        noun = "features" if self.kind in ("Linear", "LayerNorm", "Embedding", "Parameter") else "channels"
        return f"{self.module} ({self.kind}) {verb} {each} of its {self.width} {noun} per unit"


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Units of one dimension of the model, with every layer that the removal of one of them touches.

    Attributes
    ----------
    name : str
        Name of the first layer that produces the units.
    size : int
        Number of units.
    members : tuple of Member
        The chain of consequences, in the model's order.
    """

    name: str
    size: int
    members: tuple[Member, ...]

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Children of the model that take part, in order."""
        return tuple(dict.fromkeys(member.component for member in self.members))

    @property
    def crosses(self) -> bool:
        """True if the group lies across the boundary between components, False if inside one."""
        return len(self.components) > 1

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"UnitGroup({self.name!r}, {self.size} units, {len(self.members)} layers)"

    def __str__(self) -> str:
        where = f"crosses {' | '.join(self.components)}" if self.crosses else f"inside {self.components[0]}"
        lines = [f"{self.name}: {self.size} units, {where}"]
        return "\n".join(lines + [f"  {member}" for member in self.members])


def find_units(model: nn.Module, example, ignore: Iterable[str] = ()) -> list[UnitGroup]:
    """Find the groups of units of a model: its channels and neurons, coupled as its graph demands.

    Groups that reach the model's output (the classes of a classifier, the pixels of an autoencoder) are left
    out, since removing one of their units changes what the model answers.

    Parameters
    ----------
    model : nn.Module
        Any model that torch-pruning's dependency graph can trace. It is not changed.
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
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}.")
    names = {name for name, _ in model.named_modules()}
    if unknown := sorted(set(ignore) - names):
        raise ValueError(f"ignore names layers that the model lacks: {', '.join(unknown)}.")
    graph, names = _trace(model, example)
    order = {name: position for position, name in enumerate(names.values())}
    groups = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [_members(graph, raw, names) for raw in _raw_groups(graph)]
    for members, reaches_output in found:
        if reaches_output or any(m.role != "in" and m.module in set(ignore) for m in members):
            continue
        groups.append(_group(sorted(members, key=lambda member: order[member.module])))
    return sorted(groups, key=lambda group: order[group.name])


def check_groups(groups: Sequence[UnitGroup], name: str = "units") -> dict[str, UnitGroup]:
    """The groups by name, or an error that says what came instead."""
    if isinstance(groups, UnitGroup):
        groups = [groups]
    if not groups or not all(isinstance(group, UnitGroup) for group in groups):
        raise ValueError(f"{name} must be a non-empty list of UnitGroup, as find_units returns it.")
    return {group.name: group for group in groups}


def _trace(model: nn.Module, example):
    """torch-pruning's graph of a copy of the model, and the names of the copy's modules and parameters.

    The copy and the example are on the meta device: only shapes flow, nothing is computed.
    """
    tensors = [*model.parameters(), *model.buffers()]
    model = copy.deepcopy(model, {id(tensor): _meta(tensor) for tensor in tensors}).eval()
    example = tuple(map(_meta, example)) if isinstance(example, tuple | list) else _meta(example)
    names = {module: name for name, module in model.named_modules()}
    names |= {parameter: name for name, parameter in model.named_parameters()}
    entered: list[str] = []

    def forward(model, example):
        hooks = [m.register_forward_pre_hook(lambda m, _: entered.append(names[m])) for m in model.modules()]
        try:
            return model(*example) if isinstance(example, tuple) else model(example)
        except Exception as error:
            raise ValueError(
                f"example does not run through the model: it failed in {entered[-1] or 'the model itself'!r} "
                f"({type(error).__name__}: {error})."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()

    graph = tp.DependencyGraph()
    with torch.enable_grad(), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph.build_dependency(model, example, forward_fn=forward, verbose=False)
        except ValueError:
            raise
        except Exception as error:
            last = entered[-1] if entered else ""
            raise ValueError(
                f"the model cannot be traced: {type(error).__name__}: {error}; the last module entered was {last!r}."
            ) from error
    known = {names[node] for node in graph.module2node if node in names}
    for name in dict.fromkeys(entered):
        module = model.get_submodule(name)
        if name not in known and not list(module.children()) and list(module.parameters(recurse=False)):
            raise ValueError(
                f"{name!r} ({type(module).__name__}) cannot be traced: no gradient flows from the output back "
                "to it. Is it run under torch.no_grad, detached, or is its type unknown to torch-pruning?"
            )
    return graph, names


def _meta(value):
    """A tensor's shape without its values; parameters of floats ask for a gradient, so that the graph is whole."""
    if not isinstance(value, torch.Tensor):
        return value
    empty = torch.empty_like(value, device="meta", requires_grad=False)
    return nn.Parameter(empty, value.is_floating_point()) if isinstance(value, nn.Parameter) else empty


def _raw_groups(graph):
    """torch-pruning's groups, each seen from its narrowest layer.

    Where a dense layer's outputs are folded into channels, several outputs share one channel. Seen from the dense
    layer, torch-pruning keeps only one of them for each channel; seen from the channels it lists them all.
    """
    roots = (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR, tp.ops.TORCH_EMBED)
    for group in graph.get_all_groups(root_module_types=roots):
        narrowest = min(group, key=lambda item: len(item.idxs))
        if len(narrowest.idxs) < len(group[0].idxs):
            target = narrowest.dep.target.module
            group = graph.get_pruning_group(target, narrowest.dep.handler, sorted(narrowest.idxs))
        yield group


def _members(graph, raw, names):
    """The layers that the group touches, and whether it reaches the model's output."""
    members, reaches_output = [], False
    for item in raw:
        module, produces = item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler)
        if produces and not item.dep.target.outputs:
            reaches_output = True
        if module not in names or (isinstance(module, nn.Module) and _is_transparent(module)):
            continue
        pairs = np.array([item.root_idxs, item.idxs]).T
        members.append(_Pairs(*_role(module, names[module], produces, item.dep.target), pairs))
    return members, reaches_output


@dataclass(frozen=True)
class _Pairs:
    """A member before its units are known: pairs (root, slice) as torch-pruning gives them."""

    module: str
    kind: str
    role: str
    axes: dict[str, int]
    counts: tuple[str, ...]
    width: int
    block: int
    pairs: np.ndarray


def _is_transparent(module: nn.Module) -> bool:
    """Activations, pooling, dropout: units pass them, and nothing in them has to change."""
    return layer_of(module) is None and not list(module.parameters())


def _role(module, name, produces, node):
    if isinstance(module, nn.Parameter):
        axis = node.pruning_dim % module.ndim
        return name, "Parameter", "through", {name: axis}, (), module.shape[axis], 1
    layer = layer_of(module)
    if layer is None or (getattr(module, "groups", 1) > 1 and "through" not in layer):
        kind = "a grouped convolution" if layer else f"of type {type(module).__name__}"
        raise ValueError(
            f"{name!r} is {kind}, which cannot be cut. Name the layers that feed it in ignore=[...], or leave it out."
        )
    role = "through" if "through" in layer else "out" if produces else "in"
    row = layer[role]
    tensors = {t: getattr(module, t) for t in row.axes if getattr(module, t, None) is not None}
    axes = {f"{name}.{t}": row.axes[t] for t in tensors}
    widths = [tensor.shape[row.axes[t]] for t, tensor in tensors.items()]
    width = widths[0] if widths else int(np.ravel(getattr(module, row.counts[0]))[-1])
    return name, type(module).__name__, role, axes, row.counts, width, block_size(module)


def _group(members: list[_Pairs]) -> UnitGroup:
    """Roots that share a slice somewhere are one unit: number the connected components."""
    names = np.unique(np.concatenate([member.pairs[:, 0] for member in members]))
    roots = len(names)
    edges, offset = [], roots
    for member in members:
        root, piece = np.searchsorted(names, member.pairs[:, 0]), member.pairs[:, 1]
        edges.append(np.stack([root, offset + piece // member.block]))
        offset += member.width
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1], np.int8), ends), shape=(offset, offset))
    unit_of = np.unique(connected_components(graph, directed=False)[1][:roots], return_inverse=True)[1]
    first = np.array([np.flatnonzero(unit_of == unit)[0] for unit in range(unit_of.max() + 1)])
    rank = np.argsort(np.argsort(first))  # units keep the order of their first root
    size = len(first)
    final = []
    for member in members:
        root, piece = np.searchsorted(names, member.pairs[:, 0]), member.pairs[:, 1]
        unit, piece = np.unique(np.stack([rank[unit_of[root]], piece]), axis=1)
        if len(unit) % size or not (np.bincount(unit, minlength=size) == len(unit) // size).all():
            raise ValueError(f"{member.module!r} does not have the same number of slices for each of {size} units.")
        index = piece.reshape(size, -1)
        index.setflags(write=False)
        fields = (member.module, member.kind, member.role, member.axes, member.counts, member.width)
        final.append(Member(*fields, index))
    producers = [m.module for m in final if m.role == "out"] or [final[0].module]
    return UnitGroup(producers[0], size, tuple(final))
