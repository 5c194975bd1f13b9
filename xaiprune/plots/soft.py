"""Pictures of soft coefficients: what groups lose, what searches find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import _BLACK, _ORANGE, _PINK, BLUE, METHODS, RED, _by


def sparsity_curve(
    alphas: Sequence[float],
    sparsity: Sequence[float],
    title: str,
    *,
    guess: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Measured sparsity when every coefficient is alpha, beside the diagonal; a guess for 0.5 is drawn as a cross.

    Parameters
    ----------
    alphas, sparsity : sequence of float
        Coefficients and the share of the parameters that each of them removes, both in [0, 1].
    title : str
    guess : float, optional
        Sparsity that the learner expects at 0.5.
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = xp.plots.sparsity_curve([0, 0.5, 1], [0, 0.75, 1], "More than half", guess=0.6)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['measured sparsity S', 'if it were a line', 'your guess']
    """
    ax = ax or plt.figure(figsize=(5.5, 3.4)).subplots()
    ax.plot(alphas, sparsity, color=BLUE, label="measured sparsity S")
    ax.plot([0, 1], [0, 1], color=_BLACK, lw=1, ls=":", label="if it were a line")
    if guess is not None:
        ax.plot([0.5], [guess], "x", color=RED, markersize=11, markeredgewidth=3, label="your guess")
    ax.set(
        title=title, xlabel="alpha of every group", ylabel="share of the parameters gone\n(↑ smaller model is better)"
    )
    ax.legend()
    return ax.figure


def loss_curves(rows: Sequence[dict], title: str, *, ax: Axes | None = None) -> Figure:
    """What each group loses on its own: dB lost against the share of its units that goes.

    Parameters
    ----------
    rows : sequence of dict
        With ``group``, ``units``, ``alpha`` (a share in (0, 1]) and ``loss`` in dB.
    title : str
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"group": "fc", "units": 64, "alpha": alpha, "loss": 10 * alpha**2} for alpha in (0.5, 1)]
    >>> xp.plots.loss_curves(rows, "One group").axes[0].lines[0].get_xydata().tolist()
    [[0.0, 0.0], [0.5, 2.5], [1.0, 10.0]]
    """
    ax = ax or plt.figure(figsize=(7, 3.6)).subplots()
    for group, mine in _by(rows, "group").items():
        alphas, losses = [0, *(r["alpha"] for r in mine)], [0, *(r["loss"] for r in mine)]
        ax.plot(alphas, losses, marker=".", label=f"{group} ({mine[0]['units']})")
    ax.set(title=title, xlabel="share of the group that goes, alpha", ylabel="PSNR lost [dB]  (↓ better)")
    ax.legend(title="group (units)", loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure


def loss_against_saving(rows: Sequence[dict], alpha: float, title: str, *, ax: Axes | None = None) -> Figure:
    """dB lost against the parameters that go, one point per group, for one alpha; parameters on a logarithmic axis.

    Parameters
    ----------
    rows : sequence of dict
        With ``group``, ``units``, ``parameters`` (that go), ``alpha`` and ``loss`` in dB.
    alpha : float
        Share of the units that goes, in (0, 1]: which rows are shown.
    title : str
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"group": "fc", "units": 64, "parameters": 5000, "alpha": 0.5, "loss": 1.2}]
    >>> figure = xp.plots.loss_against_saving(rows, 0.5, "Half of one group")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['fc (64 units)']
    """
    ax = ax or plt.figure(figsize=(7, 3.8)).subplots()
    drawn: list[tuple[float, float]] = []
    for row in sorted((row for row in rows if row["alpha"] == alpha), key=lambda row: -row["loss"]):
        x, y = row["parameters"], row["loss"]
        close = any(abs(y - other_y) < 0.7 and x / 3 < other_x < 3 * x for other_x, other_y in drawn)
        drawn.append((x, y))
        ax.semilogx(x, y, "o", color=BLUE)
        label = f"{row['group']} ({row['units']} units)"
        ax.annotate(label, (x, y), xytext=(7, -12 if close else 2), textcoords="offset points", fontsize=9)
    ax.set(title=title, xlabel="parameters that go  (→ better)", ylabel="PSNR lost [dB]  (↓ better)")
    ax.set_xlim(right=3e6)
    return ax.figure


def loss_per_parameter(rows: Sequence[dict], alpha: float, title: str, *, ax: Axes | None = None) -> Figure:
    """dB lost per 1,000 removed parameters against the size of the group, for one alpha; both axes logarithmic.

    Parameters
    ----------
    rows : sequence of dict
        With ``group``, ``units``, ``alpha`` and ``loss_per_parameter`` in dB.
    alpha : float
        Share of the units that goes, in (0, 1]: which rows are shown.
    title : str
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"group": "fc", "units": 64, "alpha": 0.5, "loss_per_parameter": 2e-4}]
    >>> xp.plots.loss_per_parameter(rows, 0.5, "Half of one group").axes[0].lines[0].get_xydata().tolist()
    [[64.0, 0.2]]
    """
    ax = ax or plt.figure(figsize=(8, 3.8)).subplots()
    above: dict[int, float] = {}
    for row in sorted((row for row in rows if row["alpha"] == alpha), key=lambda row: -row["loss_per_parameter"]):
        height = max(1000 * row["loss_per_parameter"], 1e-6)
        drop = -13 if above.get(row["units"], np.inf) < 2 * height else 3  # the lower of two neighbours: label below
        above[row["units"]] = height
        ax.loglog(row["units"], height, "o", color=BLUE)
        ax.annotate(row["group"], (row["units"], height), xytext=(7, drop), textcoords="offset points", fontsize=9)
    ax.set(title=title, xlabel="units in the group", ylabel="dB lost per 1,000\nparameters  (↓ better)")
    ax.set_xlim(12, 700)
    return ax.figure


def psnr_against_sparsity(
    rows: Sequence[dict], methods: Sequence[str], title: str, *, key: str = "psnr", ax: Axes | None = None
) -> Figure:
    """PSNR against the wanted sparsity: the mean over training seeds, and the band from least to most.

    Parameters
    ----------
    rows : sequence of dict
        With ``method``, ``rho`` (wanted sparsity, a share), ``seed`` and the column ``key``. Methods called
        ``random N`` are drawn as one.
    methods : sequence of str
        Which methods are shown.
    title : str
    key : str
        Column of the PSNR in dB.
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"method": "relax", "rho": 0.5, "seed": seed, "psnr": psnr} for seed, psnr in enumerate((20, 22))]
    >>> xp.plots.psnr_against_sparsity(rows, ["relax"], "Two seeds").axes[0].lines[0].get_xydata().tolist()
    [[0.5, 21.0]]
    """
    ax = ax or plt.figure(figsize=(7.5, 4)).subplots()
    for method in methods:
        mine = [row for row in rows if row["method"] == method or row["method"].startswith(f"{method} ")]
        mine = [row for row in mine if method == "random" or row["method"] == method]
        by_rho = {rho: [row[key] for row in some] for rho, some in sorted(_by(mine, "rho").items())}
        colour, marker = METHODS.get(method, (_BLACK, "."))
        means = [np.mean(values) for values in by_rho.values()]
        line = "" if method == "grid" else "-"
        ax.plot(list(by_rho), means, line, color=colour, marker=marker, label=method, markersize=5)
        low, high = ([f(values) for values in by_rho.values()] for f in (min, max))
        if method != "grid":
            ax.fill_between(list(by_rho), low, high, color=colour, alpha=0.15, linewidth=0)
    ax.set(title=title, xlabel="measured sparsity S (→ smaller model)", ylabel="PSNR [dB]  (↑ better)")
    ax.legend(ncols=2)
    return ax.figure


def coefficients_per_group(
    rows: Sequence[dict], groups: Sequence[str], methods: Sequence[str], title: str, *, ax: Axes | None = None
) -> Figure:
    """Share of each group that goes, one bar per method, with the spread over training seeds.

    Parameters
    ----------
    rows : sequence of dict
        With ``method`` and ``coefficients``, a share in [0, 1] for every group; a row per training seed.
    groups, methods : sequence of str
        Names of the groups, in the order of the coefficients, and which methods are shown.
    title : str
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> rows = [{"method": "relax", "coefficients": [0.2, 0.6]}, {"method": "relax", "coefficients": [0.4, 0.8]}]
    >>> figure = xp.plots.coefficients_per_group(rows, ["conv", "fc"], ["relax"], "Two seeds")
    >>> [round(float(bar.get_height()), 2) for bar in figure.axes[0].patches]
    [0.3, 0.7]
    """
    ax = ax or plt.figure(figsize=(8.5, 3.6)).subplots()
    width = 0.8 / len(methods)
    for place, method in enumerate(methods):
        values = np.array([row["coefficients"] for row in rows if row["method"] == method])
        middle = values.mean(0)
        spread = np.stack([middle - values.min(0), values.max(0) - middle]).clip(0)  # rounding may leave -1e-17
        at = np.arange(len(groups)) + (place - (len(methods) - 1) / 2) * width
        colour = METHODS.get(method, (_BLACK, "."))[0]
        ax.bar(at, middle, width * 0.9, color=colour, label=method, yerr=spread, error_kw={"lw": 1, "alpha": 0.6})
    ax.set_xticks(range(len(groups)), [group.replace(".", "\n") for group in groups])
    ax.set(title=title, ylabel="share that goes, alpha", ylim=(0, 1))
    ax.legend(ncols=len(methods))
    return ax.figure


def search_path(
    axes: tuple[Sequence[float], Sequence[float]],
    landscape: np.ndarray,
    sparsity: np.ndarray,
    target_sparsity: float,
    paths: Mapping[str, Sequence[Sequence[float]]],
    labels: tuple[str, str],
    title: str,
    *,
    ax: Axes | None = None,
) -> Figure:
    """A landscape of PSNR over two coefficients, the line S = rho in it, and the paths of searches.

    Parameters
    ----------
    axes : tuple of sequence
        Coefficients along x and y.
    landscape, sparsity : array
        Shape ``(len(y), len(x))``.
    target_sparsity : float
    paths : mapping of str to sequence of (x, y)
    labels : tuple of str
        Names of the two groups.
    title : str
    ax : Axes, optional

    Returns
    -------
    Figure

    Examples
    --------
    >>> alphas = np.linspace(0, 1, 3)
    >>> sparsity = (alphas[:, None] + alphas) / 2
    >>> path = {"descend": [(0, 1), (0.5, 0.5)]}
    >>> figure = xp.plots.search_path((alphas, alphas), 30 - sparsity, sparsity, 0.5, path, ("conv", "fc"), "Two steps")
    >>> figure.axes[0].get_xlabel(), figure.axes[0].lines[0].get_xydata().tolist()
    ('alpha of conv', [[0.0, 1.0], [0.5, 0.5]])
    """
    ax = ax or plt.figure(figsize=(6.2, 4.6)).subplots()
    filled = ax.contourf(*axes, landscape, levels=14, cmap="viridis")
    ax.figure.colorbar(filled, ax=ax, label="PSNR [dB]  (↑ better)")
    ax.contour(*axes, sparsity, levels=[target_sparsity], colors="white", linewidths=2)
    for (name, points), colour in zip(paths.items(), (RED, _ORANGE, _PINK)):
        points = np.asarray(points)
        ax.plot(*points.T, "-o", color=colour, markersize=4, label=name)
        ax.plot(*points[-1], "*", color=colour, markersize=15, markeredgecolor="white")
    ax.plot([], [], color="white", lw=2, label=f"S = {target_sparsity:g}")
    ax.set(title=title, xlabel=f"alpha of {labels[0]}", ylabel=f"alpha of {labels[1]}")
    ax.legend(loc="lower left", facecolor="#555555", labelcolor="white", frameon=True)
    return ax.figure
