"""What all explorers share: controls, a line of numbers and a picture that follow one another."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar, Generic

import ipywidgets as widgets

from ..core import choice
from ..data import choosing
from .canvas import _View, bundle, strip
from .controls import Bank, Control


class Explorer(ABC, Generic[_View]):
    """Controls, a line of numbers and a picture.

    A subclass makes its ``picture`` and its controls, hands these to ``__init__``, and defines :meth:`compute`. The
    rest follows from the controls: what :meth:`set` takes and refuses, what is followed, and the stored pictures.

    Parameters
    ----------
    controls : mapping of str to Control
        Name of a setting to its control (see ``controls.py``), in the order of the arguments of :meth:`set`.
    stops : mapping of str to setting, or sequence of setting
        The stored pictures, which stand in for the widget where no kernel runs; the explorer opens at the first. A
        setting is what :meth:`set` takes: a tuple, or the first argument alone. One that has a name gets a button.
    rows : sequence of widget, optional
        The layout of the controls. By default one row that wraps, and banks of controls below it.

    Attributes
    ----------
    box : widgets.VBox
        All that is shown.
    png : widgets.Image
    readout : widgets.HTML
        The view's ``text``.
    view
        What is shown now; its ``text`` has the numbers in one line.
    setting : dict
        What :meth:`compute` was given for it.

    Raises
    ------
    ValueError, TypeError
        If a stop lies outside of the controls.
    """

    #: What the gallery calls it.
    title: ClassVar[str]
    #: Whether sliders are followed while they move. Where that takes over a tenth of a second: once they are released.
    live: ClassVar[bool] = True

    _busy = False

    def __init__(
        self,
        controls: Mapping[str, Control],
        stops: Mapping[str, object] | Sequence[object] = (),
        rows: Sequence[widgets.Widget] | None = None,
    ):
        self.controls, self.stops, self.setting = dict(controls), stops, {}
        named = stops if isinstance(stops, Mapping) else {}
        self._stored = dict(self._stop(stop, label) for label, stop in named.items()) or dict(map(self._stop, stops))
        banks = [control for control in self.controls.values() if isinstance(control, Bank)]
        line = [control for control in self.controls.values() if control not in banks]
        self.png, self.readout = widgets.Image(format="png"), widgets.HTML()
        shortcuts = _wrapped(_button(label, partial(self.set, **self._stored[label])) for label in named)
        self.box = widgets.VBox([shortcuts, *(rows or (_wrapped(line), *banks)), self.readout, self.png])
        for name, control in self.controls.items():
            control.follow(partial(self._moved, name), self.live)
        self.set(**next(iter(self._stored.values()), {}))

    @classmethod
    def example(cls) -> Explorer:
        """One on shipped models, for the gallery."""
        raise NotImplementedError(f"{cls.__name__} has no example: define the class method to show it in the gallery.")

    @abstractmethod
    def compute(self, **setting) -> _View:
        """What is shown for a setting: a value that has a ``text``. Changes nothing.

        Parameters
        ----------
        **setting
            A value for each control, as :meth:`settle` leaves them.
        """

    def draw(self, view: _View) -> bytes:
        """The picture of a view as PNG: by default by ``picture``, a ``Drawing``.

        Parameters
        ----------
        view : View
            What :meth:`compute` gave.

        Returns
        -------
        bytes
        """
        return self.picture.draw(view)

    def settle(self, setting: dict, moved: str | None) -> dict:
        """Bring controls that depend on others in line with them, before anything is computed. Changes nothing.

        Parameters
        ----------
        setting : dict
            A value for each control; may get more entries, for :meth:`compute`.
        moved : str or None
            The control that was moved by hand, or None if all values were set in code.

        Returns
        -------
        dict
            By default as it is.
        """
        return setting

    def set(self, *values, **named) -> _View:
        """Move the controls in code; those that are not named go to their defaults.

        Parameters
        ----------
        *values
            In the order of :attr:`controls`.
        **named
            The same by name.

        Returns
        -------
        View

        Raises
        ------
        ValueError, TypeError
            If a control has no such value. Then nothing is moved.
        """
        with self._held():
            return self._show(self.settle(self._checked(values, named), None))

    def _checked(self, values: Sequence[object], named: Mapping[str, object]) -> dict[str, object]:
        """A value for each control, or an error that names the setting, what came and what is allowed."""
        if len(values) > len(self.controls):
            raise TypeError(
                f"at most {len(self.controls)} settings can be set ({', '.join(self.controls)}), got {len(values)}."
            )
        for name in named:
            choice(name, "the name of a setting", self.controls)
        given = dict(zip(self.controls, values)) | named
        return {name: control.check(given.get(name, control.default), name) for name, control in self.controls.items()}

    def _stop(self, stop: object, label: str = "") -> tuple[str, dict[str, object]]:
        """A stored picture's label, by default what it sets, and its setting."""
        values = stop if isinstance(stop, tuple | list) else (stop,)
        setting = self._checked(values, {})
        said = [control.say(setting[name]) for (name, control), _ in zip(self.controls.items(), values)]
        return label or ", ".join(filter(None, said)), setting

    def _moved(self, name: str) -> None:
        """By hand: follow, or say why not."""
        if self._busy:
            return
        with self._held():
            try:
                self._show(self.settle({name: control.value for name, control in self.controls.items()}, name))
            except ValueError as error:
                self._say(str(error))

    def _show(self, setting: dict) -> _View:
        """Compute, and only then move controls, numbers and picture."""
        self.view, self.setting = self._looked(setting), setting
        for name, control in self.controls.items():
            control.value = setting[name]
        self.png.value = self.draw(self.view)
        self._say(self.view.text)
        return self.view

    def _looked(self, setting: dict) -> _View:
        """A slider looks for a setting on the images that it shows: in sample, which is the point of it."""
        with choosing():
            return self.compute(**setting)

    def _say(self, text: str) -> None:
        self.readout.value = f"<b class='xaiprune-readout' role='status'>{html.escape(text)}</b>"

    @contextmanager
    def _held(self) -> Iterator[None]:
        """While controls are moved in code, none of them is followed."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        settings = {label: self.settle(setting, None) for label, setting in self._stored.items()}
        views = {label: self._looked(setting) for label, setting in (settings or {"now": self.setting}).items()}
        lines = [f"{label}: {view.text}" for label, view in views.items()]
        return bundle(self.box, strip([self.draw(view) for view in views.values()], lines), "\n".join(lines))


def _wrapped(parts: Iterable[widgets.Widget]) -> widgets.Box:
    """Widgets side by side, in as many lines as they need.

    Parameters
    ----------
    parts : iterable of widget

    Returns
    -------
    widgets.Box
    """
    return widgets.Box(list(parts), layout={"flex_flow": "row wrap", "grid_gap": "0 16px"})


def _button(label: str, action: Callable[[], object]) -> widgets.Button:
    button = widgets.Button(description=label, layout={"width": "auto"})
    button.on_click(lambda _: action())
    return button
