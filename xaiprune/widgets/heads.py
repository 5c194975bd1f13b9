"""A grid of attention heads: switch them off, by hand or by a criterion, and see what the transformer still does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from .. import data, zoo
from ..core import whole
from ..data import Split, as_split
from ..explain import Method, heatmaps
from ..measure import accuracy
from ..plots import scale_heatmaps
from ..prune import (
    CRITERIA,
    Costs,
    Criterion,
    Scores,
    UnitGroup,
    ablated,
    find_heads,
    find_neurons,
    lowest_units,
    mac_costs,
    score,
)
from .canvas import Drawing, LiveFigure, Panels
from .controls import Bank, Control, Menu, Whole, image_slider, rows_of
from .explorer import Explorer, _wrapped

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
    model: zoo.VisionTransformer,
    heads: Scores,
    neurons: Scores,
    off: Mapping[str, Sequence[int]],
    kept: int,
    split: Split,
    image: int,
    costs: Costs,
    classes: Sequence[str] | None = None,
    method: Method | str = "gradient x input",
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
    method : Method or str
        Of the heatmaps.

    Returns
    -------
    View
    """
    total = sum(group.size for group in neurons.groups)
    both = replace(heads, groups=heads.groups + neurons.groups, values={**heads.values, **neurons.values})
    off = {name: sorted(set(units)) for name, units in off.items() if len(units)}
    gone = off | lowest_units(neurons, (total - kept) / total)
    one = split.inputs[image : image + 1]
    with torch.no_grad():
        first = model(one).argmax(1)
    before = heatmaps(model, one, first, method)
    with ablated(model, both, gone):
        value = accuracy(model, split)
        with torch.no_grad():
            chance = model(one).softmax(1)[0]
        after = heatmaps(model, one, first, method)
    answer, share = chance.argmax().item(), costs.share(gone)
    name = answer if classes is None else classes[answer]
    lost, all_heads = sum(map(len, off.values())), sum(group.size for group in heads.groups)
    text = (
        f"accuracy {value:.1f} %, {100 * share:.0f} % of the MACs, {lost} of {all_heads} heads off, "
        f"{kept} of {total} neurons on; this image: {name}, {100 * chance[answer]:.0f} %"
    )
    shares, maps = _grid(heads), scale_heatmaps(torch.cat([before, after]).numpy())
    return View(shares, off, kept, value, share, answer, chance[answer].item(), image, maps, text)


def _grid(scores: Scores) -> np.ndarray:
    """Shares of the total in per cent, a row per block."""
    sizes = [scores[group.name].clamp(min=0) for group in scores.groups]
    total = sum(value.sum() for value in sizes).clamp(min=1e-30)
    grid = np.full((len(sizes), max(map(len, sizes))), np.nan)
    for row, value in zip(grid, sizes):
        row[: len(value)] = (100 * value / total).numpy()
    return grid


class Picture(Drawing[View]):
    """The image, its evidence before and now, and the grid of heads with crosses; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    groups : sequence of UnitGroup
        The heads, a group for each block.
    """

    def __init__(self, images: torch.Tensor, groups: Sequence[UnitGroup]):
        self.names, most = [group.name for group in groups], max(map(len, groups))
        figure = Figure(figsize=(10.5, 2.9), dpi=90, layout="constrained")
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
        self.panels = Panels(axes[:3], ("Image", "Evidence, original", "Evidence, now"), images)
        axes[1].set_xlabel("red for, blue against", fontsize=8)
        self.grid = axes[3].imshow(np.zeros((len(groups), most)), cmap=SHARES, vmin=0, aspect="auto")
        self.crosses = axes[3].plot([], [], "x", color="#D55E00", ms=11, mew=2.5, ls="none")[0]
        axes[3].set(xticks=range(most), yticks=range(len(groups)), xlabel="head", ylabel="block")
        axes[3].set_title("Share of each head, x: off")
        self.live = LiveFigure(figure, [*self.panels.artists, self.grid, self.crosses])

    def draw(self, view: View) -> bytes:
        self.panels.show(view.image, *view.heatmaps)
        self.grid.set_data(np.nan_to_num(view.shares))
        self.grid.set_clim(0, np.nanmax(view.shares))
        places = [(unit, row) for row, name in enumerate(self.names) for unit in view.heads.get(name, ())]
        self.crosses.set_data([place[0] for place in places], [place[1] for place in places])
        return self.live.png()


class Switches(Control, widgets.HBox):
    """A button for each head of a block; its value is the list of heads that are off.

    Parameters
    ----------
    label : str
    group : UnitGroup
        The block's heads.
    """

    def __init__(self, label: str, group: UnitGroup):
        looks = {"value": True, "layout": {"width": "74px", "height": "26px"}}
        self.buttons = [widgets.ToggleButton(tooltip=f"{group.name}, head {n}", **looks) for n in range(group.size)]
        self.default = []
        super().__init__([widgets.HTML(f"{label}&nbsp;"), *self.buttons])

    @property
    def value(self) -> list[int]:
        """The heads that are off."""
        return [head for head, button in enumerate(self.buttons) if not button.value]

    @value.setter
    def value(self, heads: Sequence[int]) -> None:
        for head, button in enumerate(self.buttons):
            button.value = head not in heads

    def check(self, heads: Sequence[int], name: str) -> list[int]:
        return [whole(head, name, 0, len(self.buttons) - 1) for head in heads]

    def follow(self, action: Callable[[], None], live: bool) -> None:
        for button in self.buttons:
            button.observe(lambda change: action(), "value")


class HeadExplorer(Explorer[View]):
    """Click a head to switch it off, or let a criterion choose how many heads and neurons stay.

    Everything is measured anew: on two cores, for the shipped transformer and 200 images, the picture follows within a
    second.

    Parameters
    ----------
    model : VisionTransformer
        In evaluation mode; not changed.
    calibration : Split, or data of another form
        To score on.
    split : Split, or data of another form
        A few hundred validation images and labels: the fixed subset for the accuracy, and the images to choose from.
    criteria : sequence of Criterion or str
        For the menu, the first is its default; each is scored when it is first chosen.
    classes : sequence of str, optional
        Names of the classes.
    method : Method or str
        Of the heatmaps.
    stops : sequence of tuple, or mapping of str to tuple, optional
        ``(heads, neurons, criterion, image, off)`` of the stored pictures: how many stay on, and the heads of each
        block that are off besides; what is left out is as :meth:`set` has it.

    Raises
    ------
    ValueError
        If the split is empty, or a stop is out of range.

    Examples
    --------
    >>> split = xp.data.fashion_mnist("validation", 4)
    >>> explorer = xp.widgets.HeadExplorer(xp.nn.small_transformer().eval(), split, split, criteria=["l2"])
    >>> view = explorer.set(heads=10)
    >>> sum(map(len, view.heads.values())), view.macs < 1  # heads that are off; operations that are left
    (6, True)
    """

    title = "Heads: of a vision transformer"
    live = False

    def __init__(
        self,
        model: zoo.VisionTransformer,
        calibration: Split,
        split: Split,
        *,
        criteria: Sequence[Criterion | str] = ("taylor", "l2", "random"),
        classes: Sequence[str] | None = None,
        method: Method | str = "gradient x input",
        stops: Mapping[str, tuple] | Sequence[tuple] | None = None,
    ):
        calibration = as_split(calibration, name="calibration")
        split = as_split(split, name="split")
        image = image_slider(split)
        self.model, self.calibration, self.split = model, calibration, split
        self.classes, self.method = classes, method
        self.criteria = rows_of("a criterion", Criterion, CRITERIA, criteria, "criteria")
        self.units = {"heads": find_heads(model), "neurons": find_neurons(model)}
        self.totals = {kind: sum(group.size for group in groups) for kind, groups in self.units.items()}
        self.costs = mac_costs(model, [*self.units["heads"], *self.units["neurons"]], split.inputs[:1])
        self.scores = cache(self._score)
        heads, neurons = self.totals.values()
        step = max(1, neurons // 32)
        blocks = {group.name: Switches(f"block {n}", group) for n, group in enumerate(self.units["heads"])}
        controls = {
            "heads": Whole("heads", "of all blocks that stay on", value=heads, min=0, max=heads),
            "neurons": Whole("neurons", "of all blocks that stay on", value=neurons, min=0, max=neurons, step=step),
            "criterion": Menu("criterion", "what says which of them matter", self.criteria),
            "image": image,
            "off": Bank(blocks, flex_flow="column"),
        }
        column = [controls[name] for name in ("criterion", "heads", "neurons", "image")]
        for control in column:
            control.style.description_width = "70px"
        self.picture = Picture(split.inputs, self.units["heads"])
        stops = ((heads, neurons), (heads // 2, neurons)) if stops is None else stops
        super().__init__(controls, stops, [_wrapped([controls["off"], widgets.VBox(column)])])

    @classmethod
    def example(cls) -> HeadExplorer:
        """A vision transformer."""
        splits = data.fashion_mnist("calibration", 300), data.fashion_mnist("validation", 200)
        return cls(zoo.load("vit-fashion-mnist"), *splits, classes=data.FASHION_MNIST_CLASSES)

    def settle(self, setting: dict, moved: str | None) -> dict:
        """All buttons follow the number of heads and the criterion; heads that code switches off come on top."""
        if moved not in (None, "heads", "criterion"):
            return setting
        off = self.off_at(setting["heads"], setting["criterion"])
        given = {} if moved else setting["off"]
        return setting | {"off": {name: [*off.get(name, ()), *given.get(name, ())] for name in {**off, **given}}}

    def compute(self, heads: int, neurons: int, criterion: str, image: int, off: Mapping[str, Sequence[int]]) -> View:
        scores = (self.scores(kind, criterion) for kind in self.units)
        return compute(self.model, *scores, off, neurons, self.split, image, self.costs, self.classes, self.method)

    def _show(self, setting: dict) -> View:
        view = super()._show(setting)
        for row, block in zip(view.shares, self.controls["off"].controls.values()):
            for share, button in zip(row, block.buttons):
                button.description = f"{share:.1f} %" if button.value else "off"
        return view

    def off_at(self, heads: int, criterion: str) -> dict[str, list[int]]:
        """Which heads are off when so many stay.

        Parameters
        ----------
        heads : int
            How many stay, of all blocks.
        criterion : str
            What says which matter.

        Returns
        -------
        dict of str to list of int
            Group name to its heads that are off.
        """
        total = self.totals["heads"]
        return lowest_units(self.scores("heads", criterion), (total - heads) / total)

    def _score(self, kind: str, criterion: str) -> Scores:
        return score(self.model, self.units[kind], self.criteria[criterion], self.calibration)
