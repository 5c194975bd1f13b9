"""Pictures of quantization: where a range is cut, and how unlike channels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import BLUE


def clips(
    counts: np.ndarray, edges: np.ndarray, ends: Mapping[str, float], title: str, *, ax: Axes | None = None
) -> Figure:
    """A histogram with the upper end of its range by several rules, on a logarithmic scale.

    Parameters
    ----------
    counts : array
        Shape ``(bins,)``.
    edges : array
        Shape ``(bins + 1,)``.
    ends : mapping of str to float
        Name of a rule to where it cuts.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.clips([9, 3, 1], [0, 1, 2, 3], {"max": 3.0, "percentile": 2.1}, "Where two rules cut")
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['max: 3.00', 'percentile: 2.10']
    """
    ax = ax or plt.figure(figsize=(8, 3.2)).subplots()
    counts, edges = np.asarray(counts, dtype=float), np.asarray(edges, dtype=float)
    ax.stairs(counts, edges, fill=True, color="#BBBBBB")
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
    for (name, end), style in zip(ends.items(), styles):
        ax.axvline(end, ls=style, lw=1.8, color=BLUE, label=f"{name}: {end:.2f}")
    held = np.flatnonzero(counts)
    left, right = edges[held[0]], max(edges[held[-1] + 1], *ends.values())
    room = 0.02 * (right - left)
    ax.set(title=title, xlabel="value", ylabel="values", yscale="log", xlim=(left - room, right + room))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure


def channel_ranges(ranges: Mapping[str, Sequence[float]], title: str, *, ax: Axes | None = None) -> Figure:
    """The largest weight of every channel, sorted, for several states of a layer.

    Parameters
    ----------
    ranges : mapping of str to sequence of float
        Name of a state to the channels' largest absolute weights.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.channel_ranges({"before": [4, 0.5, 1], "equalized": [1, 1, 1]}, "A layer of three channels")
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [0.5, 1.0, 4.0]
    """
    ax = ax or plt.figure(figsize=(7, 3.2)).subplots()
    for (name, values), style in zip(ranges.items(), ("-", "--", "-.", ":")):
        ax.plot(np.sort(np.asarray(values, dtype=float)), style, label=name)
    ax.set(title=title, xlabel="channel, sorted", ylabel="largest weight", yscale="log")
    ax.legend()
    return ax.figure
