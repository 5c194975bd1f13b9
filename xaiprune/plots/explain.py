"""Pictures of explanations: heatmaps, the ledger's waterfall, curves of faithfulness, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import _BLACK, _GREEN, _SKY, BLUE, RED, _by, montage

#: Colours of evidence: red speaks for the answer, blue against it, white is none.
EVIDENCE = "RdBu_r"
#: The controls of the sanity gate look the same in every picture.
_CONTROL_STYLES = {"random": ("#999999", ":"), "reversed": (_BLACK, "--"), "re-initialised model": (RED, "-.")}


def scale_heatmaps(heatmaps: np.ndarray) -> np.ndarray:
    """Each heatmap over the 99.5th percentile of its sizes, so that maps of any unit share one range, -1 to 1.

    Parameters
    ----------
    heatmaps : array
        Shape ``(N, H, W)``.

    Returns
    -------
    array
        Shape ``(N, H, W)``, values in [-1, 1].

    Examples
    --------
    >>> xp.plots.scale_heatmaps(np.array([[[5.0, -5.0], [0.0, 2.5]]])).round(2).tolist()
    [[[1.0, -1.0], [0.0, 0.5]]]
    """
    heatmaps = np.asarray(heatmaps, dtype=float)
    top = np.quantile(np.abs(heatmaps), 0.995, axis=(1, 2), keepdims=True)
    return np.clip(heatmaps / np.maximum(top, 1e-30), -1, 1)


def heatmap_rows(
    images: np.ndarray, heatmaps: Mapping[str, np.ndarray], title: str, *, ax: Axes | None = None
) -> Figure:
    """The images in a row, and a row of heatmaps per method below them, each map on its own scale.

    Parameters
    ----------
    images : array
        Shape ``(N, H, W)``, ``(N, 1, H, W)`` or, in colour, ``(N, 3, H, W)``, values in [0, 1].
    heatmaps : mapping of str to array
        Method to heatmaps of shape ``(N, H, W)``.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> heatmaps = {"saliency": np.ones((3, 28, 28)), "lrp": -np.ones((3, 28, 28))}
    >>> figure = xp.plots.heatmap_rows(np.zeros((3, 28, 28)), heatmaps, "Three images")
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['image', 'saliency', 'lrp']
    """
    size, images = np.shape(images)[-1] + 2, np.asarray(images)
    rows, inches = len(heatmaps) + 1, 0.85 if size < 100 else 1.3
    ax = ax or plt.figure(figsize=(inches * len(images) + 1.8, inches * rows + 0.5)).subplots()
    maps = [scale_heatmaps(maps) for maps in heatmaps.values()]
    cells = montage([np.zeros((len(images), *images.shape[-2:])), *maps], fill=0)
    ax.imshow(cells, cmap=EVIDENCE, vmin=-1, vmax=1)
    # paper is white: between pictures in colour it is 1, between negatives of grey ones it is 0
    colours = images.ndim == 4 and images.shape[1] == 3
    shown = [montage([layer]) for layer in images.transpose(1, 0, 2, 3)] if colours else [montage([-images], fill=0)]
    extent = (-0.5, shown[0].shape[1] - 0.5, size - 2.5, -0.5)
    ax.imshow(np.stack(shown, axis=-1), cmap="gray", vmin=-1, vmax=0, extent=extent)
    ax.set(xlim=(-0.5, cells.shape[1] - 0.5), ylim=(cells.shape[0] - 0.5, -0.5))
    ax.set_yticks([size * (place + 0.5) for place in range(rows)], ["image", *heatmaps])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title)
    ax.set_xlabel("red speaks for the answer, blue against it", fontsize=9)
    return ax.figure


def letters(evidence: Mapping[str, np.ndarray], title: str, *, ax: Axes | None = None) -> Figure:
    """Words as rows of letters, each on what it says for the answer; every word on its own scale.

    Parameters
    ----------
    evidence : mapping of str to array
        Word to a value per place, of which the last ones are its letters.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.letters({"the": np.array([0, 0, 1.0, 2.0, -1.0])}, "What speaks for English")
    >>> figure.axes[0].images[0].get_array().tolist()  # the last three, over the largest
    [[0.5, 1.0, -0.5]]
    """
    longest = max(map(len, evidence))
    ax = ax or plt.figure(figsize=(0.5 * longest + 0.6, 0.5 * len(evidence) + 0.9)).subplots()
    cells = np.full((len(evidence), longest), np.nan)
    for row, (word, values) in enumerate(evidence.items()):
        own = np.asarray(values, dtype=float)[-len(word) :]
        cells[row, : len(word)] = own / max(np.abs(own).max(), 1e-30)
        for column, letter in enumerate(word):
            strong = abs(cells[row, column]) > 0.6
            ax.text(column, row, letter, ha="center", va="center", color="white" if strong else "black", fontsize=13)
    ax.imshow(cells, cmap=EVIDENCE, vmin=-1, vmax=1)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("red speaks for the answer, blue against it", fontsize=9)
    return ax.figure


def waterfall(rows: Sequence[dict], title: str, *, unit: str = "logit", ax: Axes | None = None) -> Figure:
    """The ledger: what is left of the explained output after each layer has kept its part.

    Parameters
    ----------
    rows : sequence of dict
        From ``Ledger.rows``.
    title : str
    unit : str
        Of relevance.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [
    ...     {"layer": "output", "left": 2.0, "bias": 0.0, "kept": 0.0},
    ...     {"layer": "fc", "left": 1.5, "bias": 0.5, "kept": 0.0},
    ...     {"layer": "input", "left": 1.5, "bias": 0.0, "kept": 0.0},
    ... ]
    >>> figure = xp.plots.waterfall(rows, "The bias keeps a quarter")
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['output', 'fc', 'input']
    """
    ax = ax or plt.figure(figsize=(max(8.5, 0.6 * len(rows) + 4), 3.4)).subplots()
    names = [row["layer"] for row in rows]
    ends = [place for place, name in enumerate(names) if name in ("output", "input")]
    ax.bar(ends, [rows[place]["left"] for place in ends], color=BLUE, label="explained output, and what pixels got")
    for colour, key, label in ((RED, "bias", "kept by the bias"), (_BLACK, "kept", "lost to epsilon or nowhere to go")):
        base = [row["left"] + (row["kept"] if key == "bias" else 0) for row in rows]
        ax.bar(range(len(rows)), [row[key] for row in rows], bottom=base, color=colour, label=label)
    levels = [row["left"] for row in rows]
    for place in range(len(rows) - 1):
        ax.plot([place, place + 1], [levels[place]] * 2, color=_BLACK, lw=0.6)
    ax.axhline(0, color=_BLACK, lw=0.8)
    ax.set_xticks(range(len(rows)), names, rotation=30, ha="right")
    ax.set(title=title, ylabel=f"relevance [{unit}]", xlabel="from the output back to the input")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure


def faithfulness_curves(
    shares: Sequence[float], curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str
) -> Figure:
    """Mean deletion and insertion curves of a method and its controls, on the same axes.

    Parameters
    ----------
    shares : sequence of float
        Part of the pixels that is gone, or there.
    curves : mapping of str to tuple of array
        Name to deletion and insertion, each of shape ``(N, len(shares))``.
    title : str

    Returns
    -------
    Figure

    Examples
    --------
    >>> deletion, insertion = np.array([[1.0, 0.2, 0.1]]), np.array([[0.1, 0.8, 1.0]])  # of one image
    >>> figure = xp.plots.faithfulness_curves([0, 0.5, 1], {"lrp": (deletion, insertion)}, "Half of the pixels")
    >>> [axes.lines[0].get_ydata()[1].item() for axes in figure.axes]
    [0.2, 0.8]
    """
    figure = plt.figure(figsize=(9.5, 3.5))
    left, right = figure.subplots(1, 2, sharey=True)
    for name, (deletion, insertion) in curves.items():
        colour, style = _CONTROL_STYLES.get(name, (None, "-"))
        width = 1.4 if name in _CONTROL_STYLES else 2.2
        left.plot(shares, np.mean(deletion, axis=0), style, color=colour, lw=width, label=name)
        right.plot(shares, np.mean(insertion, axis=0), style, color=colour, lw=width, label=name)
    left.set(
        title="Deletion (↓ better)",
        xlabel="share of the pixels gone, highest first",
        ylabel="probability of the answer",
    )
    right.set(title="Insertion (↑ better)", xlabel="share of the pixels back, highest first")
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def rulers(
    drifts: Mapping[str, Mapping[str, float]], title: str, *, noise: str, chance: str, ax: Axes | None = None
) -> Figure:
    """Drifts by several rulers, each on the way from equal models to chance; grey is the part that noise uses up.

    Parameters
    ----------
    drifts : mapping of str to mapping of str to float
        Ruler to the drift of each change.
    title : str
    noise, chance : str
        Which changes are the harmless one and the network that knows nothing; each ruler has both.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> drifts = {"coarse": {"rounding": 0.1, "cut": 0.5, "new weights": 1.0}}
    >>> figure = xp.plots.rulers(drifts, "Half of the way", noise="rounding", chance="new weights")
    >>> [(text.get_text(), text.xy[0]) for text in figure.axes[0].texts]
    [('rounding', 10.0), ('cut', 50.0), ('new weights', 100.0)]
    """
    ax = ax or plt.figure(figsize=(8.5, 0.95 * len(drifts) + 1.1)).subplots()
    for place, found in enumerate(drifts.values()):
        ax.plot([0, 100], [place, place], color=_BLACK, lw=1, zorder=1)
        ax.barh(place, 100 * found[noise] / found[chance], height=0.26, color="#CCCCCC", zorder=0)
        for number, (change, value) in enumerate(sorted(found.items(), key=lambda item: item[1])):
            at = 100 * value / found[chance], place
            ax.plot(*at, "o", color=_BLACK if change in (noise, chance) else BLUE, markersize=6)
            above = (0, 8 if number % 2 == 0 else -17)
            ax.annotate(change, at, xytext=above, textcoords="offset points", ha="center", fontsize=9)
    ax.set_yticks(range(len(drifts)), list(drifts))
    ax.set(ylim=(len(drifts) - 0.45, -0.6), xlim=(-6, None), title=title)
    ax.set_xlabel("drift, per cent of what a network gives that knows nothing; grey: noise")
    return ax.figure


def drift_by_class(rows: Sequence[dict], title: str, *, names: Sequence[str] | None = None, ax=None) -> Figure:
    """Drift, and what changed among the highest pixels, per class, with their bootstrap intervals.

    Parameters
    ----------
    rows : sequence of dict
        From ``Drift.rows``.
    title : str
    names : sequence of str, optional
        Names of the classes.
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> row = {"drift": 0.1, "drift_low": 0.05, "drift_high": 0.2, "top": 0.3, "top_low": 0.2, "top_high": 0.4}
    >>> figure = xp.plots.drift_by_class([{"class": "all", **row}, {"class": "0", **row}], "Drift", names=["coat"])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['all', 'coat']
    """
    ax = ax or plt.figure(figsize=(8, 3.2)).subplots()
    places = np.arange(len(rows))
    for offset, colour, key, label in (
        (-0.2, BLUE, "drift", "drift"),
        (0.2, _SKY, "top", "changed among the highest pixels"),
    ):
        values = np.array([row[key] for row in rows])
        ends = np.array([[row[f"{key}_low"] for row in rows], [row[f"{key}_high"] for row in rows]])
        ax.bar(places + offset, values, 0.4, color=colour, label=label)
        ax.errorbar(places + offset, values, np.abs(ends - values), fmt="none", ecolor=_BLACK, lw=1)
    labels = [row["class"] if names is None or row["class"] == "all" else names[int(row["class"])] for row in rows]
    slanted = {} if names is None else {"rotation": 30, "ha": "right"}
    ax.set_xticks(places, labels, **slanted)
    ax.axhline(0, color=_BLACK, lw=0.8)
    ax.set(title=title, xlabel="class", ylabel="drift from the original (↓ better)", ylim=(0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure


def draws_against_size(rows: Sequence[dict], title: str, ylabel: str) -> Figure:
    """What a criterion's plan keeps, and how alike its plans are, against the reference samples that it saw.

    Parameters
    ----------
    rows : sequence of dict
        From ``reference_draws``.
    title, ylabel : str
        The label is that of the measure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [
    ...     {"criterion": "taylor", "per_class": 1, "values": [70, 90], "overlap": 0.5},
    ...     {"criterion": "taylor", "per_class": 10, "values": [88, 92], "overlap": 0.9},
    ... ]
    >>> figure = xp.plots.draws_against_size(rows, "More samples", "accuracy [%]")
    >>> figure.axes[0].lines[0].get_ydata().tolist()  # means over the draws
    [80.0, 90.0]
    """
    figure = plt.figure(figsize=(10, 3.4))
    left, right = figure.subplots(1, 2)
    for place, (name, mine) in enumerate(_by(rows, "criterion").items()):
        sizes, style = [row["per_class"] for row in mine], ("o-", "s--", "^:", "D-.")[place % 4]
        (line,) = left.plot(sizes, [np.mean(row["values"]) for row in mine], style, label=name)
        ends = [[f(row["values"]) for row in mine] for f in (min, max)]
        left.fill_between(sizes, *ends, color=line.get_color(), alpha=0.15, linewidth=0)
        right.plot(sizes, [row["overlap"] for row in mine], style, label=name)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="reference samples per class")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
    left.set(title="What is kept (band: all draws)", ylabel=ylabel)
    right.set(title="Do two draws remove the same?", ylabel="shared part of what goes (↑ better)", ylim=(None, 1.02))
    right.legend(loc="lower right")
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def watch_lines(rows: Sequence[dict], title: str, xlabel: str, *, ax: Axes | None = None) -> Figure:
    """Accuracy, and how far the explanations have moved, against the size of a change.

    Parameters
    ----------
    rows : sequence of dict
        From ``watch``, of one shift; or others with ``level``, ``accuracy`` in per cent and ``drift``.
    title, xlabel : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"level": 0, "accuracy": 95, "drift": 0.0}, {"level": 30, "accuracy": 60, "drift": 0.6}]
    >>> figure = xp.plots.watch_lines(rows, "Turned images", "angle [degrees]")
    >>> [line.get_ydata().tolist() for line in figure.axes[0].lines]
    [[0.95, 0.6], [0.0, 0.6]]
    """
    ax = ax or plt.figure(figsize=(7, 3.4)).subplots()
    levels = [row["level"] for row in rows]
    ax.plot(levels, [row["accuracy"] / 100 for row in rows], "o-", color=BLUE, label="accuracy (share)")
    ax.plot(levels, [row["drift"] for row in rows], "s--", color=RED, label="drift of the heatmaps")
    if "images" in rows[0]:
        ax.plot(levels, [row["images"] for row in rows], "x-.", color="#999999", label="control: the bare images")
    if "scores" in rows[0]:
        ax.plot(levels, [row["scores"] for row in rows], "^:", color=_GREEN, label="drift of the unit scores")
    ax.set(title=title, xlabel=xlabel, ylabel="accuracy (↑ better), drift (↓ better)", ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return ax.figure
