"""Intervals over images."""

from __future__ import annotations

import numpy as np
import torch

from ..core import choice


def _upper_median(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.quantile(values, 0.5, axis=axis, method="higher")


#: What can be said of many images.
_STATISTICS = {"mean": np.mean, "median": _upper_median}


def _median(values: torch.Tensor) -> float:
    """What ``bootstrap(statistic="median")`` gives first."""
    return float(_upper_median(values.detach().double().numpy()))


def bootstrap(
    values: torch.Tensor, level: float = 0.95, draws: int = 1000, seed: int = 0, *, statistic: str = "mean"
) -> tuple[float, float, float]:
    """Mean or median over images, and its percentile bootstrap interval.

    Parameters
    ----------
    values : torch.Tensor
        Shape ``(N,)``.
    level : float
        Of the interval.
    draws : int
        How often N images are drawn again, with replacement.
    seed : int
    statistic : {"mean", "median"}
        Of an even number of values the median is the upper of the two in the middle.

    Returns
    -------
    value, low, high : float

    Raises
    ------
    ValueError
        If there is no value.

    Examples
    --------
    >>> mean, low, high = xp.explain.bootstrap(torch.tensor([0.0, 1.0] * 50))
    >>> print(f"{mean} in [{low:.2f}, {high:.2f}]")
    0.5 in [0.40, 0.60]
    """
    values = values.detach().double().numpy()
    if len(values) == 0:
        raise ValueError("values is empty: at least one image is needed.")
    of = _STATISTICS[choice(statistic, "statistic", _STATISTICS)]
    drawn = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(of(values[drawn], axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(of(values)), float(low), float(high)
