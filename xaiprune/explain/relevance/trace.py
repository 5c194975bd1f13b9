"""The context manager in which a model's gradients turn into relevance."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from ..target import _check_evaluating
from .activations import ACTIVATIONS, _elementwise, _passed
from .composites import COMPOSITES, Composite
from .layout import LOST, _followed, _Mixed, _MOVING
from .ledger import Ledger, _Entry
from .operations import HANDLERS, MOVES, PLAIN, REFUSED, _product


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
        self.images: int | None = None  # how many, where somebody said
        self.embedded: list[tuple[torch.Tensor, torch.Tensor]] = []  # what was looked up for tokens, and for which
        self.products = WeakIdKeyDictionary()  # output of a product -> its operands, in case it is normalised next
        self.factors = WeakIdKeyDictionary()  # gates and sizes, which count as constants beside another signal
        self._axes = WeakIdKeyDictionary()  # signals whose images are not along their first axis -> where they are
        self._known = WeakIdKeyDictionary()  # signals that came from operations with a rule
        self._pixels = WeakIdKeyDictionary()
        self._tokens = WeakIdKeyDictionary()  # tokens -> which of the given ones they are
        self._stale: dict[StorageWeakRef, tuple] = {}  # memory that would have been changed in place: where, by what
        self._tried: dict[nn.Module, bool] = {}
        self._aside: list[tuple] = []  # activation modules that are running, and what they read
        self._names: list[str] = []

    def watch(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the start of a graph: give these to the model. Of tokens, what is looked up is the start."""
        pixels, self.images = images.detach().clone(), len(images)
        if images.is_floating_point():
            self._pixels[pixels.requires_grad_()] = True
        else:
            self._tokens[pixels] = torch.arange(pixels.numel()).view(pixels.shape)
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
        entry = _Entry(self._name, kind, _layers(mine), first, lambda: self.composite.rule(entry, _layers(mine)))
        if self.images is not None:
            entry.axis, entry.images = self._where(like if like is not None else x)[0], self.images
        entry.counts = kind != "activation"
        mine.append(entry)
        return entry

    def again(self, entry: _Entry) -> _Entry:
        """A second line of a layer, for what is read with the normalisation behind it: the layer may be read twice."""
        other = replace(entry, counts=False)
        self.entries.append(other)
        return other

    def _where(self, x: torch.Tensor) -> tuple[int, int]:
        """Along which axis the images are, and how many rows an image has there."""
        axis = self._axes.get(x, 0)
        if self.images > 1 and (axis == LOST or x.ndim == 0 or x.shape[axis] % self.images):
            raise _Mixed(
                f"layer {self._name!r} reads values of shape {tuple(x.shape)} in which {self.images} images cannot be "
                "told apart, since the model moves or merges their axis: explain one image at a time."
            )
        return (0, x.shape[0] if x.ndim else 1) if self.images == 1 else (axis, x.shape[axis] // self.images)

    def images_first(self, x: torch.Tensor):
        """The values with one row an image, and the function that undoes it; None where nothing is to do."""
        if self.images is None:
            return x, None
        axis, rows = self._where(x)
        if axis == 0 and rows == 1:
            return x, None
        if axis == x.ndim - 1 and self.images > 1:
            self._axes[x] = LOST
            self._where(x)
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
        signals = [value for value in tree_iter((args, kwargs)) if _asks(value)]
        if name not in _MOVING and not any(value in self._axes for value in signals):
            return
        for value in tree_iter(result):
            if _asks(value):
                found = {
                    LOST if (axis := self._axes.get(x, 0)) == LOST else
                    _followed(name, axis, x, args, kwargs, value, self.images)
                    for x in signals
                }
                axis = found.pop() if len(found) == 1 else LOST
                if axis or value in self._axes:
                    self._axes[value] = axis

    def refuse(self, function, reason: str) -> None:
        """Raise the error for an operation that relevance cannot pass."""
        raise ValueError(
            f"layer {self._name!r}: {function.__name__} {reason}. Put supported layers there (see "
            "xaiprune.explain.relevance.operations), or use a method that needs gradients alone."
        )

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Run one operation, with the gradient that the rules give it."""
        kwargs = kwargs or {}
        if self._aside:
            return function(*args, **kwargs)
        given = [v for v in tree_iter((args, kwargs)) if isinstance(v, torch.Tensor)]
        if not torch.is_grad_enabled():
            return function(*args, **kwargs)
        if self._stale:
            self._check_stale(given)
        if self._tokens and any(value in self._tokens for value in given):
            return self._looked_up(function, args, kwargs)
        if not any(value.requires_grad for value in given):
            return function(*args, **kwargs)
        self._check_known(function, given)
        function, args, kwargs, changes = _without_changing(function, args, kwargs)
        name = function.__name__
        if handler := HANDLERS.get(name):
            result = handler(self, function, args, kwargs)
        elif name in PLAIN:
            result = function(*args, **kwargs)
        elif name == "__setitem__" or re.fullmatch(r"[a-z].*[^_]_", name):
            self.refuse(function, "changes a tensor in place")
        else:
            result = function(*args, **kwargs)
            if any(_asks(value) for value in tree_iter(result)):
                self.refuse(function, REFUSED.get(name, "has no rule for relevance"))
        self._check_pixels(function, given, result)
        if changes:
            self._set_aside(args[0], f"{name} of layer {self._name!r}")
        if name in MOVES and args[0] in self._pixels:
            self._pixels[result] = True
        if self.factors and (name in PLAIN or name in _KEEPING) and all(
            value in self.factors for value in given if value.requires_grad
        ):
            self.factors.update((value, True) for value in tree_iter(result) if _asks(value))
        self.follow(function, args, kwargs, result)
        for value in tree_iter(result):
            if _asks(value):
                self._known[value] = True
        return result

    def _looked_up(self, function, args, kwargs):
        """Tokens: what an embedding gives for them is where relevance ends."""
        result, first = function(*args, **kwargs), args[0] if args else kwargs.get("input")
        places = self._tokens.get(first) if isinstance(first, torch.Tensor) else None
        if places is None or not isinstance(result, torch.Tensor):
            return result
        if function.__name__ == "embedding":
            result = result.detach().requires_grad_()
            self.embedded.append((result, places))
            self._known[result] = True
        elif function.__name__ in ("int", "long", "clamp", "masked_fill") or result.dtype == first.dtype != torch.bool:
            if function.__name__ in MOVES or function.__name__ in ("__getitem__", "expand", "narrow", "repeat"):
                places = function(places, *args[1:], **kwargs)
            elif function.__name__ not in ("int", "long", "clamp", "masked_fill"):
                return result
            self._tokens[result] = places
        return result

    def _set_aside(self, tensor: torch.Tensor, by: str) -> None:
        self._stale[StorageWeakRef(tensor.untyped_storage())] = (_place(tensor), by)

    def _check_stale(self, given) -> None:
        """Refuse to read memory that an in-place operation would have changed."""
        for value in given:
            changed, by = self._stale.get(StorageWeakRef(value.untyped_storage()), (None, ""))
            if changed and _overlap(changed, value):
                raise ValueError(
                    f"layer {self._name!r} reads a tensor that {by} changed in place; "
                    "use the value that the operation returned, or set inplace=False there."
                )

    def _check_known(self, function, given) -> None:
        """Refuse what came from code that works on tensors without telling: scripts, and functions with own gradient."""
        for value in given:
            if value.requires_grad and not value.is_leaf and value not in self._known:
                self.refuse(
                    function,
                    f"reads a signal that {type(value.grad_fn).__name__} made, which is code that relevance cannot "
                    "follow (a scripted function, or one with a gradient of its own); write it in torch's functions",
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
    def _name(self) -> str:
        return self._names[-1] if self._names else "the model itself"

    def _enter(self, name: str, module: nn.Module, inputs: tuple):
        """A module begins. One that is an activation function runs aside, on a copy of what it reads."""
        if not self._names:
            self.entries, self.embedded = [], []
            self._known.update((value, True) for value in tree_iter(inputs) if _asks(value))
        self._names.append(name or "the model itself")
        if self._aside or not torch.is_grad_enabled() or not self._is_activation(module, inputs):
            return None
        self._check_known(module.forward, inputs)
        self._check_stale(inputs)
        copy = inputs[0].detach().clone()
        self._aside.append((module, inputs[0], copy))
        return (copy,)

    def _is_activation(self, module: nn.Module, inputs: tuple) -> bool:
        """Whether a module that others wrote is a function of one value at a time."""
        if type(module).__module__.startswith("torch.") or len(inputs) != 1 or not _asks(inputs[0]):
            return False
        own = (module._parameters, module._buffers, module._modules)
        if any(own) or len(self._names) < 2:
            return False
        if module not in self._tried:
            with torch._C.DisableTorchFunction():
                self._tried[module] = _elementwise(module, inputs[0])
        return self._tried[module]

    def _leave(self, module: nn.Module, output):
        """A module has ended, or failed."""
        result = None
        if self._aside and self._aside[-1][0] is module:
            _, x, copy = self._aside.pop()
            if isinstance(output, torch.Tensor):
                with torch._C.DisableTorchFunction():
                    result = self._activated(module, x, copy, output)
        self._names.pop()
        return result

    def _activated(self, module: nn.Module, x: torch.Tensor, copy: torch.Tensor, output: torch.Tensor):
        """The module's output as a function of what it read."""
        if copy._version:
            self._set_aside(x, f"layer {self._name!r}")
        if torch.equal(output, x):
            return x.view_as(x) if copy._version else x
        with torch.no_grad():
            zero = module.forward(torch.zeros_like(x))
        result = _passed(self, x, output.detach().clone(), zero)
        if x in self._axes:
            self._axes[result] = self._axes[x]
        self._known[result] = True
        return result


#: Operations that make of gates and sizes others.
_KEEPING = frozenset(
    "add sub __add__ __radd__ __sub__ __rsub__ rsub mul __mul__ __rmul__ div __truediv__ clamp clamp_min clamp_max sqrt "
    "pow __pow__ maximum cat stack".split()
)


def _asks(value) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _layers(entries: list[_Entry]) -> int:
    return sum(entry.counts for entry in entries)


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
