"""What was chosen on which inputs, so that none of them judges it: marks on what was chosen, and the guard of metrics.

Scores, plans, settings and models carry the ids of the inputs that they were *chosen* on. Training is no choice; taking
the epoch that did best on validation images is one. A metric that meets one of these inputs raises, unless it is told
``in_sample=True``; then its result says so.
"""

from __future__ import annotations

import base64
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from .door import ids_of
from .split import Split

#: What a result says of the images that it was measured on, where there is something to say.
_IN_SAMPLE = "in sample"
_NOT_KNOWN = "not known whether these images took part in the choice"


@dataclass(frozen=True)
class Choice:
    """The inputs that took part in choosing something.

    Attributes
    ----------
    ids : mapping of str to numpy.ndarray
        What was chosen to the ids of the inputs, int64, ascending.
    unknown : tuple of str
        What was chosen on inputs whose ids cannot be had.

    Examples
    --------
    >>> choice = xp.data.Choice({"scores by taylor": np.array([1, 2, 3])})
    >>> choice | xp.data.Choice(unknown=("ranges",))
    Choice(scores by taylor: 3 ids, ranges: not known)
    >>> xp.data.Choice.from_json(choice.to_json()) == choice
    True
    """

    ids: Mapping[str, np.ndarray] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @classmethod
    def on(cls, data: object, what: str) -> Choice:
        """A choice that was made on some data.

        Parameters
        ----------
        data : Split, or data of another form
        what : str
            What was chosen, such as "scores by taylor".

        Returns
        -------
        Choice
        """
        ids = ids_of(data)
        return cls(unknown=(what,)) if ids is None else cls({what: np.unique(ids.numpy())})

    def __deepcopy__(self, memo: dict) -> Choice:
        return self

    def __bool__(self) -> bool:
        return bool(self.ids or self.unknown)

    def __or__(self, other: Choice) -> Choice:
        if not self or not other or other is self:
            return self or other
        merged = {**other.ids, **self.ids}
        for what in self.ids.keys() & other.ids.keys():
            if not np.array_equal(self.ids[what], other.ids[what]):
                merged[what] = np.union1d(self.ids[what], other.ids[what])
        return Choice(merged, tuple(dict.fromkeys(self.unknown + other.unknown)))

    def shared(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Which of some inputs took part, by what was chosen.

        Parameters
        ----------
        ids : torch.Tensor
            Shape ``(N,)`` or ``(N, k)``: each input by all that it is known by.

        Returns
        -------
        dict of str to torch.Tensor
            Shape ``(N,)``, bool; only choices in which any took part.
        """
        each = ids.reshape(len(ids), -1).numpy()
        found = {what: np.isin(each, mine).any(1) for what, mine in self.ids.items()}
        return {what: torch.from_numpy(which) for what, which in found.items() if which.any()}

    def to_json(self) -> dict:
        """As JSON can hold it: 8 bytes an id.

        Returns
        -------
        dict
        """
        ids = {what: base64.b64encode(mine.astype("<i8").tobytes()).decode() for what, mine in self.ids.items()}
        return {"ids": ids, "unknown": list(self.unknown)}

    @classmethod
    def from_json(cls, content: Mapping) -> Choice:
        """Read what :meth:`to_json` gave.

        Parameters
        ----------
        content : mapping

        Returns
        -------
        Choice
        """
        ids = {what: np.frombuffer(base64.b64decode(text), "<i8") for what, text in content["ids"].items()}
        return cls(ids, tuple(content["unknown"]))

    def __eq__(self, other) -> bool:
        return isinstance(other, Choice) and repr(self.to_json()) == repr(other.to_json())

    def __hash__(self) -> int:
        return hash(repr(self.to_json()))

    def __repr__(self) -> str:
        told = [f"{what}: {len(mine)} ids" for what, mine in self.ids.items()]
        return f"Choice({', '.join(told + [f'{what}: not known' for what in self.unknown])})"


def chosen_on(*things: object) -> Choice:
    """The inputs that things were chosen on.

    Parameters
    ----------
    *things
        Scores, plans, settings, models with all their parts, and mappings and sequences of them; others say nothing.

    Returns
    -------
    Choice

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> units, data = xp.find_units(model, torch.zeros(1, 2)), xp.data.Split(torch.eye(2), torch.arange(2))
    >>> small = xp.cut(model, xp.plan(xp.score(model, units, "taylor", data), k=1))
    >>> xp.data.chosen_on(small)
    Choice(scores by taylor: 2 ids)
    """
    found = Choice()
    for thing in things:
        if isinstance(thing, nn.Module):
            for module in thing.modules():
                own = vars(module)
                found |= own.get("_choice", Choice())
                for value in own.values():  # such as a threshold
                    if isinstance(value, _Marked):
                        found |= value._choice
            continue
        found |= thing if isinstance(thing, Choice) else getattr(thing, "_choice", None) or Choice()
        if isinstance(thing, Mapping):
            found |= chosen_on(*thing.values())
        elif isinstance(thing, list | tuple) and not isinstance(thing, Split):
            found |= chosen_on(*thing)
    return found


@contextmanager
def marked(model: nn.Module, *things: object) -> Iterator[nn.Module]:
    """A model that carries a mark inside of the ``with``, as of a mask.

    Parameters
    ----------
    model : nn.Module
    *things
        As for :func:`chosen_on`.

    Yields
    ------
    nn.Module
        ``model`` itself.
    """
    before = {module: vars(module).get("_choice") for module in model.modules()}
    try:
        yield mark(model, *things)
    finally:
        for module, choice in before.items():
            if choice is None:
                vars(module).pop("_choice", None)
            else:
                vars(module)["_choice"] = choice


def mark(result: object, *things: object, data: object = None, what: str = "") -> object:
    """A result that carries what things were chosen on, and the ids of the data that it was chosen on itself.

    Parameters
    ----------
    result : object
        It is marked in place, or, where it is a number, a mapping or a list of Python's own, as an equal one.
    *things
        As for :func:`chosen_on`.
    data : Split, or data of another form, optional
    what : str
        What was chosen on the data.

    Returns
    -------
    object
    """
    choice = chosen_on(*things)
    choice = choice if data is None else choice | Choice.on(data, what)
    if not choice:
        return result
    if type(result) in _MARKED:
        result = _MARKED[type(result)](result)
    for part in result.modules() if isinstance(result, nn.Module) else (result,):
        vars(part)["_choice"] = choice | vars(part).get("_choice", Choice())
    return result


def carries(function: Callable) -> Callable:
    """A function whose result carries what its arguments were chosen on.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable
    """

    @functools.wraps(function)
    def call(*args, **options):
        return mark(function(*args, **options), *args, *options.values())

    return call


@contextmanager
def choosing() -> Iterator[None]:
    """Let metrics measure on any inputs, for what chooses by a metric: its result has to be marked.

    Yields
    ------
    None
    """
    before = _ALLOWED.set(_CHOOSING)
    try:
        yield
    finally:
        _ALLOWED.reset(before)


def judges(name: str) -> Callable[[Callable], Callable]:
    """A function that measures models on data: it gets the argument ``in_sample``, as :func:`judged` has it.

    Parameters
    ----------
    name : str
        Of the argument with the data; what the others were chosen on must not be among them.

    Returns
    -------
    callable
        A decorator.
    """

    def decorated(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args, in_sample: bool = False, **options):
            given = signature.bind(*args, **options).arguments
            things = [value for key, value in given.items() if key != name]
            measure = functools.partial(function, *args, **options)
            return judged(measure, given[name], *things, in_sample=in_sample, name=name)

        own = list(signature.parameters.values())
        new = inspect.Parameter("in_sample", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")
        place = len(own) - (own[-1].kind is inspect.Parameter.VAR_KEYWORD)
        call.__signature__ = signature.replace(parameters=[*own[:place], new, *own[place:]])
        return call

    return decorated


def judged(measure: Callable, data: object, *things: object, in_sample: bool = False, name: str = "split") -> object:
    """What is measured of things on data, where no input took part in choosing them; where one did, it has to be said.

    Parameters
    ----------
    measure : callable
        Without arguments.
    data : Split, or data of another form
    *things
        As for :func:`chosen_on`.
    in_sample : bool
        Whether inputs may have taken part in the choice; if some have, a result that has a form says "in sample".
    name : str
        What the argument with the data is called.

    Returns
    -------
    object
        What ``measure`` gives. If ids cannot be had, a result that has a form says that it is not known.

    Raises
    ------
    ValueError
        If inputs took part and ``in_sample`` is False: how many of how many, and in which choice.
    """
    outside = _ALLOWED.get()
    if outside is None and not in_sample:
        told, why = _standing(data, things, name)
        if told == _IN_SAMPLE:
            raise ValueError(why)
        return _noted(measure(), {told})
    inside: set[str] = set()
    before = _ALLOWED.set(inside)
    try:
        result = measure()
    finally:
        _ALLOWED.reset(before)
    if outside is _CHOOSING and isinstance(result, int | float):  # one of many in a loop: nothing is said with it
        return result
    inside.add(_standing(data, things, name)[0])
    if outside is not None and outside is not _CHOOSING:
        outside |= inside
    return _noted(result, inside)


def _standing(data: object, things: tuple, name: str) -> tuple[str, str]:
    """What a result has to say of its inputs, and the words of the error where they took part."""
    choice = chosen_on(*things)
    if not choice:
        return "", ""
    if (ids := ids_of(data, name)) is None:
        return _NOT_KNOWN, ""
    if not (shared := choice.shared(ids)):
        return (_NOT_KNOWN if choice.unknown else ""), ""
    told = ", ".join(f"{what}: {int(which.sum()):,}" for what, which in shared.items())
    count = int(torch.stack(list(shared.values())).any(0).sum())
    return _IN_SAMPLE, (
        f"{name}: {count:,} of {len(ids):,} inputs took part in choosing what is judged ({told}), so that the figure "
        "would flatter it. Judge on other inputs, or pass in_sample=True: then the result says so."
    )


def _noted(result: object, told: set[str]) -> object:
    """A result that says what is told, if it has a form: a value with a field ``sample``, rows, or several of these."""
    sample = next((words for words in (_IN_SAMPLE, _NOT_KNOWN) if words in told), "")
    if not sample:
        return result
    if hasattr(result, "sample"):
        object.__setattr__(result, "sample", sample)
    elif isinstance(result, list):
        result[:] = [_noted(one, told) for one in result]
    elif isinstance(result, dict):
        if any(hasattr(value, "sample") for value in result.values()):
            return {key: _noted(value, told) for key, value in result.items()}
        result = _Dict(result)
        result.sample = sample
    return result


class _Marked:
    """A value of one of Python's own types that can be marked."""

    _choice = Choice()


class _Float(_Marked, float):
    """A number with a mark."""


class _Bytes(_Marked, bytes):
    """A file's content with a mark."""


class _List(_Marked, list):
    """Rows with a mark."""


class _Dict(_Marked, dict):
    """Values by name with a mark, and with what is to be said of the inputs that they were measured on."""

    sample = ""

    def __repr__(self) -> str:
        return super().__repr__() + f"  ({self.sample})" * bool(self.sample)


_MARKED = {float: _Float, bytes: _Bytes, list: _List, dict: _Dict}
_CHOOSING: set[str] = set()
#: None where the guard is on; where it is off, what was found inside.
_ALLOWED: ContextVar[set[str] | None] = ContextVar("allowed", default=None)
