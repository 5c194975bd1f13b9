"""Style, colours, and the pictures that every lesson needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_BLACK, _ORANGE, _SKY, _GREEN, _YELLOW, BLUE, RED, _PINK = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)
#: One colour and marker per method, the same in every picture.
METHODS: dict[str, tuple[str, str]] = {
    "descend": (BLUE, "o"),
    "relax": (_GREEN, "s"),
    "grid": (_BLACK, "D"),
    "global fisher": (RED, "^"),
    "global taylor": (_ORANGE, "v"),
    "global l2": (_PINK, "<"),
    "uniform": (_SKY, "x"),
    "random": ("#999999", "."),
}


def use_style() -> None:
    """Figure style of the course."""
    mpl.rcParams.update(
        {
            "figure.dpi": 96,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.prop_cycle": mpl.cycler(color=[BLUE, RED, _GREEN, _ORANGE, _PINK, _SKY, _BLACK]),
            "image.cmap": "gray",
            "legend.frameon": False,
            "legend.fontsize": 9,
        }
    )


def montage(rows: Sequence[np.ndarray], gap: int = 2, fill: float = 1.0) -> np.ndarray:
    """Rows of images as one array, so that a grid of pictures is one artist.

    Parameters
    ----------
    rows : sequence of array
        Each of shape ``(images, H, W)`` or ``(images, 1, H, W)``, all the same.
    gap : int
        Pixels between images.
    fill : float
        Value of the gaps.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows (H + gap) - gap, images (W + gap) - gap)``.
    """
    stacked = np.stack([np.asarray(row).reshape(len(row), *np.shape(row)[-2:]) for row in rows])
    padded = np.pad(stacked, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=fill)
    lines, images, height, width = padded.shape
    return padded.transpose(0, 2, 1, 3).reshape(lines * height, images * width)[:-gap, :-gap]


def image_rows(rows: Mapping[str, np.ndarray], title: str, *, ax: Axes | None = None) -> Figure:
    """Labelled rows of small images in [0, 1].

    Parameters
    ----------
    rows : mapping of str to array
        Label to images of shape ``(N, H, W)`` or ``(N, 1, H, W)``.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.image_rows({"black": np.zeros((3, 28, 28)), "white": np.ones((3, 28, 28))}, "Three of each")
    >>> figure.axes[0].images[0].get_array().shape  # with a gap of 2 pixels between images
    (58, 88)
    """
    first = next(iter(rows.values()))
    height = np.shape(first)[-1] + 2
    ax = ax or plt.figure(figsize=(9, 0.8 * len(rows) + 0.5)).subplots()
    ax.imshow(montage(list(rows.values())), vmin=0, vmax=1)
    ax.set_yticks([height * (n + 0.5) for n in range(len(rows))], list(rows))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title)
    return ax.figure


def bars(values: Mapping[str, float], title: str, label: str, *, guess: float | None = None, ax=None) -> Figure:
    """Horizontal bars, one per name, the largest on top; a guess is drawn as a dashed line.

    Parameters
    ----------
    values : mapping of str to float
        Name to the length of its bar, which is written beside it.
    title, label : str
        The label names what the values are, with their unit.
    guess : float, optional
        The learner's guess, in the same unit.
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.bars({"norm": 20, "taylor": 60}, "What is left", "accuracy [%]", guess=50)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['20.00', '60.00']
    """
    ax = ax or plt.figure(figsize=(7, 0.32 * len(values) + 1.2)).subplots()
    ordered = dict(sorted(values.items(), key=lambda item: item[1]))
    colours = [METHODS.get(name, (_SKY, "."))[0] for name in ordered]
    ax.barh(list(ordered), list(ordered.values()), color=colours)
    for place, value in enumerate(ordered.values()):
        ax.annotate(f"{value:.2f}", (value, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=9)
    if guess is not None:
        ax.axvline(guess, color=_BLACK, ls="--", lw=1, label="your guess")
        ax.legend(loc="lower right")
    ax.set(title=title, xlabel=label)
    return ax.figure


def histories(runs: Mapping[str, Sequence[dict]], title: str, *, guess: float | None = None, ax=None) -> Figure:
    """PSNR during searches against the evaluations spent so far; a guess is drawn as a dashed line.

    Parameters
    ----------
    runs : mapping of str to sequence of dict
        Label to rows with ``evaluations`` (a count) and ``value`` (PSNR in dB).
    title : str
    guess : float, optional
        PSNR in dB.
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"evaluations": 1, "value": 12.0}, {"evaluations": 2, "value": 15.5}]
    >>> figure = xp.plots.histories({"descend": rows}, "A search of two evaluations")
    >>> figure.axes[0].lines[0].get_xydata().tolist()
    [[1.0, 12.0], [2.0, 15.5]]
    """
    ax = ax or plt.figure(figsize=(7, 3.6)).subplots()
    for name, rows in runs.items():
        ax.plot([row["evaluations"] for row in rows], [row["value"] for row in rows], marker=".", label=name)
    if guess is not None:
        ax.axhline(guess, color=_BLACK, ls="--", lw=1, label="your guess")
    ax.set(title=title, xlabel="evaluations (forward passes over the images)", ylabel="PSNR [dB]  (↑ better)")
    ax.legend()
    return ax.figure


def number_grid(
    values: np.ndarray, title: str, label: str, xlabel: str, ylabel: str, *, ax: Axes | None = None
) -> Figure:
    """Numbers from 0 up as a coloured table.

    Parameters
    ----------
    values : array
        Shape ``(rows, columns)``.
    title, label : str
        The label names what the numbers are, with their unit.
    xlabel, ylabel : str
        What columns and rows are.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.number_grid(np.array([[1, 2], [3, 4]]), "Four numbers", "count", "column", "row")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1.0', '2.0', '3.0', '4.0']
    """
    values = np.asarray(values, dtype=float)
    ax = ax or plt.figure(figsize=(0.8 * values.shape[1] + 1.6, 0.42 * values.shape[0] + 1.2)).subplots()
    picture = ax.imshow(values, cmap="Blues", vmin=0, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        light = value > 0.6 * values.max()
        ax.text(column, row, f"{value:.1f}", ha="center", va="center", color="white" if light else "black", fontsize=9)
    ax.figure.colorbar(picture, ax=ax, label=label)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xticks=range(values.shape[1]), yticks=range(values.shape[0]))
    return ax.figure


def _by(rows: Sequence[dict], key: str) -> dict:
    """Value of a column to the rows that have it, in the order of their first appearance."""
    found: dict = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    xlabel: str,
    ylabel: str,
    *,
    marks: Mapping[str, float] | None = None,
    levels: Mapping[str, float] | None = None,
    guess: tuple[float, float] | None = None,
    xscale: str = "linear",
    yscale: str = "linear",
    ax: Axes | None = None,
) -> Figure:
    """Curves over one axis.

    Parameters
    ----------
    curves : mapping of str to (x, y)
        Label to points.
    title, xlabel, ylabel : str
        Labels name units, and an arrow to the better side where there is one.
    marks, levels : mapping of str to float, optional
        Label to an x, drawn as a vertical line, or to a y, drawn as a horizontal one.
    guess : tuple of float, optional
        The learner's guess, drawn as a cross.
    xscale, yscale : str
        As matplotlib names them.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> curves = {"norm": ([0, 0.5, 1], [90, 70, 10])}
    >>> figure = xp.plots.lines(curves, "Accuracy falls", "pruning ratio", "accuracy [%]", levels={"chance": 10})
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['norm', 'chance']
    """
    ax = ax or plt.figure(figsize=(7, 3.6)).subplots()
    styles = ("-", "--", "-.", ":")
    for place, (name, (x, y)) in enumerate(curves.items()):
        colour = METHODS[name][0] if name in METHODS else None
        marker = "." if len(x) < 40 else ""
        ax.plot(x, y, styles[place // 7 % 4], color=colour, marker=marker, label=name)
    for place, (name, x) in enumerate((marks or {}).items()):
        ax.axvline(x, color=_BLACK, ls=("--", ":", "-.")[place % 3], lw=1, label=name)
    for place, (name, y) in enumerate((levels or {}).items()):
        ax.axhline(y, color=_BLACK, ls=(":", "--", "-.")[place % 3], lw=1, label=name)
    if guess is not None:
        ax.plot(*guess, "x", color=RED, markersize=11, markeredgewidth=3, ls="", label="your guess")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
    ax.legend()
    return ax.figure


def bands(
    rows: Sequence[dict], x: str, y: str, title: str, xlabel: str, ylabel: str, *, line: str = "method", ax=None
) -> Figure:
    """The mean over rows of the same ``line`` and ``x``, with a band from the least to the most.

    Parameters
    ----------
    rows : sequence of dict
        With the columns ``x``, ``y`` and ``line``; several rows with the same x are several training seeds.
    x, y : str
        Names of columns.
    title, xlabel, ylabel : str
    line : str
        Name of the column that tells the lines apart.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"rate": x, "left": y, "method": "norm"} for x, y in ((0.1, 90), (0.1, 80), (0.5, 60), (0.5, 40))]
    >>> figure = xp.plots.bands(rows, "rate", "left", "Two seeds", "pruning ratio", "accuracy [%]")
    >>> figure.axes[0].lines[0].get_ydata().tolist()  # the means
    [85.0, 50.0]
    """
    ax = ax or plt.figure(figsize=(7.5, 4)).subplots()
    for place, (name, mine) in enumerate(_by(rows, line).items()):
        at = dict(sorted((value, [row[y] for row in some]) for value, some in _by(mine, x).items()))
        colour, marker = METHODS.get(name, (None, "."))
        style = ("-", "--", ":")[place // 7 % 3]
        (drawn,) = ax.plot(list(at), [np.mean(v) for v in at.values()], style, color=colour, marker=marker, label=name)
        low, high = ([f(values) for values in at.values()] for f in (min, max))
        ax.fill_between(list(at), low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure


def beside_controls(
    rows: Sequence[dict],
    x: str,
    title: str,
    xlabel: str,
    controls: Sequence[str],
    *,
    line: str = "method",
    panel: str | None = None,
) -> Figure:
    """A dot for each run and a stroke for the mean; grey is what controls reach, from the least to the most mean.

    Parameters
    ----------
    rows : sequence of dict
        With the columns ``x``, ``line`` and ``panel``; several rows with the same are several runs.
    x : str
        Name of the column of numbers.
    title, xlabel : str
    controls : sequence of str
        Which lines are controls.
    line : str
        Name of the column that tells the lines apart; the first is on top.
    panel : str, optional
        Name of the column that tells panels apart, whose values are their titles; they share the axis of ``x``.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"method": name, "left": y} for name, y in (("mine", 90), ("mine", 80), ("chance", 60), ("other", 70))]
    >>> figure = xp.plots.beside_controls(rows, "left", "Ahead", "accuracy [%]", ["chance", "other"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['mine', 'chance', 'other']
    """
    panels = {"": rows} if panel is None else _by(rows, panel)
    names = list(_by(rows, line))
    figure = plt.figure(figsize=(4.6 * len(panels) + 1.6, 0.28 * len(names) + 1.3))
    [axes] = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)
    for ax, (told, mine) in zip(axes, panels.items()):
        values = {name: [row[x] for row in some] for name, some in _by(mine, line).items()}
        reached = [np.mean(values[name]) for name in controls]
        ax.axvspan(min(reached), max(reached), color="#DDDDDD", zorder=0)
        for name, runs in values.items():
            place, colour = names.index(name), "#777777" if name in controls else BLUE
            ax.plot(runs, [place] * len(runs), "o", color=colour, alpha=0.5, markersize=5)
            ax.plot(np.mean(runs), place, "|", color=colour, markersize=15, markeredgewidth=2.5)
        ax.set(title=told or title, xlabel=xlabel)
        ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    figure.suptitle(title if panel else "", fontsize=11, fontweight="bold")
    return figure
