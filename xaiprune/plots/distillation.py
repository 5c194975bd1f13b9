"""Pictures of distillation: whether a model is as sure as it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .base import BLUE


def reliability_diagrams(models: Mapping[str, Sequence[dict]]) -> Figure:
    """Accuracy against confidence, a panel for every model; the nearer to the line the better.

    Parameters
    ----------
    models : mapping of str to sequence of dict
        Title to rows of ``confidence.reliability``.

    Returns
    -------
    Figure

    Examples
    --------
    >>> sure, right = torch.tensor([[0.1, 0.9], [0.2, 0.8]]), torch.tensor([1, 0])
    >>> rows = xp.measure.calibration_error.reliability(sure.log(), right)
    >>> len(xp.plots.reliability_diagrams({"teacher": rows, "student": rows}).axes)
    2
    """
    figure = plt.figure(figsize=(3 * len(models), 3.2))
    axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for ax, (title, rows) in zip(axes, models.items()):
        low, wide = [row["low"] for row in rows], [row["high"] - row["low"] for row in rows]
        shade = [0.25 + 0.75 * row["share"] ** 0.5 for row in rows]
        colours = [(BLUE, alpha) for alpha in shade]
        ax.bar(low, [row["accuracy"] for row in rows], wide, align="edge", color=colours, edgecolor="white")
        ax.plot([0, 1], [0, 1], "--", color="black", lw=1)
        ax.set(title=title, xlabel="how sure", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("how often right (dashed: as sure)")
    return figure
