"""All explorers on one page, each on a shipped model, made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable

import ipywidgets as widgets

from .explorer import Explorer


def gallery(explorers: Iterable[type[Explorer]] | None = None) -> widgets.VBox:
    """A menu of explorers; the one that is chosen is made then, which may take some seconds, and kept.

    Parameters
    ----------
    explorers : iterable of type, optional
        Classes with a ``title`` and an ``example``. By default ``EXPLORERS``.

    Returns
    -------
    widgets.VBox

    Examples
    --------
    >>> menu, place = xp.widgets.gallery([xp.widgets.NoiseExplorer]).children
    >>> menu.options
    ('choose an explorer', 'Noise: gradients, smoothed')
    """
    from . import EXPLORERS

    known = {explorer.title: explorer for explorer in explorers or EXPLORERS}
    choice = widgets.Dropdown(options=["choose an explorer", *known], layout={"width": "28rem"})
    place, made = widgets.VBox(), {}

    def show(change) -> None:
        if choice.value not in known:
            place.children = ()
            return
        if choice.value not in made:
            place.children = (widgets.HTML("<i>one moment</i>"),)
            made[choice.value] = known[choice.value].example()
        place.children = (made[choice.value].box,)

    choice.observe(show, "value")
    return widgets.VBox([choice, place])
