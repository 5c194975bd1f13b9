"""A grid of attention heads: switch them off, by hand or by a criterion, and see what the transformer still does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from ..data import Split
from ..explain import heatmaps
from ..measure import accuracy
from ..nn import VisionTransformer
from ..plots import EVIDENCE, scaled
from ..prune import Costs, Scores, UnitGroup, find_heads, find_neurons, lowest_units, mac_costs, score, switched_off
from .canvas import LiveFigure
from .explorer import RELEASED, Explorer

SHARES = "Blues"  # what a head has of its criterion's total


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    shares : numpy.ndarray
        Shape ``(blocks, heads)``: each head's share of the criterion's total, in per cent; NaN where a block has fewer.
    heads : dict of str to list of int
        Group to the heads that are switched off.
    neurons : int
        That are on, in all blocks.
    value, macs : float
        Accuracy on the explorer's images in per cent, and the share of the operations that is left.
    answer, probability, image
        The class that is answered for the chosen image, with which probability, and which image that is.
    heatmaps : numpy.ndarray
        Of the image for the original's answer, by the original and as it is now: shape ``(2, H, W)``.
    text : str
        The numbers in one line.
    """

    shares: np.ndarray
    heads: dict[str, list[int]]
    neurons: int
    value: float
    macs: float
    answer: int
    probability: float
    image: int
    heatmaps: np.ndarray
    text: str


def compute(
    model: VisionTransformer,
    heads: Scores,
    neurons: Scores,
    off: Mapping[str, Sequence[int]],
    kept: int,
    split: Split,
    image: int,
    costs: Costs,
    classes: Sequence[str] | None = None,
) -> View:
    """Switch heads and the lowest neurons off, and measure.

    Parameters
    ----------
    model : VisionTransformer
        In evaluation mode; not changed.
    heads, neurons : Scores
        By one criterion.
    off : mapping of str to sequence of int
        Group of heads to those that are off; a block may lose all of them.
    kept : int
        Neurons that stay on, of all blocks together.
    split : Split
        Measured on.
    image : int
        Of the split: explained for the class that the original answers.
    costs : Costs
        Of heads and neurons.
    classes : sequence of str, optional
        Their names.
    """
    total = sum(group.size for group in neurons.groups)
    both = Scores(heads.criterion, heads.groups + neurons.groups, {**heads.values, **neurons.values})
    off = {name: sorted(units) for name, units in off.items() if len(units)}
    gone = off | lowest_units(neurons, (total - kept) / total)
    one = split.images[image : image + 1]
    with torch.no_grad():
        first = model(one).argmax(1)
    before = heatmaps(model, one, first, "attnlrp")
    with switched_off(model, both, gone):
        value = accuracy(model, split)
        with torch.no_grad():
            chance = model(one).softmax(1)[0]
        after = heatmaps(model, one, first, "attnlrp")
    answer, share = chance.argmax().item(), costs.share(gone)
    name = answer if classes is None else classes[answer]
    lost, all_heads = sum(map(len, off.values())), sum(group.size for group in heads.groups)
    text = (
        f"accuracy {value:.1f} %, {100 * share:.0f} % of the MACs, {lost} of {all_heads} heads off, "
        f"{kept} of {total} neurons on; this image: {name}, {100 * chance[answer]:.0f} %"
    )
    shares, maps = _grid(heads), scaled(torch.cat([before, after]).numpy())
    return View(shares, off, kept, value, share, answer, chance[answer].item(), image, maps, text)


def _grid(scores: Scores) -> np.ndarray:
    """Shares of the total in per cent, a row per block."""
    sizes = [scores[group.name].clamp(min=0) for group in scores.groups]
    total = sum(value.sum() for value in sizes).clamp(min=1e-30)
    grid = np.full((len(sizes), max(map(len, sizes))), np.nan)
    for row, value in zip(grid, sizes):
        row[: len(value)] = (100 * value / total).numpy()
    return grid


class Picture:
    """The image, its evidence before and now, and the grid of heads with crosses; made once and updated."""

    def __init__(self, images: torch.Tensor, groups: Sequence[UnitGroup]):
        self.images, self.names, most = images, [group.name for group in groups], max(map(len, groups))
        figure = Figure(figsize=(10.5, 2.9), dpi=90, layout="constrained")
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
        for ax, title in zip(axes, ("Image", "Evidence, original", "Evidence, now")):
            ax.set(xticks=[], yticks=[], title=title)
        blank = np.zeros(images.shape[-2:])
        self.image = axes[0].imshow(blank, cmap="gray", vmin=0, vmax=1)
        self.maps = [ax.imshow(blank, cmap=EVIDENCE, vmin=-1, vmax=1) for ax in axes[1:3]]
        axes[1].set_xlabel("red for, blue against", fontsize=8)
        self.grid = axes[3].imshow(np.zeros((len(groups), most)), cmap=SHARES, vmin=0, aspect="auto")
        self.crosses = axes[3].plot([], [], "x", color="#D55E00", ms=11, mew=2.5, ls="none")[0]
        axes[3].set(xticks=range(most), yticks=range(len(groups)), xlabel="head", ylabel="block")
        axes[3].set_title("Share of each head, x: off")
        self.live = LiveFigure(figure, [self.image, *self.maps, self.grid, self.crosses])

    def draw(self, view: View) -> bytes:
        """The picture of a view as PNG."""
        self.image.set_data(self.images[view.image].mean(0))
        for artist, heat in zip(self.maps, view.heatmaps):
            artist.set_data(heat)
        self.grid.set_data(np.nan_to_num(view.shares))
        self.grid.set_clim(0, np.nanmax(view.shares))
        places = [(unit, row) for row, name in enumerate(self.names) for unit in view.heads.get(name, ())]
        self.crosses.set_data([place[0] for place in places], [place[1] for place in places])
        return self.live.png()


class HeadExplorer(Explorer):
    """Click a head to switch it off, or let a criterion choose how many heads and neurons stay.

    Everything is measured anew: on two cores, for the shipped transformer and 200 images, the picture follows within a
    second.

    Parameters
    ----------
    model : VisionTransformer
        In evaluation mode; not changed.
    calibration : Split
        To score on.
    split : Split
        A few hundred validation images and labels: the fixed subset for the accuracy, and the images to choose from.
    criteria : sequence of str
        Keys of ``CRITERIA`` for the menu; each is scored when it is first chosen.
    classes : sequence of str, optional
        Names of the classes.
    stops : sequence of (int, int, str), optional
        ``(heads, neurons, criterion)`` of the stored pictures: how many stay on.

    Raises
    ------
    ValueError
        If the split is empty, or a stop is out of range.
    """

    def __init__(
        self,
        model: VisionTransformer,
        calibration: Split,
        split: Split,
        *,
        criteria: Sequence[str] = ("attnlrp", "taylor", "l2", "random"),
        classes: Sequence[str] | None = None,
        stops: Sequence[tuple[int, int, str]] | None = None,
    ):
        if len(split.images) == 0:
            raise ValueError("split is empty: at least one image is needed.")
        self.model, self.calibration, self.split = model, calibration, split
        self.criteria, self.classes = tuple(criteria), classes
        self.units = {"heads": find_heads(model), "neurons": find_neurons(model)}
        self.totals = {kind: sum(group.size for group in groups) for kind, groups in self.units.items()}
        self.costs = mac_costs(model, [*self.units["heads"], *self.units["neurons"]], split.images[:1])
        whole = (*self.totals.values(), self.criteria[0])
        self.stops = (whole, (self.totals["heads"] // 2, *whole[1:])) if stops is None else tuple(stops)
        for stop in self.stops:
            self._check(*stop)
        self._scores: dict[tuple[str, str], Scores] = {}
        self.heads, self.neurons = (
            widgets.IntSlider(value=total, min=0, max=total, description=kind, **RELEASED)
            for kind, total in self.totals.items()
        )
        self.neurons.step = max(1, self.totals["neurons"] // 32)
        self.criterion = widgets.Dropdown(options=self.criteria, description="criterion")
        self.image = widgets.IntSlider(max=len(split.images) - 1, description="image", **RELEASED)
        layout = {"width": "74px", "height": "26px"}
        self.buttons = {
            (group.name, unit): widgets.ToggleButton(value=True, layout=layout, tooltip=f"{group.name}, head {unit}")
            for group in self.units["heads"]
            for unit in range(group.size)
        }
        self._follow((self.neurons, self.image, *self.buttons.values()))
        self._follow((self.heads, self.criterion), self._spread)
        self._picture = Picture(split.images, self.units["heads"])
        rows = [
            widgets.HBox(
                [widgets.HTML(f"block {place}&nbsp;"), *(self.buttons[group.name, n] for n in range(group.size))]
            )
            for place, group in enumerate(self.units["heads"])
        ]
        sliders = widgets.VBox([self.criterion, self.heads, self.neurons, self.image])
        self._lay_out([widgets.HBox([widgets.VBox(rows), sliders])])

    def update(self) -> View:
        """Compute and draw what buttons and sliders say."""
        off: dict[str, list[int]] = {}
        for (name, unit), button in self.buttons.items():
            if not button.value:
                off.setdefault(name, []).append(unit)
        view = self._compute(off, self.neurons.value, self.criterion.value)
        colours = mpl.colormaps[SHARES]
        for row, group in zip(view.shares, self.units["heads"]):
            for unit in range(group.size):
                button = self.buttons[group.name, unit]
                button.description = f"{row[unit]:.1f} %" if button.value else "off"
                light = colours(0.6 * row[unit] / np.nanmax(view.shares))
                button.style.button_color = mpl.colors.to_hex(light) if button.value else "#DDDDDD"
        return self._show(view, self._picture.draw(view))

    def set(
        self,
        heads: int | None = None,
        neurons: int | None = None,
        criterion: str | None = None,
        image: int = 0,
        off: Mapping[str, Sequence[int]] | None = None,
    ) -> View:
        """Choose how many heads and neurons stay on by a criterion; ``off`` then switches single heads off."""
        heads = self.totals["heads"] if heads is None else heads
        neurons = self.totals["neurons"] if neurons is None else neurons
        criterion = self.criterion.value if criterion is None else criterion
        self._check(heads, neurons, criterion)
        if not 0 <= image < len(self.split.images):
            raise ValueError(f"image must be from 0 to {len(self.split.images) - 1}, got {image}.")
        for name, units in (off or {}).items():
            for unit in units:
                if (name, unit) not in self.buttons:
                    known = ", ".join(f"{group.name} (0 to {group.size - 1})" for group in self.units["heads"])
                    raise ValueError(f"off names head {unit} of {name!r}, which does not exist; there are {known}.")
        with self._held():
            self.heads.value, self.neurons.value = heads, neurons
            self.criterion.value, self.image.value = criterion, image
            gone = self.off_at(heads, criterion)
            for (name, unit), button in self.buttons.items():
                button.value = unit not in [*gone.get(name, ()), *(off or {}).get(name, ())]
        return self.update()

    def off_at(self, heads: int, criterion: str) -> dict[str, list[int]]:
        """Which heads are off when so many stay."""
        total = self.totals["heads"]
        return lowest_units(self.scores("heads", criterion), (total - heads) / total)

    def scores(self, kind: str, criterion: str) -> Scores:
        """The criterion's scores of heads or neurons, made once."""
        if (kind, criterion) not in self._scores:
            self._scores[kind, criterion] = score(self.model, self.units[kind], criterion, self.calibration)
        return self._scores[kind, criterion]

    def _check(self, heads: int, neurons: int, criterion: str) -> None:
        for (name, total), count in zip(self.totals.items(), (heads, neurons)):
            if not isinstance(count, int) or not 0 <= count <= total:
                raise ValueError(f"{name} must be a whole number from 0 to {total}, got {count!r}.")
        if criterion not in self.criteria:
            raise ValueError(f"criterion must be one of {', '.join(self.criteria)}, got {criterion!r}.")

    def _compute(self, off: Mapping[str, Sequence[int]], neurons: int, criterion: str) -> View:
        heads, others = (self.scores(kind, criterion) for kind in self.units)
        image = self.image.value
        return compute(self.model, heads, others, off, neurons, self.split, image, self.costs, self.classes)

    def _spread(self) -> None:
        """All buttons follow the number of heads and the criterion."""
        self.set(self.heads.value, self.neurons.value, self.criterion.value, self.image.value)

    def _stored(self):
        for heads, neurons, criterion in self.stops:
            view = self._compute(self.off_at(heads, criterion), neurons, criterion)
            yield f"{heads} heads and {neurons} neurons on, {criterion}", view, self._picture.draw(view)
