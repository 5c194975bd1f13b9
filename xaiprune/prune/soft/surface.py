"""Geometry of the constraint: the surface of coefficients on which the measured sparsity is the wanted one."""

from __future__ import annotations

import numpy as np
import torch

from .problem import SoftProblem


def _upper(problem: SoftProblem) -> np.ndarray:
    """Largest coefficient of each group: one unit stays. Shape ``(groups,)``."""
    return 1 - 1 / problem.sizes


def _slope(problem: SoftProblem, coefficients: np.ndarray) -> np.ndarray:
    """dS/dalpha, exactly, at fractional coefficients; shape ``(groups,)``, nowhere negative."""
    removed = torch.tensor(coefficients * problem.sizes, requires_grad=True)
    problem.count.sparsity(removed).backward()
    return removed.grad.numpy() * problem.sizes


def onto_surface(problem: SoftProblem, coefficients, direction=None, target: float | None = None) -> np.ndarray:
    """Move along a direction, clipped to [0, 1 - 1/n], until ``S = target``; costs no evaluation.

    Parameters
    ----------
    problem : SoftProblem
    coefficients : array_like
        Shape ``(groups,)``.
    direction : array_like, optional
        Not negative; default all ones. S grows along it, so bisection finds the point.
    target : float, optional
        Default ``problem.target``.

    Returns
    -------
    numpy.ndarray
        Shape ``(groups,)``; where the direction cannot reach the target, its nearest end.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> alphas = xp.prune.soft.onto_surface(problem, [0.0, 0.0])
    >>> alphas.round(3).tolist(), round(float(problem.sparsity(alphas * problem.sizes)), 3)
    ([0.426, 0.426], 0.52)
    """
    target = problem.target if target is None else target
    coefficients, top = np.asarray(coefficients, float), _upper(problem)
    direction = np.ones(len(top)) if direction is None else np.asarray(direction, float)
    largest = direction.max()
    if largest <= 0:
        return np.clip(coefficients, 0, top)
    low, high = -1 / largest * 4, 4 / largest
    for _ in range(60):
        middle = (low + high) / 2
        moved = np.clip(coefficients + middle * direction, 0, top)
        if problem.sparsity(moved * problem.sizes) > target:
            high = middle
        else:
            low = middle
    return moved


def _tangent(problem: SoftProblem, coefficients: np.ndarray, gradient: np.ndarray):
    """The part of a gradient that keeps S as it is, and the price of sparsity.

    Removes the component along dS/dalpha, then freezes the coefficients that would leave their bounds, until
    none does.

    Returns
    -------
    direction : numpy.ndarray
        Shape ``(groups,)``, zero for frozen groups.
    normal : numpy.ndarray
        dS/dalpha of the free groups, zero for frozen ones: the way back onto the surface.
    price : float
        Lagrange multiplier: gradient units per unit of S.
    """
    normal, top = _slope(problem, coefficients), _upper(problem)
    free = np.ones(len(normal), bool)
    while True:
        price = gradient[free] @ normal[free] / (normal[free] @ normal[free]) if free.any() else 0.0
        direction = np.where(free, gradient - price * normal, 0)
        stuck = ((coefficients <= 1e-9) & (direction < 0)) | ((coefficients >= top - 1e-9) & (direction > 0))
        if not (free & stuck).any():
            return direction, np.where(free, normal, 0), price
        free &= ~stuck


def harden(problem: SoftProblem, coefficients: np.ndarray) -> np.ndarray:
    """Whole units for fractional coefficients, with S inside the allowed band wherever units allow it.

    The group whose units weigh most is rounded first, and the others move along the surface to make up for
    it, so that the finest group absorbs what is left. Where that ends beside the band, one unit more or less may do.

    Parameters
    ----------
    problem : SoftProblem
    coefficients : numpy.ndarray
        Shape ``(groups,)``, in [0, 1].

    Returns
    -------
    numpy.ndarray of int
        Shape ``(groups,)``.
    """
    counts = np.clip(coefficients, 0, _upper(problem)) * problem.sizes
    free = np.ones(len(counts), bool)
    for group in np.argsort(-_slope(problem, counts / problem.sizes) / problem.sizes):
        counts[group] = np.clip(np.floor(counts[group] + 0.5), 0, problem.sizes[group] - 1)
        free[group] = False
        if free.any() and not problem.meets(counts):
            direction = np.where(free & (counts > 0), 1.0, 0.0)
            direction = direction if direction.any() else free.astype(float)
            counts = onto_surface(problem, counts / problem.sizes, direction) * problem.sizes
    whole = np.floor(counts + 0.5).astype(int)
    one = np.eye(len(whole), dtype=int)
    near = np.clip(np.vstack([whole, whole + one, whole - one]), 0, problem.sizes - 1)
    return near[np.argmax(problem.meets(near))]  # where none meets it, the first
