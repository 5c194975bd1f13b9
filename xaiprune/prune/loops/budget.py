"""The explanation budget: what a smaller model may lose of its accuracy, and of its reasons."""

# In stored tables: explanation budget

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from ...core import fingerprint
from ...data import Split, as_split
from ...explain import NoEvidence, drift_from
from ...measure import ACCURACY, Metric
from ..applying import cut
from ..costs import Costs
from ..planning import walk
from ..scoring import Scores
from ..units import Plan

#: Halvings of the way between the target and the whole cost, where the target cannot be had within the budget.
STOPS = 6


class Budget:
    """Bounds on what a smaller model may lose, with the original to measure against.

    The drift is that of the typical image: the median. A few images whose answer turns round have a drift near 2 each
    and would decide a mean alone; they are the matter of ``max_lost``.

    Parameters
    ----------
    original : nn.Module
        In evaluation mode.
    split : Split, or data of another form
        Inputs and targets to measure on: validation or calibration, never test.
    max_drift : float, optional
        Largest drift, 1 less the median rank correlation of heatmaps, in (0, 2).
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
        split = as_split(split, name="split")
        self.split, self.metric, self.max_drift, self.max_lost = split, metric, max_drift, max_lost
        self.intact = metric(original, split)
        self._compared = drift_from(original, split.images, method=method)
        self._given = (original, split, max_drift, max_lost, method, metric)

    def spent(self, model: nn.Module) -> dict[str, float | bool]:
        """What a model has used: ``drift``, ``value`` of the metric, ``lost``, and whether the budget ``holds``.

        A model that no longer answers to its input has a drift of 1.
        """
        try:
            drift = 1 - self._compared(model).rank.median().item()
        except NoEvidence:
            drift = 1.0
        value = self.metric(model, self.split)
        lost = self.metric.better * (self.intact - value)
        holds = (self.max_drift is None or drift <= self.max_drift) and (self.max_lost is None or lost <= self.max_lost)
        return {"drift": drift, "value": value, "lost": lost, "holds": holds}

    def fingerprint(self) -> str:
        """What it was made from, for the identity of a run that can be resumed.

        Returns
        -------
        str
        """
        return fingerprint(self._given)

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
        The smallest one that was found to hold the budget.
    rows : list of dict
        A row for each plan that was tried: ``share`` of the cost, ``drift``, ``value``, ``lost``, ``holds``, and
        ``closed``, the groups that could lose nothing.
    prices : dict of str to float
        Group to the drift, or without a bound on it the loss, that it spends for each share of the cost it saves.
    reached : bool
        Whether the target was met.
    """

    plan: Plan
    rows: list[dict] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)
    reached: bool = False


def within(
    model: nn.Module,
    scores: Scores,
    costs: Costs,
    target: float,
    budget: Budget,
    *,
    recover: Callable[[nn.Module], nn.Module] = lambda model: model,
    floor: int = 1,
    round_to: int = 1,
    trade: bool = True,
) -> Budgeted:
    """Find a plan for a cost that holds a budget: trade where the ranking's own does not, and stop where none does.

    The ranking's plan for the target comes first. If it overspends, every group is priced: cut alone, as that plan cuts
    it, what does it spend for each share of the cost that it saves? The dearest group is closed and the others lose
    more in its stead, then the next, until the budget holds. If it never does, the walk stops early: of the
    rankings that were tried the one that spent least is followed, by halving, as far as it holds.

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
    floor, round_to
        As for :func:`plan`.
    trade : bool
        Whether groups are closed; without, the ranking is followed as far as it holds.

    Returns
    -------
    Budgeted
    """
    rows: list[dict] = []

    def judge(plan: Plan) -> dict:
        return {"share": costs.share(plan), **budget.spent(recover(cut(model, plan)))}

    def planned(share: float, closed: Sequence[str]) -> Plan:
        names = [group.name for group in scores.groups if group.name not in closed]
        return Plan(scores.groups, walk(scores.only(*names), costs, floor=floor, round_to=round_to)(share).removed)

    def holds(found: Plan, closed: Sequence[str]) -> bool:
        rows.append({**judge(found), "closed": tuple(closed)})
        return rows[-1]["holds"]

    goal = planned(target, ())
    if holds(goal, ()):
        return Budgeted(goal, rows, reached=True)
    prices, key = {}, "lost" if budget.max_drift is None else "drift"
    if trade:
        for name in goal.removed:
            alone = judge(Plan(goal.groups, {name: goal.removed[name]}))
            saved = 1 - alone["share"]
            prices[name] = alone[key] / saved if saved > 0 else math.inf
        dearest = sorted(prices, key=prices.get, reverse=True)
        for count in range(1, min(len(dearest) + 1, len(scores.groups))):
            try:
                found = planned(target, dearest[:count])
            except ValueError:  # the groups that are left cannot pay for the target
                break
            if holds(found, dearest[:count]):
                return Budgeted(found, rows, prices, reached=True)
    cheapest = min(rows, key=lambda row: (row[key], row["drift"], row["lost"]))["closed"]
    best, low, high = Plan(scores.groups, {}), target, 1.0
    for _ in range(STOPS):
        middle = (low + high) / 2
        found = planned(middle, cheapest)
        best, low, high = (found, low, middle) if holds(found, cheapest) else (best, middle, high)
    return Budgeted(best, rows, prices)
