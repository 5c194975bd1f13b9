"""The context manager in which a model's gradients turn into relevance."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from ..target import _check_evaluating
from .composites import COMPOSITES, Composite
from .ledger import Ledger, _Entry
from .operations import ACTIVATIONS, HANDLERS, MOVES, PLAIN, _product


class _Trace(TorchFunctionMode):
    """What a forward pass under the rules notes down: the layers in order, and who made which tensor.

    Parameters
    ----------
    composite : Composite

    Attributes
    ----------
    entries : list of Entry
        The layers of the last forward pass, from the input to the output.
    """

    def __init__(self, composite: Composite):
        super().__init__()
        self.composite = composite
        self.entries: list[_Entry] = []
        self.products = WeakIdKeyDictionary()  # output of a product -> its operands, in case it is normalised next
        self._pixels = WeakIdKeyDictionary()
        self._stale = WeakIdKeyDictionary()  # tensors that an in-place operation would have changed
        self._names: list[str] = []

    def watch(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the start of a graph: give these to the model."""
        pixels = images.detach().clone().requires_grad_()
        self._pixels[pixels] = True
        return pixels

    def relevance(self, values: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Relevance of pixels or of inner activations from their gradient, in their shape."""
        by_pixels = values in self._pixels and self.composite.of_pixels
        return gradient if by_pixels else values.detach() * gradient

    def ledger(self, output: torch.Tensor, relevance: torch.Tensor) -> Ledger:
        """The books of the last backward pass.

        Parameters
        ----------
        output : torch.Tensor
            Shape ``(N,)``: what was explained.
        relevance : torch.Tensor
            Of the pixels, shape ``(N, ...)``.
        """
        entries = tuple(entry for entry in reversed(self.entries) if entry.relevance is not None)
        return Ledger(output.detach(), relevance.flatten(1).sum(1), entries)

    def entry(self, kind: str, x: torch.Tensor) -> _Entry:
        """A line for the layer that is running, which reads x."""
        mine, first = self.entries, x in self._pixels  # a later forward pass begins another list
        entry = _Entry(self._name, kind, len(mine), first, lambda: self.composite.rule(entry, len(mine)))
        mine.append(entry)
        return entry

    def refuse(self, function, reason: str) -> None:
        """Raise the error for an operation that relevance cannot pass."""
        raise ValueError(
            f"layer {self._name!r}: {function.__name__} {reason}. Put supported layers there (see "
            "xaiprune.explain.relevance.operations), or use a method that needs gradients alone."
        )

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Run one operation, with the gradient that the rules give it."""
        kwargs, given = kwargs or {}, [v for v in tree_iter((args, kwargs)) if isinstance(v, torch.Tensor)]
        for value in given:
            if value in self._stale:
                raise ValueError(
                    f"layer {self._name!r} reads a tensor that {self._stale[value]} changed in place; "
                    "use the value that the operation returned, or set inplace=False there."
                )
        if not torch.is_grad_enabled() or not any(value.requires_grad for value in given):
            return function(*args, **kwargs)
        function, args, kwargs, changes = _without_changing(function, args, kwargs)
        if handler := HANDLERS.get(function.__name__):
            result = handler(self, function, args, kwargs)
        elif function.__name__ in PLAIN:
            result = function(*args, **kwargs)
        elif function.__name__ == "__setitem__" or re.fullmatch(r"[a-z].*[^_]_", function.__name__):
            self.refuse(function, "changes a tensor in place")
        else:
            result = function(*args, **kwargs)
            if any(isinstance(value, torch.Tensor) and value.requires_grad for value in tree_iter(result)):
                self.refuse(function, "has no rule for relevance")
        self._check_pixels(function, given, result)
        if changes:
            self._stale[args[0]] = f"{function.__name__} of layer {self._name!r}"
        if function.__name__ in MOVES and args[0] in self._pixels:
            self._pixels[result] = True
        return result

    def _check_pixels(self, function, given: list[torch.Tensor], result) -> None:
        """Rules for pixels give relevance and no gradient, which may not be mixed with what other layers pass back."""
        if not self.composite.of_pixels or function.__name__ in MOVES or HANDLERS.get(function.__name__) is _product:
            return
        reads = any(value in self._pixels for value in given)
        if reads and any(isinstance(value, torch.Tensor) and value.requires_grad for value in tree_iter(result)):
            self.refuse(
                function,
                f"reads the pixels themselves, but composite {self.composite.name!r} has a rule for pixels, which only "
                "the first product with weights may read; normalise the images before they enter the model",
            )

    @property
    def _name(self) -> str:
        return self._names[-1] if self._names else "the model itself"

    def _enter(self, name: str) -> None:
        if not self._names:
            self.entries = []
        self._names.append(name or "the model itself")

    def _leave(self) -> None:
        self._names.pop()


def _without_changing(function, args, kwargs):
    """The operation in a form that leaves its operands as they are, and whether it was in place."""
    name = function.__name__
    if name in ACTIVATIONS:
        if "inplace" in getattr(ACTIVATIONS[name], "__annotations__", ()):
            bound = inspect.signature(ACTIVATIONS[name]).bind(*args, **kwargs)
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


@contextmanager
def modified_gradients(model: nn.Module, composite: Composite | str = "epsilon-plus") -> Iterator[_Trace]:
    """Inside the ``with`` the model's gradients follow the rules: activation x gradient is relevance.

    On the way out, also after an exception, every hook, mode and ``requires_grad`` is as before. Parameters ask for no
    gradient inside; ask for those of which relevance is wanted.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    composite : Composite or str
        Or a key of ``COMPOSITES``.

    Yields
    ------
    Trace
        ``watch(images)`` gives the pixels for the model; ``relevance`` and ``ledger`` read the result.

    Raises
    ------
    ValueError
        For a model in training mode, an unknown composite, and, when the model runs, an operation that has no rule or
        a tensor that is read after an operation changed it in place: the layer is named.
    """
    composite = COMPOSITES.find(composite, "composite")
    _check_evaluating(model)
    trace = _Trace(composite)
    with ExitStack() as stack:
        for name, module in model.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, name=name: trace._enter(name), prepend=True)
            leave = module.register_forward_hook(lambda *_: trace._leave(), always_call=True)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        for parameter in model.parameters():
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
            parameter.requires_grad_(False)
        stack.enter_context(trace)
        yield trace
