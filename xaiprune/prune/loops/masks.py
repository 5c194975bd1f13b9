"""Masks that are learned: which units a model can do without, found by descent under a budget.

After X-Pruner (Yu and Xiang, CVPR 2023, arXiv 2303.04935), reconstructed from its description, since neither its
equations were at hand nor a complete implementation exists. A mask value in (0, 1) says how much a unit matters; every
group learns a threshold; units below it close; and an augmented Lagrangian holds the cost of what is open at a budget.

The paper has a mask for every class. At inference these would need the label that is to be found: here they serve to
show that trap, and :func:`learn_masks` learns one for all classes unless it is told otherwise.
"""

# In stored tables: learned masks

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from tqdm.auto import tqdm

from ...core import evaluating, share
from ...data import Split
from ...training import classification_loss
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
        return Scores("learned masks", self.groups, found)

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
    *,
    cost_target: float,
    epochs: int = 3,
    lr: float = 0.1,
    sparsity: float = 0.01,
    smoothness: float = 0.01,
    penalty: float = 20.0,
    per_class: int | None = None,
    loss: Callable = classification_loss,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = True,
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
    train : Split
        To learn on: a few thousand images do.
    costs : Costs
        Of the same groups.
    cost_target : float
        Share of the cost that is to be left, in (0, 1).
    epochs : int
    lr : float
        Of Adam, for masks and thresholds, before their sigmoid.
    sparsity, smoothness, penalty : float
        Weights of the terms; ``penalty`` is p.
    per_class : int, optional
        Number of classes, for a mask per class that each image's label chooses.
    loss : callable
        ``(model, images, labels) -> scalar``.
    batch_size : int
    seed : int
        Of the order of the images.
    progress : bool

    Returns
    -------
    Masks

    Raises
    ------
    ValueError
        For a model in training mode, a ``cost_target`` outside (0, 1), or units that are single weights or blocks.

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
    _check(model, units, cost_target)
    shape = (per_class,) if per_class else ()
    raw = {group.name: torch.full((*shape, group.size), 1.0, requires_grad=True) for group in units}
    edges = {group.name: torch.zeros((), requires_grad=True) for group in units}
    optimizer = torch.optim.Adam([*raw.values(), *edges.values()], lr=lr)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    steps, multiplier, rows = -(-len(train.images) // batch_size), 0.0, []
    bar = tqdm(total=epochs * steps, disable=not progress, desc="masks")
    try:
        model.requires_grad_(False)
        for epoch in range(epochs):
            order = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(1000 * seed + epoch))
            total = spent = 0.0
            for step, some in enumerate(order.split(batch_size)):
                heat = 0.2 * 0.1 ** ((epoch * steps + step) / max(1, epochs * steps - 1))
                masks = {name: value.sigmoid() for name, value in raw.items()}
                gates = {name: ((mask - edges[name].sigmoid()) / heat).sigmoid() for name, mask in masks.items()}
                labels = train.labels[some]
                chosen = {name: gate[labels] for name, gate in gates.items()} if per_class else gates
                with torch.enable_grad(), gated_by(model, units, chosen):
                    value = loss(model, train.images[some], labels)
                removed = {g.name: g.size - gates[g.name].reshape(-1, g.size).mean(0).sum() for g in units}
                excess = costs.relaxed(removed) / costs.total - cost_target
                every = torch.cat([mask.flatten() for mask in masks.values()])
                spread = torch.cat([(mask - mask.mean()).square().flatten() for mask in masks.values()])
                terms = sparsity * every.mean() + smoothness * spread.mean()
                optimizer.zero_grad()
                (value + terms + penalty / 2 * (excess + multiplier / penalty).clamp(min=0).square()).backward()
                optimizer.step()
                total, spent = total + value.item() / steps, spent + excess.item() / steps
                bar.update()
            multiplier = max(0.0, multiplier + penalty * spent)
            rows.append({"epoch": epoch, "loss": total, "share": spent + cost_target, "multiplier": multiplier})
            bar.set_postfix(loss=f"{total:.3f}", share=f"{spent + cost_target:.3f}")
    finally:
        for parameter, before in zip(model.parameters(), wanted):
            parameter.requires_grad_(before)
    bar.close()
    values = {name: value.detach().sigmoid() for name, value in raw.items()}
    return Masks(tuple(units), values, {name: edge.sigmoid().item() for name, edge in edges.items()}, rows)


def _check(model: nn.Module, units: list[UnitGroup], cost_target: float) -> None:
    evaluating(model)
    share(cost_target, "cost_target", what="the share of the cost that is to be left")
    for group in units:
        if not (group.kind.gives("replaced") and group.kind.counted):
            raise ValueError(f"units must be channels, neurons or heads; {group.name!r} holds {group.kind.words}.")
