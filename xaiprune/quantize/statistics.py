"""What calibration keeps of a tensor's values: one pass over them, in bounded memory."""

# In stored tables: statistics of activations

from __future__ import annotations

import math

import torch

#: Bins of a histogram, and at most how many values of one batch it counts.
_BINS, _COUNTED = 2048, 2**18


class Statistics:
    """Extremes, their moving average, and a histogram around zero of all values that :meth:`update` has seen.

    The histogram has a fixed number of bins over ``(-limit, limit)``. A larger value doubles the limit, and pairs of
    neighbouring bins become one. Of a large batch every k-th value is counted, k times, with k such that no axis is
    skipped in step; extremes are those of all values.

    Parameters
    ----------
    bins : int
        A multiple of 4; 0 keeps no histogram.
    momentum : float
        Weight of the newest batch in the moving averages.
    counted : int
        At most so many values of a batch go into the histogram.
    """

    def __init__(self, bins: int = _BINS, momentum: float = 0.1, counted: int = _COUNTED):
        if bins < 0 or bins % 4:
            raise ValueError(f"bins must be a multiple of 4, or 0 for no histogram, got {bins}.")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], got {momentum:g}.")
        self.bins, self.momentum, self.counted = bins, momentum, counted
        self.low, self.high = math.inf, -math.inf
        self.average: tuple[float, float] | None = None
        self.counts = torch.zeros(bins, dtype=torch.float64)
        self.limit = 0.0
        self.batches = 0
        self._zeros = 0  # seen before there was a limit

    def update(self, x: torch.Tensor) -> None:
        """Count the values of one more batch.

        Parameters
        ----------
        x : torch.Tensor
            Any shape.

        Raises
        ------
        ValueError
            If a value is NaN or infinite; nothing is counted then.
        """
        if x.numel() == 0:
            return
        x = _in_memory_order(x.detach()).float()
        low, high = (bound.item() for bound in torch.aminmax(x))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("there are NaN or infinite values")
        self.low, self.high = min(self.low, low), max(self.high, high)
        old, new = self.average or (low, high), self.momentum
        self.average = ((1 - new) * old[0] + new * low, (1 - new) * old[1] + new * high)
        self.batches += 1
        if self.bins:
            self._widen(max(-low, high))
            if self.limit:
                some = _thinned(x, self.counted)
                found = torch.histc(some, self.bins, -self.limit, self.limit).double()
                self.counts += found * (len(x) / len(some))
            else:
                self._zeros += len(x)

    @property
    def middles(self) -> torch.Tensor:
        """Middle of each bin, within the extremes; float32, shape ``(bins,)``."""
        return ((self.edges[1:] + self.edges[:-1]) / 2).clamp(self.low, self.high).float()

    def shares(self) -> torch.Tensor:
        """Share of the values in each bin.

        Returns
        -------
        torch.Tensor
            Shape ``(bins,)``, float64, of sum 1.

        Raises
        ------
        ValueError
            If there is no histogram.
        """
        if not self.bins or not self.counts.any():
            raise ValueError("there is no histogram: calibrate with bins > 0, on values that are not all zero.")
        return self.counts / self.counts.sum()

    def _widen(self, reach: float) -> None:
        if not self.limit and reach:
            self.limit = reach
            self.counts[self.bins // 2] = self._zeros
        while self.limit < reach:
            pairs = self.counts.view(-1, 2).sum(1)
            self.counts = torch.zeros_like(self.counts)
            self.counts[self.bins // 4 : self.bins - self.bins // 4] = pairs
            self.limit *= 2

    @property
    def edges(self) -> torch.Tensor:
        """Edges of the bins, shape ``(bins + 1,)``."""
        return torch.linspace(-self.limit, self.limit, self.bins + 1, dtype=torch.float64)

    def __repr__(self) -> str:
        return f"Statistics({self.batches} batches, {self.low:.4g} to {self.high:.4g})"


def _in_memory_order(x: torch.Tensor) -> torch.Tensor:
    """The values as a vector, without a copy where they lie together."""
    order = sorted(range(x.ndim), key=lambda axis: -x.stride(axis))
    return x.permute(order).reshape(-1)


def _thinned(x: torch.Tensor, most: int) -> torch.Tensor:
    """Every k-th value, at most ``most``; k shares no factor with the number of values, so that no axis is skipped."""
    step = math.ceil(len(x) / most)
    while step > 1 and math.gcd(step, len(x)) > 1:
        step += 1
    return x[::step] if step > 1 else x
