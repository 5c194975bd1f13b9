"""Scores: how much each unit matters, by one criterion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ...core import Registry, evaluating
from ...data import Split, as_split, carries, mark
from ...graph import asks
from ...training import TASK_LOSSES, classification_loss
from ..units import UnitGroup, check_groups
from .criteria import CRITERIA, Criterion, Evidence
from .criteria.attribution import minus_logit

#: Ways to bring groups to one scale before all units are ranked together: ``values of a group -> values``.
NORMALISATIONS: Registry[Callable[[torch.Tensor], torch.Tensor]] = Registry(
    "a normalisation",
    callable,
    [
        ("mean", lambda values: values / values.abs().mean()),
        ("max", lambda values: values / values.abs().max()),
        ("norm", lambda values: values / values.norm()),
        ("sum", lambda values: values / values.abs().sum()),
        ("rank", lambda values: torch.argsort(torch.argsort(values, stable=True)).double() / len(values)),
    ],
)


@dataclass(frozen=True, eq=False)
class Scores:
    """One finite number per unit, with the criterion that gave it.

    Attributes
    ----------
    criterion : str
    groups : tuple of UnitGroup
    values : mapping of str to torch.Tensor
        Group name to a float64 tensor of shape ``(units,)``; more means that the unit matters more.
    of : str or None
        "loss" or "logit": what the criterion explained; None for neither.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> scores = xp.prune.Scores("mine", tuple(units), {"0": torch.tensor([5.0, 1.0, 2.0])})
    >>> scores["0"].tolist(), scores.order("0").tolist()
    ([5.0, 1.0, 2.0], [1, 2, 0])
    """

    criterion: str
    groups: tuple[UnitGroup, ...]
    values: Mapping[str, torch.Tensor]
    of: str | None = None

    def __post_init__(self):
        for group in self.groups:
            values = self.values[group.name]
            if tuple(values.shape) != (group.size,):
                raise ValueError(
                    f"criterion {self.criterion!r} gave group {group.name!r} scores of shape "
                    f"{tuple(values.shape)}, expected ({group.size},): one number per unit."
                )
            if not torch.isfinite(values).all():
                raise ValueError(f"criterion {self.criterion!r} gave group {group.name!r} a score of NaN or infinity.")

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.values[name]

    def order(self, name: str) -> torch.Tensor:
        """Units of a group from the lowest score to the highest, ties by index; shape ``(units,)``.

        Parameters
        ----------
        name : str
            Of the group.

        Returns
        -------
        torch.Tensor
            Shape ``(units,)``, int64.
        """
        return torch.argsort(self.values[name], stable=True)

    @carries
    def only(self, *names: str) -> Scores:
        """The same scores for some of the groups: the others are left alone by every plan.

        Parameters
        ----------
        *names : str
            Of groups, at least one.

        Returns
        -------
        Scores

        Raises
        ------
        ValueError
            If there is no such group, or none is named.
        """
        groups = tuple(group for group in self.groups if group.name in names)
        if not names or len(groups) != len(set(names)):
            raise ValueError(f"names must be among {', '.join(self.values)}, got {', '.join(names) or 'none'}.")
        return replace(self, groups=groups, values={group.name: self.values[group.name] for group in groups})

    @carries
    def reversed(self) -> Scores:
        """The opposite ranking, as a control: what mattered most goes first.

        Returns
        -------
        Scores
            Minus the values.
        """
        values = {name: -v for name, v in self.values.items()}
        return replace(self, criterion=f"reversed {self.criterion}", values=values)

    @carries
    def normalised(self, how: str | Callable[[torch.Tensor], torch.Tensor]) -> Scores:
        """The same order inside each group, with the groups brought to one scale for a global ranking.

        Parameters
        ----------
        how : str or callable
            A key of ``NORMALISATIONS``, or a function of your own from a group's values to values. A group of zeros
            stays as it is.

        Returns
        -------
        Scores
        """
        scale, name = NORMALISATIONS.find(how, "how"), NORMALISATIONS.name_of(how)
        values = {group: scale(v).double() if v.any() else v for group, v in self.values.items()}
        return replace(self, criterion=f"{self.criterion} by {name}", values=values)

    @carries
    def per(self, costs: Mapping[str, np.ndarray], measured_in: str = "cost") -> Scores:
        """Scores divided by what a unit costs, so that those go first whose removal saves most for what it loses.

        Parameters
        ----------
        costs : mapping of str to numpy.ndarray
            Group name to positive numbers of shape ``(units,)``, such as ``latency_costs(...).per_unit()``.
        measured_in : str
            For the name: ``"us"``.

        Returns
        -------
        Scores

        Raises
        ------
        ValueError
            If a group has no costs, a cost is not positive, or a score is negative, which no division can rank.
        """
        values = {}
        for group in self.groups:
            if group.name not in costs:
                raise ValueError(f"costs lack group {group.name!r}: make them for the groups that are scored.")
            divisor = torch.as_tensor(costs[group.name], dtype=torch.float64)
            if not (divisor > 0).all():
                raise ValueError(f"costs must be positive, got {divisor.min():.3g} for a unit of {group.name!r}.")
            if (self[group.name] < 0).any():
                raise ValueError(f"scores of {group.name!r} are partly negative: a cost would turn their order round.")
            values[group.name] = self[group.name] / divisor
        return replace(self, criterion=f"{self.criterion} per {measured_in}", values=values)

    def __repr__(self) -> str:
        told = f" of the {self.of}" if self.of and not self.criterion.endswith(f" of the {self.of}") else ""
        lines = [f"Scores by {self.criterion}{told}:"]
        for group in self.groups:
            low, middle, high = self.values[group.name].quantile(torch.tensor([0, 0.5, 1], dtype=torch.float64))
            lines.append(f"  {group.name}: {group.size} units, {low:.3g} .. {middle:.3g} .. {high:.3g}")
        return "\n".join(lines)


@asks("model")
def score(
    model: nn.Module,
    units: list[UnitGroup],
    criterion: Criterion | str,
    data: Split | None = None,
    *,
    of: str | None = None,
    loss: Callable | str = classification_loss,
    seed: int = 0,
) -> Scores:
    """Score every unit by one criterion.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is not changed.
    units : list of UnitGroup
        From :func:`find_units` or :func:`find_weights`.
    criterion : Criterion or str
        One of your own, or a key of ``CRITERIA``.
    data : Split, or data of another form, optional
        Inputs (N, ...) and targets (N,), for criteria that need them. Use the calibration split: never test.
    of : {"loss", "logit"}, optional
        What is explained: the loss, or the logit of each image's label. The default is the criterion's own, the first
        of its ``of``.
    loss : callable or str
        ``(model, inputs, targets) -> scalar``, a mean over images, or a key of ``training.TASK_LOSSES``. The default is
        cross-entropy.
    seed : int
        For criteria that draw.
    output : str, int or callable, optional
        As for ``measure.predict``: what ``model(inputs)`` is, of a model that gives more than a tensor.

    Returns
    -------
    Scores

    Raises
    ------
    TypeError
        For a criterion that is neither a name nor a Criterion.
    ValueError
        For an unknown criterion, one that does not rank such units or does not explain the quantity, data that is
        missing or empty, a model in training mode, or a score that is not finite (the group and the criterion are
        named).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, -4.0], [0.0, 1.0], [2.0, 0.0]]))
    >>> _ = nn.init.ones_(model[2].weight)
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> xp.score(model, units, "l1")["0"].tolist()  # |w| of two weights that a unit reads by, and of one that reads it
    [8.0, 2.0, 3.0]
    """
    groups = check_groups(units)
    criterion, loss = CRITERIA.find(criterion, "criterion"), TASK_LOSSES.find(loss, "loss")
    if of == "logit" and loss is not classification_loss:
        raise ValueError("loss has no part in of='logit': leave one of the two out.")
    criterion = criterion if of is None else criterion.explaining(of)
    of = criterion.of[0] if criterion.of else None
    evaluating(model, why=", so that scores are repeatable")
    if criterion.reads != "weights":
        data = None if data is None else as_split(data, on=model)
        if data is None or len(data[0]) == 0:
            raise ValueError(
                f"criterion {criterion.name!r} needs data: pass a Split, such as xp.data.mnist('calibration')."
            )
    explained = minus_logit if of == "logit" else loss
    evidence = Evidence(model, tuple(groups.values()), data, explained, seed)
    values = criterion(evidence)
    values = {name: values[name].detach().double() for name in groups}
    found = Scores(criterion.name, tuple(groups.values()), values, of)
    return found if criterion.reads == "weights" else mark(found, data=data, what=f"scores by {criterion.name}")
