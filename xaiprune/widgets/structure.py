"""A ratio, a criterion and a bar for each group of channels: watch accuracy, cost and evidence of the cut follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..data import Preprocessing, Split, as_split
from ..explain import Method, Scale
from ..measure import ACCURACY, Metric
from ..plots import BLUE
from ..prune import (
    CRITERIA,
    Costs,
    Criterion,
    Scores,
    check_names,
    cut,
    find_units,
    lowest,
    mac_costs,
    plan,
    recalibrate,
    running_norms,
    score,
)
from .canvas import Drawing, LiveFigure, Panels, pixels_of
from .controls import Bank, Menu, Whole, image_slider, rows_of
from .evidence import compared, scale_of, told
from .explorer import Explorer

SCOPES = ("uniform", "global")


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    kept : dict of str to int
        Group to the units that stay.
    value, before : float
        The metric on the explorer's images, with and without re-calibrated batch normalisation.
    macs : float
        Share of the operations that is left.
    latency : float or None
        Predicted milliseconds.
    image : int
    heatmaps : numpy.ndarray
        Of the image for the original's answer, by the original and by the cut model: shape ``(2, H, W)``.
    drift : float
        1 less the rank correlation of the two.
    text : str
        The numbers in one line.
    """

    kept: dict[str, int]
    value: float
    before: float
    macs: float
    latency: float | None
    image: int
    heatmaps: np.ndarray
    drift: float
    text: str


def compute(
    model: nn.Module,
    scores: Scores,
    kept: Mapping[str, int],
    split: Split,
    image: int,
    macs: Costs,
    latency: Costs | None = None,
    metric: Metric = ACCURACY,
    method: Method | str = "gradient x input",
    scale: Scale | None = None,
) -> View:
    """Cut a model to some widths, re-calibrate it, and measure.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    scores : Scores
        Decide which units of a group go.
    kept : mapping of str to int
        Group to the number of units that stay; a group that is not named loses nothing.
    split : Split
        Measured and re-calibrated on.
    image : int
        Of the split: explained for the class that the original answers.
    macs, latency : Costs
        Of the same groups; latency in microseconds.
    metric : Metric
    method : Method or str
        Of the heatmaps.
    scale : Scale, optional
        Noise and chance of the drift, for the text.

    Returns
    -------
    View
    """
    check_names(kept, scores.values, "kept")
    kept = {group.name: int(kept.get(group.name, group.size)) for group in scores.groups}
    chosen = lowest(scores, {group.name: group.size - kept[group.name] for group in scores.groups})
    smaller = cut(model, chosen)
    before = metric(smaller, split)
    if running_norms(smaller):
        recalibrate(smaller, split.inputs)
    value = metric(smaller, split)
    maps, drift = compared(model, smaller, split.inputs[image : image + 1], method)
    share = macs.share(chosen)
    text = f"{metric.name} {value:.1f} ({before:.1f} before re-calibration), {100 * share:.0f} % of the MACs"
    predicted = None
    if latency is not None:
        predicted = latency.of(chosen) / 1000
        text += f", predicted {predicted:.2f} of {latency.total / 1000:.2f} ms"
    text += f"; this image's evidence: {told(drift, scale)}"
    return View(kept, value, before, share, predicted, image, maps, drift, text)


class Picture(Drawing[View]):
    """The image, its evidence before and after, and what is left of each group; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    sizes : mapping of str to int
        Group to its number of units.
    """

    def __init__(self, images: torch.Tensor, sizes: Mapping[str, int]):
        self.sizes = dict(sizes)
        figure = Figure(figsize=(11.5, 3.1), dpi=90, layout="constrained")
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 3.6))
        self.panels = Panels(axes[:3], ("Image", "Evidence, original", "Evidence, cut"), images)
        axes[1].set_xlabel("red for, blue against", fontsize=8)
        places = range(len(self.sizes))
        axes[3].bar(places, [100] * len(self.sizes), color="#DDDDDD", label="removed")
        self.bars = axes[3].bar(places, [100] * len(self.sizes), color=BLUE, label="kept")
        labels = [f"{place}: {name.removeprefix('features.')}" for place, name in enumerate(self.sizes)]
        axes[3].set_xticks(places, labels, rotation=60, ha="right", fontsize=7)
        axes[3].set(title="Groups from the input to the output", ylabel="units kept [%]", ylim=(0, 104))
        self.live = LiveFigure(figure, [*self.panels.artists, *self.bars])

    def draw(self, view: View) -> bytes:
        self.panels.show(view.image, *view.heatmaps)
        for bar, (name, size) in zip(self.bars, self.sizes.items()):
            bar.set_height(100 * view.kept[name] / size)
        return self.live.png()


class StructureExplorer(Explorer[View]):
    """A ratio, a criterion and a scope set all groups; each bar can then be dragged on its own.

    Every setting is cut, re-calibrated and measured anew: on two cores the picture follows within a second after a
    slider is released, for MobileNet and 200 images.

    Parameters
    ----------
    model : nn.Module
        A classifier, in evaluation mode; not changed.
    calibration : Split, or data of another form
        To score on.
    split : Split, or data of another form
        A few hundred validation images and labels: the fixed subset for the metric, and the images to choose from.
    latency : Costs, optional
        From ``latency_costs``: adds the predicted latency.
    criteria : sequence of Criterion or str
        For the menu, the first is its default; each is scored when it is first chosen.
    metric : Metric
    method : Method or str
        Of the heatmaps.
    preprocessing : Preprocessing, optional
        By which the inputs were made of pixels, so that pixels can be shown. By default inputs are pixels in [0, 1].
    stops : sequence of tuple, or mapping of str to tuple, optional
        ``(per cent, criterion, scope, image, kept)`` of the stored pictures; what is left out is as :meth:`set` has it.

    Raises
    ------
    ValueError
        If the split is empty, or a stop has an unknown criterion or scope.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10)).eval()
    >>> split = xp.data.mnist("validation", 4)
    >>> explorer = xp.widgets.StructureExplorer(model, split, split, criteria=["l1"], method="gradient x input")
    >>> explorer.set(ratio=50).kept
    {'1': 4}
    """

    title = "Structure: channels of a MobileNet"
    live = False

    def __init__(
        self,
        model: nn.Module,
        calibration: Split,
        split: Split,
        *,
        latency: Costs | None = None,
        criteria: Sequence[Criterion | str] = ("taylor", "l1", "random"),
        metric: Metric = ACCURACY,
        method: Method | str = "gradient x input",
        preprocessing: Preprocessing | None = None,
        stops: Mapping[str, tuple] | Sequence[tuple] | None = None,
    ):
        calibration = as_split(calibration, name="calibration")
        split = as_split(split, name="split")
        image = image_slider(split)
        self.model, self.calibration, self.split, self.metric, self.method = model, calibration, split, metric, method
        self.scale = scale_of(model, split.inputs, method)
        self.units = find_units(model, split.inputs[:1])
        self.macs, self.latency = mac_costs(model, self.units, split.inputs), latency
        self.criteria = rows_of("a criterion", Criterion, CRITERIA, criteria, "criteria")
        self.scores = cache(self._score)
        sizes = {group.name: group.size for group in self.units}
        looks = {"orientation": "vertical", "layout": {"width": "34px", "height": "170px", "margin": "0"}}
        bars = {
            name: Whole(str(place), f"units of {name} that stay", value=size, min=1, max=size, **looks)
            for place, (name, size) in enumerate(sizes.items())
        }
        controls = {
            "ratio": Whole("ratio [%]", "per cent of all units that go", value=0, min=0, max=90, step=5),
            "criterion": Menu("criterion", "what says which units matter", self.criteria),
            "scope": Menu("scope", "whether groups lose alike, or all units are ranked together", SCOPES),
            "image": image,
            "kept": Bank(bars, min_height="180px"),
        }
        self.picture = Picture(pixels_of(split.inputs, preprocessing), sizes)
        first = next(iter(self.criteria))
        super().__init__(controls, tuple((ratio, first, "uniform") for ratio in (0, 30)) if stops is None else stops)

    @classmethod
    def example(cls) -> StructureExplorer:
        """A MobileNet."""
        splits = data.fashion_mnist("calibration", 300), data.fashion_mnist("validation", 100)
        return cls(zoo.load("mobilenet-fashion-mnist"), *splits)

    def settle(self, setting: dict, moved: str | None) -> dict:
        """All bars follow the ratio, the criterion and the scope; what is set in code of single bars comes on top."""
        if moved in ("image", "kept"):
            return setting
        kept = self.kept_at(setting["ratio"], setting["criterion"], setting["scope"])
        return setting | {"kept": kept if moved else kept | setting["kept"]}

    def compute(self, ratio: int, criterion: str, scope: str, image: int, kept: Mapping[str, int]) -> View:
        measured = (self.macs, self.latency, self.metric, self.method, self.scale)
        return compute(self.model, self.scores(criterion), kept, self.split, image, *measured)

    def kept_at(self, ratio: int, criterion: str, scope: str) -> dict[str, int]:
        """What a plan for a ratio leaves of each group.

        Parameters
        ----------
        ratio : int
            Per cent of all units that go.
        criterion, scope : str
            As the menus have them.

        Returns
        -------
        dict of str to int
            Group name to units that stay.
        """
        if ratio == 0:
            return {group.name: group.size for group in self.units}
        return plan(self.scores(criterion), ratio=ratio / 100, scope=scope).kept

    def _score(self, criterion: str) -> Scores:
        return score(self.model, self.units, self.criteria[criterion], self.calibration)
