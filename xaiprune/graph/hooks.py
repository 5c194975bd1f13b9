"""Reading and changing what named layers take and give, by hooks that leave no trace; a model put back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..core import arguments


def layers(model: nn.Module, names: Iterable[str], argument: str = "layers") -> dict[str, nn.Module]:
    """The modules of these names.

    Parameters
    ----------
    model : nn.Module
    names : iterable of str
        As ``named_modules`` gives them; ``""`` is the model itself.
    argument : str
        For the message.

    Returns
    -------
    dict of str to nn.Module

    Raises
    ------
    ValueError
        If a name is no module of the model.
    """
    known, names = dict(model.named_modules()), list(names)
    for name in names:
        if name not in known:
            hint = arguments.nearest(name, known) or "."
            raise ValueError(f"{argument} must name modules of the model, got {name!r}{hint}")
    return {name: known[name] for name in names}


@contextmanager
def reading(
    model: nn.Module, names: Iterable[str], function: Callable[[str, tuple, object], None], argument: str = "layers"
) -> Iterator[None]:
    """While it is open, ``function(name, inputs, output)`` sees every call of the named layers.

    Parameters
    ----------
    model : nn.Module
    names : iterable of str
        A layer that runs several times is seen several times; a module that has several names, by the one given.
    function : callable
        ``(name, inputs, output)``: ``inputs`` are the positional arguments, then those given by keyword.
    argument : str

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If a name is no module of the model.
    """

    def hook(name: str) -> Callable:
        def see(module, inputs, keywords, output):
            function(name, (*inputs, *keywords.values()), output)

        return see

    with ExitStack() as stack:
        for name, layer in layers(model, names, argument).items():
            stack.callback(layer.register_forward_hook(hook(name), with_kwargs=True).remove)
        yield


@contextmanager
def outputs(model: nn.Module, names: Iterable[str], argument: str = "layers") -> Iterator[dict[str, object]]:
    """Collect what named layers give, of their last call, while the model runs.

    Parameters
    ----------
    model : nn.Module
    names : iterable of str
    argument : str

    Yields
    ------
    dict of str to object
        Filled as the layers run; gradients flow through it.

    Raises
    ------
    ValueError
        If a name is no module of the model.
    """
    found: dict[str, object] = {}
    with reading(model, names, lambda name, inputs, output: found.__setitem__(name, output), argument):
        yield found


@contextmanager
def inputs(model: nn.Module, names: Iterable[str], argument: str = "layers") -> Iterator[dict[str, object]]:
    """Collect the first input of named layers, of their last call, while the model runs.

    Parameters
    ----------
    model : nn.Module
    names : iterable of str
    argument : str

    Yields
    ------
    dict of str to object

    Raises
    ------
    ValueError
        If a name is no module of the model.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with xp.graph.hooks.inputs(model, ["1"]) as found:
    ...     _ = model(torch.zeros(1, 2))
    >>> found["1"].shape
    torch.Size([1, 3])
    """
    found: dict[str, object] = {}
    with reading(model, names, lambda name, given, output: found.__setitem__(name, given[0]), argument):
        yield found


@contextmanager
def changing(
    model: nn.Module,
    *,
    takes: Mapping[str, Callable] | None = None,
    gives: Mapping[str, Callable] | None = None,
    does: Mapping[str, Callable] | None = None,
    argument: str = "layers",
) -> Iterator[None]:
    """While it is open, named layers take or give something else.

    Parameters
    ----------
    model : nn.Module
    takes : mapping of str to callable, optional
        ``first input -> what is taken in its place``.
    gives : mapping of str to callable, optional
        ``output -> what is given in its place``.
    does : mapping of str to callable, optional
        ``(first input, output) -> what is given in place of the output``.
    argument : str

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If a name is no module of the model; nothing is changed then.
    """
    before, after, whole = (layers(model, some, argument) if some else {} for some in (takes, gives, does))

    def taking(function: Callable) -> Callable:
        def hook(module, given, keywords):
            if given:
                return (function(given[0]), *given[1:]), keywords
            first = next(iter(keywords))
            return given, {**keywords, first: function(keywords[first])}

        return hook

    def giving(function: Callable) -> Callable:
        return lambda module, given, output: function(output)

    def doing(function: Callable) -> Callable:
        return lambda module, given, keywords, output: function(*given[:1] or [*keywords.values()][:1], output)

    with ExitStack() as stack:
        for name, layer in before.items():
            stack.callback(layer.register_forward_pre_hook(taking(takes[name]), with_kwargs=True).remove)
        for name, layer in after.items():
            stack.callback(layer.register_forward_hook(giving(gives[name])).remove)
        for name, layer in whole.items():
            stack.callback(layer.register_forward_hook(doing(does[name]), with_kwargs=True).remove)
        yield


@contextmanager
def unchanged(model: nn.Module, *, evaluate: bool = False) -> Iterator[nn.Module]:
    """On the way out, also after an error, every mode, ``requires_grad`` and buffer of a model is as it was.

    Parameters
    ----------
    model : nn.Module
    evaluate : bool
        Whether every part of it is in evaluation mode inside.

    Yields
    ------
    nn.Module
        ``model`` itself.

    Examples
    --------
    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()).eval()
    >>> with xp.graph.unchanged(model.train()):
    ...     _ = model(torch.rand(8, 2)), model[1].eval()
    >>> model[0].running_mean.tolist(), model[1].training
    ([0.0, 0.0], True)
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    held = [
        (module, key, buffer) for module in modules for key, buffer in module._buffers.items() if buffer is not None
    ]
    copies = [buffer.detach().clone() for *_, buffer in held]
    try:
        yield model.eval() if evaluate else model
    finally:
        for module, mode in zip(modules, modes):
            module.training = mode
        for parameter, wanted in asked:
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
        for (module, key, buffer), copy in zip(held, copies):
            if not torch.equal(buffer, copy):  # batch normalisation writes past the count of changes
                with torch.no_grad():
                    buffer.copy_(copy)
            if module._buffers.get(key) is not buffer:
                module._buffers[key] = buffer
