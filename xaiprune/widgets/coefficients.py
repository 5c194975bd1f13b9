"""A slider per group of an autoencoder: watch the reconstructions fade as its units go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..data import Split, check_images
from ..experiments import tables
from ..measure import predict, psnr
from ..plots import METHODS, RED, montage
from ..prune import ParameterCount, Scores, UnitGroup, counts_from, cut, find_units, lowest, score
from ..training import reconstruction_loss
from .canvas import Drawing, LiveFigure
from .controls import Bank, Number
from .explorer import Explorer


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting of the sliders.

    Attributes
    ----------
    coefficients : dict of str to float
        Group name to the share of its units that goes.
    kept : dict of str to int
        Units that stay.
    psnr : float
        In dB, over the explorer's images.
    sparsity : float
        Measured share of the parameters that is gone.
    originals, reconstructions : numpy.ndarray
        Shape ``(shown, 28, 28)``, in [0, 1].
    """

    coefficients: dict[str, float]
    kept: dict[str, int]
    psnr: float
    sparsity: float
    originals: np.ndarray
    reconstructions: np.ndarray

    @property
    def text(self) -> str:
        """The numbers in one line."""
        return f"PSNR {self.psnr:.2f} dB, measured sparsity {self.sparsity:.3f}"


def compute(
    model: nn.Module,
    scores: Scores,
    images: torch.Tensor,
    coefficients: Mapping[str, float],
    shown: int = 8,
    count: ParameterCount | None = None,
) -> View:
    """Cut the model to the coefficients and measure it.

    Parameters
    ----------
    model : nn.Module
        An autoencoder in evaluation mode; not changed.
    scores : Scores
        They rank the units of each group.
    images : torch.Tensor
        Shape (N, 1, H, W), in [0, 1].
    coefficients : mapping of str to float
        In [0, 1]; groups not named lose nothing.
    shown : int
        Images that are drawn, the first ones.
    count : ParameterCount, optional
        To save making it again.

    Returns
    -------
    View
    """
    chosen = lowest(scores, counts_from(scores.groups, coefficients))
    smaller = cut(model, chosen)
    count = count or ParameterCount(model, scores.groups)
    gone = {group.name: group.size - chosen.kept[group.name] for group in scores.groups}
    return View(
        {group.name: float(coefficients.get(group.name, 0)) for group in scores.groups},
        dict(chosen.kept),
        psnr(smaller, Split(images, None)),
        count.of(gone, scores.groups),
        images[:shown, 0].numpy(),
        predict(smaller, images[:shown])[:, 0].numpy(),
    )


class Picture(Drawing[View]):
    """The explorer's figure: images on the left, the frontier with the present point on the right.

    Parameters
    ----------
    view : View
        For the layout.
    frontier : sequence of dict
        Rows with ``method``, ``sparsity`` and ``psnr``: the solutions that others found.
    """

    def __init__(self, view: View, frontier: Sequence[dict] = ()):
        figure = Figure(figsize=(10, 3.1), dpi=90, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2.1, 1))
        self.images = left.imshow(_rows(view), cmap="gray", vmin=0, vmax=1)
        height = view.originals.shape[1] + 2
        left.set_yticks([height * (n + 0.5) for n in range(3)], ["original", "reconstruction", "difference"])
        left.set_xticks([])
        left.spines[:].set_visible(False)
        left.tick_params(length=0)
        for method in dict.fromkeys(row["method"] for row in frontier):
            mine = sorted((row["sparsity"], row["psnr"]) for row in frontier if row["method"] == method)
            colour, marker = METHODS.get(method, ("gray", "."))
            line = "" if len(mine) < 4 else "-"
            right.plot(*zip(*mine), line, color=colour, marker=marker, markersize=4, lw=1, label=method)
        (self.point,) = right.plot([], [], "*", color=RED, markersize=16, markeredgecolor="black", label="sliders")
        right.set(
            xlim=(-0.03, 1.03), ylim=(4, 26), xlabel="measured sparsity (→ smaller)", ylabel="PSNR [dB] (↑ better)"
        )
        right.legend(fontsize=8, loc="upper right")
        self.live = LiveFigure(figure, (self.images, self.point))

    def draw(self, view: View) -> bytes:
        self.images.set_data(_rows(view))
        self.point.set_data([view.sparsity], [view.psnr])
        return self.live.png()


def _rows(view: View) -> np.ndarray:
    difference = np.abs(view.originals - view.reconstructions)
    return montage([view.originals, view.reconstructions, difference])


class CoefficientExplorer(Explorer[View]):
    """One slider per group of units; reconstructions, PSNR and measured sparsity follow.

    Parameters
    ----------
    model : nn.Module
        An autoencoder in evaluation mode.
    scores : Scores
        They rank the units of each group: low ones go first.
    images : torch.Tensor
        Validation images, shape (N, 1, H, W), in [0, 1]; the PSNR is measured on all of them, live.
    frontier : sequence of dict, optional
        Rows with ``method``, ``sparsity`` and ``psnr``, drawn behind the present point.
    stops : mapping of str to mapping, optional
        Coefficients of the stored pictures by name, groups not named 0; the first is always that nothing is pruned.

    Raises
    ------
    ValueError
        If the images do not fit the model, or a stop names a group or a coefficient that is not allowed.

    Examples
    --------
    >>> model, images = xp.zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5).eval(), torch.rand(4, 1, 28, 28)
    >>> scores = xp.score(model, xp.find_units(model, images), "l2")
    >>> view = xp.widgets.CoefficientExplorer(model, scores, images).set({"encoder.hidden": 0.5})
    >>> view.kept["encoder.hidden"], view.kept["latent"]
    (5, 5)
    """

    title = "Coefficients: how much each group gives"

    def __init__(
        self,
        model: nn.Module,
        scores: Scores,
        images: torch.Tensor,
        frontier: Sequence[dict] = (),
        stops: Mapping[str, Mapping[str, float]] | None = None,
    ):
        check_images(images)
        self.model, self.scores, self.images = model, scores, images
        self._count = ParameterCount(model, scores.groups)
        try:
            self.picture = Picture(self.compute({}), frontier)
        except RuntimeError as error:
            raise ValueError(f"images of shape {tuple(images.shape)} do not run through the model: {error}") from error
        sliders = {group.name: _slider(group) for group in scores.groups}
        bank = Bank(sliders, display="grid", grid_template_columns="repeat(2, 430px)")
        super().__init__({"coefficients": bank}, {"nothing pruned": {}, **(stops or {})})

    @classmethod
    def example(cls) -> CoefficientExplorer:
        """The autoencoder."""
        model, calibration = zoo.load("mnist-autoencoder"), data.mnist("calibration", 300)
        units = find_units(model, calibration.inputs[:1])
        scores = score(model, units, "fisher", calibration, loss=reconstruction_loss)
        methods = ("grid", "descend", "relax", "uniform")
        frontier = [row for row in tables.where(tables.read("soft"), seed=0) if row["method"] in methods]
        return cls(model, scores, data.mnist("validation", 500).inputs, frontier)

    def compute(self, coefficients: Mapping[str, float]) -> View:
        return compute(self.model, self.scores, self.images, coefficients, count=self._count)


def _slider(group: UnitGroup) -> Number:
    where = " | ".join(group.components) if group.crosses else "inside"
    looks = {"style": {"description_width": "150px"}, "layout": {"width": "420px"}, "readout_format": ".2f"}
    about = f"share of the {group.size} units that goes, {where}"
    return Number(f"{group.name} ({group.size})", about, min=0, max=1, step=1 / group.size, **looks)
