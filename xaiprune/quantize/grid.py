"""The quantizer: a grid of equally spaced numbers, as ONNX's QuantizeLinear and DequantizeLinear define it."""

# In stored tables: grids

from __future__ import annotations

from dataclasses import dataclass

import torch

#: How a range becomes a grid: whole numbers around zero with zero at 0, or from 0 up with zero where it falls.
SCHEMES = ("symmetric", "affine")
_BITS = range(2, 17)


@dataclass(frozen=True, eq=False)
class Grid:
    """Numbers ``scale (q - zero_point)`` for whole q from ``least`` to ``most``.

    Attributes
    ----------
    scale : torch.Tensor
        Step, float32: shape ``()``, or ``(channels,)`` along ``axis``.
    zero_point : torch.Tensor
        The q that stands for 0, int32, of the same shape.
    least, most : int
        Smallest and largest q.
    axis : int, optional
        Axis of a tensor along which steps differ.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    least: int
    most: int
    axis: int | None = None

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        """``saturate(round(x / scale) + zero_point)``, ties to even; int32.

        The equation of QuantizeLinear. torch's ``fake_quantize`` multiplies by 1 / scale, and differs on ties.

        Parameters
        ----------
        x : torch.Tensor
            Any shape; with ``axis``, as many channels there as there are scales.

        Returns
        -------
        torch.Tensor
            int32, of the same shape.
        """
        return self._steps(x).clamp(self.least, self.most).to(torch.int32)

    def dequantize(self, q: torch.Tensor) -> torch.Tensor:
        """``(q - zero_point) scale``, float32: the equation of DequantizeLinear.

        Parameters
        ----------
        q : torch.Tensor
            Whole numbers of the grid.

        Returns
        -------
        torch.Tensor
            float32, of the same shape.
        """
        return (q - self.along(self.zero_point, q)).float() * self.along(self.scale, q)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest number of the grid: fake quantization."""
        zero = self.along(self.zero_point, x)
        return (self._steps(x).clamp(self.least, self.most) - zero) * self.along(self.scale, x)

    def steps(self, x: torch.Tensor) -> torch.Tensor:
        """``x / scale + zero_point``, neither rounded nor saturated.

        Parameters
        ----------
        x : torch.Tensor
            As for :meth:`quantize`.

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        return x / self.along(self.scale, x) + self.along(self.zero_point, x)

    def floor(self, x: torch.Tensor) -> torch.Tensor:
        """The whole number of steps at or below x.

        Parameters
        ----------
        x : torch.Tensor
            As for :meth:`quantize`.

        Returns
        -------
        torch.Tensor
            Of the same shape, not saturated.
        """
        return torch.floor(x / self.along(self.scale, x)) + self.along(self.zero_point, x)

    @property
    def ends(self) -> tuple[int, int]:
        """Smallest and largest q."""
        return self.least, self.most

    def saturated(self, x: torch.Tensor) -> torch.Tensor:
        """True where a value lies outside of the grid by more than half a step.

        Parameters
        ----------
        x : torch.Tensor
            As for :meth:`quantize`.

        Returns
        -------
        torch.Tensor
            bool, of the same shape.
        """
        steps = self._steps(x)
        return (steps < self.least) | (steps > self.most)

    @property
    def range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Smallest and largest number of the grid."""
        low, high = ((q - self.zero_point) * self.scale for q in (self.least, self.most))
        return low, high

    def _steps(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x / self.along(self.scale, x)) + self.along(self.zero_point, x)

    def along(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Scales or zero points in a shape that multiplies x.

        Parameters
        ----------
        values : torch.Tensor
            Shape ``()`` or ``(channels,)``.
        x : torch.Tensor
            Any shape.

        Returns
        -------
        torch.Tensor
            With as many axes as x, or none.
        """
        if values.ndim == 0:
            return values
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return values.view(shape)

    def __repr__(self) -> str:
        each = f"{self.scale.numel()} steps along axis {self.axis}" if self.scale.ndim else f"step {self.scale:.4g}"
        return f"Grid(q from {self.least} to {self.most}, {each})"


def _limits(bits: int, scheme: str) -> tuple[int, int]:
    """Smallest and largest q: ``+-(2^(b-1) - 1)`` for symmetric, 0 to ``2^b - 1`` for affine grids."""
    if bits not in _BITS:
        raise ValueError(f"bits must be a whole number from {_BITS[0]} to {_BITS[-1]}, got {bits!r}.")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}.")
    most = 2 ** (bits - 1) - 1
    return (-most, most) if scheme == "symmetric" else (0, 2**bits - 1)


def grid_of(
    low: torch.Tensor | float,
    high: torch.Tensor | float,
    *,
    bits: int = 8,
    scheme: str = "affine",
    axis: int | None = None,
) -> Grid:
    """The grid that spans a range, widened to hold zero.

    Affine: ``scale = (high - low) / (2^b - 1)``, ``zero_point = round(-low / scale)``. Symmetric: ``scale = max(-low,
    high) / (2^(b-1) - 1)``, zero point 0.

    Parameters
    ----------
    low, high : torch.Tensor or float
        Shape ``()``, or ``(channels,)`` with ``axis``.
    bits : int
        2 to 16.
    scheme : {"affine", "symmetric"}
    axis : int, optional

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If bits or scheme are not known, a bound is not finite, low is above high, or the range is empty: constant
        zeros have no scale.

    Examples
    --------
    >>> grid = xp.quantize.grid_of(0.0, 2.55)  # 256 numbers, 0.01 apart
    >>> numbers = torch.tensor([0.004, 0.006, 3.0])
    >>> grid.quantize(numbers).tolist(), [round(value, 2) for value in grid(numbers).tolist()]
    ([0, 1, 255], [0.0, 0.01, 2.55])
    """
    least, most = _limits(bits, scheme)
    low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high))
    if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise ValueError(f"low and high must be finite, got {low.tolist()} and {high.tolist()}.")
    if (low > high).any():
        raise ValueError(f"low must not be above high, got {low.tolist()} and {high.tolist()}.")
    if low.shape != high.shape or low.ndim != (0 if axis is None else 1):
        wanted = "numbers" if axis is None else "vectors of the same length"
        raise ValueError(f"low and high must be {wanted} for axis {axis}, got shapes {low.shape} and {high.shape}.")
    low, high = low.clamp(max=0), high.clamp(min=0)
    if scheme == "symmetric":
        scale = torch.maximum(-low, high) / most
        zero = torch.zeros_like(scale)
    else:
        scale = (high - low) / (most - least)
        zero = torch.round(-low / scale)
    if (scale < torch.finfo(torch.float32).tiny).any():
        raise ValueError("the range is empty, so that the scale would be 0: the values are all zero, or nearly.")
    return Grid(scale.float(), zero.to(torch.int32), least, most, axis)
