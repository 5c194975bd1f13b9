"""Plans of single weights and ``torch.nn.utils.prune``: read its masks as a plan, write a plan as its masks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import prune

from ...data import carries
from ...graph.calls import unwrapped
from ..units import Plan, weight_group
from .names import _in_its_names


@carries
def read_masks(model: nn.Module) -> Plan:
    """The plan that a model's ``torch.nn.utils.prune`` masks amount to.

    Parameters
    ----------
    model : nn.Module
        Pruned by any method of ``torch.nn.utils.prune``; it is not changed.

    Returns
    -------
    Plan
        Of single weights, with a group for each masked tensor. It fits the model once ``torch.nn.utils.prune.remove``
        has made it plain, and any other model of its architecture.

    Raises
    ------
    ValueError
        If the model has no masks, or a mask leaves nothing of a tensor.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> _ = torch.nn.utils.prune.l1_unstructured(model[0], "weight", amount=3)
    >>> xp.prune.read_masks(model)
    Plan: 3 of 4 units go
      0.weight: 3 of 4 go, 1 stay
    """
    groups, removed, model = [], {}, unwrapped(model)
    for name, mask in model.named_buffers():
        layer, _, buffer = name.rpartition(".")
        module = model.get_submodule(layer)
        tensor = buffer.removesuffix("_mask")
        if buffer.endswith("_mask") and hasattr(module, f"{tensor}_orig"):
            full = f"{layer}.{tensor}" if layer else tensor
            groups.append(weight_group(full, type(module).__name__, tuple(mask.shape)))
            removed[full] = torch.nonzero(mask.flatten() == 0).flatten().cpu().numpy()
    if not groups:
        raise ValueError(
            "model has no masks of torch.nn.utils.prune. If torch.nn.utils.prune.remove made it plain, read the masks "
            "before that."
        )
    return Plan(tuple(groups), removed)


@carries
@_in_its_names
def write_masks(model: nn.Module, plan: Plan) -> nn.Module:
    """Put a plan of single weights on a model as ``torch.nn.utils.prune`` masks, in place.

    Parameters
    ----------
    model : nn.Module
    plan : Plan
        Of single weights that the model has.

    Returns
    -------
    nn.Module
        ``model`` itself. ``torch.nn.utils.prune.remove`` makes the zeros permanent.

    Raises
    ------
    ValueError
        If the plan holds other units, or does not fit the model; nothing has been changed then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> plan = xp.prune.Plan(tuple(xp.prune.find_weights(model)), {"0.weight": [0, 3]})
    >>> xp.prune.write_masks(model, plan)[0].weight_mask
    tensor([[0., 1.],
            [1., 0.]])
    """
    parameters = dict(model.named_parameters())
    for group in plan.groups:
        if not group.kind.entries:
            raise ValueError(
                f"plan removes {group.kind.words}, such as {group.name!r}; a mask of weights cannot say so: cut the "
                "model."
            )
        if f"{group.name}_orig" in parameters:
            raise ValueError(
                f"{group.name!r} has a mask of torch.nn.utils.prune already: make the model plain with "
                "torch.nn.utils.prune.remove first, and let the plan hold what that one removed too."
            )
        found = tuple(parameters[group.name].shape) if group.name in parameters else None
        if found != group.shape:
            raise ValueError(
                f"the plan does not fit the model: {group.name} should have shape {group.shape}, not {found}."
            )
    for name, gone in plan.removed.items():
        layer, _, tensor = name.rpartition(".")
        mask = torch.ones(parameters[name].shape, dtype=parameters[name].dtype)
        mask.view(-1)[torch.tensor(gone)] = 0
        prune.custom_from_mask(model.get_submodule(layer), tensor, mask.to(parameters[name].device))
    return model
