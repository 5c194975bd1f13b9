"""Units: the smallest things that can go, and which of them must go together."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ...nn import VisionTransformer
from .groups import UnitGroup
from .proof import find_proven
from .transformer import _transformer_units


def find_units(model: nn.Module, example, ignore: Iterable[str] = ()) -> list[UnitGroup]:
    """Find the groups of units of a model: its channels, neurons and heads, coupled as its graph demands, and proven.

    The model runs once on its example while the slices of its parameters are followed through every operation. What
    is found is proven before it is returned: on a copy whose parameters are drawn anew, in float64, units are masked
    and cut, and both must compute the same (:func:`prove` tells by how much they differ).

    Groups that reach the model's output (the classes of a classifier, the pixels of an autoencoder) are left
    out, since removing one of their units changes what the model answers.

    Parameters
    ----------
    model : nn.Module
        Any model, or a VisionTransformer of the zoo: its heads, its neurons and the dimensions of its tokens. It is not
        changed.
    example : torch.Tensor, tuple or dict
        An input, a tuple of inputs or a dictionary of them by name; batch size 1 is enough.
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
        If ``example`` does not run through the model, a layer's units meet an operation that mixes them or cannot do
        without them (the message names both, and the way out), or a name in ``ignore`` does not exist.

    Examples
    --------
    The first layer's channels go together with the second's inputs; the second makes the output, so that its own stay:

    >>> xp.find_units(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.zeros(1, 2))
    [UnitGroup('0', 3 units, 2 layers)]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}.")
    ignore = {ignore} if isinstance(ignore, str) else set(ignore)
    names = {name for name, _ in model.named_modules()}
    if unknown := sorted(ignore - names):
        raise ValueError(f"ignore names layers that the model lacks: {', '.join(unknown)}.")
    if isinstance(model, VisionTransformer):
        return _transformer_units(model, example, ignore)
    proof, told = find_proven(model, example, ignore)
    if told:
        name, why = next(iter(told.items()))
        others = f" (as those of {len(told) - 1} more layers)" if len(told) > 1 else ""
        hidden = next((n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)), None)
        convert = "" if hidden is None else (
            f" ({hidden!r} is an nn.MultiheadAttention, which hides where one head ends: a model that is converted "
            "with xp.zoo.from_torchvision, or built from xp.zoo.VisionTransformer, can lose heads and dimensions)"
        )  # fmt: skip
        raise ValueError(
            f"the units of {name!r} cannot go{others}: {why}. Leave them out: ignore={list(told)}{convert}."
        )
    return proof.groups
