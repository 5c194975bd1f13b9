"""Parameters of a cut model, counted exactly without cutting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from ..units import UnitGroup


class ParameterCount:
    """Parameters as a function of how many units each group keeps.

    A tensor with several pruned axes shrinks by the product of what they keep, so the count is a polynomial
    in the numbers of kept units: coupled inputs and outputs make it non-linear.

    Parameters
    ----------
    model : nn.Module
        Only shapes are read.
    groups : sequence of UnitGroup
        Of units whose number is a layer's width.

    Attributes
    ----------
    total : int
        Parameters of the whole model.
    sizes : numpy.ndarray
        Units of each group, shape ``(groups,)``.

    Raises
    ------
    ValueError
        For single weights or whole blocks, or groups that do not fit the model.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> count = xp.prune.ParameterCount(model, units)
    >>> count.total, count.left([1]).item()  # 6, 3 and the last bias; then 4, 2 and that bias
    (10, 7.0)
    """

    def __init__(self, model: nn.Module, groups: Sequence[UnitGroup]):
        for group in groups:
            if group.kind.entries:
                raise ValueError(
                    f"groups are {group.kind.words}: zeros in a tensor take no parameter away; count its non-zeros."
                )
            if not group.kind.counted:
                raise ValueError(
                    f"groups hold {group.kind.words}, such as {group.name!r}: how many of them go does not say what is "
                    "left; count the parameters of the cut model."
                )
        self.sizes = np.array([group.size for group in groups])
        shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        tensors = {name: tuple(tensor.shape) for name, tensor in model.state_dict(keep_vars=True).items()}
        for name, axis, width in ((n, a, m.width) for g in groups for m in g.members for n, a in m.axes.items()):
            if name not in tensors or tensors[name][axis] != width:
                raise ValueError(f"the groups do not fit the model: {name} should have {width} entries on axis {axis}.")
        self.total = sum(int(np.prod(shape)) for shape in shapes.values())
        per_axis: dict[str, dict[int, np.ndarray]] = {}
        for position, group in enumerate(groups):
            for member in group.members:
                for name, axis in member.axes.items():
                    if name in shapes:
                        slices = per_axis.setdefault(name, {}).setdefault(axis, np.zeros(len(groups)))
                        slices[position] += member.index.shape[1]
        self._constant = sum(int(np.prod(shape)) for name, shape in shapes.items() if name not in per_axis)
        self._terms = []
        for name, axes in per_axis.items():
            shape = shapes[name]
            rest = np.prod([size for axis, size in enumerate(shape) if axis not in axes], dtype=float)
            self._terms.append((rest, [(shape[axis], slices) for axis, slices in axes.items()]))

    def left(self, removed) -> np.ndarray:
        """Parameters that are left.

        Parameters
        ----------
        removed : array_like
            Units removed from each group, shape ``(..., groups)``; fractions are allowed and interpolate. Torch
            tensors stay torch tensors, with their gradient.

        Returns
        -------
        array of shape ``(...)``
        """
        removed = removed if hasattr(removed, "new_tensor") else np.asarray(removed, float)
        total = self._constant
        for rest, axes in self._terms:
            term = rest
            for width, slices in axes:
                term = term * (width - _dot(removed, slices))
            total = total + term
        return total

    def sparsity(self, removed) -> np.ndarray:
        """Share of the parameters that is gone.

        Parameters
        ----------
        removed : array_like
            As for :meth:`left`.

        Returns
        -------
        array of shape ``(...)``
            In [0, 1).
        """
        return 1 - self.left(removed) / self.total

    def of_counts(self, removed) -> int:
        """Parameters that are left for whole numbers of removed units.

        Parameters
        ----------
        removed : array_like of int
            Shape ``(groups,)``.

        Returns
        -------
        int
        """
        return round(float(self.left(removed)))

    def of(self, counts: Mapping[str, int], groups: Sequence[UnitGroup]) -> float:
        """Sparsity for counts by group name.

        Parameters
        ----------
        counts : mapping of str to int
            Group name to the units that go; groups not named lose none.
        groups : sequence of UnitGroup
            Those that this was made for, in their order.

        Returns
        -------
        float
            In [0, 1).
        """
        return float(self.sparsity(np.array([counts.get(group.name, 0) for group in groups], float)))


def _dot(removed, slices: np.ndarray):
    if isinstance(removed, np.ndarray):
        return removed @ slices
    return removed @ removed.new_tensor(slices)
