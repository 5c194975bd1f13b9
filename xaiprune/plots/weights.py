"""Pictures of single weights: how they are spread, what a threshold takes, how sensitive each layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import _BLACK, BLUE, RED, _by


def weight_histograms(
    weights: Mapping[str, np.ndarray], title: str, *, thresholds: Mapping[str, float] | None = None, bins: int = 101
) -> Figure:
    """A histogram per layer, counts on a logarithmic axis, with the threshold drawn in and its weights in colour.

    Parameters
    ----------
    weights : mapping of str to array
        Layer to its weights, of any shape.
    title : str
    thresholds : mapping of str to float, optional
        Layer to the size below which weights go.
    bins : int

    Returns
    -------
    Figure

    Examples
    --------
    >>> weights = {"conv": np.linspace(-1, 1, 50), "fc": np.linspace(-2, 2, 50)}
    >>> figure = xp.plots.weight_histograms(weights, "Two layers", thresholds={"fc": 0.5})
    >>> [axes.get_title() for axes in figure.axes], [len(axes.lines) for axes in figure.axes]
    (['conv', 'fc'], [0, 2])
    """
    axes = plt.figure(figsize=(2.6 * len(weights) + 0.4, 2.8)).subplots(1, len(weights), squeeze=False)[0]
    for ax, (name, values) in zip(axes, weights.items()):
        histogram(ax, np.ravel(values), (thresholds or {}).get(name), bins)
        ax.set_title(name, fontsize=9)
    axes[0].set_ylabel("weights (count)")
    axes[0].figure.suptitle(title, fontsize=11, fontweight="bold")
    return axes[0].figure


def histogram(ax: Axes, values: np.ndarray, threshold: float | None = None, bins: int = 101) -> None:
    """One histogram of weights; those that a threshold takes are red.

    Parameters
    ----------
    ax : Axes
        What is drawn in.
    values : array
        Weights, shape ``(N,)``.
    threshold : float, optional
        The size below which weights go; two lines, at plus and minus.
    bins : int
    """
    reach = np.abs(values).max()
    counts, edges = np.histogram(values, bins, (-reach, reach))
    middles = (edges[1:] + edges[:-1]) / 2
    goes = np.abs(middles) < (threshold or 0)
    for chosen, colour in ((~goes, BLUE), (goes, RED)):
        ax.bar(middles[chosen], counts[chosen], edges[1] - edges[0], color=colour)
    if threshold is not None:
        for side in (-threshold, threshold):
            ax.axvline(side, color=_BLACK, lw=1, ls="--")
    ax.set(yscale="log", xlabel="weight", ylim=(0.5, None))


def sensitivity_curves(
    rows: Sequence[dict],
    title: str,
    *,
    edges: Mapping[str, float | None] | None = None,
    guess: float | None = None,
    better: str = "accuracy [%]  (↑ better)",
    ax: Axes | None = None,
) -> Figure:
    """The metric against the share of weights that goes, a line per layer; cliffs are marked.

    Parameters
    ----------
    rows : sequence of dict
        With ``group``, ``ratio`` and ``value``.
    title : str
    edges : mapping of str to (float or None), optional
        Group to the last ratio before its cliff.
    guess : float, optional
        A ratio, drawn as a vertical line.
    better : str
        Label of the metric's axis.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"group": "fc", "ratio": ratio, "value": value} for ratio, value in ((0.5, 90), (0.9, 30))]
    >>> figure = xp.plots.sensitivity_curves(rows, "A cliff", edges={"fc": 0.5})
    >>> figure.axes[0].lines[1].get_xydata().tolist()  # its edge
    [[0.5, 90.0]]
    """
    ax = ax or plt.figure(figsize=(7.5, 4)).subplots()
    for name, mine in _by(rows, "group").items():
        x, y = [row["ratio"] for row in mine], [row["value"] for row in mine]
        whole = {"color": _BLACK, "lw": 2.5} if name == "whole model" else {}
        (line,) = ax.plot(x, y, marker=".", label=name, **whole)
        edge = (edges or {}).get(name)
        if edge is not None:
            ax.plot([edge], [y[x.index(edge)]], "v", color=line.get_color(), markersize=11, markeredgecolor="black")
    if edges:
        ax.plot([], [], "v", color="white", markeredgecolor="black", markersize=9, label="edge of the cliff")
    if guess is not None:
        ax.axvline(guess, color=RED, ls="--", label="your guess")
    ax.set(title=title, xlabel="share of the weights that goes  (→ sparser)", ylabel=better)
    if rows:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure
