"""Asking a model of any form: it gets its inputs as it takes them, and the part that is meant of its output is read.

One context manager for all rooms, :func:`asking`, and a decorator that gives a function the argument ``output``.
Inside, ``model(inputs)`` is a tensor: inputs are copied, so that a model that changes them in place changes nothing of
the caller's; several inputs become arguments; what is not meant of the output is left aside; and of the model itself
nothing is changed.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..data import Several, as_inputs
from .calls import inputs_of, mapped, spread, to
from .hooks import unchanged
from .picking import _shown, picked


class _Asked:
    """The hooks of a model that is being asked; the last one who asked decides which part is read.

    Copies of the model share it, so that they answer in the same way, and are without it when the asking ends.
    """

    def __init__(self, model: nn.Module):
        tensor = next(itertools.chain(model.parameters(), model.buffers()), None)
        self.device = None if tensor is None else tensor.device
        self.stack: list[tuple[object, bool, str]] = []
        self.count: int | None = None
        self.seen: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # the model, and copies of it that ran

    def takes(self, module: nn.Module, given: tuple, keywords: dict):
        """Copies of the inputs, on the model's device; of several ones the arguments that they are."""
        if not self.stack or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return None
        self.seen.add(module)
        first = given[0] if given else next(iter(keywords.values()), None)
        if isinstance(first, torch.Tensor | Several) and first.shape:
            self.count = len(first)
        if isinstance(first, Several) and len(given) == 1:
            given, more = spread(module, first.map(self._copied).parts)
            return given, {**keywords, **more}
        return tuple(map(self._copied, given)), {key: self._copied(value) for key, value in keywords.items()}

    def gives(self, module: nn.Module, given: tuple, found: object):
        """The part that is asked for."""
        wanted = next((output for output, *_ in reversed(self.stack) if output is not None), None)
        if not self.stack or (wanted is None and not any(strict for _, strict, _ in self.stack)):
            return None
        part = picked(found, wanted, self.stack[0][2])
        if not part.ndim:
            raise ValueError(
                f"{self.stack[0][2]} gives one number for {self.count or 'all'} inputs, such as a loss; an answer for "
                "each of them is needed: say by output= what it is, or wrap the model."
            )
        if callable(wanted) and self.count is not None and len(part) != self.count:
            raise ValueError(
                f"output must keep the batch axis in front: of {self.count} inputs it gives a tensor of shape "
                f"{tuple(part.shape)}."
            )
        return part

    def leave(self) -> None:
        """Take the hooks off the model, and off its copies."""
        self.stack.clear()
        for module in self.seen:
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is self]:
                    del hooks[key]
                    module._forward_pre_hooks_with_kwargs.pop(key, None)

    def _copied(self, value: object) -> object:
        if not isinstance(value, torch.Tensor):
            return value
        return (value if self.device is None else value.to(self.device)).clone()

    def __deepcopy__(self, memo: dict) -> _Asked:
        return self

    def __reduce__(self) -> tuple:
        return _Asked, (nn.Module(),)


def _asked(model: nn.Module) -> _Asked | None:
    """The hooks of a model that is being asked already."""
    owners = (getattr(hook, "__self__", None) for hook in model._forward_hooks.values())
    return next((one for one in owners if isinstance(one, _Asked) and one.stack), None)


@contextmanager
def asking(
    model: nn.Module,
    output: str | int | Callable | None = None,
    *,
    strict: bool = True,
    changes: bool = False,
    name: str = "model",
) -> Iterator[nn.Module]:
    """While it is open, ``model(inputs)`` takes inputs of any form and gives the tensor that is meant.

    Inputs are copied first and go to the model's device; ``data.Several`` become arguments. On the way out, also after
    an error, every submodule's mode, every ``requires_grad``, buffer and hook is as it was. Running out of memory is
    said with what was asked for.

    Parameters
    ----------
    model : nn.Module
        What is no module is called as it is; so is a scripted one, which takes no hooks.
    output : str, int or callable, optional
        As for :func:`picked`. Where several ask one another, the last one that says it decides.
    strict : bool
        Whether an output that is no tensor is refused where nothing says which part is meant.
    changes : bool
        Whether the model may be changed inside, as by training.
    name : str
        What the model is called, for messages.

    Yields
    ------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        When the model is called: as :func:`picked` raises it.

    Examples
    --------
    >>> class Pair(nn.Module):
    ...     def forward(self, images, scale):
    ...         return {"logits": images.mul_(scale), "scale": scale}
    >>> model, both = Pair().eval(), xp.data.Several((torch.ones(2, 3), torch.full((2, 1), 5.0)))
    >>> with xp.graph.asking(model, "logits"):
    ...     print(model(both)[0].tolist())
    [5.0, 5.0, 5.0]
    >>> both.parts[0][0].tolist()  # not changed
    [1.0, 1.0, 1.0]
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        if output is not None:
            raise ValueError(
                f"output={_shown(output)} can be asked of an nn.Module, but {name} is a {type(model).__name__}: wrap "
                "it in a module that gives the tensor."
            )
        yield model
        return
    hooks = _asked(model)
    entry = (output, strict, name)
    if hooks is not None:
        hooks.stack.append(entry)
        try:
            yield model
        finally:
            hooks.stack.pop()
        return
    hooks = _Asked(model)
    with ExitStack() as stack:
        if not changes:
            stack.enter_context(unchanged(model))
        model.register_forward_pre_hook(hooks.takes, with_kwargs=True, prepend=True)
        model.register_forward_hook(hooks.gives)
        hooks.seen.add(model)
        hooks.stack.append(entry)
        stack.callback(hooks.leave)
        try:
            yield model
        except RuntimeError as error:
            _tell_memory(error, hooks.count)
            raise


def answer(model: Callable, inputs: object, output: str | int | Callable | None = None) -> torch.Tensor:
    """What a model answers to one batch: ``model(inputs)`` inside of :func:`asking`.

    Parameters
    ----------
    model : nn.Module or callable
        In whatever mode it is; training changes it as ever.
    inputs : torch.Tensor, or tuple or mapping of torch.Tensor
    output : str, int or callable, optional
        As for :func:`picked`.

    Returns
    -------
    torch.Tensor

    Raises
    ------
    ValueError
        As :func:`picked` raises it.

    Examples
    --------
    >>> xp.graph.answer(nn.Bilinear(2, 3, 1), (torch.ones(5, 2), torch.ones(5, 3))).shape
    torch.Size([5, 1])
    """
    with asking(model, output, changes=True):
        return picked(model(as_inputs(inputs)))


def calling(model: Callable, inputs: object) -> Callable[[], object]:
    """One call of a model with inputs of any form, as it is, for what measures the call itself.

    Parameters
    ----------
    model : nn.Module or callable
    inputs : torch.Tensor, or tuple or mapping of torch.Tensor
        Copied once, and on the model's device.

    Returns
    -------
    callable
        Without arguments; it gives what the model gives.

    Examples
    --------
    >>> call = xp.graph.calling(nn.Bilinear(2, 3, 1), {"input1": torch.ones(5, 2), "input2": torch.ones(5, 3)})
    >>> call().shape
    torch.Size([5, 1])
    """
    inputs = mapped(torch.clone, inputs_of(inputs))
    if isinstance(model, nn.Module) and any(True for _ in model.parameters()):
        inputs = to(inputs, model)
    given, named = spread(model, inputs)
    return functools.partial(model, *given, **named)


def asks(*names: str, changes: bool = False) -> Callable[[Callable], Callable]:
    """A function that asks models gets the argument ``output``, and asks them as :func:`asking` does.

    Parameters
    ----------
    *names : str
        Of the arguments with models; one may be a mapping of names to models.
    changes : bool
        Whether the first of them may be changed, as by training: then outputs are refused only where they are read.

    Returns
    -------
    callable
        A decorator.
    """

    def decorated(function: Callable) -> Callable:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())
        reads = "output" in signature.parameters  # then the function has it itself

        @functools.wraps(function)
        def call(*args, **options):
            output = options.get("output") if reads else options.pop("output", None)
            given = signature.bind(*args, **options).arguments
            with ExitStack() as stack:
                for place, name in enumerate(names):
                    value, loose = given.get(name), changes and place == 0
                    for called, model in value.items() if isinstance(value, Mapping) else [(name, value)]:
                        if model is not None:
                            called = called if called == name else f"model {called!r}"
                            how = {"strict": not changes, "changes": loose, "name": called}
                            stack.enter_context(asking(model, output, **how))
                return function(*args, **options)

        if not reads:
            kind = inspect.Parameter.KEYWORD_ONLY
            new = inspect.Parameter("output", kind, default=None, annotation="str | int | Callable | None")
            place = len(own) - (own[-1].kind is inspect.Parameter.VAR_KEYWORD)
            call.__signature__ = signature.replace(parameters=[*own[:place], new, *own[place:]])
        return call

    return decorated


def _tell_memory(error: RuntimeError, count: int | None) -> None:
    """Raise in other words where there was too little memory."""
    text = str(error)
    if not re.search(r"[Oo]ut of memory|not enough memory|can't allocate memory", text) or text.startswith(
        "out of memory"
    ):
        return
    size = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
    asked = size[1] if size else ""
    if size and asked.endswith("bytes"):
        asked = f"{int(asked.split()[0]) / 2**30:.2f} GiB"
    batch = "" if count is None else f" in a batch of {count} inputs"
    raise torch.OutOfMemoryError(
        f"out of memory: {asked or 'more than there is'} was asked for{batch}. Lower batch_size, or, where a function "
        "has none, give fewer inputs at a time."
    ) from error
