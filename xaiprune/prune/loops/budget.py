"""The explanation budget: what a smaller model may lose of its accuracy, and of its reasons."""

# In stored tables: explanation budget

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from ...core import fingerprint
from ...data import Split, as_split, choosing, mark
from ...explain import Likeness, Method, drift_from, drift_place, drift_value
from ...measure import ACCURACY, Metric
from ..applying import cut
from ..costs import Costs
from ..planning import plans_by_cost
from ..scoring import Scores
from ..units import Plan

#: Halvings of the way between the target and the whole cost, where the target cannot be had within the budget.
_STOPS = 6


class ExplanationBudget:
    """Bounds on what a smaller model may lose, with the original to measure against.

    The drift is that of the typical image: the median. A few images whose answer turns round have a drift near 2 each
    and would decide a mean alone; they are the matter of ``max_drop``. How large a drift is allowed depends on the
    network and on the method: 0.1 may be less than what rounding gives, or near chance. ``max_place`` is the same bound
    for all: 0 allows as much as harmless changes, 1 as much as a network that has learned nothing.

    Parameters
    ----------
    original : nn.Module
        In evaluation mode.
    split : Split, or data of another form
        Inputs and targets to measure on: validation or calibration, never test.
    max_drift : float, optional
        Largest drift, 1 less the median likeness of heatmaps, in (0, 2).
    max_place : float, optional
        Largest place of the drift between noise and chance, from 0 to 1; see ``explain.Scale``.
    max_drop : float, optional
        Largest loss of the metric, in its own unit.
    method : Method or str, optional
        Of explanation; one of your own, or a key of ``explain.METHODS``.
    likeness : Likeness or str, optional
        Of heatmaps; one of your own, or a key of ``explain.LIKENESSES``. The defaults are those of ``explain.drift``.
    metric : Metric

    Raises
    ------
    ValueError
        If no bound is given, one is out of its range, or the method cannot tell noise from chance on these images
        and ``max_place`` is given.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> images = torch.rand(5, 1, 2, 2)
    >>> split = xp.data.Split(images, model(images).argmax(1))
    >>> budget = xp.prune.ExplanationBudget(model, split, max_drift=0.1, max_drop=2.0)
    >>> budget.spent(model)  # by the original itself
    {'drift': 0.0, 'value': 100.0, 'lost': 0.0, 'holds': True}
    """

    def __init__(
        self,
        original: nn.Module,
        split: Split,
        *,
        max_drift: float | None = None,
        max_place: float | None = None,
        max_drop: float | None = None,
        method: Method | str | None = None,
        likeness: Likeness | str | None = None,
        metric: Metric = ACCURACY,
    ):
        if max_drift is None and max_place is None and max_drop is None:
            raise ValueError("give max_drift, max_place or max_drop: a budget without a bound allows everything.")
        if max_drift is not None and not 0 < max_drift < 2:
            raise ValueError(f"max_drift must be in (0, 2): it is 1 less a rank correlation, got {max_drift:g}.")
        if max_place is not None and not 0 <= max_place <= 1:
            raise ValueError(f"max_place must be from 0, noise, to 1, chance, got {max_place:g}.")
        if max_drop is not None and not max_drop >= 0:
            raise ValueError(f"max_drop must be at least 0, in the metric's unit, got {max_drop:g}.")
        split = as_split(split, on=original, name="split")
        self.split, self.metric = split, metric
        self.max_drift, self.max_place, self.max_drop = max_drift, max_place, max_drop
        with choosing():
            self.intact = metric(original, split)
        self._compared = drift_from(original, split.inputs, method=method, likeness=likeness)
        if max_place is not None and self._compared.scale.blind:
            raise ValueError(
                f"max_place needs a method that tells noise from chance, on these images it is blind:\n"
                f"{self._compared.scale}\nGive more images, another method, or max_drift."
            )
        self._given = (original, split, max_drift, max_place, max_drop, method, likeness, metric)

    def spent(self, model: nn.Module) -> dict[str, float | bool]:
        """What a model has used: ``drift``, ``value`` of the metric, ``lost``, and whether the budget ``holds``.

        With a bound on it there is ``place``, too. A model that no longer answers to its input has a drift of 1.

        Parameters
        ----------
        model : nn.Module
            In evaluation mode.

        Returns
        -------
        dict of str to (float or bool)
        """
        with choosing():
            drift = drift_value(self._compared, model)
            value = self.metric(model, self.split)
        lost = self.metric.better * (self.intact - value)
        spent = {"drift": drift, "value": value, "lost": lost}
        if self.max_place is not None:
            with choosing():
                spent["place"] = drift_place(self._compared, model)
        bounds = {"drift": self.max_drift, "place": self.max_place, "lost": self.max_drop}
        holds = all(spent[name] <= bound for name, bound in bounds.items() if bound is not None)
        return spent | {"holds": holds}

    @property
    def bound(self) -> str:
        """What is spent first: "place" or "drift", where they are bounded, else "lost"."""
        bounds = {"place": self.max_place, "drift": self.max_drift}
        return next((name for name, bound in bounds.items() if bound is not None), "lost")

    def fingerprint(self) -> str:
        """What it was made from, for the identity of a run that can be resumed.

        Returns
        -------
        str
        """
        return fingerprint(self._given)

    def __repr__(self) -> str:
        bounds = [f"drift <= {self.max_drift:g}"] if self.max_drift is not None else []
        bounds += [f"place <= {self.max_place:g}"] if self.max_place is not None else []
        bounds += [f"{self.metric.name} lost <= {self.max_drop:g}"] if self.max_drop is not None else []
        return f"Budget: {' and '.join(bounds)}, on {len(self.split.inputs)} images"


@dataclass(frozen=True)
class BudgetResult:
    """What :func:`prune_within_budget` leaves.

    Attributes
    ----------
    plan : Plan
        The smallest one that was found to hold the budget.
    rows : list of dict
        A row for each plan that was tried: ``share`` of the cost, ``drift``, ``value``, ``lost``, ``holds``, and
        ``closed``, the groups that could lose nothing.
    prices : dict of str to float
        Group to the drift or its place, or without a bound on them the loss, that it spends for each share of the cost
        it saves.
    reached : bool
        Whether the target was met.
    """

    plan: Plan
    rows: list[dict] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)
    reached: bool = False


def prune_within_budget(
    model: nn.Module,
    scores: Scores,
    costs: Costs,
    cost_target: float,
    budget: ExplanationBudget,
    *,
    recover: Callable[[nn.Module], nn.Module] = lambda model: model,
    min_units: int = 1,
    round_to: int = 1,
    trade: bool = True,
) -> BudgetResult:
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
    cost_target : float
        Share of the cost that may be left, in (0, 1).
    budget : ExplanationBudget
    recover : callable
        ``cut model -> model`` before it is judged, such as a re-calibration of its batch normalisation.
    min_units, round_to
        As for :func:`plan`.
    trade : bool
        Whether groups are closed; without, the ranking is followed as far as it holds.

    Returns
    -------
    BudgetResult
    """
    rows: list[dict] = []

    def judge(plan: Plan) -> dict:
        return {"share": costs.share(plan), **budget.spent(recover(cut(model, plan)))}

    def planned(share: float, closed: Sequence[str]) -> Plan:
        names = [group.name for group in scores.groups if group.name not in closed]
        found = plans_by_cost(scores.only(*names), costs, min_units=min_units, round_to=round_to)(share)
        return mark(Plan(scores.groups, found.removed), scores, data=budget.split, what="a budget")

    def holds(found: Plan, closed: Sequence[str]) -> bool:
        rows.append({**judge(found), "closed": tuple(closed)})
        return rows[-1]["holds"]

    goal = planned(cost_target, ())
    if holds(goal, ()):
        return BudgetResult(goal, rows, reached=True)
    prices, key = {}, budget.bound
    if trade:
        for name in goal.removed:
            alone = judge(Plan(goal.groups, {name: goal.removed[name]}))
            saved = 1 - alone["share"]
            prices[name] = alone[key] / saved if saved > 0 else math.inf
        dearest = sorted(prices, key=prices.get, reverse=True)
        for count in range(1, min(len(dearest) + 1, len(scores.groups))):
            try:
                found = planned(cost_target, dearest[:count])
            except ValueError:  # the groups that are left cannot pay for the target
                break
            if holds(found, dearest[:count]):
                return BudgetResult(found, rows, prices, reached=True)
    cheapest = min(rows, key=lambda row: (row[key], row["drift"], row["lost"]))["closed"]
    best, low, high = Plan(scores.groups, {}), cost_target, 1.0
    for _ in range(_STOPS):
        middle = (low + high) / 2
        found = planned(middle, cheapest)
        best, low, high = (found, low, middle) if holds(found, cheapest) else (best, middle, high)
    return BudgetResult(best, rows, prices)
