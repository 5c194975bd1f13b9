"""Where to cut a range: rounding against clipping, and what a network makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..data import Split, as_split
from ..explain import Method
from ..measure import ACCURACY, Metric
from ..plots import BLUE, RED
from ..quantize import (
    CALIBRATORS,
    SCHEMES,
    Calibrator,
    Grid,
    Statistics,
    calibrate,
    grid_of,
    percentile,
    rounding_and_clipping,
    simulate_on_grids,
)
from .canvas import Drawing, LiveFigure, Panels
from .controls import Menu, Stops, Tick, Whole, image_slider, rows_of
from .evidence import compared
from .explorer import Explorer

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
    drift : float
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
    drift: float
    text: str


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
    calibrator: Calibrator | str = "percentile",
    metric: Metric = ACCURACY,
    method: Method | str = "gradient x input",
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
        Per cent of the values inside of the grid, for the calibrator ``"percentile"``.
    bits : int
    scheme : {"affine", "symmetric"}
    everywhere : bool
        Whether the same rule holds for all layers, or for this one alone.
    calibrator : Calibrator or str
        Chooses the range.
    metric : Metric
    method : Method or str
        Of the heatmaps.

    Returns
    -------
    View
    """
    row = CALIBRATORS.find(calibrator, "calibrator")
    options = {"percent": share} if row.function is percentile else {}
    ranges = {name: row.function(seen[name], bits, scheme, **options) for name in (seen if everywhere else [layer])}
    chosen = {name: grid_of(*bounds, bits=bits, scheme=scheme) for name, bounds in ranges.items()}
    quantized, grid = simulate_on_grids(model, {}, chosen), chosen[layer]
    rounding, clipping = rounding_and_clipping(seen[layer], grid)
    saturated = seen[layer].shares()[grid.saturated(seen[layer].middles)].sum().item()
    value = metric(quantized, split)
    maps, drift = compared(model, quantized, split.inputs[image : image + 1], method)
    where = "all layers" if everywhere else "this layer alone"
    text = (
        f"{where}: {metric.name} {value:.1f}; step {grid.scale:.3g}; error {rounding + clipping:.2g} = rounding "
        f"{rounding:.2g} + clipping {clipping:.2g}; {100 * saturated:.2g} % saturated; this image's evidence: "
        f"drift {drift:.2f} ↓"
    )
    return View(layer, grid, rounding, clipping, saturated, value, image, maps, drift, text)


class Picture(Drawing[View]):
    """The histogram with its clip, the two errors, the image, its evidence before and after, and the difference.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    seen : mapping of str to Statistics
    """

    BINS = 128

    def __init__(self, images: torch.Tensor, seen: Mapping[str, Statistics]):
        self.seen = seen
        figure = Figure(figsize=(13, 2.8), dpi=90, layout="constrained")
        axes = figure.subplots(1, 6, width_ratios=(3, 1.1, 1, 1, 1, 1))
        self.counts = axes[0].stairs(np.ones(self.BINS), np.linspace(-1, 1, self.BINS + 1), fill=True, color="#BBBBBB")
        self.ends = [axes[0].axvline(0, color=BLUE, linewidth=2) for _ in range(2)]
        axes[0].set(title="What the layer reads", yscale="log", ylim=(1e-6, 1), xlim=(-1.02, 1.02))
        axes[0].set(xlabel="value / largest size; blue: ends of the grid", ylabel="share of the values")
        self.errors = axes[1].bar((0, 1), (1, 1), color=(BLUE, RED))
        axes[1].set(title="Error", yscale="log", ylim=(1e-6, 1), xticks=(0, 1), xticklabels=("rounding", "clipping"))
        axes[1].set_ylabel("MSE / mean square  (↓ better)")
        titles = ("Image", "Evidence, float", "quantized", "what changed")
        self.panels = Panels(axes[2:], titles, images)
        self.live = LiveFigure(figure, [self.counts, *self.ends, *self.errors, *self.panels.artists])

    def draw(self, view: View) -> bytes:
        seen = self.seen[view.layer]
        shares = seen.shares()
        self.counts.set_data(shares.view(self.BINS, -1).sum(1).numpy())
        for line, end in zip(self.ends, view.grid.range):
            place = float(np.clip(end.item() / seen.limit, -1, 1))
            line.set_xdata([place, place])
        power = float((shares * seen.middles.square()).sum())
        for bar, error in zip(self.errors, (view.rounding, view.clipping)):
            bar.set_height(max(error / power, 1e-9))
        before, after = view.heatmaps
        self.panels.show(view.image, before, after, after - before)
        return self.live.png()


class CalibrationExplorer(Explorer[View]):
    """Cut the range of what a layer reads, choose bits and scheme, and see error, accuracy and evidence follow.

    Every setting is simulated and measured anew: on two cores the picture follows within a second after a slider is
    released, for MobileNet and 100 images.

    Parameters
    ----------
    model : nn.Module
        A float classifier, in evaluation mode; not changed.
    calibration : torch.Tensor
        Images ``(N, C, H, W)`` whose activations are counted.
    split : Split, or data of another form
        A hundred validation images and labels: the fixed subset for the metric, and the images to choose from.
    calibrators : sequence of Calibrator or str
        For the menu, the first is its default. The share of values inside is for ``"percentile"``.
    metric : Metric
    method : Method or str
        Of the heatmaps.
    stops : sequence of tuple, or mapping of str to tuple, optional
        ``(layer, share, bits, scheme, everywhere, image, calibrator)`` of the stored pictures; what is left out is as
        :meth:`set` has it.

    Raises
    ------
    ValueError
        If the split is empty, or a stop lies outside of the controls.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    >>> split = xp.data.mnist("validation", 4)
    >>> images = torch.rand(8, 1, 28, 28)
    >>> explorer = xp.widgets.CalibrationExplorer(model, images, split, method="gradient x input")
    >>> view = explorer.set("1", bits=4)
    >>> view.layer, view.grid.most - view.grid.least
    ('1', 15)
    """

    title = "Calibration: where to cut a range"
    live = False

    def __init__(
        self,
        model: nn.Module,
        calibration: torch.Tensor,
        split: Split,
        *,
        calibrators: Sequence[Calibrator | str] = ("percentile", *CALIBRATORS),
        metric: Metric = ACCURACY,
        method: Method | str = "gradient x input",
        stops: Mapping[str, tuple] | Sequence[tuple] | None = None,
    ):
        split = as_split(split, name="split")
        image = image_slider(split)
        self.model, self.split, self.metric, self.method = model, split, metric, method
        self.calibrators = rows_of("a calibrator", Calibrator, CALIBRATORS, calibrators, "calibrators")
        self.seen = calibrate(model, calibration)
        layers = tuple(self.seen)
        middle = layers[len(layers) // 2]
        controls = {
            "layer": Menu("layer", "whose numbers are shown", layers, middle),
            "share": Stops("inside [%]", "per cent of the values inside of the grid", value=SHARES[-1], options=SHARES),
            "bits": Whole("bits", "of a number", value=BITS[-1], min=BITS[0], max=BITS[-1]),
            "scheme": Menu("scheme", "whether zero lies in the middle of the grid", SCHEMES, "affine"),
            "everywhere": Tick("all layers by this rule", "or the chosen layer alone", indent=False),
            "image": image,
            "calibrator": Menu("calibrator", "what chooses the range", self.calibrators),
        }
        self.picture = Picture(split.inputs, self.seen)
        super().__init__(controls, ((middle,),) if stops is None else stops)

    @classmethod
    def example(cls) -> CalibrationExplorer:
        """A MobileNet."""
        images = data.fashion_mnist("calibration", 256).inputs
        return cls(zoo.load("mobilenet-fashion-mnist"), images, data.fashion_mnist("validation", 100))

    def compute(
        self, layer: str, share: float, bits: int, scheme: str, everywhere: bool, image: int, calibrator: str
    ) -> View:
        rule = (layer, share, bits, scheme, everywhere, self.calibrators[calibrator])
        return compute(self.model, self.seen, self.split, image, *rule, self.metric, self.method)

    def _show(self, setting: dict) -> View:
        view = super()._show(setting)
        self.controls["share"].disabled = self.calibrators[setting["calibrator"]].function is not percentile
        return view
