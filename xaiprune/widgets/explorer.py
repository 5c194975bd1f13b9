"""What all explorers share: controls, a line of numbers and a picture that follow one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets

from .canvas import bundle, strip

#: For a slider whose move costs more than a tenth of a second: it is followed when it is released.
RELEASED = {"continuous_update": False, "style": {"description_width": "70px"}}


class Explorer:
    """Controls, a line of numbers and a picture.

    A subclass makes its controls, calls :meth:`_follow` and at last :meth:`_lay_out`, and defines ``update``, ``set``
    and ``_stored``.

    Attributes
    ----------
    box : widgets.VBox
        All that is shown.
    png : widgets.Image
    readout : widgets.HTML
        The view's ``text``.
    view
        What is shown now.
    """

    _busy = False

    def _follow(self, controls: Iterable[widgets.Widget], action: Callable[[], object] | None = None) -> None:
        """Do something, by default ``update``, whenever a control is moved by hand."""
        action = action or self.update

        def moved(change) -> None:
            if not self._busy:
                action()

        for control in controls:
            control.observe(moved, "value")

    def _lay_out(self, rows: Sequence[widgets.Widget]) -> None:
        """Put rows of controls above numbers and picture, and show what they say."""
        self.png, self.readout = widgets.Image(format="png"), widgets.HTML()
        self.box = widgets.VBox([*rows, self.readout, self.png])
        self.update()

    def _show(self, view, png: bytes):
        self.view, self.png.value = view, png
        self.readout.value = f"<b class='xaiprune-readout'>{view.text}</b>"
        return view

    @contextmanager
    def _held(self) -> Iterator[None]:
        """While several controls are set, none of them is followed."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _stored(self) -> Iterator[tuple[str, object, bytes]]:
        """What is kept where no kernel runs: label, view and picture of some settings."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        labels, views, pictures = zip(*self._stored())
        lines = [f"{label}: {view.text}" for label, view in zip(labels, views)]
        return bundle(self.box, strip(pictures), "\n".join(lines))


def buttons(actions: dict[str, Callable[[], object]]) -> widgets.HBox:
    """A row of buttons, each with what it does."""
    found = []
    for label, action in actions.items():
        button = widgets.Button(description=label, layout=widgets.Layout(width="auto"))
        button.on_click(lambda _, action=action: action())
        found.append(button)
    return widgets.HBox(found)
