"""The explanation budget: what a smaller model may lose of its accuracy, and of its reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..data import Split
from ..explain.drift import NoEvidence, drift_from
from ..metrics import ACCURACY, Metric
from .apply import cut
from .costs import Costs
from .plans import Plan
from .scores import Scores
from .targets import walk


class Budget:
    """Bounds on what a smaller model may lose, with the original to measure against.

    Parameters
    ----------
    original : nn.Module
        In evaluation mode.
    split : Split
        Images and labels to measure on: validation or calibration, never test.
    max_drift : float, optional
        Largest drift, 1 less the mean rank correlation of heatmaps, in (0, 2).
    max_lost : float, optional
        Largest loss of the metric, in its own unit.
    method : str
        Of explanation; a key of ``explain.METHODS``.
    metric : Metric

    Raises
    ------
    ValueError
        If neither bound is given, or one is out of its range.
    """

    def __init__(
        self,
        original: nn.Module,
        split: Split,
        *,
        max_drift: float | None = None,
        max_lost: float | None = None,
        method: str = "lrp",
        metric: Metric = ACCURACY,
    ):
        if max_drift is None and max_lost is None:
            raise ValueError("give max_drift, max_lost or both: a budget without a bound allows everything.")
        if max_drift is not None and not 0 < max_drift < 2:
            raise ValueError(f"max_drift must be in (0, 2): it is 1 less a rank correlation, got {max_drift:g}.")
        if max_lost is not None and not max_lost >= 0:
            raise ValueError(f"max_lost must be at least 0, in the metric's unit, got {max_lost:g}.")
        self.split, self.metric, self.max_drift, self.max_lost = split, metric, max_drift, max_lost
        self.intact = metric(original, split)
        self._compared = drift_from(original, split.images, method=method)

    def spent(self, model: nn.Module) -> dict[str, float | bool]:
        """What a model has used: ``drift``, ``value`` of the metric, ``lost``, and whether the budget ``holds``.

        A model that no longer answers to its input has a drift of 1.
        """
        try:
            drift = 1 - self._compared(model).rank.mean().item()
        except NoEvidence:
            drift = 1.0
        value = self.metric(model, self.split)
        lost = self.metric.better * (self.intact - value)
        holds = (self.max_drift is None or drift <= self.max_drift) and (self.max_lost is None or lost <= self.max_lost)
        return {"drift": drift, "value": value, "lost": lost, "holds": holds}

    def __repr__(self) -> str:
        bounds = [f"drift <= {self.max_drift:g}"] if self.max_drift is not None else []
        bounds += [f"{self.metric.name} lost <= {self.max_lost:g}"] if self.max_lost is not None else []
        return f"Budget: {' and '.join(bounds)}, on {len(self.split.images)} images"


@dataclass(frozen=True)
class Budgeted:
    """What :func:`within` leaves.

    Attributes
    ----------
    plan : Plan
        The last one that held the budget.
    rows : list of dict
        A row for each plan that was tried: ``share`` of the cost, ``drift``, ``value``, ``lost``, ``holds``, and
        ``closed``, the group that was closed since it cost most of the budget, if any.
    reached : bool
        Whether the target was met.
    """

    plan: Plan
    rows: list[dict] = field(default_factory=list)
    reached: bool = False


def within(
    model: nn.Module,
    scores: Scores,
    costs: Costs,
    target: float,
    budget: Budget,
    *,
    recover: Callable[[nn.Module], nn.Module] = lambda model: model,
    steps: int = 10,
    floor: int = 1,
    round_to: int = 1,
    trade: bool = True,
) -> Budgeted:
    """Walk down the ranking towards a cost, and stop or trade where the budget would be overspent.

    The cost falls in equal steps. Where a step overspends, every group that would lose units in it is tried alone, the
    one that spends most is closed, and the step is taken with what is left of the ranking. Where no group is left that
    can pay, the walk ends.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    scores : Scores
    costs : Costs
        Of the same groups.
    target : float
        Share of the cost that may be left, in (0, 1).
    budget : Budget
    recover : callable
        ``cut model -> model`` before it is judged, such as a re-calibration of its batch normalisation.
    steps : int
        From the whole cost to the target.
    floor, round_to
        As for :func:`plan`.
    trade : bool
        Whether groups are closed, or the first overspent step ends the walk.

    Returns
    -------
    Budgeted
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}.")
    walk(scores, costs, floor=floor, round_to=round_to)(target)  # the target is in reach without a budget
    best, rows, open_scores, closed = Plan(scores.groups, {}), [], scores, set()

    def judge(plan: Plan) -> dict:
        return budget.spent(recover(cut(model, plan)))

    for share in np.linspace(1, target, steps + 1)[1:].tolist():
        while True:
            try:
                candidate = walk(open_scores, costs, floor=floor, round_to=round_to)(share)
            except ValueError:
                return Budgeted(best, rows)
            row = {"share": costs.share(candidate), **judge(candidate), "closed": None}
            rows.append(row)
            if row["holds"]:
                best = candidate
                break
            grown = [name for name, kept in candidate.kept.items() if kept < best.kept[name]]
            if not trade or not grown or closed & set(grown):
                return Budgeted(best, rows)
            alone = {name: judge(_with(best, candidate, name)) for name in grown}
            row["closed"] = max(grown, key=lambda name: (alone[name]["drift"], alone[name]["lost"]))
            closed.add(row["closed"])
            open_scores = _closed(open_scores, best, row["closed"])
    return Budgeted(best, rows, reached=True)


def _with(plan: Plan, other: Plan, name: str) -> Plan:
    """A plan that removes what another does from one group."""
    return Plan(plan.groups, {**plan.removed, name: other.removed[name]})


def _closed(scores: Scores, plan: Plan, name: str) -> Scores:
    """Scores in which what a plan leaves of a group goes last."""
    values = scores[name].clone()
    stays = torch.ones(len(values), dtype=torch.bool)
    stays[torch.as_tensor(np.array(plan.removed.get(name, ()), int))] = False
    top = max(value.max().item() for value in scores.values.values())
    values[stays] += 10 * (abs(top) + 1)
    return Scores(scores.criterion, scores.groups, {**scores.values, name: values})
