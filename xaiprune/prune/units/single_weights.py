"""Single weights as units: the smallest things that can go, and the only ones that a mask removes and a cut cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from ...core import nearest
from ...graph.folding import computed
from .groups import Member, UnitGroup
from .kinds import KINDS, UnitKind

_KEPT = nn.Embedding | nn.EmbeddingBag | nn.LayerNorm
#: Layers that name their matrices ``weight_ih_l0``, ``weight_hh_l0`` and so on.
_RECURRENT = nn.RNNBase | nn.RNNCellBase


def find_weights(model: nn.Module, layers: Iterable[str] | None = None) -> list[UnitGroup]:
    """Find the groups of single weights of a model: one group for the weight tensor of each layer.

    Taken are the weights with two or more axes: of dense layers, convolutions, attention and recurrent layers, these by
    each of their matrices. Biases and the parameters of normalisation stay, as is usual; so do embeddings.

    Parameters
    ----------
    model : nn.Module
        Only names and shapes are read.
    layers : iterable of str, optional
        Names of the layers to take; default all.

    Returns
    -------
    list of UnitGroup
        In the model's order, each named after its tensor, such as ``"fc1.weight"``, with the tensor's ``shape``. Unit i
        is entry i of the flattened tensor.

    Raises
    ------
    TypeError
        If ``model`` is not an nn.Module.
    ValueError
        If a layer does not exist (the nearest name is suggested), has no such weight, is already pruned by
        ``torch.nn.utils.prune`` or computes its weight from other tensors, or if the model has no prunable weight.

    Examples
    --------
    >>> xp.prune.find_weights(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)))
    [UnitGroup('0.weight', 6 units, 1 layers), UnitGroup('2.weight', 3 units, 1 layers)]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}.")
    modules = dict(model.named_modules())
    found: dict[str, list[UnitGroup]] = {}
    for name, parameter in model.named_parameters():
        layer, _, attribute = name.rpartition(".")
        if told := computed(model, name):
            raise ValueError(told)
        recurrent = isinstance(modules[layer], _RECURRENT) and attribute.startswith("weight_")
        named = recurrent or attribute.endswith("weight")
        if parameter.ndim > 1 and named and not isinstance(modules[layer], _KEPT):
            found.setdefault(layer, []).append(
                weight_group(name, type(modules[layer]).__name__, tuple(parameter.shape))
            )
    if not found:
        raise ValueError("the model has no prunable weight: no dense layer, convolution, attention or recurrent layer.")
    if layers is not None:
        layers = [layers] if isinstance(layers, str) else list(layers)
        for layer in layers:
            if layer not in found:
                hint = nearest(layer, found) or f"; {', '.join(found)} have."
                raise ValueError(f"layers names {layer!r}, which has no prunable weight{hint}")
    return [group for layer, groups in found.items() if layers is None or layer in layers for group in groups]


def weight_group(name: str, kind: str, shape: tuple[int, ...]) -> UnitGroup:
    """The group of all entries of one weight tensor, given its qualified name, its layer's type and its shape."""
    size = int(np.prod(shape))
    index = np.arange(size)[:, None]
    index.setflags(write=False)
    member = Member(name.rpartition(".")[0], kind, "weight", {name: None}, (), size, index)
    return UnitGroup(name, size, (member,), WEIGHTS, shape)


class _Weights(UnitKind):
    """Single weights: entries of a tensor, which a mask zeroes and a cut cannot take out."""

    name, words = "weights", "single weights"
    entries = True

    def owned(self, model: nn.Module, group: UnitGroup, value: Callable) -> torch.Tensor:
        """The value of the weight itself, in float64."""
        return value(group.name, model.get_parameter(group.name).detach().double()).flatten()


WEIGHTS = KINDS.add(_Weights())
