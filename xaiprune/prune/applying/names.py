"""A plan in the names of the model that it is carried out on, where one of them is wrapped and the other is not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from ...data import mark
from ...graph.calls import aligned
from ..units import Plan


def _in_its_names(function: Callable) -> Callable:
    """A function of a model and a plan that also takes a plan of the same model with or without a wrapper.

    ``DataParallel`` puts ``module.`` before every name, ``torch.compile`` puts ``_orig_mod.``.

    Parameters
    ----------
    function : callable
        ``(model, plan, ...)``.

    Returns
    -------
    callable
    """

    @functools.wraps(function)
    def call(model: nn.Module, plan: Plan, *args, **options):
        return function(model, _renamed(model, plan), *args, **options)

    return call


def _renamed(model: nn.Module, plan: Plan) -> Plan:
    if not isinstance(plan, Plan) or all(_there(model, name) for group, _ in plan.parts for name in group.modules):
        return plan
    known = [name for name, _ in model.named_modules(remove_duplicate=False)]
    known += [name for name, _ in model.named_parameters(remove_duplicate=False)]
    known += [name for name, _ in model.named_buffers(remove_duplicate=False)]
    members = [member for group in plan.groups for member in group.members]
    given = {name for member in members for name in (member.module, *member.axes)}
    given |= {name for group in plan.groups for name in (group.name, *group.blocks)}
    new = aligned(given, known)
    groups = tuple(
        replace(
            group,
            name=new[group.name],
            members=tuple(
                replace(member, module=new[member.module], axes={new[name]: axis for name, axis in member.axes.items()})
                for member in group.members
            ),
            blocks=tuple(new[name] for name in group.blocks),
        )
        for group in plan.groups
    )
    return mark(Plan(groups, {new[name]: units for name, units in plan.removed.items()}), plan)


def _there(model: nn.Module, name: str) -> bool:
    *path, last = name.split(".")
    for part in path:  # not by getattr, which a compiled model hands on
        model = model._modules.get(part)
        if model is None:
            return False
    return any(last in held for held in (model._modules, model._parameters, model._buffers))
