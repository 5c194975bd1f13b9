"""How sure must a branch be before an image may leave: accuracy and operations, and which images leave."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..core import nonempty
from ..data import Split, as_split
from ..dynamic import EXIT, Dynamic, exits_early, fit_branch, route_macs, split_at
from ..measure import accuracy, macs, predict
from ..plots import BLUE, RED
from .canvas import Drawing, LiveFigure
from .controls import Stops
from .explorer import Explorer

#: Stops of the threshold; at 1 no image leaves.
THRESHOLDS = (
    *(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99),
    *(0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0),
)
#: Images in each of the two rows.
SHOWN = 8


@dataclass(frozen=True)
class View:
    """What the explorer shows at one threshold.

    Attributes
    ----------
    threshold : float
    shares : dict of str to float
        Way to the share of images that go it.
    accuracy : float
        In per cent.
    mean, worst : float
        Operations per image, as shares of the whole model's.
    leave, stay : tuple of int
        Images: the least sure of those that leave, the surest of those that go on.
    wrong : tuple of bool
        Whether the answer to each of these is wrong, first those that leave.
    text : str
        The numbers in one line.
    """

    threshold: float
    shares: dict[str, float]
    accuracy: float
    mean: float
    worst: float
    leave: tuple[int, ...]
    stay: tuple[int, ...]
    wrong: tuple[bool, ...]
    text: str


def compute(
    sure: torch.Tensor,
    ways: torch.Tensor,
    right: tuple[torch.Tensor, torch.Tensor],
    costs: Mapping[str, float],
    threshold: float,
) -> View:
    """What a threshold does.

    Parameters
    ----------
    sure : torch.Tensor
        Probability that the branch gives its answer to each image, shape ``(N,)``.
    ways : torch.Tensor
        Number of the tail that each image takes if it stays, shape ``(N,)``.
    right : tuple of torch.Tensor
        Whether the branch, and whether that tail, answers rightly: bool, shape ``(N,)``.
    costs : mapping of str to float
        Way to its operations as a share of the whole model's: leaving first, then the tails.
    threshold : float

    Returns
    -------
    View
    """
    leaves = exits_early(sure, threshold)
    correct = torch.where(leaves, *right)
    masks = dict(zip(costs, [leaves, *(~leaves & (ways == tail) for tail in range(len(costs) - 1))]))
    shares = {way: mask.double().mean().item() for way, mask in masks.items()}
    mean = sum(shares[way] * cost for way, cost in costs.items())
    worst = max(cost for way, cost in costs.items() if shares[way])
    order = sure.argsort(descending=True)
    left = int(leaves.sum())
    leave, stay = order[max(0, left - SHOWN) : left].tolist(), order[left : left + SHOWN].tolist()
    wrong = tuple((~correct[leave + stay]).tolist())
    value = 100 * correct.double().mean().item()
    text = (
        f"{shares[EXIT]:.0%} of the images leave; accuracy {value:.1f} % ↑; operations "
        f"{mean:.0%} of the whole model's on average ↓, {worst:.0%} at worst"
    )
    return View(threshold, shares, value, mean, worst, tuple(leave), tuple(stay), wrong, text)


class Picture(Drawing[View]):
    """Accuracy against operations with the present point, where images go, and images on both sides of the threshold.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    curve : sequence of View
        At all thresholds.
    whole : float
        Accuracy of the whole model.
    """

    def __init__(self, images: torch.Tensor, curve: Sequence[View], whole: float):
        self.images = images.mean(1).numpy()
        figure = Figure(figsize=(13, 3.2), dpi=90, layout="constrained")
        line, bars, rows = figure.subplots(1, 3, width_ratios=(3, 2, 6))
        line.axhline(whole, ls="--", lw=1, color="#777777", label="whole model")
        line.plot([100 * view.mean for view in curve], [view.accuracy for view in curve], ".-", color=BLUE)
        (self.point,) = line.plot([100 * curve[0].mean], [curve[0].accuracy], "o", ms=9, color=RED)
        line.set(title="Accuracy by mean operations", xlabel="operations [% of the whole model's] (← better)")
        line.set_ylabel("% of validation images (↑ better)")
        line.legend(loc="lower right", fontsize=8)
        names = list(curve[0].shares)
        labels = ["leave" if name == EXIT else textwrap.fill(f"tail of {name}", 18) for name in names]
        self.bars = bars.barh(range(len(names)), np.zeros(len(names)), color=BLUE)
        bars.set(title="Where images go", xlim=(0, 100), xlabel="% of the images")
        bars.set_yticks(range(len(names)), labels, fontsize=8)
        bars.invert_yaxis()
        height, width = self.images.shape[-2:]
        shape = (2 * (height + 2), SHOWN * (width + 2), 3)
        self.rows = rows.imshow(np.ones(shape))
        rows.set(title="Beside the threshold; red: answered wrongly", xticks=[])
        rows.set_yticks([height / 2, 1.5 * height + 2], ["leave", "stay"])
        rows.tick_params(length=0)
        rows.spines[:].set_visible(False)
        self.live = LiveFigure(figure, [self.point, *self.bars, self.rows])

    def draw(self, view: View) -> bytes:
        self.point.set_data([100 * view.mean], [view.accuracy])
        for bar, share in zip(self.bars, view.shares.values()):
            bar.set_width(100 * share)
        cells, wrong = np.ones(self.rows.get_array().shape), iter(view.wrong)
        height, width = (size + 2 for size in self.images.shape[-2:])
        for row, places in enumerate((view.leave, view.stay)):
            for column, place in enumerate(places):
                cell = np.repeat(1 - self.images[place][..., None], 3, axis=-1)
                if next(wrong):
                    cell[..., 1:] *= 0.55  # what is left is red
                cells[row * height : (row + 1) * height - 2, column * width : (column + 1) * width - 2] = cell
        self.rows.set_data(cells)
        return self.live.png()


class RouteExplorer(Explorer[View]):
    """A slider for the threshold of a dynamic network.

    Parameters
    ----------
    model : Dynamic
        Its own threshold does not matter.
    whole : nn.Module
        The model that it was made of: what its accuracy and operations are compared with.
    split : Split, or data of another form
        Validation images and labels.
    stops : sequence of float, or mapping of str to float
        Thresholds of the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, or a threshold is none of ``THRESHOLDS``.

    Examples
    --------
    >>> trunk, branch, tail = nn.Flatten(), nn.Linear(784, 10), nn.Linear(784, 10)
    >>> model = xp.dynamic.Dynamic(trunk, branch, [tail], [tuple(range(10))], 1.0)
    >>> split = xp.data.mnist("validation", 20)
    >>> view = xp.widgets.RouteExplorer(model, nn.Sequential(trunk, tail).eval(), split).set(1.0)
    >>> view.threshold, view.shares  # at 1 no image leaves
    (1.0, {'exit': 0.0, '(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)': 1.0})
    """

    title = "Routes: which images may leave early"
    live = False

    def __init__(
        self,
        model: Dynamic,
        whole: nn.Module,
        split: Split,
        *,
        stops: Mapping[str, float] | Sequence[float] = (0.5, 0.9, 0.99, 1.0),
    ):
        split = as_split(split, name="split")
        self.model, self.whole, self.split = model, whole, nonempty(split, "split")
        every = Dynamic(model.trunk, model.branch, model.tails, model.sets, 1.0)
        early = predict(nn.Sequential(model.trunk, model.branch), split.inputs)
        self.sure, self.ways = early.softmax(1).amax(1), every.route(early)
        late = predict(every, split.inputs)
        self.right = early.argmax(1) == split.targets, late.argmax(1) == split.targets
        total = macs(whole, split.inputs[:1])
        names = (EXIT, *map(str, model.sets))
        self.costs = {way: cost / total for way, cost in route_macs(model, split.inputs).items() if way in names}
        about = "how sure the branch must be of an image that leaves"
        controls = {"threshold": Stops("threshold", about, options=THRESHOLDS, layout={"width": "480px"})}
        self.picture = Picture(split.inputs, [self.compute(stop) for stop in THRESHOLDS], accuracy(whole, split))
        super().__init__(controls, stops)

    @classmethod
    def example(cls) -> RouteExplorer:
        """A MobileNet with an early branch."""
        model, train = zoo.load("mobilenet-fashion-mnist"), data.fashion_mnist("train", 2000)
        classes = range(len(data.FASHION_MNIST_CLASSES))
        trunk, tail = split_at(model, "features.4")
        branch = fit_branch(trunk, train, classes=len(classes), epochs=4, progress=False)
        return cls(Dynamic(trunk, branch, [tail], [tuple(classes)], 1.0), model, data.fashion_mnist("validation", 1000))

    def compute(self, threshold: float) -> View:
        return compute(self.sure, self.ways, self.right, self.costs, threshold)
