"""Two weights and the loss between them: what magnitude and curvature would take away, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..core import choice
from ..curvature import fisher_diagonal
from ..data import Split, as_split
from ..plots import RED
from ..prune import obd
from ..training import classification_loss
from .canvas import Drawing, LiveFigure
from .controls import Whole
from .explorer import Explorer

#: How much of a weight is left, along both axes of the landscape: from beyond gone (0) to beyond whole (1).
SHARES = np.linspace(-0.2, 1.2, 8)


@dataclass(frozen=True)
class View:
    """What the explorer shows for one pair of weights.

    Attributes
    ----------
    weights : tuple of float
    saliencies : tuple of float
        ``h w^2 / 2`` of each, as Optimal Brain Damage predicts the rise of the loss.
    rises : tuple of float
        What the loss rises by when each goes alone: measured.
    losses : numpy.ndarray
        Shape ``(8, 8)``: columns for the first weight, rows for the second, at ``SHARES``.
    smaller, flatter, cheaper : int
        Which of the two magnitude takes, which OBD takes, and which truly costs less: 0 or 1.
    """

    weights: tuple[float, float]
    saliencies: tuple[float, float]
    rises: tuple[float, float]
    losses: np.ndarray
    smaller: int
    flatter: int
    cheaper: int

    @property
    def text(self) -> str:
        """The numbers in one line."""
        names = ("first", "second")
        verdict = (
            "both are right"
            if self.smaller == self.flatter == self.cheaper
            else (
                "OBD is right"
                if self.flatter == self.cheaper
                else "magnitude is right"
                if self.smaller == self.cheaper
                else "both are wrong"
            )
        )
        return (
            f"magnitude takes the {names[self.smaller]}, OBD the {names[self.flatter]}; measured, the loss rises by "
            f"{self.rises[0]:.2g} and {self.rises[1]:.2g}: {verdict}"
        )


def compute(
    model: nn.Module,
    split: Split,
    diagonal: Mapping[str, torch.Tensor],
    name: str,
    pair: tuple[int, int],
    loss: Callable = classification_loss,
) -> View:
    """The loss over two weights of one tensor, each scaled from gone to whole.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; its weights are put back.
    split : Split
    diagonal : mapping of str to torch.Tensor
        The Hessian's diagonal, for OBD.
    name : str
        Parameter that holds both weights.
    pair : tuple of int
        Their entries in the flattened tensor.
    loss : callable
        ``(model, inputs, targets) -> scalar``.

    Returns
    -------
    View
    """
    parameter = dict(model.named_parameters())[name]
    entries, original = torch.tensor(pair), parameter.detach().clone()
    values = original.flatten()[entries]
    flat = parameter.detach().view(-1)

    def at(first: float, second: float) -> float:
        flat[entries] = values * values.new_tensor([first, second])
        return loss(model, *split).item()

    try:
        with torch.no_grad():
            losses = np.array([[at(first, second) for first in SHARES] for second in SHARES])
            whole, rises = at(1, 1), (at(0, 1), at(1, 0))
    finally:
        with torch.no_grad():
            parameter.copy_(original)
    rises = tuple(rise - whole for rise in rises)
    saliencies = tuple(obd(model, {name: diagonal[name]}).values[name].flatten()[entries].tolist())
    sizes = values.abs().tolist()
    choices = (int(np.argmin(numbers)) for numbers in (sizes, saliencies, rises))
    return View(tuple(values.tolist()), saliencies, rises, losses, *choices)


class Picture(Drawing[View]):
    """The landscape on the left; on the right what the loss does as each weight goes, and what OBD expects."""

    def __init__(self):
        figure = Figure(figsize=(10, 3.6), dpi=90, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
        extent = (SHARES[0], SHARES[-1]) * 2
        options = {"origin": "lower", "extent": extent, "cmap": "viridis", "interpolation": "bicubic", "aspect": "auto"}
        self.landscape = left.imshow(np.zeros((len(SHARES), len(SHARES))), **options)
        left.plot([1], [1], "o", color="white", markeredgecolor="black", markersize=10, ls="", label="both whole")
        points = {"magnitude's choice": ("s", 16), "OBD's choice": ("^", 10)}
        self.choices = [
            left.plot([], [], marker, color="white", markeredgecolor="black", markersize=size, ls="", label=label)[0]
            for label, (marker, size) in points.items()
        ]
        left.set(
            xlabel="first weight: gone (0) to whole (1)", ylabel="second weight", title="Loss (dark is low, ↓ better)"
        )
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8)
        self.curves, share = [], 1 - SHARES
        for name, colour in (("first", "#0072B2"), ("second", RED)):
            (true,) = right.plot(share, share, color=colour, label=f"{name} weight goes, measured")
            (expected,) = right.plot(share, share, color=colour, ls="--", lw=1, label=f"{name}, as OBD expects")
            self.curves.append((true, expected))
        right.set(xlim=(0, 1.2), ylim=(-0.3, 1.05), title="Rise of the loss, as a share of the largest  (↓ better)")
        right.set_xlabel("share of the weight that is gone")
        right.legend(fontsize=8, loc="upper left")
        live = [self.landscape, *left.lines, *(line for pair in self.curves for line in pair)]
        self.live = LiveFigure(figure, live)

    def draw(self, view: View) -> bytes:
        self.landscape.set_data(view.losses)
        self.landscape.set_clim(view.losses.min(), view.losses.max())
        for line, place in zip(self.choices, (view.smaller, view.flatter)):
            line.set_data([float(place == 1)], [float(place == 0)])
        whole = int(np.argmin(np.abs(SHARES - 1)))
        slices = view.losses[whole], view.losses[:, whole]
        intact = view.losses[whole, whole]
        top = max(1e-12, *(abs(s - intact).max() for s in slices))
        for (true, expected), measured, saliency in zip(self.curves, slices, view.saliencies):
            true.set_ydata((measured - intact) / top)
            expected.set_ydata(saliency * (1 - SHARES) ** 2 / top)
        return self.live.png()


class CurvatureExplorer(Explorer[View]):
    """Two sliders choose two weights of a layer, ordered by size; the landscape of the loss between them follows.

    Parameters
    ----------
    model : nn.Module
        Small: every move evaluates the loss 67 times. In evaluation mode; its weights are put back.
    split : Split, or data of another form
        Images and labels of the loss.
    diagonal : mapping of str to torch.Tensor
        The Hessian's diagonal, from ``hessian_diagonal``.
    name : str
        Parameter whose weights are looked at.
    stops : mapping of str to tuple of int, or sequence of tuple of int, optional
        Two ranks by size each, smallest first: the stored pictures.
    loss : callable

    Raises
    ------
    ValueError
        If ``diagonal`` has no such parameter, or a rank lies outside it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[2.0, 0.1], [0.5, -3.0]]))
    >>> split = xp.data.Split(torch.eye(2), torch.arange(2))
    >>> diagonal = xp.curvature.fisher_diagonal(model, split, xp.training.classification_loss)
    >>> view = xp.widgets.CurvatureExplorer(model, split, diagonal, "0.weight").set(0, 3)
    >>> [round(weight, 1) for weight in view.weights]  # the smallest and the largest
    [0.1, -3.0]
    """

    title = "Curvature: two weights and the loss"

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        diagonal: Mapping[str, torch.Tensor],
        name: str,
        stops: Mapping[str, tuple[int, int]] | Sequence[tuple[int, int]] | None = None,
        loss: Callable = classification_loss,
    ):
        split = as_split(split, name="split")
        choice(name, "name", diagonal)
        self.model, self.split, self.diagonal, self.name, self.loss = model, split, diagonal, name, loss
        self.order = torch.argsort(dict(model.named_parameters())[name].detach().flatten().abs(), stable=True)
        last, width = len(self.order) - 1, {"width": "430px"}
        controls = {
            which: Whole(
                f"{which}, by size", "rank of the weight, the smallest first", value=rank, min=0, max=last, layout=width
            )
            for which, rank in (("first", 0), ("second", last))
        }
        self.picture = Picture()
        super().__init__(controls, {"smallest and largest": (0, last)} if stops is None else stops)

    @classmethod
    def example(cls) -> CurvatureExplorer:
        """LeNet-300-100's last layer."""
        model, split = zoo.load("lenet-300-100"), data.mnist("calibration", 150)
        diagonal = fisher_diagonal(model, split, classification_loss, names=["fc3.weight"])
        return cls(model, split, diagonal, "fc3.weight")

    def compute(self, first: int, second: int) -> View:
        pair = int(self.order[first]), int(self.order[second])
        return compute(self.model, self.split, self.diagonal, self.name, pair, self.loss)
