"""Projected gradient descent with central finite differences, along the surface of the wanted sparsity."""

from __future__ import annotations

import numpy as np

from .problem import SoftProblem, SoftResult, _Stopwatch
from .search_profile import cheapest_first, group_losses
from .surface import _tangent, harden, onto_surface


def finite_differences(problem: SoftProblem, coefficients, step) -> np.ndarray:
    """Central differences of the metric between hard plans; at most 2 evaluations per group.

    Where a step is smaller than half a unit, both sides may round to the same plan: the difference is then
    exactly zero, however steep the landscape is.

    Parameters
    ----------
    problem : SoftProblem
    coefficients : array_like
        Shape ``(groups,)``, in [0, 1].
    step : float or array_like
        One step for all groups, or one for each.

    Returns
    -------
    numpy.ndarray
        Shape ``(groups,)``, in the metric's unit per unit of the coefficient; positive where it becomes better.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> gradient = xp.prune.soft.finite_differences(problem, [0.5, 0.5], 0.2)
    >>> problem.names, gradient.shape
    (['0', '2'], (2,))
    """
    coefficients = problem.vector(coefficients)
    here = problem.counts(coefficients)
    gradient = np.zeros(len(here))
    for group, width in enumerate(np.broadcast_to(step, len(here))):
        ends = []
        for shift in (width, -width):
            moved = np.array(coefficients, float)
            moved[group] = np.clip(moved[group] + shift, 0, 1)
            ends.append(np.where(np.arange(len(here)) == group, problem.counts(moved), here))
        units = ends[0][group] - ends[1][group]
        if units:
            gradient[group] = (problem.gain(ends[0]) - problem.gain(ends[1])) * problem.sizes[group] / units
    return gradient


def descend(
    problem: SoftProblem,
    start=None,
    *,
    step: float = 0.08,
    radius: float = 0.15,
    smallest: float = 0.004,
    max_evaluations: int = 350,
) -> SoftResult:
    """Climb the metric along the surface S = rho.

    The constraint is met at every step by moving along its surface, since S is known exactly; a penalty or an
    augmented Lagrangian would only approach it. The multiplier that they look for is in the history, as the price.

    Each round takes central differences (``2 x groups`` evaluations), removes the part that would change S,
    and tries a move of the given radius, halved until the metric becomes better. A round without a rise halves the step
    and the radius.

    Parameters
    ----------
    problem : SoftProblem
    start : mapping, sequence or "uniform", optional
        Coefficients to start from, by name or in order. By default the groups are measured one at a time and the
        cheapest sparsity is taken first: from uniform coefficients the climb can end on a lower hill.
    step : float
        First step of the finite differences; never less than one unit of the group.
    radius : float
        First length of a move, in units of the coefficient that moves most.
    smallest : float
        The climb ends when the radius falls below this.
    max_evaluations : int
        The climb ends after the round that reaches it.

    Returns
    -------
    SoftResult
        ``history`` has one row per round: ``evaluations``, ``value``, ``sparsity``, ``coefficients`` and
        ``price`` (of the metric per unit of sparsity, the Lagrange multiplier).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.descend(problem, "uniform", max_evaluations=10)
    >>> abs(found.sparsity - 0.6) <= 0.1, found.value >= xp.prune.soft.uniform(problem).value
    (True, True)
    """
    watch = _Stopwatch(problem)
    if start is None:
        start = cheapest_first(problem, group_losses(problem))
    here = onto_surface(problem, problem.vector(start))
    counts = harden(problem, here)
    problem.check(float(problem.sparsity(counts)))
    gain = problem.gain(counts)
    history = [_row(problem, watch, counts, here, np.nan)]
    while radius > smallest and watch.evaluations < max_evaluations:
        gradient = finite_differences(problem, here, np.maximum(step, 1.01 / problem.sizes))
        direction, normal, price = _tangent(problem, here, gradient)
        moved = _line_search(problem, here, gain, direction, normal, radius, smallest)
        if moved is None:
            radius, step = radius / 2, step / 2
        else:
            here, counts, gain = moved
            radius = min(0.3, 1.5 * radius)
        history.append(_row(problem, watch, counts, here, -price))
    return watch.result("descend", problem.plan(counts), problem.value(counts), history)


def _line_search(problem, here, gain, direction, normal, radius, smallest):
    """The first point along the direction, back on the surface, whose plan is allowed and better; or None."""
    length = np.abs(direction).max()
    if length == 0:
        return None
    while radius > smallest:
        there = onto_surface(problem, here + radius * direction / length, normal)
        counts = harden(problem, there)
        if problem.meets(counts) and (found := problem.gain(counts)) > gain:
            return there, counts, found
        radius /= 2
    return None


def _row(problem, watch, counts, here, price) -> dict:
    row = {"evaluations": watch.evaluations, "value": problem.value(counts)}
    row["sparsity"] = float(problem.sparsity(counts))
    return row | {"coefficients": here.tolist(), "price": price}
