"""A ratio, a criterion and a bar for each group of channels: watch accuracy, cost and evidence of the cut follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from ..data import Split
from ..explain import NoEvidence, heatmaps, likeness
from ..measure import ACCURACY, Metric
from ..plots import BLUE, EVIDENCE, scaled
from ..prune import (
    Costs,
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
from .canvas import LiveFigure
from .explorer import RELEASED, Explorer

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
    likeness : float
        Rank correlation of the two.
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
    likeness: float
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
    """
    check_names(kept, scores.values, "kept")
    kept = {group.name: int(kept.get(group.name, group.size)) for group in scores.groups}
    chosen = lowest(scores, {group.name: group.size - kept[group.name] for group in scores.groups})
    smaller = cut(model, chosen)
    before = metric(smaller, split)
    if running_norms(smaller):
        recalibrate(smaller, split.images)
    value = metric(smaller, split)
    one = split.images[image : image + 1]
    with torch.no_grad():
        answer = model(one).argmax(1)
    maps = [heatmaps(net, one, answer, "lrp") for net in (model, smaller)]
    try:
        alike = likeness(*maps, "the original's heatmap")[0].item()
    except NoEvidence:
        alike = 0.0
    share = macs.share(chosen)
    text = f"{metric.name} {value:.1f} ({before:.1f} before re-calibration), {100 * share:.0f} % of the MACs"
    predicted = None
    if latency is not None:
        predicted = latency.of(chosen) / 1000
        text += f", predicted {predicted:.2f} of {latency.total / 1000:.2f} ms"
    text += f"; this image's evidence: rank correlation {alike:.2f} ↑"
    return View(kept, value, before, share, predicted, image, scaled(torch.cat(maps).numpy()), alike, text)


class Picture:
    """The image, its evidence before and after, and what is left of each group; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    sizes : mapping of str to int
        Group to its number of units.
    """

    def __init__(self, images: torch.Tensor, sizes: Mapping[str, int]):
        self.images, self.sizes = images, dict(sizes)
        figure = Figure(figsize=(11.5, 3.1), dpi=90, layout="constrained")
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 3.6))
        for ax, title in zip(axes, ("Image", "Evidence, original", "Evidence, cut")):
            ax.set(xticks=[], yticks=[], title=title)
        blank = np.zeros(images.shape[-2:])
        self.image = axes[0].imshow(blank, cmap="gray", vmin=0, vmax=1)
        self.maps = [ax.imshow(blank, cmap=EVIDENCE, vmin=-1, vmax=1) for ax in axes[1:3]]
        axes[1].set_xlabel("red for, blue against", fontsize=8)
        places = range(len(self.sizes))
        axes[3].bar(places, [100] * len(self.sizes), color="#DDDDDD", label="removed")
        self.bars = axes[3].bar(places, [100] * len(self.sizes), color=BLUE, label="kept")
        labels = [f"{place}: {name.removeprefix('features.')}" for place, name in enumerate(self.sizes)]
        axes[3].set_xticks(places, labels, rotation=60, ha="right", fontsize=7)
        axes[3].set(title="Groups from the input to the output", ylabel="units kept [%]", ylim=(0, 104))
        self.live = LiveFigure(figure, [self.image, *self.maps, *self.bars])

    def draw(self, view: View) -> bytes:
        """The picture of a view as PNG."""
        self.image.set_data(self.images[view.image].mean(0))
        for artist, heat in zip(self.maps, view.heatmaps):
            artist.set_data(heat)
        for bar, (name, size) in zip(self.bars, self.sizes.items()):
            bar.set_height(100 * view.kept[name] / size)
        return self.live.png()


class StructureExplorer(Explorer):
    """A ratio, a criterion and a scope set all groups; each bar can then be dragged on its own.

    Every setting is cut, re-calibrated and measured anew: on two cores the picture follows within a second after a
    slider is released, for MobileNet and 200 images.

    Parameters
    ----------
    model : nn.Module
        A classifier, in evaluation mode; not changed.
    calibration : Split
        To score on.
    split : Split
        A few hundred validation images and labels: the fixed subset for the metric, and the images to choose from.
    latency : Costs, optional
        From ``latency_costs``: adds the predicted latency.
    criteria : sequence of str
        Keys of ``CRITERIA`` for the menu; each is scored when it is first chosen.
    metric : Metric
    stops : sequence of (int, str, str), optional
        ``(per cent, criterion, scope)`` of the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, or a stop has an unknown criterion or scope.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: Split,
        split: Split,
        *,
        latency: Costs | None = None,
        criteria: Sequence[str] = ("taylor", "relevance", "l1", "random"),
        metric: Metric = ACCURACY,
        stops: Sequence[tuple[int, str, str]] | None = None,
    ):
        if len(split.images) == 0:
            raise ValueError("split is empty: at least one image is needed.")
        self.model, self.calibration, self.split, self.metric = model, calibration, split, metric
        self.units = find_units(model, split.images[:1])
        self.macs, self.latency = mac_costs(model, self.units, split.images), latency
        self.criteria = tuple(criteria)
        self.stops = tuple((ratio, self.criteria[0], "uniform") for ratio in (0, 30)) if stops is None else tuple(stops)
        for stop in self.stops:
            self._check(*stop)
        self._scores: dict[str, Scores] = {}
        sizes = {group.name: group.size for group in self.units}
        self.ratio = widgets.IntSlider(min=0, max=90, step=5, description="ratio [%]", **RELEASED)
        self.criterion = widgets.Dropdown(options=self.criteria, description="criterion")
        self.scope = widgets.Dropdown(options=SCOPES, description="scope")
        self.image = widgets.IntSlider(max=len(split.images) - 1, description="image", **RELEASED)
        bar = {
            "orientation": "vertical",
            "continuous_update": False,
            "layout": {"width": "34px", "height": "170px", "margin": "0"},
        }
        self.bars = {
            name: widgets.IntSlider(value=size, min=1, max=size, description=str(place), tooltip=name, **bar)
            for place, (name, size) in enumerate(sizes.items())
        }
        self._follow((self.image, *self.bars.values()))
        self._follow((self.ratio, self.criterion, self.scope), self._spread)
        self._picture = Picture(split.images, sizes)
        bars = widgets.HBox(list(self.bars.values()), layout={"min_height": "180px"})
        self._lay_out([widgets.HBox([self.ratio, self.criterion, self.scope]), self.image, bars])

    def update(self) -> View:
        """Compute and draw what the bars say."""
        view = self._compute({name: bar.value for name, bar in self.bars.items()}, self.criterion.value)
        return self._show(view, self._picture.draw(view))

    def set(
        self,
        ratio: int,
        criterion: str | None = None,
        scope: str = "uniform",
        image: int = 0,
        kept: Mapping[str, int] | None = None,
    ) -> View:
        """Choose a setting, by default with the criterion as it is; ``kept`` then moves the bars of single groups."""
        criterion = self.criterion.value if criterion is None else criterion
        self._check(ratio, criterion, scope)
        if not 0 <= image < len(self.split.images):
            raise ValueError(f"image must be from 0 to {len(self.split.images) - 1}, got {image}.")
        for name, count in (kept or {}).items():
            if name not in self.bars:
                raise ValueError(f"kept names group {name!r}, which does not exist; there are {', '.join(self.bars)}.")
            if not 1 <= count <= self.bars[name].max:
                raise ValueError(f"kept must be from 1 to {self.bars[name].max} for {name!r}, got {count}.")
        with self._held():
            self.ratio.value, self.criterion.value, self.scope.value = ratio, criterion, scope
            self.image.value = image
            for name, count in (self.kept_at(ratio, criterion, scope) | dict(kept or {})).items():
                self.bars[name].value = count
        return self.update()

    def kept_at(self, ratio: int, criterion: str, scope: str) -> dict[str, int]:
        """What a plan for the ratio, in per cent of all units, leaves of each group."""
        if ratio == 0:
            return {group.name: group.size for group in self.units}
        return plan(self.scores(criterion), ratio=ratio / 100, scope=scope).kept

    def scores(self, criterion: str) -> Scores:
        """The criterion's scores, made once."""
        if criterion not in self._scores:
            self._scores[criterion] = score(self.model, self.units, criterion, self.calibration)
        return self._scores[criterion]

    def _check(self, ratio: int, criterion: str, scope: str) -> None:
        if not isinstance(ratio, int) or not 0 <= ratio <= 90 or ratio % 5:
            raise ValueError(f"ratio must be a multiple of 5 from 0 to 90, in per cent, got {ratio!r}.")
        if criterion not in self.criteria:
            raise ValueError(f"criterion must be one of {', '.join(self.criteria)}, got {criterion!r}.")
        if scope not in SCOPES:
            raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}.")

    def _compute(self, kept: Mapping[str, int], criterion: str) -> View:
        scores = self.scores(criterion)
        return compute(self.model, scores, kept, self.split, self.image.value, self.macs, self.latency, self.metric)

    def _spread(self) -> None:
        """All bars follow the ratio, the criterion and the scope."""
        self.set(self.ratio.value, self.criterion.value, self.scope.value, self.image.value)

    def _stored(self):
        for ratio, criterion, scope in self.stops:
            view = self._compute(self.kept_at(ratio, criterion, scope), criterion)
            yield f"{ratio} % of the units gone, {criterion}, {scope}", view, self._picture.draw(view)
