"""Whole residual blocks as units: what goes is the block's work, and its input passes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import torch
from torch import nn

from ...graph import changing, reading
from .groups import UnitGroup, inside
from .kinds import KINDS, UnitKind

#: Classes whose output is their input plus a correction, by name, as torchvision and timm spell them: a block of such a
#: class can pass its input on if both have one shape. Add a name for a class of your own.
RESIDUAL = {
    *("InvertedResidual", "_InvertedResidual", "MBConv", "FusedMBConv"),
    *("BasicBlock", "Bottleneck", "ResBottleneckBlock", "CNBlock", "Block", "EncoderBlock"),
}
#: Where such a name means something else: the inverted residual of ShuffleNet puts halves side by side.
_OTHERS = {"torchvision.models.shufflenetv2"}


def find_blocks(model: nn.Module, example: torch.Tensor, kinds: str | Iterable[str] = RESIDUAL) -> list[UnitGroup]:
    """Find the residual blocks that a model could do without.

    Parameters
    ----------
    model : nn.Module
    example : torch.Tensor
        An input of the model; batch size 1 is enough.
    kinds : str or iterable of str
        Names of the blocks' classes.

    Returns
    -------
    list of UnitGroup
        One group, named ``blocks``, whose units are the blocks that give back the shape they take, in the model's
        order. Plans can mix it with channels: ``find_units(model, x) + find_blocks(model, x)``.

    Raises
    ------
    ValueError
        If the model has fewer than two such blocks, of which one has to stay.

    Examples
    --------
    >>> [group] = xp.prune.find_blocks(xp.zoo.mobilenet(width=0.25), torch.zeros(1, 1, 28, 28))
    >>> group.size, group.blocks[:2]
    (11, ('features.1', 'features.3'))
    """
    found: list[str] = []
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    names = [
        name
        for name, module in model.named_modules()
        if type(module).__name__ in kinds and type(module).__module__ not in _OTHERS
    ]

    def see(name: str, given: tuple, output: object) -> None:
        if len(given) == 1 and isinstance(output, torch.Tensor) and output.shape == given[0].shape:
            found.append(name)

    modes = {module: module.training for module in model.modules()}
    try:
        with reading(model, names, see), torch.no_grad():
            model.eval()(example)
    finally:
        for module, mode in modes.items():
            module.training = mode
    blocks = tuple(dict.fromkeys(found))
    if len(blocks) < 2:
        raise ValueError(
            f"model has {len(blocks)} residual blocks of classes {', '.join(sorted(kinds))} whose input and output "
            "agree in shape, and at least one has to stay: name your own classes in kinds=[...]."
        )
    return [UnitGroup("blocks", len(blocks), (), BLOCKS, blocks=blocks)]


class Blocks(UnitKind):
    """Residual blocks: a unit is what a block adds to its input, and without it the input passes on."""

    name, words = "blocks", "whole blocks"
    counted = False

    def owned(self, model: nn.Module, group: UnitGroup, value: Callable) -> torch.Tensor:
        """Sum of a value over all of a block's weights."""
        found = []
        for block in group.blocks:
            weights = model.get_submodule(block).named_parameters(block)
            found.append(sum(value(name, weight.detach().double()).sum() for name, weight in weights))
        return torch.stack(found)

    def replaced(self, model: nn.Module, groups: Sequence[UnitGroup], function: Callable) -> AbstractContextManager:
        """Inside the ``with``, blocks add something else to their input."""

        def added(name: str, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            return given + function(name, output - given)

        return changing(model, does={name: partial(added, name) for group in groups for name in group.blocks})

    def per_unit(self, model: nn.Module, group: UnitGroup, place: str, values: torch.Tensor) -> list[torch.Tensor]:
        """Sum of what a block adds over channels and positions."""
        if place not in group.blocks:
            return []
        each = values.new_zeros(len(values), group.size)
        each[:, group.blocks.index(place)] = values.flatten(1).sum(1)
        return [each]

    def scaled(
        self, model: nn.Module, group: UnitGroup, place: str, part: torch.Tensor, gate: torch.Tensor
    ) -> torch.Tensor:
        """What a block adds, multiplied by its gate."""
        if place not in group.blocks:
            return part
        factor = gate.to(part)[..., group.blocks.index(place)]
        return part * factor.view(-1, *[1] * (part.ndim - 1))

    def described(self, group: UnitGroup) -> list[str]:
        """A line for each block."""
        return [f"{block} can pass its input on" for block in group.blocks]

    def check(self, model: nn.Module, group: UnitGroup, units: np.ndarray) -> None:
        """Refuse a model that lacks a block, or from which it is cut already."""
        known = dict(model.named_modules())
        for block in _named(group, units):
            if block not in known or not [*known[block].parameters(), *known[block].buffers()]:
                raise ValueError(f"the plan does not fit the model: there is no block {block!r}.")

    def mask(self, model: nn.Module, group: UnitGroup, units: np.ndarray) -> AbstractContextManager:
        """Let blocks give back their input inside the ``with``."""
        return changing(model, does=dict.fromkeys(_named(group, units), lambda given, output: given))

    def cut(self, smaller: nn.Module, group: UnitGroup, units: np.ndarray) -> None:
        """Put an identity in the place of each block."""
        for block in _named(group, units):
            smaller.set_submodule(block, nn.Identity().train(smaller.get_submodule(block).training))

    def check_cut(self, smaller: nn.Module, group: UnitGroup, units: np.ndarray) -> None:
        """Refuse a model that still has one of the blocks."""
        for block in _named(group, units):
            if list(smaller.get_submodule(block).parameters()):
                raise ValueError(f"smaller is not the cut of this plan: it still has the block {block!r}.")

    def unit_costs(self, group: UnitGroup, by_layer: Mapping[str, float]) -> np.ndarray:
        """What the layers inside each block cost."""
        return np.array([sum(by_layer[name] for name in by_layer if inside(name, [block])) for block in group.blocks])


def _named(group: UnitGroup, units: np.ndarray) -> list[str]:
    """The blocks that go."""
    return [group.blocks[unit] for unit in units]


BLOCKS = KINDS.add(Blocks())
