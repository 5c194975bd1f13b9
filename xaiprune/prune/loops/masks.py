"""Masks that are learned: which units a model can do without, found by descent under a budget.

After X-Pruner (Yu and Xiang, CVPR 2023, arXiv 2303.04935), reconstructed from its description, since neither its
equations were at hand nor a complete implementation exists. A mask value in (0, 1) says how much a unit matters; every
group learns a threshold; units below it close; and an augmented Lagrangian holds the cost of what is open at a budget.

The paper has a mask for every class, and ranks all units by the absolute sum of their masks (arXiv v1; later versions
search a threshold for each layer), so that pruning needs no label. Masks per class that worked at inference would need
the label that is to be found: that trap can be shown here. :func:`learn_masks` learns one mask for all classes unless
it is told otherwise; ``Masks.scores`` of masks per class rank like their sum.
"""

# In stored tables: learned masks

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from ...core import evaluating, share
from ...data import Split, device_of, mark
from ...training import Moment, TrainOptions, classification_loss, iterate
from ..applying import gated_by
from ..costs import Costs
from ..scoring import Scores
from ..units import UnitGroup


@dataclass(frozen=True, eq=False)
class Masks:
    """What :func:`learn_masks` found.

    Attributes
    ----------
    groups : tuple of UnitGroup
    values : dict of str to torch.Tensor
        Group name to mask values in (0, 1), shape ``(units,)``, or ``(classes, units)`` for masks per class.
    thresholds : dict of str to float
        Group name to the value below which its units close.
    rows : list of dict
        Per epoch: ``epoch``, ``loss``, ``share`` (cost of what is open) and ``multiplier``.
    """

    groups: tuple[UnitGroup, ...]
    values: dict[str, torch.Tensor]
    thresholds: dict[str, float]
    rows: list[dict] = field(default_factory=list)

    @property
    def per_class(self) -> bool:
        """Whether there is a mask for every class."""
        return any(values.ndim == 2 for values in self.values.values())

    @property
    def scores(self) -> Scores:
        """How far each unit is above its group's threshold: what a plan ranks by. Of masks per class, the mean."""
        found = {}
        for group in self.groups:
            values = self.values[group.name].double()
            found[group.name] = (values.mean(0) if values.ndim == 2 else values) - self.thresholds[group.name]
        return mark(Scores("learned masks", self.groups, found), self)

    def gates(self, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """1 for every unit that is open, 0 for the others.

        Parameters
        ----------
        labels : torch.Tensor, optional
            Classes ``(N,)``, for masks per class; they choose the mask.

        Returns
        -------
        dict of str to torch.Tensor
            Shape ``(units,)``, or ``(N, units)`` for masks per class.

        Raises
        ------
        ValueError
            For masks per class without labels, or labels for masks that do not depend on them.
        """
        if self.per_class and labels is None:
            raise ValueError(
                "these masks depend on the label, which a model has to find: use .scores, their mean over classes, or "
                "learn masks without classes. To see what the trap gives, pass labels."
            )
        if labels is not None and not self.per_class:
            raise ValueError("labels were given, but these masks are the same for all classes.")
        found = {}
        for name, values in self.values.items():
            is_open = (values > self.thresholds[name]).float()
            found[name] = is_open if labels is None else is_open[labels]
        return found


def learn_masks(
    model: nn.Module,
    units: list[UnitGroup],
    train: Split,
    costs: Costs,
    options: TrainOptions | None = None,
    *,
    cost_target: float,
    sparsity: float = 0.01,
    smoothness: float = 0.01,
    penalty: float = 20.0,
    per_class: int | None = None,
    loss: Callable = classification_loss,
    **changes,
) -> Masks:
    """Learn which units can close, with the model's own weights as they are.

    What is minimised is the loss, ``sparsity mean(m) + smoothness mean((m - mean of its group)^2)``, and
    ``p/2 max(0, c + l/p)^2``, where c is the share of the cost that is open, less ``cost_target``: the augmented
    Lagrangian of ``c <= 0``, whose multiplier l becomes ``max(0, l + p c)`` after every epoch. A unit's gate is
    ``sigmoid((m - threshold) / T)``; T falls from 0.2 to 0.02, so that gates end open or closed.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; its weights stay as they are.
    units : list of UnitGroup
        Channels, neurons or heads.
    train : Split, or data of another form
        To learn on: a few thousand images do.
    costs : Costs
        Of the same groups.
    options : TrainOptions, optional
        As for ``training.fit``; by default 3 epochs in batches of 64, the incomplete one included, with ``lr=0.1``, for
        masks and thresholds before their sigmoid, which stays as it is.
    cost_target : float
        Share of the cost that is to be left, in (0, 1).
    sparsity, smoothness, penalty : float
        Weights of the terms; ``penalty`` is p.
    per_class : int, optional
        Number of classes, for a mask per class that each image's label chooses.
    loss : callable
        ``(model, inputs, targets) -> scalar``.
    **changes
        Options by keyword.

    Returns
    -------
    Masks

    Raises
    ------
    ValueError, TypeError
        For a model in training mode, a cost target outside (0, 1), units that are single weights or blocks, or options
        that are none.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 4))
    >>> costs = xp.prune.mac_costs(model, units, torch.zeros(1, 4))
    >>> points = xp.data.Split(torch.eye(4), torch.arange(4))
    >>> masks = xp.prune.learn_masks(model, units, points, costs, cost_target=0.5, epochs=2, progress=False)
    >>> masks.values["0"].shape, [row["epoch"] for row in masks.rows]
    (torch.Size([6]), [0, 1])
    """
    usual = {"epochs": 3, "lr": 0.1, "batch_size": 64, "drop_last": False, "lr_schedule": None}
    options = TrainOptions.of(options, changes, **usual)
    _check(model, units, cost_target)
    source = options.batches(train)
    weights = (sparsity, smoothness, penalty)
    descent = _Descent(model, units, costs, loss, cost_target, weights, per_class, len(source)).to(device_of(model))
    identity = {"model": model, "units": units, "train": source, "costs": costs, "cost_target": cost_target}
    identity |= {"sparsity": sparsity, "smoothness": smoothness, "penalty": penalty, "per_class": per_class}
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    try:
        model.requires_grad_(False)
        rows = iterate(
            descent,
            source,
            descent.value,
            options,
            identity={**identity, "loss": loss},
            validate=lambda _: descent.ended(),
            name="masks",
        )
    finally:
        for parameter, before in zip(model.parameters(), wanted):
            parameter.requires_grad_(before)
    names = [group.name for group in units]
    values = {name: value.detach().sigmoid() for name, value in zip(names, descent.raw)}
    edges = {name: edge.sigmoid().item() for name, edge in zip(names, descent.edges)}
    return mark(Masks(tuple(units), values, edges, rows), data=train, what="learned masks")


class _Descent(nn.Module):
    """Masks and thresholds before their sigmoid, and what is minimised over them."""

    def __init__(self, model, units, costs, loss, target: float, weights: tuple, per_class: int | None, steps: int):
        super().__init__()
        self._fixed = (model, units, costs, loss)  # in a tuple, so that the model is no part of this module
        self._target, self._weights, self._per_class, self._steps = target, weights, per_class, steps
        shape = (per_class,) if per_class else ()
        self.raw = nn.ParameterList(torch.full((*shape, group.size), 1.0) for group in units)
        self.edges = nn.ParameterList(torch.zeros(()) for _ in units)
        self._loss = self._spent = self._multiplier = 0.0

    def value(self, batch: tuple, moment: Moment) -> torch.Tensor:
        """The augmented Lagrangian of a batch."""
        (inputs, targets), (model, units, costs, loss) = batch, self._fixed
        sparsity, smoothness, penalty = self._weights
        self._multiplier = moment.rows[-1]["multiplier"] if moment.rows else 0.0
        heat = 0.2 * 0.1 ** (moment.step / max(1, moment.total - 1))
        masks, edges = [raw.sigmoid() for raw in self.raw], [edge.sigmoid() for edge in self.edges]
        gates = {g.name: ((mask - edge) / heat).sigmoid() for g, mask, edge in zip(units, masks, edges)}
        chosen = {name: gate[targets] for name, gate in gates.items()} if self._per_class else gates
        with torch.enable_grad(), gated_by(model, units, chosen):
            value = loss(model, inputs, targets)
        removed = {g.name: g.size - gates[g.name].reshape(-1, g.size).mean(0).sum() for g in units}
        excess = costs.relaxed(removed) / costs.total - self._target
        every = torch.cat([mask.flatten() for mask in masks])
        spread = torch.cat([(mask - mask.mean()).square().flatten() for mask in masks])
        terms = sparsity * every.mean() + smoothness * spread.mean()
        self._loss, self._spent = self._loss + value.item() / self._steps, self._spent + excess.item() / self._steps
        return value + terms + penalty / 2 * (excess + self._multiplier / penalty).clamp(min=0).square()

    def ended(self) -> dict[str, float]:
        """What an epoch adds to its row; the multiplier rises by what was spent beyond the budget."""
        multiplier = max(0.0, self._multiplier + self._weights[2] * self._spent)
        row = {"loss": self._loss, "share": self._spent + self._target, "multiplier": multiplier}
        self._loss = self._spent = 0.0
        return row


def _check(model: nn.Module, units: list[UnitGroup], cost_target: float) -> None:
    evaluating(model)
    share(cost_target, "cost_target", what="the share of the cost that is to be left")
    for group in units:
        if not (group.kind.gives("replaced") and group.kind.counted):
            raise ValueError(f"units must be channels, neurons or heads; {group.name!r} holds {group.kind.words}.")
