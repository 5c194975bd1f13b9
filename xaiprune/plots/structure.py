"""Pictures of structured pruning: where the channels went, what a step cost, and what runs how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import _BLACK, _GREEN, _ORANGE, _SKY, BLUE, RED, _by

_GONE = "#DDDDDD"


def flow(rows: Sequence[dict], title: str, *, ax: Axes | None = None) -> Figure:
    """The network as a pipe: as wide as its channels, grey where they have gone.

    Parameters
    ----------
    rows : sequence of dict
        A row per layer in the order of execution, with ``layer``, ``makes`` (channels of the original), ``kept`` and
        ``gone`` (the layer is in a block that was removed), as ``Costs.widths`` gives them.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"layer": "conv", "makes": 8, "kept": 6, "gone": False}]
    >>> [text.get_text() for text in xp.plots.flow(rows, "One layer").axes[0].texts]
    ['6 / 8']
    """
    ax = ax or plt.figure(figsize=(10, 3.4)).subplots()
    at = np.arange(len(rows))
    makes = np.array([row["makes"] for row in rows], float)
    kept = np.array([0 if row["gone"] else row["kept"] for row in rows], float)
    for widths, colour, label in ((makes, _GONE, "removed"), (kept, BLUE, "kept")):
        edge = np.repeat(widths / 2, 2)
        along = np.repeat(at, 2) + np.tile([-0.5, 0.5], len(rows))
        ax.fill_between(along, -edge, edge, color=colour, linewidth=0, label=label)
    for place, row in enumerate(rows):
        if row["gone"]:
            ax.plot([place - 0.5, place + 0.5], [0, 0], color=RED, lw=2)
    if any(row["gone"] for row in rows):
        ax.plot([], [], color=RED, lw=2, label="block passed over")
    top = makes.max() / 2
    for place in range(0, len(rows), 5):
        ax.annotate(
            f"{kept[place]:.0f} / {makes[place]:.0f}", (place, makes[place] / 2), (0, 3), fontsize=7,
            textcoords="offset points", ha="center", rotation=90, annotation_clip=False,
        )  # fmt: skip
    ax.set_xticks(at[::5], [rows[place]["layer"] for place in at[::5]], rotation=40, ha="right", fontsize=7)
    ax.set(title=title, ylabel="channels of the layer's output", xlim=(-1, len(rows)), ylim=(-1.05 * top, 1.35 * top))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.legend(loc="lower left", ncols=3)
    return ax.figure


def cliff(
    rows: Sequence[dict],
    title: str,
    *,
    intact: float | None = None,
    ylabel: str = "accuracy [%]  (↑ better)",
    ax: Axes | None = None,
) -> Figure:
    """The metric after each step's cut, re-calibration and tuning, against the share of the cost that is left.

    Parameters
    ----------
    rows : sequence of dict
        As ``shrink`` gives them: ``share``, ``cut``, ``recalibrated``, ``tuned``.
    title : str
    intact : float, optional
        Of the original, drawn as a line.
    ylabel : str
        Of the metric.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"share": 0.8, "cut": 40, "recalibrated": 70, "tuned": 90}]
    >>> figure = xp.plots.cliff(rows, "One step", intact=92)
    >>> {line.get_label(): int(line.get_ydata()[0]) for line in figure.axes[0].lines[:3]}
    {'cut': 40, 'recalibrated': 70, 'tuned': 90}
    """
    ax = ax or plt.figure(figsize=(7, 3.6)).subplots()
    shares = [100 * row["share"] for row in rows]
    for key, colour, marker in (("cut", RED, "v"), ("recalibrated", _ORANGE, "s"), ("tuned", _GREEN, "o")):
        ax.plot(shares, [row[key] for row in rows], marker, color=colour, ls="-", lw=1, label=key)
    for share, row in zip(shares, rows):
        ax.plot([share, share], [row["cut"], row["tuned"]], color=_GONE, lw=1, zorder=0)
    if intact is not None:
        ax.axhline(intact, color=_BLACK, ls=":", lw=1, label="original")
    ax.xaxis.set_inverted(True)
    ax.set(title=title, xlabel="cost that is left [%]  (→ smaller)", ylabel=ylabel)
    ax.legend()
    return ax.figure


def frontier(
    rows: Sequence[dict], title: str, *, x: str = "latency", xlabel: str = "latency [ms]  (← better)", ax=None
) -> Figure:
    """Accuracy against cost, a line per method, with the drift as colour.

    Parameters
    ----------
    rows : sequence of dict
        With ``method``, ``accuracy``, ``drift`` and the column ``x``.
    title : str
    x, xlabel : str
        Column of the cost, and its label.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"method": "norm", "latency": x, "accuracy": y, "drift": 0.1} for x, y in ((5, 80), (2, 60))]
    >>> xp.plots.frontier(rows, "One method").axes[0].lines[0].get_xydata().tolist()
    [[2.0, 60.0], [5.0, 80.0]]
    """
    ax = ax or plt.figure(figsize=(8, 4)).subplots()
    top = max(row["drift"] for row in rows)
    for place, (method, mine) in enumerate(_by(rows, "method").items()):
        mine = sorted(mine, key=lambda row: row[x])
        across, up = [row[x] for row in mine], [row["accuracy"] for row in mine]
        ax.plot(across, up, ("-", "--", ":", "-.")[place % 4], color="gray", lw=1, zorder=1)
        points = ax.scatter(
            across, up, c=[row["drift"] for row in mine], cmap="viridis_r", vmin=0, vmax=top, s=70, zorder=2,
            marker="osD^v<>*"[place % 8], edgecolors="black", linewidths=0.7, label=method,
        )  # fmt: skip
    ax.figure.colorbar(points, ax=ax, label="drift: 1 - rank correlation  (↓ better)")
    ax.set(title=title, xlabel=xlabel, ylabel="accuracy [%]  (↑ better)")
    ax.legend()
    return ax.figure


def runtime_bars(
    times: Mapping[tuple[str, str], tuple[float, float, float]], title: str, *, ax: Axes | None = None
) -> Figure:
    """Latency of models in runtimes: a group of bars per runtime, with the quartiles.

    Parameters
    ----------
    times : mapping of (model, runtime) to (low, median, high)
        In milliseconds; a pair that was not timed is left out.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> times = {("original", "eager"): (9, 10, 12), ("cut", "eager"): (4, 5, 5.5)}
    >>> figure = xp.plots.runtime_bars(times, "Half the time")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['10', '5']
    """
    ax = ax or plt.figure(figsize=(8, 3.4)).subplots()
    models, runtimes = (list(dict.fromkeys(key[place] for key in times)) for place in (0, 1))
    width, colours = 0.8 / len(models), (_BLACK, BLUE, _SKY, _GREEN, _ORANGE)
    for place, model in enumerate(models):
        at = np.arange(len(runtimes)) + (place - (len(models) - 1) / 2) * width
        low, middle, high = np.array([times.get((model, runtime), 3 * (np.nan,)) for runtime in runtimes]).T
        ax.bar(at, middle, width * 0.92, color=colours[place % 5], label=model)
        ax.errorbar(at, middle, [middle - low, high - middle], fmt="none", ecolor=RED, elinewidth=1, capsize=2)
        for x, value in zip(at[np.isfinite(middle)], middle[np.isfinite(middle)]):
            ax.annotate(f"{value:.3g}", (x, value), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    ax.set_xticks(range(len(runtimes)), runtimes)
    ax.set(title=title, ylabel="median latency [ms]  (↓ better)")
    ax.margins(y=0.25)
    ax.legend(loc="upper right", ncols=len(models))
    return ax.figure
