"""The units of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .groups import Member, UnitGroup
from .kinds import KINDS, UnitKind
from .layers import layer_of

#: Gates of an LSTM: rows of its weights come in this many blocks.
_GATES = 4


def find_memory(model: nn.Module) -> list[UnitGroup]:
    """Units of a long short-term memory: what goes with one is read from the architecture.

    A unit has a row in each of the four gates, for what comes in and for what the memory held; a column, by which the
    gates read it in the next step; and a column of the layer that reads the memory, which must be the ``nn.Linear``
    that comes next in the model.

    Parameters
    ----------
    model : nn.Module
        With layers ``nn.LSTM`` of one direction, without projection.

    Returns
    -------
    list of UnitGroup
        One for each layer; groups carry the layer's name, with ``.0``, ``.1`` behind it where one module has several.

    Raises
    ------
    ValueError
        If the model has no such layer, one has two directions or a projection, or no dense layer of its width follows.

    Examples
    --------
    >>> [(group.name, group.size) for group in xp.prune.find_memory(xp.zoo.WordLSTM())]
    [('memory', 64)]
    """
    modules = list(model.named_modules())
    found = []
    for place, (name, module) in enumerate(modules):
        if isinstance(module, nn.LSTM):
            behind = [(other, reads) for other, reads in modules[place + 1 :] if list(reads.parameters(recurse=False))]
            if module.bidirectional or module.proj_size:
                raise ValueError(
                    f"layer {name!r} has two directions or a projection: find_units(model, example) follows any."
                )
            if module.num_layers > 1:
                raise ValueError(
                    f"layer {name!r} has {module.num_layers} layers in one: find_units(model, example) follows them."
                )
            if not behind or getattr(behind[0][1], "in_features", None) != module.hidden_size:
                raise ValueError(
                    f"layer {name!r} must be read by the nn.Linear of its width that comes next; find_units(model, "
                    "example) follows any reader."
                )
            found.append(_memory(name, module, *behind[0]))
    if not found:
        raise ValueError("model has no nn.LSTM.")
    return found


def _memory(name: str, module: nn.LSTM, reader: str, reads: nn.Linear) -> UnitGroup:
    width = module.hidden_size
    each = np.arange(width)[:, None]
    rows = [n for n in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0") if hasattr(module, n)]
    gates = each + width * np.arange(_GATES)
    columns = layer_of(reads)["in"]
    read = {f"{reader}.{tensor}": axis for tensor, axis in columns.axes.items()}
    members = (
        Member(name, "LSTM", "out", {f"{name}.{row}": 0 for row in rows}, (), _GATES * width, gates),
        Member(name, "LSTM", "in", {f"{name}.weight_hh_l0": 1}, ("hidden_size",), width, each),
        Member(reader, "Linear", "in", read, columns.counts, width, each),
    )
    return UnitGroup(name, width, members, MEMORY)


class _Memory(UnitKind):
    """Units of a recurrent layer, which are read in every step: reading the last output would miss the others.

    What goes with a unit are its weights, so criteria look at these, through all steps.
    """

    name, words = "memory", "units of a memory"

    def owned(self, model: nn.Module, group: UnitGroup, value: Callable) -> torch.Tensor:
        """Sum over the weights of each unit; what is in a row and in a column of it counts once."""
        places: dict[str, dict[int, torch.Tensor]] = {}
        for member in group.members:
            for name, axis in member.axes.items():
                places.setdefault(name, {})[axis] = torch.as_tensor(member.index)
        total = torch.zeros(group.size, dtype=torch.float64)
        tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
        for name, axes in places.items():
            if not isinstance(tensors[name], nn.Parameter):
                continue
            values = value(name, tensors[name].detach()).double()
            for axis, index in axes.items():
                slices = values.movedim(axis, 0).reshape(values.shape[axis], -1).sum(1)
                total += slices[index].sum(1)
            if len(axes) == 2:
                total -= torch.stack([values[row][:, column].sum() for row, column in zip(axes[0], axes[1])])
        return total


MEMORY = KINDS.add(_Memory())
