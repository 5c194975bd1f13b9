"""The problem that soft coefficients solve, and the one form in which every method answers it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from ...core import arguments
from ...data import Split, as_split, choosing, mark
from ...measure import PSNR, Metric
from ..applying import cut
from ..costs import ParameterCount
from ..planning import counts_from, lowest
from ..scoring import Scores
from ..units import Plan


class SoftProblem:
    """Choose what fraction of each group goes: the best metric at a given measured sparsity.

    Maximise ``metric(alpha)``, such as ``PSNR = 10 log10(MAX^2 / MSE)``, on ``data`` subject to
    ``|S(alpha) - rho| <= epsilon``, where coefficient ``alpha_g`` in [0, 1] removes the lowest-scored
    ``round(alpha_g n_g)`` units of group g (one always stays) and S is the share of the parameters that the cut model
    lacks. After Sundaram, Ulmen, Haider and Goerges (arXiv 2507.14882), who use it for autoencoders; epsilon, rho and
    the list of groups are reconstructed.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    scores : Scores
        They rank the units inside each group.
    data : Split, or data of another form
        What the metric is measured on; a tensor is inputs without labels.
    target_sparsity : float
        Wanted share of the parameters that goes, in (0, 1): rho.
    epsilon : float
        How far the measured sparsity may be from ``rho``.
    metric : Metric
        What the coefficients are chosen by, such as ``measure.ACCURACY`` for a classifier, or a reward.

    Attributes
    ----------
    evaluations : int
        Forward passes over ``data`` so far. A backward pass counts as two. A plan that was evaluated
        before is remembered and costs nothing.

    Raises
    ------
    TypeError, ValueError
        For a model in training mode, data that do not run through it or that the metric refuses, and for a rho or
        epsilon that no plan can meet (the nearest reachable sparsity is named).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> problem.names, problem.sizes.tolist()
    (['0', '2'], [8, 8])
    >>> counts = problem.counts([0.5, 0.5])
    >>> counts.tolist(), round(float(problem.sparsity(counts)), 2)  # half of the units, and more of the parameters
    ([4, 4], 0.59)
    """

    def __init__(
        self,
        model: nn.Module,
        scores: Scores,
        data: Split,
        target_sparsity: float,
        epsilon: float = 0.01,
        *,
        metric: Metric = PSNR,
    ):
        self.model = arguments.evaluating(model)
        self.target_sparsity = arguments.share(target_sparsity, "target_sparsity")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon:g}.")
        self.data = as_split(data, on=model)
        self.scores, self.groups = scores, scores.groups
        self.epsilon, self.metric = epsilon, metric
        self.names = [group.name for group in self.groups]
        self.count = ParameterCount(model, self.groups)
        self.sizes = self.count.sizes
        self.evaluations = 0
        self._known: dict[tuple[int, ...], float] = {}
        self._check_metric()
        self._check_reachable()

    def counts(self, coefficients: Mapping[str, float] | Sequence[float]) -> np.ndarray:
        """Units that go from each group.

        Parameters
        ----------
        coefficients : mapping of str to float, or sequence of float
            By name or in order, in [0, 1]; groups not named lose nothing.

        Returns
        -------
        numpy.ndarray of int
            Shape ``(groups,)``.

        Raises
        ------
        ValueError
            As :meth:`vector` raises it.
        """
        counts = counts_from(self.groups, self._by_name(coefficients))
        return np.array([counts[name] for name in self.names])

    def vector(self, coefficients: Mapping[str, float] | Sequence[float] | str) -> np.ndarray:
        """Coefficients in the groups' order.

        Parameters
        ----------
        coefficients : mapping of str to float, sequence of float, or "uniform"
            By name or in order, in [0, 1].

        Returns
        -------
        numpy.ndarray
            Shape ``(groups,)``; zeros for "uniform".

        Raises
        ------
        ValueError
            For another word, another number of coefficients, a group that does not exist, or a value outside [0, 1].
        """
        if isinstance(coefficients, str):
            if coefficients != "uniform":
                raise ValueError(f"start must be coefficients or 'uniform', got {coefficients!r}.")
            return np.zeros(len(self.sizes))
        by_name = self._by_name(coefficients)
        counts_from(self.groups, by_name)  # raises for names and values that are not allowed
        return np.array([float(by_name.get(name, 0)) for name in self.names])

    def _by_name(self, coefficients) -> Mapping[str, float]:
        if isinstance(coefficients, Mapping):
            return coefficients
        if len(coefficients) != len(self.names):
            raise ValueError(f"coefficients must be {len(self.names)}, one for each group, got {len(coefficients)}.")
        return dict(zip(self.names, coefficients))

    def sparsity(self, counts) -> np.ndarray:
        """Measured sparsity S for counts of shape ``(..., groups)``; costs no evaluation.

        Parameters
        ----------
        counts : array_like
            Units that go, shape ``(..., groups)``; fractions interpolate.

        Returns
        -------
        array
            Shape ``(...)``, in [0, 1).
        """
        return self.count.sparsity(np.asarray(counts, float))

    def meets(self, counts) -> np.ndarray:
        """Whether ``|S - rho| <= epsilon``, for counts of shape ``(..., groups)``.

        Parameters
        ----------
        counts : array_like
            Units that go, shape ``(..., groups)``.

        Returns
        -------
        array of bool
            Shape ``(...)``.
        """
        return np.abs(self.sparsity(counts) - self.target_sparsity) <= self.epsilon

    @property
    def target(self) -> float:
        """The sparsity to aim at: the least that is allowed, with a fifth of epsilon to spare."""
        return self.target_sparsity - 0.8 * self.epsilon

    @property
    def intact(self) -> float:
        """The metric of the unpruned model."""
        return self.value(np.zeros(len(self.sizes), int))

    def plan(self, counts) -> Plan:
        """The plan that removes the lowest-scored units, so many of each group.

        Parameters
        ----------
        counts : sequence of int
            Units that go, shape ``(groups,)``.

        Returns
        -------
        Plan
        """
        return mark(self._plan(counts), data=self.data, what="coefficients")

    def _plan(self, counts) -> Plan:
        return lowest(self.scores, dict(zip(self.names, map(int, counts))))

    def value(self, counts) -> float:
        """The metric of the model cut to ``counts``: one evaluation, unless these counts were seen before.

        Parameters
        ----------
        counts : sequence of int
            Units that go, shape ``(groups,)``.

        Returns
        -------
        float
            In the metric's unit.
        """
        key = tuple(int(count) for count in counts)
        if key not in self._known:
            self._known[key] = self.value_of_plan(self._plan(key))
        return self._known[key]

    def gain(self, counts) -> float:
        """What the searches make as large as they can: the metric, turned round where less of it is better.

        Parameters
        ----------
        counts : sequence of int
            Units that go, shape ``(groups,)``.

        Returns
        -------
        float
            In the metric's unit, or minus it.
        """
        return self.metric.better * self.value(counts)

    @property
    def known(self) -> dict[tuple[int, ...], float]:
        """Counts to the metric, for everything that was evaluated."""
        return dict(self._known)

    def knows(self, counts) -> bool:
        """Whether these counts have been evaluated.

        Parameters
        ----------
        counts : sequence of int
            Units that go, shape ``(groups,)``.

        Returns
        -------
        bool
        """
        return tuple(int(count) for count in counts) in self._known

    def remember(self, values: Mapping[tuple[int, ...], float]) -> None:
        """Take over values of the metric that were evaluated elsewhere, by counts.

        Parameters
        ----------
        values : mapping of tuple of int to float
            As :attr:`known` gives them.
        """
        self._known.update(values)

    def value_of_plan(self, plan: Plan) -> float:
        """The metric of the model cut to any plan, also one with another ranking; one evaluation.

        Parameters
        ----------
        plan : Plan
            Of the problem's groups.

        Returns
        -------
        float
            In the metric's unit.
        """
        self.evaluations += 1
        with choosing():
            return self.metric(cut(self.model, plan), self.data)

    def check(self, sparsity: float) -> None:
        """Refuse a sparsity outside the allowed band.

        Parameters
        ----------
        sparsity : float
            Measured, a share.

        Raises
        ------
        ValueError
            With the sparsity that was found.
        """
        if abs(sparsity - self.target_sparsity) > self.epsilon:
            raise ValueError(
                f"the method ended at S = {sparsity:.4f}, outside |S - {self.target_sparsity:g}| <= {self.epsilon:g}: "
                "whole units allow no closer plan on its way. Take a larger epsilon, or that sparsity as rho."
            )

    def _check_metric(self) -> None:
        """Whether the metric can be measured at all, tried on the first of the data."""
        inputs = self.data.inputs
        arguments.nonempty(inputs, "data")
        try:
            with choosing():
                self.metric(self.model, self.data.first(1))
        except RuntimeError as error:
            raise ValueError(f"data of shape {tuple(inputs.shape)} do not run through the model: {error}") from error

    def _check_reachable(self) -> None:
        most = float(self.sparsity(self.sizes - 1))
        if self.target_sparsity > most + self.epsilon:
            raise ValueError(
                f"target_sparsity = {self.target_sparsity:g} cannot be reached: with one unit left in every group "
                f"the sparsity is {most:.4f}, so the nearest reachable is {most:.4f}."
            )


@dataclass(frozen=True)
class SoftResult:
    """What every method returns.

    Attributes
    ----------
    method : str
    coefficients : dict of str to float
        Share of each group's units that goes.
    plan : Plan
    value : float
        The metric on the problem's data.
    sparsity : float
        Measured share of the parameters that is gone.
    evaluations : int
        Forward passes that the method used; a backward pass counts as two.
    seconds : float
    metric : Metric
    history : list of dict
        One row per step, with at least ``value`` and ``sparsity``.
    """

    method: str
    coefficients: dict[str, float]
    plan: Plan
    value: float
    sparsity: float
    evaluations: int
    seconds: float
    metric: Metric = PSNR
    history: list[dict] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {alpha:.2f}" for name, alpha in self.coefficients.items())
        return (
            f"{self.method}: {self.metric.told(self.value)} at S = {self.sparsity:.3f} after {self.evaluations} "
            f"evaluations, {self.seconds:.1f} s ({shares})"
        )


class _Stopwatch:
    """Evaluations and seconds of one method, from its creation on."""

    def __init__(self, problem: SoftProblem):
        self._problem, self._evaluations, self._start = problem, problem.evaluations, time.perf_counter()

    @property
    def evaluations(self) -> int:
        """Evaluations since the start."""
        return self._problem.evaluations - self._evaluations

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def result(self, method: str, plan: Plan, value: float, history: list[dict]) -> SoftResult:
        """The result of the method."""
        problem = self._problem
        gone = {group.name: group.size - plan.kept[group.name] for group in problem.groups}
        coefficients = {group.name: gone[group.name] / group.size for group in problem.groups}
        sparsity = problem.count.of(gone, problem.groups)
        problem.check(sparsity)
        spent = self.evaluations, self.seconds
        found = SoftResult(method, mark(coefficients, plan), plan, value, sparsity, *spent, problem.metric, history)
        return mark(found, plan)
