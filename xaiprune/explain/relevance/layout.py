"""Where the images are: followed through operations that move or merge axes, so that sums are those of one image.

Models move the axis of the images (tokens first, heads first, queries beside keys), or merge it with others (windows,
tokens in one long list). Only tensors whose images are not along their first axis are written down. Where they can no
longer be told apart, the model is refused, but for one image at a time.
"""

from __future__ import annotations

import math

import torch
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from .affine import _is_signal

#: Said of a tensor whose images cannot be told apart.
LOST = -1


def _followed(name: str, axis: int, x: torch.Tensor, args, kwargs, result: torch.Tensor, images: int) -> int:
    """Where the images of an operation's result are, for images along an axis of what it reads.

    Parameters
    ----------
    name : str
        Of the operation.
    axis : int
        Of ``x``; it is followed by blocks, so that the axis may be several rows an image.
    x : torch.Tensor
        What the operation reads.
    args, kwargs : tuple, dict
        What it is given.
    result : torch.Tensor
    images : int
        How many there are.

    Returns
    -------
    int
        :data:`LOST` where it is not known.
    """
    if handler := _MOVING.get(name):
        found = handler(axis, x, args, kwargs, result, *((images,) if handler is _reshaped else ()))
    elif result.ndim >= x.ndim:
        found = result.ndim + axis - x.ndim
    else:
        found = LOST
    return found if 0 <= found < result.ndim and result.shape[found] % images == 0 else LOST


def _numbers(args, kwargs, *names: str) -> list[int]:
    """Axes that an operation was given, one by one or as a list."""
    given = [value for value in args[1:] if value is not None] or [kwargs[name] for name in names if name in kwargs]
    found = []
    for value in given:
        found += value if isinstance(value, (tuple, list)) else [value]
    return [value for value in found if isinstance(value, int) and not isinstance(value, bool)]


def _permuted(axis, x, args, kwargs, result):
    return [each % x.ndim for each in _numbers(args, kwargs, "dims")].index(axis)


def _swapped(axis, x, args, kwargs, result):
    one, other = (each % x.ndim for each in _numbers(args, kwargs, "dim0", "dim1", "axis0", "axis1"))
    return {one: other, other: one}.get(axis, axis)


def _moved(axis, x, args, kwargs, result):
    given = args[1:] or (kwargs["source"], kwargs["destination"])
    return list(torch.empty(list(range(x.ndim)), device="meta").movedim(*given).shape).index(axis)


def _reversed(axis, x, args, kwargs, result):
    return x.ndim - 1 - axis


def _last_swapped(axis, x, args, kwargs, result):
    return {x.ndim - 1: x.ndim - 2, x.ndim - 2: x.ndim - 1}.get(axis, axis)


def _reshaped(axis, x, args, kwargs, result, images):
    before, found = math.prod(x.shape[:axis]), 1
    for place, size in enumerate(result.shape):
        if found == before and size % images == 0:
            return place
        found *= size
    return LOST


def _unsqueezed(axis, x, args, kwargs, result):
    [dim] = _numbers(args, kwargs, "dim")
    return axis + (dim % result.ndim <= axis)


def _squeezed(axis, x, args, kwargs, result):
    dims = [each % x.ndim for each in _numbers(args, kwargs, "dim")] or range(x.ndim)
    gone = [dim for dim in dims if x.shape[dim] == 1]
    return LOST if axis in gone else axis - sum(dim < axis for dim in gone)


def _selected(axis, x, args, kwargs, result):
    dim = (_numbers(args, kwargs, "dim") or [0])[0] % x.ndim
    return LOST if dim == axis else axis - (dim < axis)


def _cut(axis, x, args, kwargs, result):
    return axis if result.shape[axis] == x.shape[axis] else LOST


def _spread(axis, x, args, kwargs, result):
    found = result.ndim + axis - x.ndim
    return found if result.shape[found] == x.shape[axis] else LOST


def _stacked(axis, x, args, kwargs, result):
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    return axis + (dim % result.ndim <= axis)


def _reduced(axis, x, args, kwargs, result):
    if result.ndim == x.ndim:
        return _cut(axis, x, args, kwargs, result)
    given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
    dims = [given] if isinstance(given, int) else given
    if dims is None or isinstance(dims, torch.Tensor):
        return LOST
    dims = [dim % x.ndim for dim in dims]
    return LOST if axis in dims else axis - sum(dim < axis for dim in dims)


def _indexed(axis, x, args, kwargs, result):
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    used, place, found = sum(each is not None and each is not Ellipsis for each in index), 0, 0
    for each in index:
        if each is None:
            found += 1
        elif each is Ellipsis:
            place, found = place + x.ndim - used, found + x.ndim - used
            if place > axis:
                return found - (place - axis)
        elif place == axis:
            return found if isinstance(each, slice) and result.shape[found] == x.shape[axis] else LOST
        elif isinstance(each, bool) or not isinstance(each, (int, slice)):
            return LOST
        else:
            place, found = place + 1, found + isinstance(each, slice)
    return found + axis - place


def _summed(axis, x, args, kwargs, result):
    equation = args[0] if args else kwargs["equation"]
    operands = args[1:] if len(args) > 1 else kwargs["operands"]
    operands = operands[0] if len(operands) == 1 and not isinstance(operands[0], torch.Tensor) else operands
    terms, found = equation.replace(" ", "").split("->") if "->" in equation else (equation, "")
    [place] = [place for place, value in enumerate(operands) if value is x][:1]
    term = terms.split(",")[place]
    return LOST if "..." in equation else found.find(term[axis])


def _multiplied(axis, x, args, kwargs, result):
    one = args[0] if args else kwargs["input"]
    found = result.ndim + axis - x.ndim
    return found if axis < x.ndim - (2 if x is not one else 1) else LOST


_TABLE = {
    _permuted: "permute",
    _swapped: "transpose swapaxes swapdims",
    _moved: "movedim moveaxis",
    _reversed: "T t",
    _last_swapped: "mT",
    _reshaped: "view reshape flatten unflatten view_as reshape_as ravel",
    _unsqueezed: "unsqueeze",
    _squeezed: "squeeze",
    _selected: "select unbind",
    _cut: "chunk split tensor_split cat concat concatenate narrow index_select gather roll flip repeat_interleave",
    _spread: "expand expand_as broadcast_to repeat tile",
    _stacked: "stack",
    _reduced: "sum mean amax amin max min norm std var vector_norm",
    _indexed: "__getitem__",
    _summed: "einsum",
    _multiplied: "matmul __matmul__ bmm mm",
}
_MOVING = {name: handler for handler, names in _TABLE.items() for name in names.split()}


class _Axes:
    """Where the images of a model's signals are.

    Attributes
    ----------
    images : int or None
        How many there are, where somebody said.
    """

    def __init__(self):
        self.images: int | None = None
        self._axes = WeakIdKeyDictionary()  # signals whose images are not along their first axis -> where they are

    def copy(self, x: torch.Tensor, result: torch.Tensor) -> None:
        """Note that a result has its images where x has them."""
        if x in self._axes:
            self._axes[result] = self._axes[x]

    def where(self, x: torch.Tensor, layer: str) -> tuple[int, int]:
        """Along which axis the images are, and how many rows an image has there."""
        axis = self._axes.get(x, 0)
        if self.images > 1 and (axis == LOST or x.ndim == 0 or x.shape[axis] % self.images):
            raise ValueError(
                f"layer {layer!r} reads values of shape {tuple(x.shape)} in which {self.images} images cannot be "
                "told apart, since the model moves or merges their axis: explain one image at a time (batch_size=1)."
            )
        return (0, x.shape[0] if x.ndim else 1) if self.images == 1 else (axis, x.shape[axis] // self.images)

    def leading(self, x: torch.Tensor, layer: str) -> None:
        """Refuse a layer that takes its images along the first axis alone, if they are elsewhere."""
        if self.images is not None and self.where(x, layer)[0]:
            self._axes[x] = LOST
            self.where(x, layer)

    def first(self, x: torch.Tensor, layer: str):
        """The values with one row an image, and the function that undoes it; None where nothing is to do."""
        if self.images is None:
            return x, None
        axis, rows = self.where(x, layer)
        if axis == 0 and rows == 1:
            return x, None
        if axis == x.ndim - 1:
            self.leading(x, layer)
        moved = x.movedim(axis, 0)
        moved = moved if rows == 1 else moved.unflatten(0, (self.images, rows))

        def back(values: torch.Tensor) -> torch.Tensor:
            return (values if rows == 1 else values.flatten(0, 1)).movedim(0, axis)

        return moved, back

    def follow(self, function, args, kwargs, result) -> None:
        """Note where the images of a result are, if they are not along its first axis."""
        if self.images is None or self.images == 1:
            return
        name = function.__name__
        if name == "__get__":
            name = getattr(getattr(function, "__self__", None), "__name__", name)
        if not self._axes and name not in _MOVING:
            return
        signals = [value for value in tree_iter((args, kwargs)) if _is_signal(value)]
        if name == "linear" or name.startswith("conv"):  # whatever its weights are made of
            signals = signals[:1]
        if name not in _MOVING and not any(value in self._axes for value in signals):
            return
        for value in tree_iter(result):
            if _is_signal(value):
                found = {
                    LOST
                    if (axis := self._axes.get(x, 0)) == LOST
                    else _followed(name, axis, x, args, kwargs, value, self.images)
                    for x in signals
                }
                axis = found.pop() if len(found) == 1 else LOST
                if axis or value in self._axes:
                    self._axes[value] = axis
