"""The same question to torch-pruning: its cut beside a mask of what its groups cover."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

RATIO = 0.3
#: Normalisations of each channel by itself.
_EACH_ALONE = (nn.modules.batchnorm._NormBase,)


class NotApplicableError(Exception):
    """The verb has nothing to do on this model, or cannot be judged."""


def torch_pruning(model: nn.Module, inputs: torch.Tensor, last: set[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of a model that torch-pruning masked, and of one that it cut.

    The cut is its own, through its pruner with random importance, and no hint but the layers that make the output. The
    mask writes zeros into every slice that its groups took, on a copy, and takes statistics of LayerNorm and GroupNorm
    over what stays.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    inputs : torch.Tensor
    last : set of str
        Names of the layers that make the output.

    Returns
    -------
    masked, cut : torch.Tensor
    """
    import torch_pruning as tp

    torch.manual_seed(0)
    mask, cut = copy.deepcopy(model), copy.deepcopy(model)
    pruner = tp.pruner.BasePruner(
        cut, inputs, tp.importance.RandomImportance(), pruning_ratio=RATIO,
        ignored_layers=[cut.get_submodule(name) for name in last],
    )  # fmt: skip
    names = {module: name for name, module in cut.named_modules()}
    names |= {parameter: name for name, parameter in cut.named_parameters()}
    alive, gone, parameters = {}, {}, {}
    for group in pruner.step(interactive=True):
        for item in group:
            dep, idxs = item.dep, list(item.idxs)
            target = dep.target.module
            if target not in names or (isinstance(target, nn.Module) and not list(target.parameters(recurse=False))):
                continue
            side = "out" if pruner.DG.is_out_channel_pruning_fn(dep.handler) else "in"
            key = (names[target], side)
            if isinstance(target, nn.Parameter):
                parameters[key] = dep.target.pruning_dim
            width = _width(
                dep, target, side, mask.get_submodule(names[target]) if isinstance(target, nn.Module) else None
            )
            left = alive.setdefault(key, np.arange(width))
            if max(idxs) >= len(left):
                raise AssertionError(f"its group takes slice {max(idxs)} of {key[0]}, which has {len(left)}")
            gone.setdefault(key, []).extend(left[idxs])
            alive[key] = np.delete(left, idxs)
        group.prune()
    if not gone:
        raise AssertionError("no group is found")
    with torch.no_grad():
        for (name, side), idxs in gone.items():
            _zero(mask, cut, name, side, sorted(set(idxs)), parameters.get((name, side)))
        return mask(inputs), cut(inputs)


def _width(dep, target, side: str, original: nn.Module | None) -> int:
    if isinstance(target, nn.Parameter):
        return target.shape[dep.target.pruning_dim]
    if isinstance(original, nn.modules.conv._ConvNd):
        return original.out_channels if side == "out" else original.in_channels
    if isinstance(original, nn.Linear):
        return original.out_features if side == "out" else original.in_features
    if isinstance(original, nn.MultiheadAttention):
        raise NotApplicableError("it cuts MultiheadAttention, for which there is no mask here")
    weight = getattr(original, "weight", None)
    if weight is None:
        raise NotApplicableError(f"it cuts {type(original).__name__}, for which there is no mask here")
    return weight.shape[-1]


def _zero(model: nn.Module, cut: nn.Module, name: str, side: str, idxs: list[int], dim: int | None) -> None:
    """Write zeros into slices; normalisations over units go on without them, as their smaller copies do."""
    owner = name if dim is None else name.rpartition(".")[0]
    layer, idxs = model.get_submodule(owner), torch.tensor(idxs)
    if "Norm" in type(layer).__name__ and not isinstance(layer, _EACH_ALONE):
        stay = np.setdiff1d(np.arange(layer.weight.shape[-1]), idxs.numpy())
        layer.forward = _narrow(layer, cut.get_submodule(owner), torch.tensor(stay))
    elif dim is not None:
        dict(model.named_parameters())[name].index_fill_(dim, idxs, 0)
    elif isinstance(layer, nn.Embedding):
        layer.weight.index_fill_(1, idxs, 0)
    elif isinstance(layer, nn.modules.conv._ConvNd) and (layer.groups > 1 or layer.transposed or side == "in"):
        _zero_convolution(layer, side, idxs)
    elif isinstance(layer, nn.Linear) and side == "in":
        layer.weight.index_fill_(1, idxs, 0)
    else:
        for tensor in layer.parameters(recurse=False):
            tensor.index_fill_(0, idxs, 0)


def _zero_convolution(layer: nn.Module, side: str, idxs: torch.Tensor) -> None:
    if side == "out":
        if layer.bias is not None:
            layer.bias.index_fill_(0, idxs, 0)
        if layer.transposed:
            each = layer.out_channels // layer.groups
            for i in idxs.tolist():
                rows = layer.in_channels // layer.groups
                layer.weight[i // each * rows : (i // each + 1) * rows, i % each] = 0
        else:
            layer.weight.index_fill_(0, idxs, 0)
    elif layer.transposed:
        layer.weight.index_fill_(0, idxs, 0)
    else:  # what a group of filters reads
        each, rows = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        for i in idxs.tolist():
            layer.weight[i // each * rows : (i // each + 1) * rows, i % each] = 0


def _narrow(layer: nn.Module, smaller: nn.Module, stay: torch.Tensor):
    """A normalisation whose statistics leave out the units that went; there it gives zeros."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        axis = -1 if type(layer) is nn.LayerNorm or (x.ndim < 4 and not isinstance(layer, nn.GroupNorm)) else 1
        axis = axis if x.shape[axis] == layer.weight.shape[-1] else -1
        return torch.zeros_like(x).index_copy(axis, stay, smaller(x.index_select(axis, stay)))

    return forward
