"""The units of a vision transformer: heads, neurons, and the dimensions of its tokens.

They are read from the architecture, layer by layer, since a dependency graph does not see where one head ends. A
transformer of another library becomes this one by ``zoo.from_torchvision`` or ``zoo.from_timm``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ...nn import Attention, VisionTransformer
from .channels import CHANNELS, _Channels
from .groups import Member, UnitGroup
from .kinds import KINDS
from .layers import layer_of


def find_heads(model: VisionTransformer) -> list[UnitGroup]:
    """Heads of every block: rows of query, key and value, and columns of the output, that go together.

    Groups carry the name of their attention, ``blocks.0.attention``; all heads of a block can only go with the block,
    as a unit of ``find_blocks``.

    Parameters
    ----------
    model : VisionTransformer

    Returns
    -------
    list of UnitGroup

    Raises
    ------
    TypeError
        If ``model`` is no VisionTransformer of the zoo.

    Examples
    --------
    >>> groups = xp.prune.find_heads(xp.nn.small_transformer())
    >>> len(groups), groups[0].name, groups[0].size
    (4, 'blocks.0.attention', 4)
    """
    return [_heads(name, module) for name, module in _checked(model).named_modules() if isinstance(module, Attention)]


def find_neurons(model: VisionTransformer) -> list[UnitGroup]:
    """Neurons between the two dense layers of every block, in groups that carry the first layer's name.

    Parameters
    ----------
    model : VisionTransformer

    Returns
    -------
    list of UnitGroup

    Raises
    ------
    TypeError
        If ``model`` is no VisionTransformer of the zoo.

    Examples
    --------
    >>> groups = xp.prune.find_neurons(xp.nn.small_transformer())
    >>> len(groups), groups[0].name, groups[0].size
    (4, 'blocks.0.mlp.0', 128)
    """
    found = []
    for name, module in _checked(model).named_modules():
        if name.endswith(".mlp"):
            each = np.arange(module[0].out_features)[:, None]
            members = (_member(model, f"{name}.0", "out", each), _member(model, f"{name}.2", "in", each))
            found.append(UnitGroup(f"{name}.0", len(each), members, CHANNELS))
    return found


def find_dimensions(model: VisionTransformer) -> list[UnitGroup]:
    """The dimensions of the tokens, which every block reads and adds to: one group, named ``patches``.

    Parameters
    ----------
    model : VisionTransformer

    Returns
    -------
    list of UnitGroup
        Of one group.

    Raises
    ------
    TypeError
        If ``model`` is no VisionTransformer of the zoo.

    Examples
    --------
    >>> [group] = xp.prune.find_dimensions(xp.nn.small_transformer())
    >>> group.name, group.size
    ('patches', 32)
    """
    each = np.arange(_checked(model).patches.out_channels)[:, None]
    members = []
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if name in ("class_token", "position"):
            members.append(Member(f"{name}.weight", "Parameter", "through", {f"{name}.weight": 2}, (), len(each), each))
        elif isinstance(module, nn.LayerNorm):
            members.append(_member(model, name, "through", each))
        elif name == "patches" or name.endswith(("attention.output", "mlp.2")):
            members.append(_member(model, name, "out", each))
        elif leaf in ("query", "key", "value") or name.endswith("mlp.0") or name == "head":
            members.append(_member(model, name, "in", each))
    return [UnitGroup("patches", len(each), tuple(members), CHANNELS)]


def find_transformer_units(model: VisionTransformer, example: torch.Tensor, ignore: set[str]) -> list[UnitGroup]:
    """The dimensions, then heads and neurons block by block; the arguments are those of :func:`find_units`."""
    with torch.no_grad():
        model(*example) if isinstance(example, tuple | list) else model(example)
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    groups = find_dimensions(model) + find_heads(model) + find_neurons(model)
    return [group for group in sorted(groups, key=lambda group: order[group.name]) if not _produced(group) & ignore]


def _checked(model: VisionTransformer) -> VisionTransformer:
    if not isinstance(model, VisionTransformer):
        raise TypeError(
            f"model must be a VisionTransformer of the zoo, got {type(model).__name__}; xp.zoo.from_torchvision and "
            "xp.zoo.from_timm convert others."
        )
    return model


def _produced(group: UnitGroup) -> set[str]:
    """The layers that produce a group's units, and the group's own name."""
    return {group.name} | {member.module for member in group.members if member.role == "out"}


def _heads(name: str, attention: Attention) -> UnitGroup:
    total = attention.output.in_features
    index = np.arange(total).reshape(-1, attention.width)
    inner = Member(name, "Attention", "through", {}, (), total, index)
    produced = tuple(_member(attention, part, "out", index, name) for part in ("query", "key", "value"))
    return UnitGroup(name, len(index), (inner, *produced, _member(attention, "output", "in", index, name)), HEADS)


def _member(model: nn.Module, name: str, role: str, index: np.ndarray, prefix: str = "") -> Member:
    """A layer's part, by the table of layers."""
    module = model.get_submodule(name)
    row, full = layer_of(module)[role], f"{prefix}.{name}" if prefix else name
    axes = {f"{full}.{t}": axis for t, axis in row.axes.items() if getattr(module, t, None) is not None}
    return Member(full, type(module).__name__, role, axes, row.counts, index.size, index)


class _Heads(_Channels):
    """Heads of attention: slices that the layer behind the attention reads."""

    name, words = "heads", "attention heads"


HEADS = KINDS.add(_Heads())
