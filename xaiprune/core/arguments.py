"""Guards: what an argument must be, said with its name, what came, what is allowed, and what to do.

Every public function asks these before it changes anything. Each guard returns the value that it was given.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sized
from typing import TypeVar

T = TypeVar("T")


def evaluating(model: T, name: str = "model", why: str = "") -> T:
    """A model of which every part is in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Every submodule is asked: one batch normalisation left in training mode changes when the model runs.
    name : str
        The argument's name, for the message.
    why : str
        What evaluation mode is needed for, such as ``", so that scores are repeatable"``.

    Returns
    -------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        If a part is in training mode.
    """
    inner = model
    while type(inner).__name__ in ("DataParallel", "DistributedDataParallel"):  # whose own flag changes nothing
        inner = inner.module
    if inner.training:
        raise ValueError(f"{name} is in training mode; call {name}.eval() first{why}.")
    part = next((part for part, module in inner.named_modules() if module.training), None)
    if part is not None:
        raise ValueError(f"{name} has a part in training mode, {part!r}; call {name}.eval() first{why}.")
    return model


def nonempty(value: T, name: str, what: str = "at least one image is needed") -> T:
    """A collection, tensor or split that holds something.

    Parameters
    ----------
    value : sized
        A ``Split`` counts by its inputs.
    name : str
    what : str
        What is needed.

    Returns
    -------
    sized
        ``value`` itself.

    Raises
    ------
    ValueError
        If it is empty.
    """
    inputs: Sized = value[0] if isinstance(value, tuple) and hasattr(value, "_fields") else value
    if len(inputs) == 0:
        raise ValueError(f"{name} is empty: {what}.")
    return value


def share(value: float, name: str, *, zero: bool = False, one: bool = False, what: str = "") -> float:
    """A share between 0 and 1.

    Parameters
    ----------
    value : float
    name : str
    zero, one : bool
        Whether 0, and 1, are allowed.
    what : str
        What the share is of, such as ``"the share of the cost that is left"``.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it lies outside; for what looks like per cent, the share is named.
    """
    number = real(value, name)
    inside = (number >= 0 if zero else number > 0) and (number <= 1 if one else number < 1)
    if not inside:
        hint = f"; did you mean {number / 100:g}?" if 1 < number <= 100 and (one or number < 100) else "."
        bounds = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
        raise ValueError(f"{name} must be in {bounds}{f', {what}' if what else ''}, got {number:g}{hint}")
    return number


def real(value: float, name: str) -> float:
    """A number: of Python, of NumPy, or a tensor with one value.

    Parameters
    ----------
    value : float
    name : str

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If it is none. Truth values are none.
    ValueError
        If it is NaN.
    """
    single = hasattr(value, "item") and math.prod(value.shape) == 1
    number = value.item() if single else value
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if math.isnan(number):
        raise ValueError(f"{name} must be a number, got NaN.")
    return float(number)


def whole(value: int, name: str, low: int = 1, high: int | None = None, what: str = "") -> int:
    """A whole number within bounds.

    Parameters
    ----------
    value : int
        Truth values, and numbers with a fraction, are none.
    name : str
    low : int
    high : int, optional
        No bound by default.
    what : str
        What the bound is, such as ``"the images of the split"``.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is none, or lies outside.
    """
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not (fits and value >= low and (high is None or value <= high)):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {bounds}{f', {what}' if what else ''}, got {value!r}.")
    return int(value)


def choice(value: T, name: str, allowed: Iterable[T]) -> T:
    """One of the values that are allowed.

    Parameters
    ----------
    value : object
    name : str
    allowed : iterable

    Returns
    -------
    object
        ``value`` itself.

    Raises
    ------
    ValueError
        If it is none of them; the nearest one is named where there is one.
    """
    allowed = list(allowed)
    if value not in allowed:
        listed = ", ".join(map(str, allowed)) or "nothing (there is none here)"
        raise ValueError(f"{name} must be one of {listed}, got {value!r}{nearest(value, allowed) or '.'}")
    return value


def nearest(value: object, allowed: Iterable[object]) -> str:
    """A hint at the nearest allowed name, or nothing where none is near.

    Parameters
    ----------
    value : object
        What came.
    allowed : iterable of str

    Returns
    -------
    str
        Such as ``"; did you mean 'taylor'?"``, or the empty string.
    """
    import difflib

    near = difflib.get_close_matches(str(value), [str(name) for name in allowed], 1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
