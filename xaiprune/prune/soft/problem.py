"""The problem that soft coefficients solve, and the one form in which every method answers it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ...data import Split, check_images
from ...measure import psnr
from ..applying import cut
from ..costs import ParameterCount
from ..planning import counts_from, lowest
from ..scoring import Scores
from ..units import Plan


class SoftProblem:
    """Choose what fraction of each group goes: the best reconstruction at a given measured sparsity.

    Maximise ``PSNR(alpha) = 10 log10(MAX^2 / MSE)`` on ``images`` subject to ``|S(alpha) - rho| <= epsilon``,
    where coefficient ``alpha_g`` in [0, 1] removes the lowest-scored ``round(alpha_g n_g)`` units of group g
    (one always stays) and S is the share of the parameters that the cut model lacks. After Sundaram, Ulmen,
    Haider and Goerges (arXiv 2507.14882); epsilon, rho and the list of groups are reconstructed.

    Parameters
    ----------
    model : nn.Module
        An autoencoder: its output has the shape of its input, with values in [0, 1].
    scores : Scores
        They rank the units inside each group.
    images : torch.Tensor
        Validation images, shape (N, C, H, W), in [0, 1].
    rho : float
        Wanted share of the parameters that goes, in (0, 1).
    epsilon : float
        How far the measured sparsity may be from ``rho``.

    Attributes
    ----------
    evaluations : int
        Forward passes over ``images`` so far. A backward pass counts as two. A plan that was evaluated
        before is remembered and costs nothing.

    Raises
    ------
    TypeError, ValueError
        For images that are empty, not in [0, 1] or of a shape that the model does not take or reproduce, and for a
        rho or epsilon that no plan can meet (the nearest reachable sparsity is named).
    """

    def __init__(self, model: nn.Module, scores: Scores, images: torch.Tensor, rho: float, epsilon: float = 0.01):
        check_images(images)
        if model.training:
            raise ValueError("model is in training mode; call model.eval() first.")
        if not 0 < rho < 1:
            hint = f"; did you mean {rho / 100:g}?" if 1 < rho < 100 else ""
            raise ValueError(f"rho must be in (0, 1), got {rho:g}{hint}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon:g}.")
        self.model, self.scores, self.images, self.rho, self.epsilon = model, scores, images, rho, epsilon
        self.groups = scores.groups
        self.names = [group.name for group in self.groups]
        self.count = ParameterCount(model, self.groups)
        self.sizes = self.count.sizes
        self.evaluations = 0
        self._known: dict[tuple[int, ...], float] = {}
        self._check_output()
        self._check_reachable()

    def counts(self, coefficients: Mapping[str, float] | Sequence[float]) -> np.ndarray:
        """Units that go from each group, shape ``(groups,)``, for coefficients by name or in order."""
        counts = counts_from(self.groups, self._by_name(coefficients))
        return np.array([counts[name] for name in self.names])

    def vector(self, coefficients: Mapping[str, float] | Sequence[float] | str) -> np.ndarray:
        """Coefficients in the groups' order, shape ``(groups,)``: by name, in order, or the word "uniform".

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
        """Measured sparsity S for counts of shape ``(..., groups)``; costs no evaluation."""
        return self.count.sparsity(np.asarray(counts, float))

    def meets(self, counts) -> np.ndarray:
        """Whether ``|S - rho| <= epsilon``, for counts of shape ``(..., groups)``."""
        return np.abs(self.sparsity(counts) - self.rho) <= self.epsilon

    @property
    def target(self) -> float:
        """The sparsity to aim at: the least that is allowed, with a fifth of epsilon to spare."""
        return self.rho - 0.8 * self.epsilon

    @property
    def intact(self) -> float:
        """PSNR in dB of the unpruned model."""
        return self.psnr(np.zeros(len(self.sizes), int))

    def plan(self, counts) -> Plan:
        """The plan for counts of shape ``(groups,)``."""
        return lowest(self.scores, dict(zip(self.names, map(int, counts))))

    def psnr(self, counts) -> float:
        """PSNR in dB of the model cut to ``counts``: one evaluation, unless these counts were seen before."""
        key = tuple(int(count) for count in counts)
        if key not in self._known:
            self._known[key] = self.psnr_of_plan(self.plan(key))
        return self._known[key]

    @property
    def known(self) -> dict[tuple[int, ...], float]:
        """Counts to PSNR, for everything that was evaluated."""
        return dict(self._known)

    def knows(self, counts) -> bool:
        """Whether these counts have been evaluated."""
        return tuple(int(count) for count in counts) in self._known

    def remember(self, values: Mapping[tuple[int, ...], float]) -> None:
        """Take over PSNR values that were evaluated elsewhere, by counts."""
        self._known.update(values)

    def psnr_of_plan(self, plan: Plan) -> float:
        """PSNR in dB of the model cut to any plan, also one with another ranking; one evaluation."""
        self.evaluations += 1
        return psnr(cut(self.model, plan), Split(self.images, None))

    def check(self, sparsity: float) -> None:
        """Raise ValueError, with the sparsity that was found, if it is outside the allowed band."""
        if abs(sparsity - self.rho) > self.epsilon:
            raise ValueError(
                f"the method ended at S = {sparsity:.4f}, outside |S - {self.rho:g}| <= {self.epsilon:g}: "
                "whole units allow no closer plan on its way. Take a larger epsilon, or that sparsity as rho."
            )

    def _check_output(self) -> None:
        try:
            with torch.no_grad():
                shape = self.model(self.images[:1]).shape
        except RuntimeError as error:
            raise ValueError(
                f"images of shape {tuple(self.images.shape)} do not run through the model: {error}"
            ) from error
        if shape != self.images[:1].shape:
            raise ValueError(
                f"the model must reproduce its input: {tuple(self.images[:1].shape)} became {tuple(shape)}."
            )

    def _check_reachable(self) -> None:
        most = float(self.sparsity(self.sizes - 1))
        if self.rho > most + self.epsilon:
            raise ValueError(
                f"rho = {self.rho:g} cannot be reached: with one unit left in every group the sparsity is {most:.4f}, "
                f"so the nearest reachable is {most:.4f}."
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
    psnr : float
        On the problem's images, in dB.
    sparsity : float
        Measured share of the parameters that is gone.
    evaluations : int
        Forward passes that the method used; a backward pass counts as two.
    seconds : float
    history : list of dict
        One row per step, with at least ``psnr`` and ``sparsity``.
    """

    method: str
    coefficients: dict[str, float]
    plan: Plan
    psnr: float
    sparsity: float
    evaluations: int
    seconds: float
    history: list[dict] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {alpha:.2f}" for name, alpha in self.coefficients.items())
        return (
            f"{self.method}: {self.psnr:.2f} dB at S = {self.sparsity:.3f} after {self.evaluations} evaluations, "
            f"{self.seconds:.1f} s ({shares})"
        )


class Stopwatch:
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

    def result(self, method: str, plan: Plan, psnr: float, history: list[dict]) -> SoftResult:
        """The result of the method."""
        problem = self._problem
        gone = {group.name: group.size - plan.kept[group.name] for group in problem.groups}
        coefficients = {group.name: gone[group.name] / group.size for group in problem.groups}
        sparsity = problem.count.of(gone, problem.groups)
        problem.check(sparsity)
        return SoftResult(method, coefficients, plan, psnr, sparsity, self.evaluations, self.seconds, history)
