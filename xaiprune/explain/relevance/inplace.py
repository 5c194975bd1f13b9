"""Operations in place: carried out on a copy, and what they would have changed may not be read afterwards."""

from __future__ import annotations

import inspect

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .activations import ACTIVATIONS, GATES
from .operations import HANDLERS, PLAIN

_PURE = ACTIVATIONS | GATES


class _Changed:
    """Memory that operations in place would have changed, had they not worked on a copy."""

    def __init__(self):
        self._places: dict[StorageWeakRef, list[tuple]] = {}

    def add(self, tensor: torch.Tensor, by: str) -> None:
        """Note that ``by`` would have changed a tensor."""
        self._places.setdefault(StorageWeakRef(tensor.untyped_storage()), []).append((_place(tensor), by))

    def check(self, given: list[torch.Tensor], layer: str) -> None:
        """Refuse to read memory that would have been changed."""
        for value in given if self._places else ():
            for place, by in self._places.get(StorageWeakRef(value.untyped_storage()), ()):
                if _overlap(place, value):
                    raise ValueError(
                        f"layer {layer!r} reads a tensor that {by} changed in place; "
                        "use the value that the operation returned, or set inplace=False there."
                    )


def _place(tensor: torch.Tensor) -> tuple:
    return tensor.shape, tensor.stride(), tensor.storage_offset()


def _overlap(place: tuple, tensor: torch.Tensor) -> bool:
    """Whether a place in a tensor's memory has values of the tensor."""
    with torch._C.DisableTorchFunction():
        marks = torch.zeros(tensor.untyped_storage().nbytes() // tensor.element_size(), dtype=torch.bool)
        marks.as_strided(*place).fill_(True)
        return bool(marks.as_strided(*_place(tensor)).any())


def _without_changing(function, args, kwargs):
    """The operation in a form that leaves its operands as they are, and whether it was in place."""
    name = function.__name__
    pure = _PURE.get(name)
    if pure is not None:
        if "inplace" in getattr(pure, "__annotations__", ()):
            bound = inspect.signature(pure).bind(*args, **kwargs)
            if bound.arguments.get("inplace"):
                bound.arguments["inplace"] = False
                return function, bound.args, bound.kwargs, True
    elif name.startswith("__i") and (pure := f"__{name[3:]}") in HANDLERS:
        return getattr(torch.Tensor, pure), args, kwargs, True
    elif name.endswith("_") and not name.startswith("__") and name not in PLAIN:
        if (pure := name[:-1]) in ACTIVATIONS:
            return ACTIVATIONS[pure], args, kwargs, True
        if pure in HANDLERS or pure in PLAIN:
            return getattr(torch.Tensor, pure), args, kwargs, True
    return function, args, kwargs, False
