"""A threshold over the histogram of the weights: watch accuracy, sparsity and bytes follow it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..core import nonempty
from ..data import Split, as_split
from ..measure import ACCURACY, Metric, csr_bytes
from ..plots import RED, histogram, sensitivity_curves
from ..prune import WHOLE, Scores, find_weights, masked, plan, scan, score
from .canvas import Drawing, LiveFigure
from .controls import Menu, Number
from .explorer import Explorer

#: Step of the slider. What is set lies on it too: a browser moves a value that does not, and reports its own back.
STEP = 1e-4
#: Choice of the menu that moves the thresholds of all layers together.
ALL = "all layers"


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    thresholds : dict of str to float
        Layer to the size below which its weights go.
    gone : dict of str to float
        Layer, and ``whole model``, to the share of its weights that goes.
    value : float
        The metric on the explorer's images.
    nonzeros : int
        Weights that stay.
    dense_bytes, csr_bytes : int
        Bytes of the weights stored in full, and as compressed sparse rows with their indices.
    text : str
        The numbers in one line.
    layer : str
        Whose weights the histogram shows.
    """

    thresholds: dict[str, float]
    gone: dict[str, float]
    value: float
    nonzeros: int
    dense_bytes: int
    csr_bytes: int
    text: str
    layer: str


def compute(
    model: nn.Module,
    scores: Scores,
    split: Split,
    thresholds: Mapping[str, float],
    metric: Metric = ACCURACY,
    layer: str = ALL,
) -> View:
    """Mask the weights below their layer's threshold and measure.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    scores : Scores
        Magnitudes of single weights.
    split : Split
    thresholds : mapping of str to float
        Layers not named lose nothing, and one weight of each always stays.
    metric : Metric
    layer : str
        Whose weights the histogram shows: one of them, or ``ALL``.

    Returns
    -------
    View
    """
    thresholds = {group.name: float(thresholds.get(group.name, 0)) for group in scores.groups}
    active = {name: value for name, value in thresholds.items() if (scores[name] < value).any()}
    total = sum(group.size for group in scores.groups)
    if active:
        chosen = plan(scores, threshold=active)
        kept = chosen.kept
        with masked(model, chosen):
            value = metric(model, split)
    else:
        kept, value = {group.name: group.size for group in scores.groups}, metric(model, split)
    gone = {group.name: 1 - kept[group.name] / group.size for group in scores.groups}
    stays = sum(kept.values())
    gone[WHOLE] = 1 - stays / total
    sparse = sum(csr_bytes(kept[group.name], group.shape[0]) for group in scores.groups)
    text = (
        f"{metric.name} {value:.2f}, {100 * gone[WHOLE]:.1f} % of the weights gone: "
        f"{stays:,} non-zeros, {4 * total:,} bytes dense, {sparse:,} bytes as CSR"
    )
    return View(thresholds, gone, value, stays, 4 * total, sparse, text, layer)


class Picture(Drawing[View]):
    """The histogram of one choice on the left, the sensitivity curves with the present point on the right.

    Parameters
    ----------
    values : array
        Weights that the histogram shows.
    title : str
    rows : sequence of dict
        From ``scan``; may be empty.
    group : str
        Group whose share and curve the point belongs to.
    intact : float
        The metric of the unpruned model: the axis reaches a little above it.
    """

    def __init__(self, values: np.ndarray, title: str, rows: Sequence[dict], group: str, intact: float):
        self.group = group
        figure = Figure(figsize=(10, 3.3), dpi=90, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        histogram(left, values)
        left.set(title=title, ylabel="weights (count)")
        self.shade = left.axvspan(0, 0, color=RED, alpha=0.3)
        self.sides = [left.axvline(0, color="black", ls="--", lw=1) for _ in range(2)]
        sensitivity_curves(rows, "Each layer alone, and all together", ax=right)
        (self.point,) = right.plot([], [], "*", color=RED, markersize=16, markeredgecolor="black", label="now")
        right.set(xlim=(-0.03, 1.03), ylim=(0, 1.06 * intact))
        right.legend(fontsize=7, loc="lower left")
        self.live = LiveFigure(figure, [self.shade, *self.sides, self.point])

    def draw(self, view: View) -> bytes:
        threshold = min(view.thresholds.values()) if self.group == WHOLE else view.thresholds[self.group]
        self.shade.set_x(-threshold)
        self.shade.set_width(2 * threshold)
        for side, line in zip((-threshold, threshold), self.sides):
            line.set_xdata([side, side])
        self.point.set_data([view.gone[self.group]], [view.value])
        return self.live.png()


class ThresholdExplorer(Explorer[View]):
    """A slider for the threshold, and a menu of the layer that it belongs to.

    What follows the slider stays within a tenth of a second on two cores for the classifiers of this course with 1,000
    images.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    split : Split, or data of another form
        Validation images and labels.
    rows : sequence of dict, optional
        From ``scan``, for the curves on the right.
    metric : Metric
    stops : sequence of float or tuple, or mapping of str to these, optional
        Thresholds of the stored pictures, for all layers or as ``(threshold, layer)``. By default nothing goes, and
        50, 80 and 95 % of all weights.

    Raises
    ------
    ValueError
        If the split is empty, the model is in training mode or has no prunable weight.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    >>> split = xp.data.mnist("validation", 100)
    >>> explorer = xp.widgets.ThresholdExplorer(model, split)
    >>> round(explorer.set(explorer.threshold_for(0.5)).gone["whole model"], 1)
    0.5
    """

    title = "Thresholds: small weights thrown away"

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        rows: Sequence[dict] = (),
        *,
        metric: Metric = ACCURACY,
        stops: Mapping[str, object] | Sequence[object] | None = None,
    ):
        split = as_split(split, name="split")
        self.model, self.split, self.metric, self.rows = model, nonempty(split, "split"), metric, list(rows)
        self.scores = score(model, find_weights(model), "l1")
        parameters = dict(model.named_parameters())
        self._weights = {g.name: parameters[g.name].detach().flatten().numpy() for g in self.scores.groups}
        layers = (ALL, *self._weights)
        self._weights[ALL] = np.concatenate(list(self._weights.values()))
        self._picture = cache(self._make_picture)
        self._intact = metric(model, split)
        top = math.ceil(100 * np.quantile(np.abs(self._weights[ALL]), 0.999)) / 100
        looks = {"readout_format": ".4f", "layout": {"width": "480px"}}
        controls = {
            "threshold": Number("threshold", "the size below which weights go", min=0, max=top, step=STEP, **looks),
            "layer": Menu("layer", "whose weights", layers),
        }
        stops = tuple(map(self.threshold_for, (0, 0.5, 0.8, 0.95))) if stops is None else stops
        super().__init__(controls, stops)

    @classmethod
    def example(cls) -> ThresholdExplorer:
        """LeNet-300-100, layer by layer."""
        model, split = zoo.load("lenet-300-100"), data.mnist("validation", 1000)
        scores = score(model, find_weights(model), "l1")
        return cls(model, split, scan(model, scores, split, progress=False))

    def settle(self, setting: dict, moved: str | None) -> dict:
        """The slider belongs to a layer: one that is chosen by hand brings its threshold, and nothing else changes."""
        layer = setting["layer"]
        if moved == "layer":
            own = min(self.thresholds.values()) if layer == ALL else self.thresholds[layer]
            return setting | {"threshold": own, "thresholds": self.thresholds}
        names = self.thresholds if layer == ALL else [layer]
        return setting | {"thresholds": self.thresholds | dict.fromkeys(names, setting["threshold"])}

    def compute(self, threshold: float, layer: str, thresholds: Mapping[str, float]) -> View:
        return compute(self.model, self.scores, self.split, thresholds, self.metric, layer)

    def draw(self, view: View) -> bytes:
        return self._picture(view.layer).draw(view)

    def _make_picture(self, layer: str) -> Picture:
        group = WHOLE if layer == ALL else layer
        return Picture(self._weights[layer], f"Weights of {layer}", self.rows, group, self._intact)

    @property
    def thresholds(self) -> dict[str, float]:
        """The present threshold of each layer."""
        return self.setting.get("thresholds") or {group.name: 0.0 for group in self.scores.groups}

    def threshold_for(self, ratio: float) -> float:
        """The threshold below which a share of all weights lies.

        Parameters
        ----------
        ratio : float
            The share, in [0, 1].

        Returns
        -------
        float
            A size of weights; 0 for 0.
        """
        return float(np.quantile(np.abs(self._weights[ALL]), ratio)) if ratio else 0.0
