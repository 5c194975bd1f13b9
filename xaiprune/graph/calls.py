"""How a model is called: with a tensor, several or a dictionary of them; and the model inside of its wrappers."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..data import Split, as_split

#: What a wrapper calls the model inside of it: torch.compile, then DataParallel and its kin.
_WRAPPED = {"_orig_mod", "module"}
#: Up to so many values are looked at for what bytes look like.
_LOOKED_AT = 2**16


def call(model: Callable, inputs: object) -> object:
    """What a model gives for inputs of any form.

    Parameters
    ----------
    model : nn.Module or callable
    inputs : torch.Tensor, or a tuple, list or mapping of them
        A tuple or list holds the arguments in order, a mapping those by keyword; where the model has no such
        arguments, it gets all of them as its one argument.

    Returns
    -------
    object

    Examples
    --------
    >>> model = nn.Bilinear(2, 3, 1)
    >>> a, b = torch.ones(5, 2), torch.ones(5, 3)
    >>> xp.graph.calls.call(model, (a, b)).shape, xp.graph.calls.call(model, {"input1": a, "input2": b}).shape
    (torch.Size([5, 1]), torch.Size([5, 1]))
    """
    given, named = spread(model, inputs)
    return model(*given, **named)


def spread(model: Callable, inputs: object) -> tuple[tuple, dict]:
    """Inputs as the arguments of a call.

    Parameters
    ----------
    model, inputs
        As for :func:`call`.

    Returns
    -------
    tuple, dict
        By place, and by keyword.
    """
    if not isinstance(inputs, tuple | list | Mapping):
        return (inputs,), {}
    given, named = ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})
    inner = unwrapped(model)
    try:
        inspect.signature(inner.forward if isinstance(inner, nn.Module) else inner).bind(*given, **named)
    except TypeError:
        return (inputs,), {}
    return given, named


def mapped(function: Callable, inputs: object, other: Callable = lambda value: value) -> object:
    """Inputs of the same form, with what a function makes of each tensor.

    Parameters
    ----------
    function : callable
        ``tensor -> object``.
    inputs : object
        As for :func:`call`; tuples and mappings may hold others.
    other : callable
        What becomes of a value that is no tensor; by default it stays.

    Returns
    -------
    object
    """
    if isinstance(inputs, torch.Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {name: mapped(function, value, other) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(mapped(function, value, other) for value in inputs)
    return other(inputs)


def tensors(inputs: object) -> list[torch.Tensor]:
    """The tensors of inputs, in order.

    Parameters
    ----------
    inputs : object
        As for :func:`call`.

    Returns
    -------
    list of torch.Tensor
    """
    found: list[torch.Tensor] = []
    mapped(found.append, inputs)
    return found


def batched(inputs: object, size: int) -> Iterator[object]:
    """Inputs in batches along their first axis.

    Parameters
    ----------
    inputs : object
        As for :func:`call`. The first tensor says how many there are; one of another length, such as a mask for all,
        goes into every batch.
    size : int

    Yields
    ------
    object
        Of the same form.
    """
    count = len(tensors(inputs)[0])
    for start in range(0, count, size):

        def part(tensor: torch.Tensor, start: int = start) -> torch.Tensor:
            return tensor[start : start + size] if tensor.ndim and len(tensor) == count else tensor

        yield mapped(part, inputs)


def to(inputs: object, model: nn.Module | None) -> object:
    """Inputs on the device of a model.

    Parameters
    ----------
    inputs : object
        As for :func:`call`.
    model : nn.Module, optional
        Default the CPU.

    Returns
    -------
    object
    """
    own = () if model is None else (*model.parameters(), *model.buffers())
    device = own[0].device if own else torch.device("cpu")
    return mapped(lambda tensor: tensor.to(device), inputs)


def inputs_of(data: object) -> object:
    """Inputs alone, in the forms of :func:`call`.

    Parameters
    ----------
    data : object
        Inputs, a Split, a Dataset or a DataLoader.

    Returns
    -------
    object
    """
    data = as_split(data) if isinstance(data, DataLoader | Dataset) else data
    data = data.inputs if isinstance(data, Split) else data
    return getattr(data, "parts", data)


def run(model: nn.Module, inputs: object, name: str) -> object:
    """What a model gives for inputs, which go to its device.

    Parameters
    ----------
    model : nn.Module
    inputs : object
        As for :func:`call`.
    name : str
        What the argument is called, for the message.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If the model does not take them.
    """
    try:
        return call(unwrapped(model), to(inputs, model))
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(
            f"{name} do not run through the model: {type(error).__name__}: {error} Pass what it takes: a tensor "
            f"(N, ...), or a tuple or a dictionary of several, whose type is that of the weights or, for tokens, int64."
        ) from error


def check_inputs(inputs: object, name: str = "inputs") -> object:
    """Inputs of a model: tensors with at least one row, and no value that is NaN or infinite.

    Parameters
    ----------
    inputs : torch.Tensor, or a tuple, list or mapping of them
        Tables, sequences, pictures of any range, tokens.
    name : str
        The argument's name, for messages.

    Returns
    -------
    object
        The inputs themselves.

    Raises
    ------
    TypeError
        If there is no tensor, or one holds bytes.
    ValueError
        If there is no row, or a value is not finite.

    Warns
    -----
    UserWarning
        Where pictures hold whole numbers from 0 to 255: bytes that were not scaled, as it seems.
    """
    found = tensors(inputs)
    if not found or not found[0].ndim:
        got = type(inputs).__name__ if not found else "a tensor without axes"
        raise TypeError(
            f"{name} must be a tensor whose first axis is the batch, or a tuple or dictionary of such tensors, as the "
            f"model takes them, got {got}."
        )
    if not len(found[0]):
        raise ValueError(f"{name} is empty: at least one input is needed.")
    for tensor in found:
        if tensor.dtype == torch.uint8:
            raise TypeError(f"{name} must not be bytes ({tensor.dtype}); divide them by 255, or as the model wants it.")
        if tensor.is_floating_point() and tensor.numel():
            low, high = (bound.item() for bound in torch.aminmax(tensor.detach()))
            if not float("-inf") < low <= high < float("inf"):
                raise ValueError(f"{name} must be finite, got values from {low:g} to {high:g}.")
            some = tensor.detach().reshape(-1)[:_LOOKED_AT]
            if tensor.ndim == 4 and low >= 0 and 100 < high <= 255 and (some == some.round()).all():
                warnings.warn(
                    f"{name} hold whole numbers up to {high:g}, as bytes of pictures do: divide them by 255, or as the "
                    "model's card says, if it was trained on smaller numbers.",
                    stacklevel=3,
                )
    return inputs


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile``.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    nn.Module
        ``model`` itself where it has no such wrapper.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> xp.graph.calls.unwrapped(nn.DataParallel(model)) is xp.graph.calls.unwrapped(torch.compile(model)) is model
    True
    """
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        else:
            return model


def aligned(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names of layers or tensors, each as a model has it that is wrapped in another way than the one they come from.

    Parameters
    ----------
    names : iterable of str
        Such as those of a state dict that was saved from a ``DataParallel`` or compiled model.
    known : iterable of str
        Those of the model.

    Returns
    -------
    dict of str to str
        A name that is known, or that nothing else is known for, stays.

    Examples
    --------
    >>> xp.graph.calls.aligned(["module._orig_mod.fc.weight", "other"], ["fc.weight", "fc.bias"])
    {'module._orig_mod.fc.weight': 'fc.weight', 'other': 'other'}
    """

    def bare(name: str) -> str:
        return ".".join(part for part in name.split(".") if part not in _WRAPPED)

    known = set(known)
    places: dict[str, list[str]] = {}
    for name in known:
        places.setdefault(bare(name), []).append(name)
    found = {}
    for name in names:
        others = places.get(bare(name), ())
        found[name] = others[0] if name not in known and len(others) == 1 else name
    return found


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, also of a model whose weights a mask or a weight norm computed with gradients in the last pass.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    nn.Module
    """
    return copy.deepcopy(model, computed_memo(model))


def computed_memo(model: nn.Module) -> dict[int, torch.Tensor]:
    """The memo of a deep copy for tensors that were computed with gradients, which torch does not copy.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    dict of int to torch.Tensor
    """
    held = [value for module in model.modules() for value in vars(module).values()]
    held += [one for value in held if isinstance(value, list) for one in value]
    computed = [value for value in held if isinstance(value, torch.Tensor) and not value.is_leaf]
    return {id(tensor): tensor.detach().clone() for tensor in computed}
