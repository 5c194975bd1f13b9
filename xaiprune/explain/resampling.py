"""Intervals over images."""

from __future__ import annotations

import numpy as np
import torch

from ..core import choice, nonempty


def _upper_median(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.quantile(values, 0.5, axis=axis, method="higher")


#: What can be said of many images.
_STATISTICS = {"mean": np.mean, "median": _upper_median}


def _counted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ values / counts.sum(1)


def _counted_median(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    order = values.argsort()
    reached = counts[:, order].cumsum(1)
    return values[order][(reached > reached[:, -1:] // 2).argmax(1)]


#: The same of values (N,) that occur as often as counts (draws, N) say.
_OF_COUNTED = {"mean": _counted_mean, "median": _counted_median}


def _median(values: torch.Tensor) -> float:
    """What ``bootstrap(statistic="median")`` gives first."""
    return float(_upper_median(values.detach().double().numpy()))


def bootstrap(
    values: torch.Tensor,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    *,
    statistic: str = "mean",
    groups: torch.Tensor | None = None,
) -> tuple[float, float, float]:
    """Mean or median over images, and its percentile bootstrap interval.

    Images that show the same thing are no independent evidence: twenty pictures of a lion say little more of other
    things than one does. With ``groups`` all images of a group are drawn together (the cluster bootstrap; Davison and
    Hinkley 1997, *Bootstrap Methods and their Application*, section 3.8).

    Parameters
    ----------
    values : torch.Tensor
        Shape ``(N,)``.
    level : float
        Of the interval.
    draws : int
        How often N images, or as many groups as there are, are drawn again with replacement.
    seed : int
    statistic : {"mean", "median"}
        Of an even number of values the median is the upper of the two in the middle.
    groups : torch.Tensor, optional
        Shape ``(N,)``, whole numbers: images of one number are one group, such as ``Composites.groups``.

    Returns
    -------
    value, low, high : float

    Raises
    ------
    ValueError
        If there is no value, or another number of groups than of values.

    Examples
    --------
    >>> values = torch.tensor([0.0, 1.0]).repeat_interleave(50)
    >>> print("{} in [{:.2f}, {:.2f}]".format(*xp.explain.bootstrap(values)))
    0.5 in [0.40, 0.60]
    >>> ten = torch.arange(100) // 10  # ten images of each of ten things
    >>> print("{} in [{:.2f}, {:.2f}]".format(*xp.explain.bootstrap(values, groups=ten)))
    0.5 in [0.20, 0.80]
    """
    values = nonempty(values.detach().double().numpy(), "values")
    of = _STATISTICS[choice(statistic, "statistic", _STATISTICS)]
    random = np.random.default_rng(seed)
    if groups is None:
        found = of(values[random.integers(0, len(values), (draws, len(values)))], axis=1)
    else:
        if len(groups) != len(values):
            raise ValueError(f"groups must have one number for each of {len(values)} values, got {len(groups)}.")
        names, places = np.unique(np.asarray(groups), return_inverse=True)
        drawn = random.integers(0, len(names), (draws, len(names)))
        found = _OF_COUNTED[statistic](
            values, np.stack([np.bincount(row, minlength=len(names)) for row in drawn])[:, places]
        )
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(of(values)), float(low), float(high)
