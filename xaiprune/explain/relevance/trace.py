"""The context manager in which a model's gradients turn into relevance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from ..target import _check_evaluating
from .affine import _is_signal
from .composites import COMPOSITES, Composite
from .inplace import _Changed, _without_changing
from .layout import _Axes
from .ledger import Ledger, _Entry
from .modules import _Activations
from .operations import HANDLERS, MOVES, PLAIN, REFUSED, _product

#: Operations that make of gates and sizes others.
_KEEPING = """
    __add__ __mul__ __pow__ __radd__ __rmul__ __rsub__ __sub__ __truediv__ add cat clamp clamp_max clamp_min div maximum
    mul pow rsub sqrt stack sub
"""


class _Trace(TorchFunctionMode):
    """What a forward pass under the rules notes down: the layers in order, and who made which tensor.

    Parameters
    ----------
    composite : Composite

    Attributes
    ----------
    entries : list of Entry
        The layers of the last forward pass, from the input to the output.
    axes : Axes
        Where the images are.
    changed : Changed
        What operations in place would have changed.
    """

    def __init__(self, composite: Composite):
        super().__init__()
        self.composite = composite
        self.entries: list[_Entry] = []
        self.axes, self.changed, self.activations = _Axes(), _Changed(), _Activations()
        self.products = WeakIdKeyDictionary()  # output of a product -> its operands, in case it is normalised next
        self.factors = WeakIdKeyDictionary()  # gates and sizes, which count as constants beside another signal
        self.closed = WeakIdKeyDictionary()  # what softmax gave where it counts as a constant
        self.closing: str | None = None  # the last layer of these
        self._known = WeakIdKeyDictionary()  # signals that came from operations with a rule
        self._pixels = WeakIdKeyDictionary()
        self._names: list[str] = []

    def watch(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the start of a graph: give these to the model."""
        pixels, self.axes.images = images.detach().clone().requires_grad_(), len(images)
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

    def entry(self, kind: str, x: torch.Tensor, like: torch.Tensor | None = None) -> _Entry:
        """A line for the layer that is running, which reads x; its sums are over values in the axes of ``like``."""
        mine, first = self.entries, x in self._pixels  # a later forward pass begins another list
        entry = _Entry(self.layer, kind, _layers(mine), first, lambda: self.composite.rule(entry, _layers(mine)))
        if self.axes.images is not None:
            entry.axis, entry.images = self.axes.where(like if like is not None else x, self.layer)[0], self.axes.images
        entry.counts = kind != "activation"
        mine.append(entry)
        return entry

    def again(self, entry: _Entry) -> _Entry:
        """A second line of a layer, for what is read with the normalisation behind it: the layer may be read twice."""
        other = replace(entry, counts=False)
        self.entries.append(other)
        return other

    def refuse(self, function, reason: str) -> None:
        """Raise the error for an operation that relevance cannot pass."""
        raise ValueError(
            f"layer {self.layer!r}: {function.__name__} {reason}. Put supported layers there (see "
            "xaiprune.explain.relevance.operations), or use a method that needs gradients alone."
        )

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Run one operation, with the gradient that the rules give it."""
        kwargs = kwargs or {}
        if self.activations.running:
            return function(*args, **kwargs)
        given = [v for v in tree_iter((args, kwargs)) if isinstance(v, torch.Tensor)]
        if self._names or torch.is_grad_enabled():  # not on the way back
            self.changed.check(given, self.layer)
        if not torch.is_grad_enabled() or not any(value.requires_grad for value in given):
            return function(*args, **kwargs)
        self._check_known(function, given)
        function, args, kwargs, changes = _without_changing(function, args, kwargs)
        name = function.__name__
        if handler := HANDLERS.get(name):
            result = handler(self, function, args, kwargs)
        elif name in PLAIN:
            result = function(*args, **kwargs)
        elif name == "__setitem__" or re.fullmatch(r"[a-z].*[^_]_", name):
            self.refuse(function, "changes a tensor in place; make it with torch.cat, torch.stack or torch.where")
        else:
            result = function(*args, **kwargs)
            if any(_is_signal(value) for value in tree_iter(result)):
                self.refuse(function, REFUSED.get(name, "has no rule for relevance"))
        self._check_pixels(function, given, result)
        if changes:
            self.changed.add(args[0], f"{name} of layer {self.layer!r}")
        if name in MOVES and args[0] in self._pixels:
            self._pixels[result] = True
        if (
            self.factors
            and (name in PLAIN or name in _KEEPING.split())
            and all(value in self.factors for value in given if value.requires_grad)
        ):
            self.factors.update((value, True) for value in tree_iter(result) if _is_signal(value))
        self.axes.follow(function, args, kwargs, result)
        for value in tree_iter(result):
            if _is_signal(value):
                self._known[value] = True
        return result

    def _check_known(self, function, given) -> None:
        """Refuse what code made that works on tensors unseen: scripts, and functions with a gradient of their own."""
        for value in given:
            own = getattr(type(value.grad_fn), "_forward_cls", None)  # of a torch.autograd.Function
            if getattr(own, "passes_relevance", False):
                continue
            if value.requires_grad and not value.is_leaf and value not in self._known:
                self.refuse(
                    function,
                    f"reads a signal that {type(value.grad_fn).__name__} made, which is code that relevance cannot "
                    "follow (a scripted function, or one with a gradient of its own); write it in torch's functions, "
                    "or, where relevance should pass as its gradient, give the torch.autograd.Function "
                    "passes_relevance = True",
                )

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
    def layer(self) -> str:
        """Name of the layer that is running."""
        return self._names[-1] if self._names else "the model itself"

    def _enter(self, name: str, module: nn.Module, inputs: tuple):
        """A module begins; one that is an activation function reads a copy."""
        if not self._names:
            self.entries = []
            self._known.update((value, True) for value in tree_iter(inputs) if _is_signal(value))
        self._names.append(name or "the model itself")
        if len(self._names) == 1 or self.activations.running or not torch.is_grad_enabled():
            return None
        copies = self.activations.begin(module, inputs)
        if copies is not None:
            self._check_known(module.forward, inputs)
            self.changed.check(inputs, self.layer)
        return copies

    def _leave(self, module: nn.Module, output):
        """A module has ended, or failed."""
        result = self.activations.end(self, module, output)
        if result is not None:
            self._known[result] = True
        self._names.pop()
        return result


def _layers(entries: list[_Entry]) -> int:
    return sum(entry.counts for entry in entries)


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
        if any(type(module).__name__ == "OptimizedModule" for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled parts run as they were written
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise ValueError(
                    f"layer {name or 'the model itself'!r} is a scripted module, whose operations relevance cannot "
                    "follow; give the module that it was made from."
                )
            enter = module.register_forward_pre_hook(
                lambda module, inputs, name=name: trace._enter(name, module, inputs), prepend=True
            )
            leave = module.register_forward_hook(
                lambda module, inputs, output: trace._leave(module, output), always_call=True
            )
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        for parameter in model.parameters():
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
            parameter.requires_grad_(False)
        stack.enter_context(trace)
        yield trace
