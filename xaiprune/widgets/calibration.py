"""Where to cut a range: rounding against clipping, and what a network makes of it."""

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
from ..plots import BLUE, EVIDENCE, RED, scaled
from ..quantize import SCHEMES, Grid, Statistics, calibrate, grid_of, on_numbers, percentile, rounding_and_clipping
from .canvas import LiveFigure
from .explorer import RELEASED, Explorer

#: Stops of the clip, in per cent of the values that stay inside.
SHARES = (90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99, 100.0)
BITS = range(2, 9)


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    layer : str
    grid : Grid
        Of what the layer reads.
    rounding, clipping : float
        Their parts of the mean squared error.
    saturated : float
        Share of the layer's values outside of the grid.
    value : float
        The metric on the explorer's images.
    image : int
    heatmaps : numpy.ndarray
        Of the image for the float model's answer, by it and by the quantized model: shape ``(2, H, W)``.
    likeness : float
        Rank correlation of the two.
    text : str
        The numbers in one line.
    """

    layer: str
    grid: Grid
    rounding: float
    clipping: float
    saturated: float
    value: float
    image: int
    heatmaps: np.ndarray
    likeness: float
    text: str


def grids(
    seen: Mapping[str, Statistics], layers: Sequence[str], share: float, bits: int, scheme: str
) -> dict[str, Grid]:
    """For each layer the grid that holds a share of its values, in per cent."""
    ranges = {name: percentile(seen[name], bits, scheme, share) for name in layers}
    return {name: grid_of(*bounds, bits=bits, scheme=scheme) for name, bounds in ranges.items()}


def compute(
    model: nn.Module,
    seen: Mapping[str, Statistics],
    split: Split,
    image: int,
    layer: str,
    share: float,
    bits: int,
    scheme: str,
    everywhere: bool,
    metric: Metric = ACCURACY,
) -> View:
    """Quantize what one layer reads, or all of them, and measure.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; not changed. Weights stay in float.
    seen : mapping of str to Statistics
        From ``calibrate``.
    split : Split
        Measured on.
    image : int
        Of the split: explained for the class that the float model answers.
    layer : str
        Whose numbers are shown.
    share : float
        Per cent of the values inside of the grid.
    bits : int
    scheme : {"affine", "symmetric"}
    everywhere : bool
        Whether the same rule holds for all layers, or for this one alone.
    metric : Metric
    """
    chosen = grids(seen, list(seen) if everywhere else [layer], share, bits, scheme)
    quantized, grid = on_numbers(model, {}, chosen), chosen[layer]
    rounding, clipping = rounding_and_clipping(seen[layer], grid)
    saturated = seen[layer].shares()[grid.saturated(seen[layer].middles)].sum().item()
    value = metric(quantized, split)
    one = split.images[image : image + 1]
    with torch.no_grad():
        answer = model(one).argmax(1)
    maps = [heatmaps(net, one, answer, "lrp") for net in (model, quantized)]
    try:
        alike = likeness(*maps, "the float model's heatmap")[0].item()
    except NoEvidence:
        alike = 0.0
    where = "all layers" if everywhere else "this layer alone"
    text = (
        f"{where}: {metric.name} {value:.1f}; step {grid.scale:.3g}; error {rounding + clipping:.2g} = rounding "
        f"{rounding:.2g} + clipping {clipping:.2g}; {100 * saturated:.2g} % saturated; this image's evidence: rank "
        f"correlation {alike:.2f} ↑"
    )
    shown = scaled(torch.cat(maps).numpy())
    return View(layer, grid, rounding, clipping, saturated, value, image, shown, alike, text)


class Picture:
    """The histogram with its clip, the two errors, the image, its evidence before and after, and the difference.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    seen : mapping of str to Statistics
    """

    BINS = 128

    def __init__(self, images: torch.Tensor, seen: Mapping[str, Statistics]):
        self.images, self.seen = images, seen
        figure = Figure(figsize=(13, 2.8), dpi=90, layout="constrained")
        axes = figure.subplots(1, 6, width_ratios=(3, 1.1, 1, 1, 1, 1))
        self.counts = axes[0].stairs(np.ones(self.BINS), np.linspace(-1, 1, self.BINS + 1), fill=True, color="#BBBBBB")
        self.ends = [axes[0].axvline(0, color=BLUE, linewidth=2) for _ in range(2)]
        axes[0].set(title="What the layer reads", yscale="log", ylim=(1e-6, 1), xlim=(-1.02, 1.02))
        axes[0].set(xlabel="value / largest size; blue: ends of the grid", ylabel="share of the values")
        self.errors = axes[1].bar((0, 1), (1, 1), color=(BLUE, RED))
        axes[1].set(title="Error", yscale="log", ylim=(1e-6, 1), xticks=(0, 1), xticklabels=("rounding", "clipping"))
        axes[1].set_ylabel("MSE / mean square  (↓ better)")
        blank = np.zeros(images.shape[-2:])
        for ax, title in zip(axes[2:], ("Image", "Evidence, float", "quantized", "what changed")):
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=10)
        self.image = axes[2].imshow(blank, cmap="gray", vmin=0, vmax=1)
        self.maps = [ax.imshow(blank, cmap=EVIDENCE, vmin=-1, vmax=1) for ax in axes[3:]]
        self.live = LiveFigure(figure, [self.counts, *self.ends, *self.errors, self.image, *self.maps])

    def draw(self, view: View) -> bytes:
        """The picture of a view as PNG."""
        seen = self.seen[view.layer]
        shares = seen.shares()
        self.counts.set_data(shares.view(self.BINS, -1).sum(1).numpy())
        for line, end in zip(self.ends, view.grid.range):
            place = float(np.clip(end.item() / seen.limit, -1, 1))
            line.set_xdata([place, place])
        power = float((shares * seen.middles.square()).sum())
        for bar, error in zip(self.errors, (view.rounding, view.clipping)):
            bar.set_height(max(error / power, 1e-9))
        self.image.set_data(self.images[view.image].mean(0))
        before, after = view.heatmaps
        for artist, heat in zip(self.maps, (before, after, after - before)):
            artist.set_data(heat)
        return self.live.png()


class CalibrationExplorer(Explorer):
    """Cut the range of what a layer reads, choose bits and scheme, and see error, accuracy and evidence follow.

    Every setting is simulated and measured anew: on two cores the picture follows within a second after a slider is
    released, for MobileNet and 100 images.

    Parameters
    ----------
    model : nn.Module
        A float classifier, in evaluation mode; not changed.
    calibration : torch.Tensor
        Images ``(N, C, H, W)`` whose activations are counted.
    split : Split
        A hundred validation images and labels: the fixed subset for the metric, and the images to choose from.
    metric : Metric
    stops : sequence of tuple, optional
        ``(layer, share, bits, scheme, everywhere)`` of the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, or a stop lies outside of the controls.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: torch.Tensor,
        split: Split,
        *,
        metric: Metric = ACCURACY,
        stops: Sequence[tuple] | None = None,
    ):
        if len(split.images) == 0:
            raise ValueError("split is empty: at least one image is needed.")
        self.model, self.split, self.metric = model, split, metric
        self.seen = calibrate(model, calibration)
        self.layers = tuple(self.seen)
        first = self.layers[len(self.layers) // 2]
        self.stops = ((first, 100.0, 8, "affine", False),) if stops is None else tuple(stops)
        for stop in self.stops:
            self._check(*stop, 0)
        style = {"style": RELEASED["style"]}
        self.layer = widgets.Dropdown(options=self.layers, value=first, description="layer", **style)
        self.share = widgets.SelectionSlider(options=SHARES, value=100.0, description="inside [%]", **RELEASED)
        self.bits = widgets.IntSlider(value=8, min=BITS[0], max=BITS[-1], description="bits", **RELEASED)
        self.scheme = widgets.Dropdown(options=SCHEMES, value="affine", description="scheme", **style)
        self.everywhere = widgets.Checkbox(description="all layers by this rule")
        self.image = widgets.IntSlider(max=len(split.images) - 1, description="image", **RELEASED)
        self.controls = (self.layer, self.share, self.bits, self.scheme, self.everywhere, self.image)
        self._picture = Picture(split.images, self.seen)
        self._follow(self.controls)
        self._lay_out([widgets.HBox(self.controls[:3]), widgets.HBox(self.controls[3:])])

    def update(self) -> View:
        """Compute and draw what the controls say."""
        view = self._compute(*(control.value for control in self.controls))
        return self._show(view, self._picture.draw(view))

    def set(
        self,
        layer: str,
        share: float = 100.0,
        bits: int = 8,
        scheme: str = "affine",
        everywhere: bool = False,
        image: int = 0,
    ) -> View:
        """Choose a setting."""
        values = (layer, share, bits, scheme, everywhere, image)
        self._check(*values)
        with self._held():
            for control, value in zip(self.controls, values):
                control.value = value
        return self.update()

    def _check(self, layer: str, share: float, bits: int, scheme: str, everywhere: bool, image: int) -> None:
        if layer not in self.layers:
            raise ValueError(f"layer must be one of {', '.join(self.layers)}, got {layer!r}.")
        if share not in SHARES:
            raise ValueError(f"share must be one of {', '.join(map(str, SHARES))} per cent, got {share!r}.")
        if bits not in BITS:
            raise ValueError(f"bits must be from {BITS[0]} to {BITS[-1]}, got {bits!r}.")
        if scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}.")
        if not 0 <= image < len(self.split.images):
            raise ValueError(f"image must be from 0 to {len(self.split.images) - 1}, got {image}.")

    def _compute(self, layer: str, share: float, bits: int, scheme: str, everywhere: bool, image: int) -> View:
        rule = (layer, share, bits, scheme, everywhere)
        return compute(self.model, self.seen, self.split, image, *rule, self.metric)

    def _stored(self):
        for layer, share, bits, scheme, everywhere in self.stops:
            view = self._compute(layer, share, bits, scheme, everywhere, 0)
            yield f"{layer}, {share:g} % inside, {bits} bits, {scheme}", view, self._picture.draw(view)
