"""What it means for a layer to lose units: a table, and nothing else.

A layer takes part in a group of units in one of a few roles. ``out``: it produces the units, one slice of its
weight each. ``in``: it reads them. ``through``: the units pass it one by one (normalisation, depthwise convolution) or
in blocks (grouped convolution). A recurrent layer reads its own units ``again`` in the next step, and in the layer
``above``. For each role the table names the tensors that have an axis of units, which axis that
is, and the attributes that count them. Cutting, masking and counting all read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ...graph import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS


@dataclass(frozen=True)
class _Role:
    """Axes of units in a layer's tensors, and the attributes that hold their number.

    Attributes
    ----------
    axes : mapping of str to int
        Tensor name to the axis that runs over units; the first one is the one that is always there.
    counts : tuple of str
        Attributes of the module that hold the size of that axis.
    """

    axes: Mapping[str, int]
    counts: tuple[str, ...] = ()


_OUT = {"weight": 0, "bias": 0}
_CONV = {"out": _Role(_OUT, ("out_channels",)), "in": _Role({"weight": 1}, ("in_channels",))}
_TRANSPOSED = {
    "out": _Role({"weight": 1, "bias": 0}, ("out_channels",)),
    "in": _Role({"weight": 0}, ("in_channels",)),
}
_GROUPED = {"through": _Role(_OUT, ("in_channels", "out_channels", "groups"))}
_LINEAR = {"out": _Role(_OUT, ("out_features",)), "in": _Role({"weight": 1}, ("in_features",))}
_BATCHNORM = {"through": _Role({**_OUT, "running_mean": 0, "running_var": 0}, ("num_features",))}

#: Type of layer to the roles that it can play. Grouped convolutions are told apart by :func:`layer_of`.
LAYERS: dict[type[nn.Module], dict[str, _Role]] = {
    **dict.fromkeys(CONVOLUTIONS, _CONV),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, _TRANSPOSED),
    nn.Linear: _LINEAR,
    **dict.fromkeys((*BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _BATCHNORM),
    nn.LayerNorm: {"through": _Role(_OUT, ("normalized_shape",))},
    nn.GroupNorm: {"through": _Role(_OUT, ("num_channels",))},
    nn.PReLU: {"through": _Role({"weight": 0}, ("num_parameters",))},
    nn.Embedding: {"out": _Role({"weight": 1}, ("embedding_dim",))},
}


def layer_of(module: nn.Module) -> dict[str, _Role] | None:
    """The row of ``LAYERS`` for a module, or None where the kit cannot cut a layer of its type."""
    if isinstance(module, nn.RNNBase):
        return _recurrent(module)
    if normalises(module) and not isinstance(module, nn.LayerNorm | nn.GroupNorm):
        counts = ("normalized_shape",) if hasattr(module, "normalized_shape") else ()
        return {"through": _Role({name: 0 for name, _ in module.named_parameters()}, counts)}
    for kind, layer in LAYERS.items():
        if isinstance(module, kind):
            return _GROUPED if is_grouped(module) else layer
    return None


def normalises(module: nn.Module) -> bool:
    """True for a layer whose statistics run over units, so that an absent unit and one of zeros are not the same.

    LayerNorm and GroupNorm, and what others write as a class of its own whose name says so, as the RMSNorm of language
    models, with vectors of one width as its parameters.
    """
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        return True
    if not any(word in type(module).__name__.lower() for word in ("rmsnorm", "layernorm")) or list(module.children()):
        return False
    shapes = {tuple(tensor.shape) for tensor in module.parameters()}
    return len(shapes) == 1 and len(*shapes) == 1


def axis_of_norm(norm: nn.Module, shape, width: int | None) -> int:
    """Axis of a layer's input that its statistics run over, or that its groups divide."""
    if isinstance(norm, nn.GroupNorm) or "2d" in type(norm).__name__:  # LayerNorm2d turns axes
        return 1
    return -1 if width in (None, shape[-1]) or len(shape) < 2 else 1


def _recurrent(module: nn.RNNBase) -> dict[str, _Role]:
    """Rows of the gates; columns that read the input, the memory of the step before, and the layer below."""
    weights = [name for name, _ in module.named_parameters()]
    first = [name for name in weights if name.startswith("weight_ih_l0")]
    return {
        "out": _Role(dict.fromkeys(weights, 0)),
        "in": _Role(dict.fromkeys(first, 1), ("input_size",)),
        "again": _Role({name: 1 for name in weights if name.startswith("weight_hh")}, ("hidden_size",)),
        "above": _Role({name: 1 for name in weights if name.startswith("weight_ih") and name not in first}),
    }


def is_grouped(module: nn.Module) -> bool:
    """True for a convolution in several groups, each of which maps some channels onto as many channels.

    Such groups go as a whole. A depthwise convolution is the case of one channel to a group.
    """
    convolution = isinstance(module, (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS))  # a ResNet has groups too
    return convolution and module.groups > 1 and module.in_channels == module.out_channels


def is_depthwise(module: nn.Module) -> bool:
    """True for a convolution in which every channel has a filter of its own.

    A one-channel convolution (``in_channels == 1``) is not one: it has ``groups == 1`` and its input channel
    is shared by all outputs.
    """
    return is_grouped(module) and module.groups == module.in_channels


def block_size(module: nn.Module) -> int:
    """How many neighbouring channels of a ``through`` layer can only go together.

    More than 1 for a GroupNorm or a grouped convolution with several channels to a group: a group is computed as a
    whole, so whole groups go.
    """
    if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
        return module.num_channels // module.num_groups
    return module.in_channels // module.groups if is_grouped(module) else 1
