"""Units: the smallest things that can go, and which of them must go together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from ...graph.calls import inputs_of
from ...nn import VisionTransformer
from ..applying import Proof, Trial
from ..units import UnitGroup, find_transformer_units
from .grouping import _ONE, _grouped
from .trace import _traced


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
    example = inputs_of(example)
    names = {name for name, _ in model.named_modules()}
    if unknown := sorted(ignore - names):
        raise ValueError(f"ignore names layers that the model lacks: {', '.join(unknown)}.")
    if isinstance(model, VisionTransformer):
        return find_transformer_units(model, example, ignore)
    proof, told = _find_proven(model, example, ignore)
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


def _find_proven(model: nn.Module, example, ignore=()) -> tuple[Proof, dict[str, str]]:
    """Groups of units by labels, those kept that pass the proof, and what has to be told: layer to reason.

    Where slices alone do not pass, ties are tried.
    """
    trace = _traced(model, example)
    trial = Trial(model, example)
    proof, taken, told = Proof([]), set(), {}
    for ties in ("", "repeat", "block"):
        if ties or trial.heads:
            trace = _traced(model, example, ties, trial.heads)
        groups, whys = _grouped(model, trace, set(ignore))
        if not ties:
            proof.refused, told = dict(whys), dict(trace.told)
        fresh = [group for group in groups if _slots(group).isdisjoint(taken) and _runs(group, trial.idle)]
        known = {group.name for group in proof.groups}
        fresh = [replace(group, name=_unlike(group.name, known)) for group in fresh]
        passed = trial.passing(fresh, proof)
        proof.groups += passed
        taken |= set().union(*map(_slots, passed))
        tied = any(why == _ONE for why in whys.values())
        if len(passed) == len(fresh) and not tied and not trace.told:
            break
    trial.move(proof)
    for group in proof.groups:
        for tensor, axis, _ in _slots(group):
            proof.refused.pop(f"{tensor}:{axis}", None)
    held = {member.module for group in proof.groups for member in group.members if member.role == "out"}
    told |= {name: why for name, why in proof.refused.items() if ":" not in name}
    told = {name.rstrip("'").partition(":")[0]: why for name, why in told.items()}
    names = {name for name, _ in model.named_modules()}
    told = {name if name in names else name.rpartition(".")[0]: why for name, why in told.items()}
    return proof, {name: why for name, why in told.items() if name not in held}


def _runs(group: UnitGroup, idle: list[str]) -> bool:
    """Whether some of a group runs in evaluation; units of a head for training alone do nothing there."""
    return any(member.module not in idle for member in group.members)


def _unlike(name: str, known: set[str]) -> str:
    """The name, with a prime behind it for each other that has it; what is given is known from then on."""
    while name in known:
        name += "'"
    known.add(name)
    return name


def _slots(group: UnitGroup) -> set[tuple[str, int, int]]:
    return {(t, k, int(i)) for m in group.members for t, k in m.axes.items() for i in m.index.ravel()}
