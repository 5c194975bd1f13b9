"""Controls: widgets that are declared once, with a label, an explanation, and what they may be set to.

All can be reached and moved by the keyboard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import ipywidgets as widgets
import traitlets

from ..core import Registry, choice, nonempty, real, whole
from ..data import Split

Row = TypeVar("Row")


class Control:
    """What an explorer asks of each of its controls, beside what a widget has.

    Attributes
    ----------
    value : object
        What is set now.
    default : object
        What is set where nothing is given.
    """

    value: object
    default: object

    def check(self, value: object, name: str) -> object:
        """What to set where a value is given in code.

        Parameters
        ----------
        value : object
        name : str
            Of the setting, for errors.

        Returns
        -------
        object
            The value in the form that the control holds it in.

        Raises
        ------
        ValueError, TypeError
            If the control has no such value; the error says what is allowed.
        """
        raise NotImplementedError

    def follow(self, action: Callable[[], None], live: bool) -> None:
        """Do something whenever the value changes.

        Parameters
        ----------
        action : callable
            ``() -> None``.
        live : bool
            Whether a slider is followed while it moves, or only once it is released.
        """
        raise NotImplementedError

    def say(self, value: object) -> str:
        """A value in words, for the caption of a stored picture.

        Parameters
        ----------
        value : object
            As :meth:`check` gives it.

        Returns
        -------
        str
            By default the value alone; empty where there is nothing to say.
        """
        return str(value)


class _Labelled(Control):
    """A widget with a label, its unit in brackets, and an explanation, which is its tooltip and stands in errors."""

    def __init__(self, label: str, about: str, **options):
        options.setdefault("style", {"description_width": "initial"})
        super().__init__(description=label, tooltip=about, **options)
        self.default = self.value

    def follow(self, action: Callable[[], None], live: bool) -> None:
        if self.has_trait("continuous_update"):
            self.continuous_update = live
        self.observe(lambda change: action(), "value")

    def say(self, value: object) -> str:
        """A value with its label and unit, such as ``"sigma 15 %"``."""
        word, _, unit = self.description.partition(" [")
        return f"{word} {value} {unit.rstrip(']')}".rstrip()


class _Stepped(_Labelled):
    """A slider of numbers.

    A browser moves a value that lies between two steps and reports its own back, so none is kept there.
    """

    def nearest(self, value: float) -> float:
        """The nearest step, or the end; by the browser's own arithmetic in per cent, so to the last bit."""
        span = self.max - self.min
        if value == self.max or not span:
            return value
        step = 100 * self.step / span
        place = math.floor(100 * (value - self.min) / span / step + 0.5) * step
        return self.max if place >= 100 else place * span / 100 + self.min

    @traitlets.validate("value")
    def _validate_value(self, proposal):
        return self.nearest(super()._validate_value(proposal))


class Whole(_Stepped, widgets.IntSlider):
    """A slider of whole numbers.

    Parameters
    ----------
    label, about : str
        The name with its unit in brackets, such as ``"sigma [%]"``, and what it means.
    **options
        Of ``ipywidgets.IntSlider``: ``value``, ``min``, ``max``, ``step``.
    """

    def nearest(self, value: int) -> int:
        """The nearest step, or the end."""
        return round(super().nearest(value))

    def check(self, value: int, name: str) -> int:
        """A whole number in range, on one of the steps."""
        value = whole(value, name, self.min, self.max, self.tooltip)
        if value != (near := self.nearest(value)):
            raise ValueError(f"{name} must go by steps of {self.step}, got {value}; did you mean {near}?")
        return value


class Number(_Stepped, widgets.FloatSlider):
    """A slider of numbers with a fraction; what is set goes to the nearest step.

    Parameters
    ----------
    label, about : str
        The name with its unit in brackets, such as ``"sigma [%]"``, and what it means.
    **options
        Of ``ipywidgets.FloatSlider``: ``value``, ``min``, ``max``, ``step``.
    """

    def check(self, value: float, name: str) -> float:
        """A number in range, on the nearest step."""
        if not self.min <= real(value, name) <= self.max:
            raise ValueError(f"{name} must be from {self.min:g} to {self.max:g}, {self.tooltip}, got {value:g}.")
        return self.nearest(float(value))


class Stops(_Labelled, widgets.SelectionSlider):
    """A slider with some stops.

    Parameters
    ----------
    label, about : str
        The name with its unit in brackets, such as ``"sigma [%]"``, and what it means.
    **options
        Of ``ipywidgets.SelectionSlider``: ``value``, ``options``.
    """

    def check(self, value: float, name: str) -> float:
        """One of the stops."""
        return self.options[self.options.index(choice(value, name, self.options))]


class Menu(_Labelled, widgets.Dropdown):
    """A menu of names, or of a registry's rows: then a row of one's own is taken too, and stays in the menu.

    Parameters
    ----------
    label, about : str
    rows : Registry or sequence of str
        The first is the default.
    value : str, optional
        Another default.
    """

    def __init__(self, label: str, about: str, rows: Registry | Sequence[str], value: str | None = None):
        super().__init__(label, about, options=tuple(rows), value=value or next(iter(rows)))
        self.rows = rows

    def check(self, value: object, name: str) -> str:
        """The name of a row."""
        if not isinstance(self.rows, Registry):
            return choice(value, name, self.options)
        row, key = self.rows.find(value, name), self.rows.name_of(value)
        self.rows.add(row, key)
        if key not in self.options:
            present = self.value
            self.options = tuple(self.rows)  # which moves the menu to its first row
            self.value = present
        return key


class Tick(_Labelled, widgets.Checkbox):
    """A box to tick.

    Parameters
    ----------
    label, about : str
        The name with its unit in brackets, such as ``"sigma [%]"``, and what it means.
    **options
        Of ``ipywidgets.Checkbox``.
    """

    def check(self, value: bool, name: str) -> bool:
        """True or False."""
        return bool(choice(value, name, (False, True)))

    def say(self, value: bool) -> str:
        """The label, where it is ticked."""
        return self.description if value else ""


class Bank(Control, widgets.Box):
    """Controls of one kind, by name; its value is a mapping, and names that are left out go to their defaults.

    Parameters
    ----------
    controls : mapping of str to control
    **layout
        Of the box.
    """

    def __init__(self, controls: Mapping[str, Control], **layout):
        self.controls, self.default = dict(controls), {}
        super().__init__(list(self.controls.values()), layout=layout)

    def __getitem__(self, name: str) -> Control:
        return self.controls[name]

    @property
    def value(self) -> dict[str, object]:
        """What all of them say."""
        return {name: control.value for name, control in self.controls.items()}

    @value.setter
    def value(self, values: Mapping[str, object]) -> None:
        for name, control in self.controls.items():
            control.value = values.get(name, control.default)

    def check(self, values: Mapping[str, object], name: str) -> dict[str, object]:
        """A value for some of the names."""
        if not isinstance(values, Mapping):
            raise TypeError(f"{name} must be a mapping of names to values, got {type(values).__name__}.")
        keys = (choice(key, f"a name in {name}", self.controls) for key in values)
        return {key: self.controls[key].check(values[key], f"{name} of {key!r}") for key in keys}

    def follow(self, action: Callable[[], None], live: bool) -> None:
        for control in self.controls.values():
            control.follow(action, live)

    def say(self, values: Mapping[str, object]) -> str:
        """The names with their values."""
        return ", ".join(f"{name} {value}" for name, value in values.items())


def image_slider(split: Split) -> Whole:
    """A slider over the images of a split.

    Parameters
    ----------
    split : Split

    Returns
    -------
    Whole

    Raises
    ------
    ValueError
        If the split is empty.
    """
    last = len(nonempty(split, "split").inputs) - 1
    return Whole("image", "which one of the images", value=0, min=0, max=last)


def rows_of(
    what: str,
    fits: type | Callable[[object], bool],
    known: Mapping[str, Row],
    chosen: Iterable[Row | str] | None = None,
    name: str = "rows",
) -> Registry[Row]:
    """Rows for a menu: some of those that are known, and some of one's own.

    Parameters
    ----------
    what, fits
        As for ``Registry``.
    known : mapping of str to row
    chosen : iterable of str or row, optional
        Names of ``known``, or rows; by default all that are known.
    name : str
        The argument that they were given for.

    Returns
    -------
    Registry
        A new one: what a menu adds to it does not get into ``known``.
    """
    every = Registry(what, fits, known.items())
    return Registry(what, fits, [(every.name_of(row), every.find(row, name)) for row in chosen or known])
