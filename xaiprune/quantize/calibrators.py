"""Calibrators: how the range of a grid is chosen from what was seen of a tensor.

=================  ======================================================================================
min-max            the extremes of all values
moving-average     the extremes of batches, averaged with more weight on the newest (Jacob et al. 2018)
percentile         what holds 99.99 % of the values: half of the rest is cut at either side
entropy            the symmetric threshold with the least KL divergence between the histogram and its form in 128
                   levels over both signs, as in ONNX Runtime (TensorRT has 128 for the sizes of the values: Migacz,
                   *8-bit Inference with TensorRT*, GTC 2017); it does not know the number of bits
mse                the share of the extremes with the least mean squared error, rounding and clipping
=================  ======================================================================================
"""

# In stored tables: calibrators

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..core import Registry
from .grid import grid_of
from .statistics import Statistics

_Range = tuple[float, float]


@dataclass(frozen=True)
class Calibrator:
    """A row of ``CALIBRATORS``.

    Attributes
    ----------
    name : str
    function : callable
        ``(Statistics, bits, scheme) -> (low, high)``.
    histogram : bool
        Whether it reads the histogram.
    """

    name: str
    function: Callable[[Statistics, int, str], _Range]
    histogram: bool = False


def _min_max(seen: Statistics, bits: int = 8, scheme: str = "affine") -> _Range:
    """The extremes of all values."""
    return seen.low, seen.high


def _moving_average(seen: Statistics, bits: int = 8, scheme: str = "affine") -> _Range:
    """The moving average of the batches' extremes."""
    return seen.average


def percentile(seen: Statistics, bits: int = 8, scheme: str = "affine", percent: float = 99.99) -> _Range:
    """The range that holds ``percent`` per cent of the values, to one bin: half of the rest is cut at either side.

    For a symmetric grid the share is that of the absolute values.

    Parameters
    ----------
    seen : Statistics
        With a histogram.
    bits : int
        Not read: the share is the same for every number of bits.
    scheme : {"affine", "symmetric"}
    percent : float
        Of the values, in (0, 100].

    Returns
    -------
    tuple of float
        The lowest and the highest value.

    Raises
    ------
    ValueError
        If ``percent`` is not in (0, 100].
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be a percentage in (0, 100], got {percent:g}.")
    counts, edges = seen.shares().numpy(), seen.edges.numpy()
    if scheme == "symmetric":
        half = len(counts) // 2
        counts, edges = counts[half:] + counts[:half][::-1], edges[half:]
        reach = edges[1 + np.searchsorted(np.cumsum(counts), percent / 100 - 1e-12)]
        return max(-reach, seen.low), min(reach, seen.high)
    below, rest = np.cumsum(counts), (1 - percent / 100) / 2
    low = edges[np.searchsorted(below, rest, side="right")]
    high = edges[1 + np.searchsorted(below, 1 - rest - 1e-12)]
    return max(low, seen.low), min(high, seen.high)


def _entropy(seen: Statistics, bits: int = 8, scheme: str = "affine", levels: int = 128) -> _Range:
    """The threshold with the least KL divergence from the clipped histogram to its quantized form.

    Candidates are symmetric around zero, from ``levels`` bins up to the whole histogram. The reference holds what lies
    outside in its first and last bin; the quantized form has ``levels`` equal groups of bins, each spread evenly over
    its bins that are not empty. A histogram with no more bins than levels has one candidate: everything.

    Parameters
    ----------
    seen : Statistics
    bits, scheme
        Not used: the classic form has 128 levels whatever the grid is.
    levels : int
    """
    counts, edges = seen.counts.numpy(), seen.edges.numpy()
    seen.shares()  # there is a histogram
    if len(counts) <= levels:
        return seen.low, seen.high
    middle, found = len(counts) // 2, []
    for half in range(levels // 2, middle + 1):
        start, stop = middle - half, min(middle + half + 1, len(counts))
        found.append((_divergence(counts, start, stop, levels), start, stop))
    least = min(divergence for divergence, _, _ in found)
    _, start, stop = next(row for row in found if row[0] <= least + 1e-6)  # ties: the smallest range
    return max(edges[start], seen.low), min(edges[stop], seen.high)


def _divergence(counts: np.ndarray, start: int, stop: int, levels: int) -> float:
    """KL divergence of the histogram between two bins, clipped, from its quantized form; both smoothed."""
    inside = counts[start:stop]
    reference = inside.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[stop:].sum()
    width = len(inside) // levels
    starts = width * np.arange(levels)
    sizes = np.diff(np.append(starts, len(inside)))
    filled = np.add.reduceat((reference != 0).astype(float), starts)
    filled[-1] = np.count_nonzero(reference[starts[-1] : starts[-1] + width])
    sums = np.add.reduceat(inside, starts)
    each = np.floor(np.divide(sums, filled, out=np.zeros(levels), where=filled != 0))  # counts stay whole
    quantized = np.repeat(each, sizes)
    quantized[levels * width :] = 0
    p, q = _smoothed(reference), _smoothed(quantized)
    return np.inf if p is None or q is None else float(np.sum(p * np.log(p / q)))


def _smoothed(values: np.ndarray, least: float = 1e-4) -> np.ndarray | None:
    """Probabilities without zeros: every zero counts as ``least``, taken evenly from the others."""
    empty = values == 0
    if empty.all():
        return None
    taken = least * empty.sum() / (~empty).sum()
    smooth = np.where(empty, least, values - taken)
    return None if (smooth <= 0).any() else smooth / smooth.sum()


def _mse(seen: Statistics, bits: int = 8, scheme: str = "affine", candidates: int = 100) -> _Range:
    """The share of the extremes with the least mean squared error, each bin taken at its middle."""
    counts = seen.shares()
    some = counts > 0
    counts, middles = counts[some], seen.middles[some]
    best, chosen = None, (seen.low, seen.high)
    for share in torch.linspace(1, 1 / candidates, candidates).tolist():
        grid = grid_of(share * min(seen.low, 0), share * max(seen.high, 0), bits=bits, scheme=scheme)
        error = float((counts * (grid(middles) - middles).double().square()).sum())
        if best is None or error < best:
            best, chosen = error, (share * seen.low, share * seen.high)
    return chosen


CALIBRATORS: Registry[Calibrator] = Registry(
    "a calibrator",
    Calibrator,
    (
        Calibrator("min-max", _min_max),
        Calibrator("moving-average", _moving_average),
        Calibrator("percentile", percentile, histogram=True),
        Calibrator("entropy", _entropy, histogram=True),
        Calibrator("mse", _mse, histogram=True),
    ),
)
