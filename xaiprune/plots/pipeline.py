"""Pictures of recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .base import _BLACK, _GREEN, BLUE, RED

#: Costs with their colour and marker.
_COSTS = (("latency", BLUE, "o"), ("size", RED, "s"), ("memory", _GREEN, "^"))


def recipe(rows: Sequence[dict], title: str, *, bounds: Mapping[str, float] | None = None) -> Figure:
    """What is left of the costs after each step, and beside it what was lost.

    Parameters
    ----------
    rows : sequence of dict
        With ``step`` (its name before the first bracket is shown), ``latency``, ``size``, ``memory`` (shares of the
        original's), ``accuracy`` and ``drift``.
    title : str
    bounds : mapping of str to float, optional
        Drawn as dotted lines, by the same names.

    Returns
    -------
    Figure

    Examples
    --------
    >>> costs = {"latency": 0.5, "size": 0.4, "memory": 0.6}
    >>> rows = [{"step": "Prune(ratio=0.5)", **costs, "accuracy": 1.5, "drift": 0.1}]
    >>> figure = xp.plots.recipe(rows, "One step", bounds={"size": 0.5})
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['original', '1. Prune']
    """
    figure, (left, *others) = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    names = ["original", *(f"{number}. {row['step'].partition('(')[0]}" for number, row in enumerate(rows, 1))]
    across, bounds = range(len(names)), bounds or {}
    lost = {"accuracy": "metric lost, in its unit  (↓ better)", "drift": "drift: 1 - rank correlation  (↓ better)"}
    shown = [(left, name, colour, marker) for name, colour, marker in _COSTS]
    shown += [(axes, name, _BLACK, "o") for axes, name in zip(others, lost)]
    for axes, name, colour, marker in shown:
        first = 0.0 if name in lost else 1.0
        axes.plot(across, [first, *(row[name] for row in rows)], color=colour, marker=marker, label=name)
        if name in bounds:
            axes.axhline(bounds[name], color=colour, ls=":", lw=1.2, label=f"allowed: {name}")
        axes.set_xticks(across, names, rotation=40, ha="right", fontsize=8)
    highest = max(1.0, *(row[name] for row in rows for name, *_ in _COSTS))
    left.set(title=title, ylabel="share of the original's  (↓ better)", ylim=(0, 1.35 * highest))
    left.legend(ncols=2, loc="upper right", fontsize=8)
    for axes, (name, label) in zip(others, lost.items()):
        axes.set(title=f"{name}: what is lost", ylabel=label)
        if name in bounds:
            axes.legend()
    return figure
