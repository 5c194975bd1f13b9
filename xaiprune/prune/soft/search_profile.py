"""What each group costs on its own: the first look that a good start and a good picture need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .problem import SoftProblem
from .surface import _upper

_LEVELS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)


def group_losses(problem: SoftProblem, levels: Sequence[float] = _LEVELS) -> list[dict]:
    """Prune one group at a time and measure what is lost and what is saved.

    Parameters
    ----------
    problem : SoftProblem
        Its ``rho`` plays no part here. Costs ``1 + groups x levels`` evaluations.
    levels : sequence of float
        Coefficients in (0, 1], ascending.

    Returns
    -------
    list of dict
        One row per group and level: ``group``, ``units`` (of the group), ``alpha``, ``removed`` (units),
        ``parameters`` (that go), ``value`` of the metric, ``loss`` (how much worse it became) and
        ``loss_per_parameter``.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> rows = xp.prune.soft.group_losses(problem, levels=[0.5])
    >>> [(row["group"], row["units"], row["removed"]) for row in rows]
    [('0', 8, 4), ('2', 8, 4)]
    """
    full = problem.gain(np.zeros(len(problem.sizes), int))
    rows = []
    for position, name in enumerate(problem.names):
        for level in levels:
            counts = problem.counts({name: level})
            parameters = round(float(problem.sparsity(counts)) * problem.count.total)
            loss = full - problem.gain(counts)
            row = {"group": name, "units": int(problem.sizes[position]), "alpha": level}
            row |= {"removed": int(counts[position]), "parameters": parameters, "value": problem.value(counts)}
            rows.append(row | {"loss": loss, "loss_per_parameter": loss / max(parameters, 1)})
    return rows


def cheapest_first(problem: SoftProblem, rows: list[dict], step: float = 0.02) -> np.ndarray:
    """Coefficients that reach the wanted sparsity by the least error, as the profile predicts it.

    The groups' errors are taken to add up. Starting from nothing, the step with the least error per unit of
    sparsity is taken again and again; long steps compete with short ones, so that a flat stretch behind a bump
    is found. No evaluation is spent.

    Parameters
    ----------
    problem : SoftProblem
    rows : list of dict
        From :func:`group_losses`.
    step : float
        Smallest step of a coefficient.

    Returns
    -------
    numpy.ndarray
        Shape ``(groups,)``.
    """
    better, error_of = problem.metric.better, problem.metric.error_of
    full = error_of(better * max(better * row["value"] + row["loss"] for row in rows))
    curves = []
    for name in problem.names:
        mine = [row for row in rows if row["group"] == name]
        errors = [error_of(row["value"]) - full for row in mine]
        curves.append(([0, *(row["alpha"] for row in mine)], np.maximum.accumulate([0, *errors])))
    top, coefficients = _upper(problem), np.zeros(len(problem.sizes))
    while problem.sparsity(coefficients * problem.sizes) < problem.target:
        offers = []
        for group, (alphas, errors) in enumerate(curves):
            for size in (step, 5 * step):
                moved = coefficients.copy()
                moved[group] = min(top[group], moved[group] + size)
                gain = problem.sparsity(moved * problem.sizes) - problem.sparsity(coefficients * problem.sizes)
                if gain > 1e-9:
                    loss = np.interp([moved[group], coefficients[group]], alphas, errors)
                    offers.append(((loss[0] - loss[1]) / gain, group, size, moved))
        if not offers:
            break
        coefficients = min(offers, key=lambda offer: offer[:3])[3]
    return coefficients
