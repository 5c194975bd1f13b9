"""Gates: units multiplied by numbers wherever they live, to weaken, close or differentiate them."""

# In stored tables: gates

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn

from ...data import Split, batches, differentiable
from ..units import UnitGroup

#: Inputs, and numbers in them, that go through the model at once while units are valued: memory and time, not the
#: result. A photograph of 224 x 224 takes some 70 MB in a small network while its gradients are sought.
_BATCH, _NUMBERS = 256, 2**21


@contextmanager
def gated_by(model: nn.Module, groups: Sequence[UnitGroup], gates: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Multiply every unit by its gate wherever it lives, with gradients for the gates.

    Parameters
    ----------
    model : nn.Module
    groups : sequence of UnitGroup
        Of kinds that gates can close: channels, neurons, heads, whole blocks.
    gates : mapping of str to torch.Tensor
        Group name to shape ``(units,)``, or ``(N, units)`` for gates that differ from image to image. Their values may
        be changed inside the ``with``.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If a group is of another kind.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight), nn.init.ones_(model[2].weight)
    >>> units = xp.find_units(model, torch.zeros(1, 1))
    >>> with xp.prune.gated_by(model, units, {"0": torch.tensor([1.0, 0.5])}):
    ...     print(model(torch.ones(1, 1)).item())
    1.5
    """
    if other := [group for group in groups if not group.kind.gives("replaced")]:
        raise ValueError(
            f"groups must be of units that a gate can close, and {other[0].name!r} holds {other[0].kind.words}: "
            "mask a plan of them."
        )

    def scale(groups: list[UnitGroup], place: str, part: torch.Tensor) -> torch.Tensor:
        for group in groups:
            part = group.kind.scaled(model, group, place, part, gates[group.name])
        return part

    with ExitStack() as stack:
        for some in alike(groups):
            stack.enter_context(some[0].kind.replaced(model, some, partial(scale, some)))
        yield


def per_image(
    model: nn.Module, groups: Iterable[UnitGroup], data: Split, run: Callable, products: Callable
) -> dict[str, torch.Tensor]:
    """Per image and unit, the sum of a product over all places where the unit lives.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    groups : iterable of UnitGroup
        Of kinds with ``replaced``.
    data : Split
    run : callable
        ``(model, inputs, targets) -> result``, in batches of at most 256 inputs, fewer where they are large.
    products : callable
        ``(parts, result) -> products``: the parts that a gate would multiply, which the result depends on, and one
        tensor for each of the same shape.

    Returns
    -------
    dict of str to torch.Tensor
        Group name to a float64 tensor of shape ``(images, units)``.
    """
    found: dict[str, list[torch.Tensor]] = {group.name: [] for group in groups}
    for some in alike(groups):
        for inputs, targets in batches(data, _at_once(data.inputs)):
            places: list[str] = []
            parts: list[torch.Tensor] = []

            def keep(place: str, part: torch.Tensor, places=places, parts=parts) -> torch.Tensor:
                places.append(place)
                if not part.requires_grad:  # behind tokens, or layers that are frozen
                    part = part.detach().requires_grad_()
                parts.append(part.view_as(part))  # its own gradient, where several layers read one tensor
                return parts[-1]

            with some[0].kind.replaced(model, some, keep), torch.enable_grad():
                result = run(model, differentiable(inputs), targets)
            shares: dict[str, list[torch.Tensor]] = {group.name: [] for group in some}
            for place, values in zip(places, products(parts, result)):
                values = values.double()
                if len(values) != len(inputs):
                    raise ValueError(
                        f"layer {place!r} gets {len(values)} rows for {len(inputs)} inputs, so that what a unit does "
                        "for one input cannot be told. Use criterion='l1' or 'l2', which look at weights alone, or let "
                        "the layer read (N, T, F) in place of (N T, F)."
                    )
                for group in some:
                    shares[group.name] += group.kind.per_unit(model, group, place, values)
            for name, each in shares.items():
                found[name].append(torch.stack(each).sum(0).detach())
    return {name: torch.cat(values) for name, values in found.items()}


def _at_once(inputs: torch.Tensor) -> int:
    return max(1, min(_BATCH, _NUMBERS // max(1, inputs[:1].numel())))


def alike(groups: Iterable[UnitGroup]) -> list[list[UnitGroup]]:
    """The groups whose units live in places of one sort together: they are valued in one pass.

    Parameters
    ----------
    groups : iterable of UnitGroup

    Returns
    -------
    list of list of UnitGroup
    """
    found: dict[object, list[UnitGroup]] = {}
    for group in groups:
        found.setdefault(type(group.kind).replaced, []).append(group)
    return list(found.values())
