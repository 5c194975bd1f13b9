"""Whole residual blocks as units: what goes is the block's work, and its input passes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from .groups import UnitGroup

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
    """
    found: list[str] = []
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)

    def hook(name, module, inputs, output):
        if len(inputs) == 1 and isinstance(output, torch.Tensor) and output.shape == inputs[0].shape:
            found.append(name)

    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if type(module).__name__ in kinds and type(module).__module__ not in _OTHERS:
                handle = module.register_forward_hook(lambda m, i, o, name=name: hook(name, m, i, o))
                stack.callback(handle.remove)
        modes = {module: module.training for module in model.modules()}
        try:
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
    return [UnitGroup("blocks", len(blocks), (), blocks=blocks)]


@contextmanager
def passed_over(model: nn.Module, blocks: Iterable[str]) -> Iterator[None]:
    """Let blocks give back their input, inside the ``with``."""
    with ExitStack() as stack:
        for name in blocks:
            handle = model.get_submodule(name).register_forward_hook(lambda module, inputs, output: inputs[0])
            stack.callback(handle.remove)
        yield


def without(model: nn.Module, blocks: Iterable[str]) -> nn.Module:
    """Put an identity in the place of each block, in place."""
    for name in blocks:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Identity().train(model.get_submodule(name).training))
    return model


def inside(name: str, blocks: Iterable[str]) -> bool:
    """True for the name of one of the blocks, or of something inside one."""
    return any(name == block or name.startswith(f"{block}.") for block in blocks)
