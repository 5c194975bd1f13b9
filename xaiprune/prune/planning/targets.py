"""Plans that meet a cost: as many of the lowest-ranked units as it takes."""

# In stored tables: plans by cost

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...core import share
from ...data import mark
from ..costs import Costs
from ..scoring import Scores
from ..units import Plan
from .ranking import _ranked_chunks


def to_target(
    scores: Scores, costs: Costs, cost_target: float, *, scope: str = "global", min_units: int = 1, round_to: int = 1
) -> Plan:
    """The plan that removes the fewest units, in the order of the scores, so that a share of the cost is left.

    Parameters
    ----------
    scores : Scores
    costs : Costs
        Of the same groups; from ``mac_costs`` or ``latency_costs``.
    cost_target : float
        Share of the cost that may be left, in (0, 1).
    scope, min_units, round_to
        As for :func:`plan`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the target is outside (0, 1), or below what the floors leave (the nearest reachable share is named).
    """
    return plans_by_cost(scores, costs, scope=scope, min_units=min_units, round_to=round_to)(cost_target)


def plans_by_cost(
    scores: Scores, costs: Costs, *, scope: str = "global", min_units: int = 1, round_to: int = 1
) -> Callable[[float], Plan]:
    """The way from nothing to the floors, in the order of the scores: a function from the target to its plan."""
    missing = {group.name for group in scores.groups} - {group.name for group in costs.groups}
    if missing:
        raise ValueError(f"costs were made without group {min(missing)!r}: make them for the groups that are scored.")
    places, sizes = _ranked_chunks(scores, scope, min_units, round_to)
    names = [group.name for group in scores.groups]
    orders = {name: scores.order(name).numpy() for name in names}

    def after(steps: int) -> dict[str, np.ndarray]:
        taken = np.bincount(places[:steps], weights=sizes[:steps], minlength=len(names)).astype(int)
        return {name: orders[name][:count] for name, count in zip(names, taken) if count}

    lowest = costs.share(after(len(places)))

    def plan_for(cost_target: float) -> Plan:
        share(cost_target, "cost_target", what="the share of the cost that may be left")
        if lowest > cost_target:
            raise ValueError(
                f"cost_target {cost_target:g} is out of reach: with these groups, floors and round_to at least "
                f"{np.ceil(1e4 * lowest) / 1e4:g} of the cost is left."
            )
        low, high = 0, len(places)  # after(high) meets the target
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if costs.share(after(middle)) <= cost_target else (middle, high)
        return mark(Plan(scores.groups, after(high)), scores)

    return plan_for
