"""Beyond the paper: gates instead of counts, so that one backward pass gives every coefficient's gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.func import functional_call

from .problem import SoftProblem, SoftResult, _Stopwatch
from .surface import _tangent, harden, onto_surface

#: What a forward and a backward pass count as, in evaluations.
PASSES_PER_STEP = 3


def gates(problem: SoftProblem, coefficients: torch.Tensor, temperature: float) -> list[torch.Tensor]:
    """Rank-ordered sigmoid masks: near 0 for the lowest-scored share alpha of a group, near 1 for the rest.

    ``gate_i = sigmoid(((rank_i + 1/2) / n - alpha) / temperature)``, with rank 0 for the lowest score. The
    temperature is never less than half a unit, ``1 / (2 n)``, so that the gradient does not vanish.

    Parameters
    ----------
    problem : SoftProblem
    coefficients : torch.Tensor
        Shape ``(groups,)``.
    temperature : float
        Width of the edge, as a share of the group.

    Returns
    -------
    list of torch.Tensor
        One tensor of shape ``(units,)`` per group.
    """
    result = []
    for position, name in enumerate(problem.names):
        size = int(problem.sizes[position])
        rank = torch.argsort(problem.scores.order(name)).to(coefficients.dtype)
        width = max(temperature, 0.5 / size)
        result.append(torch.sigmoid(((rank + 0.5) / size - coefficients[position]) / width))
    return result


def gated(problem: SoftProblem, gates: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The problem's model as a function of its inputs, with every unit multiplied by its gate where it is read.

    Parameters
    ----------
    problem : SoftProblem
    gates : list of torch.Tensor
        One for each group, shape ``(units,)``; they may carry gradients.

    Returns
    -------
    callable
        From the model's inputs to its outputs.
    """
    weights = {name: parameter.detach() for name, parameter in problem.model.named_parameters()}
    for group, gate in zip(problem.groups, gates):
        for member in group.members:
            if member.role == "in":
                for name, axis in member.axes.items():
                    factor = gate.new_ones(member.width)
                    index = torch.tensor(member.index)
                    factor = factor.index_put((index.ravel(),), gate.repeat_interleave(index.shape[1]))
                    shape = [-1 if axis == other else 1 for other in range(weights[name].ndim)]
                    weights[name] = weights[name] * factor.view(shape)
    return lambda *inputs: functional_call(problem.model, weights, inputs)


def relax(
    problem: SoftProblem,
    start="uniform",
    *,
    steps: int = 80,
    move: float = 0.05,
    temperatures: tuple[float, float] = (0.2, 0.01),
    momentum: float = 0.6,
) -> SoftResult:
    """Gradient ascent on relaxed masks along the surface S = rho, annealed to a hard plan.

    The sparsity is exact at every step, since it is a polynomial in the coefficients; only the
    metric is relaxed, to its ``smooth`` form. Only the hard plan at the end is reported.

    Parameters
    ----------
    problem : SoftProblem
    start : mapping, sequence or "uniform"
        Coefficients to start from, by name or in order.
    steps : int
        One forward and one backward pass each, counted as three evaluations.
    move : float
        First length of a step, in units of the coefficient that moves most; falls linearly to a tenth.
    temperatures : tuple of float
        First and last width of the masks' edge, geometrically annealed.
    momentum : float
        Share of the last steps' gradient that is kept, in [0, 1).

    Returns
    -------
    SoftResult
        ``history`` has one row per step with the *smooth* value, and a last one with the hard plan's metric.

    Raises
    ------
    ValueError
        If the problem's metric has no smooth form.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.relax(problem, steps=5)
    >>> found.evaluations, len(found.history), abs(found.sparsity - 0.6) <= 0.1
    (16, 6, True)
    """
    metric, inputs = problem.metric, problem.data[0]
    if metric.smooth is None:
        raise ValueError(
            f"metric {metric.name!r} has no smooth form, which relax follows: give Metric(..., smooth=function), or "
            "take descend or grid_search, which need none."
        )
    watch = _Stopwatch(problem)
    here = onto_surface(problem, problem.vector(start))
    velocity, history = np.zeros(len(here)), []
    for number in range(steps):
        done = number / max(1, steps - 1)
        temperature = temperatures[0] * (temperatures[1] / temperatures[0]) ** done
        alphas = torch.tensor(here, dtype=inputs.dtype, requires_grad=True)
        value = metric.smooth(gated(problem, gates(problem, alphas, temperature)), problem.data)
        (metric.better * value).backward()
        problem.evaluations += PASSES_PER_STEP
        velocity = momentum * velocity + (1 - momentum) * alphas.grad.double().numpy()
        direction, normal, _ = _tangent(problem, here, velocity)
        row = {"evaluations": watch.evaluations, "value": value.item(), "sparsity": problem.target}
        history.append(row | {"coefficients": here.tolist(), "temperature": temperature})
        length = np.abs(direction).max()
        if length > 0:
            there = here + move * (1 - 0.9 * done) * direction / length
            here = onto_surface(problem, there, normal)
    counts = harden(problem, here)
    value = problem.value(counts)
    row = {"evaluations": watch.evaluations, "value": value, "sparsity": float(problem.sparsity(counts))}
    history.append(row | {"coefficients": here.tolist(), "temperature": 0.0})
    return watch.result("relax", problem.plan(counts), value, history)
