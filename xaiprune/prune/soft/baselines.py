"""What the optimisers have to beat, at the same measured sparsity."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ..planning import plan
from ..scoring import Scores, score
from ..units import Plan
from .problem import SoftProblem, SoftResult, _Stopwatch
from .surface import harden, onto_surface


def uniform(problem: SoftProblem) -> SoftResult:
    """The same coefficient for every group.

    Parameters
    ----------
    problem : SoftProblem

    Returns
    -------
    SoftResult

    Raises
    ------
    ValueError
        If whole units allow no sparsity in the band.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.uniform(problem)
    >>> found.evaluations, abs(found.sparsity - 0.6) <= 0.1
    (1, True)
    """
    return _along(problem, "uniform", np.ones(len(problem.sizes)))


def by_norm(problem: SoftProblem) -> SoftResult:
    """Coefficients inversely proportional to the mean L2 norm of each group's units.

    Parameters
    ----------
    problem : SoftProblem

    Returns
    -------
    SoftResult

    Raises
    ------
    ValueError
        If whole units allow no sparsity in the band.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.by_norm(problem)
    >>> found.method, abs(found.sparsity - 0.6) <= 0.1
    ('group norms', True)
    """
    norms = score(problem.model, list(problem.groups), "l2")
    return _along(problem, "group norms", np.array([1 / norms[name].mean().item() for name in problem.names]))


def at_random(problem: SoftProblem, seed: int) -> SoftResult:
    """Coefficients drawn uniformly from [0, 1], scaled together until the sparsity fits.

    Parameters
    ----------
    problem : SoftProblem
    seed : int

    Returns
    -------
    SoftResult

    Raises
    ------
    ValueError
        If whole units allow no sparsity in the band.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.at_random(problem, seed=0)
    >>> found.method, abs(found.sparsity - 0.6) <= 0.1
    ('random 0', True)
    """
    return _along(problem, f"random {seed}", np.random.default_rng(seed).random(len(problem.sizes)))


def all_or_nothing(problem: SoftProblem) -> SoftResult | None:
    """The best set of whole groups to remove (but for one unit each); None where no set meets the constraint.

    Parameters
    ----------
    problem : SoftProblem

    Returns
    -------
    SoftResult or None

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.all_or_nothing(problem)
    >>> sorted(found.coefficients.values())  # one group of eight keeps one unit, the other all
    [0.0, 0.875]
    """
    watch = _Stopwatch(problem)
    sets = np.array(list(itertools.product((0, 1), repeat=len(problem.sizes)))) * (problem.sizes - 1)
    sets = sets[problem.meets(sets)]
    if not len(sets):
        return None
    best = max(sets, key=problem.gain)
    return watch.result("all or nothing", problem.plan(best), problem.value(best), [])


def global_ranking(problem: SoftProblem, scores: Scores) -> SoftResult | None:
    """All units ranked together by one criterion; None where no number of units meets the constraint.

    Parameters
    ----------
    problem : SoftProblem
    scores : Scores
        Of the problem's groups.

    Returns
    -------
    SoftResult or None

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.global_ranking(problem, scores)
    >>> found.method, abs(found.sparsity - 0.6) <= 0.1
    ('global l2', True)
    """
    watch = _Stopwatch(problem)
    low, high = 0, int((problem.sizes - 1).sum())
    while low < high:  # the fewest units that reach the least sparsity allowed
        middle = (low + high) // 2
        if _sparsity(problem, plan(scores, k=middle)) >= problem.target_sparsity - problem.epsilon:
            high = middle
        else:
            low = middle + 1
    chosen = plan(scores, k=low)
    if abs(_sparsity(problem, chosen) - problem.target_sparsity) > problem.epsilon:
        return None
    return watch.result(f"global {scores.criterion}", chosen, problem.value_of_plan(chosen), [])


def _sparsity(problem: SoftProblem, chosen: Plan) -> float:
    gone = {group.name: group.size - chosen.kept[group.name] for group in problem.groups}
    return problem.count.of(gone, problem.groups)


def _along(problem: SoftProblem, method: str, direction: Sequence[float]) -> SoftResult:
    """Grow coefficients along a direction from zero until S fits."""
    watch = _Stopwatch(problem)
    counts = harden(problem, onto_surface(problem, np.zeros(len(problem.sizes)), direction))
    return watch.result(method, problem._plan(counts), problem.value(counts), [])
