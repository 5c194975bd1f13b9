"""The tensor that is meant, of what a model gives: of a tuple, a dictionary, a dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass

import torch


def picked(found: object, output: str | int | Callable | None = None, name: str = "model") -> torch.Tensor:
    """The tensor that is meant, of what a model gives.

    Parameters
    ----------
    found : object
        A tensor, tuple, dictionary or dataclass.
    output : str, int or callable, optional
        A key, or the name of a field; an index; or a function of what the model gives. None takes a tensor as it is.
    name : str
        What the model is called, for messages.

    Returns
    -------
    torch.Tensor

    Raises
    ------
    ValueError
        If there is no such part, or it is no tensor: with what came, and what can be asked for.

    Examples
    --------
    >>> both = {"logits": torch.zeros(1, 2), "hidden": torch.zeros(1, 8)}
    >>> xp.graph.picked(both, "logits").shape
    torch.Size([1, 2])
    >>> xp.graph.picked(both)
    Traceback (most recent call last):
    ValueError: model gives no tensor but a dict with 'logits' (1, 2) and 'hidden' (1, 8): say by output= ...
    """
    if output is None:
        part = found
    elif callable(output):
        part = output(found)
    elif isinstance(found, torch.Tensor):
        raise ValueError(
            f"output={output!r} picks a part of a tuple, dictionary or dataclass, but {name} gives a tensor of shape "
            f"{tuple(found.shape)}: leave output out. Where it gives several only while it is trained, output takes a "
            f"function: output=lambda found: found if isinstance(found, torch.Tensor) else {_as_code(output)}."
        )
    else:
        part = _part(found, output, name)
    if isinstance(part, torch.Tensor):
        return part
    if output is None:
        example = _example(found)
        raise ValueError(
            f"{name} gives no tensor but {_told(found)}: say by output= which part is meant, as a key, an index or a "
            f"function of what it gives{f', such as output={example}' if example else ''}. Where a function has no "
            "output=, wrap the model in a module that gives that part alone."
        )
    raise ValueError(f"output must pick a tensor, but output={_shown(output)} gives {_told(part)} of {_told(found)}.")


def _as_code(output: str | int) -> str:
    return f"found.{output}" if isinstance(output, str) else f"found[{output}]"


def _part(found: object, output: str | int, name: str) -> object:
    """A part by its key, index or field."""
    if isinstance(output, bool) or not isinstance(output, str | int):
        raise TypeError(f"output must be a key, an index or a function, got {output!r}.")
    try:
        if isinstance(output, str) and not (isinstance(found, Mapping) and output in found):
            return getattr(found, output)
        return found[output]
    except (AttributeError, KeyError, IndexError, TypeError):
        raise ValueError(f"output={output!r} is no part of what {name} gives: {_told(found)}.") from None


def _parts(found: object) -> dict[object, object]:
    """The parts of what a model gives, by what they are asked for by."""
    if isinstance(found, Mapping):
        return dict(found)
    if is_dataclass(found) and not isinstance(found, type):
        return {field.name: getattr(found, field.name) for field in fields(found)}
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return dict(zip(found._fields, found))
    return dict(enumerate(found)) if isinstance(found, tuple | list) else {}


def _told(found: object) -> str:
    """What came, in words."""
    if isinstance(found, torch.Tensor):
        return f"a tensor {tuple(found.shape)}"
    parts = _parts(found)
    kind = f"a {type(found).__name__}"
    if isinstance(found, tuple | list) and not hasattr(found, "_fields"):
        kind += f" of {len(found)}"
    shapes = {
        key: f" {tuple(part.shape)}" if isinstance(part, torch.Tensor) else f" ({type(part).__name__})"
        for key, part in parts.items()
    }
    listed = [f"{key!r}{shape}" for key, shape in list(shapes.items())[:8]] + ["..."] * (len(shapes) > 8)
    return kind + (f" with {', '.join(listed[:-1])}{' and ' * (len(listed) > 1)}{listed[-1]}" if listed else "")


def _example(found: object) -> str:
    """The part that is likely to be meant: one that is called logits, or the first tensor."""
    tensors = [key for key, part in _parts(found).items() if isinstance(part, torch.Tensor)]
    named = [key for key in tensors if key in ("logits", "out", "output", "prediction", "predictions")]
    return repr((named or tensors)[0]) if tensors else ""


def _shown(output: object) -> str:
    return getattr(output, "__qualname__", "a function") if callable(output) else repr(output)
