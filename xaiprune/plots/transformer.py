"""Pictures of transformers: where heads look, and how much each of them has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import RED, montage, number_grid


def head_maps(maps: np.ndarray, title: str, *, off: Mapping[int, list[int]] | None = None, ax: Axes | None = None):
    """A small picture per head, a row per block: where a token looks, each head on its own scale, dark for much.

    Parameters
    ----------
    maps : array
        Shape ``(blocks, heads, grid, grid)``, not negative.
    title : str
    off : mapping of int to list of int, optional
        Block to heads that are gone: crossed out.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.head_maps(np.ones((1, 2, 7, 7)), "One block of two heads", off={0: [1]})
    >>> figure.axes[0].images[0].get_array().shape, len(figure.axes[0].lines)  # a cross over head 1
    ((7, 15), 1)
    """
    maps = np.asarray(maps, dtype=float)
    blocks, heads, size = maps.shape[:3]
    ax = ax or plt.figure(figsize=(0.9 * heads + 1.2, 0.9 * blocks + 0.6)).subplots()
    top = np.maximum(maps.max((2, 3), keepdims=True), 1e-30)
    ax.imshow(montage(list(maps / top), gap=1, fill=0.2), cmap="Greys", vmin=0, vmax=1)
    step = size + 1
    for block, gone in (off or {}).items():
        centres = [step * head + size / 2 - 0.5 for head in gone]
        ax.plot(centres, [step * block + size / 2 - 0.5] * len(gone), "x", color=RED, ms=26, mew=2.5)
    ax.set_xticks([step * head + size / 2 - 0.5 for head in range(heads)], range(heads))
    ax.set_yticks([step * block + size / 2 - 0.5 for block in range(blocks)], range(blocks))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(title=title, xlabel="head", ylabel="block")
    return ax.figure


def head_grid(values: np.ndarray, title: str, label: str, *, ax: Axes | None = None) -> Figure:
    """A number per head, a row per block, as a coloured table.

    Parameters
    ----------
    values : array
        Shape ``(blocks, heads)``.
    title, label : str
        The label names what the numbers are, with their unit.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.head_grid(np.array([[0.1, 0.9]]), "One block of two heads", "relevance")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.1', '0.9']
    """
    return number_grid(values, title, label, "head", "block", ax=ax)
