"""One image, one explanation: where the evidence is, where relevance went, and whether the map deserves trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from ..data import Split
from ..explain import Curves, curves, heatmaps
from ..explain.relevance import Composite, Rule, Where, alpha_beta, epsilon, gamma, propagate, uniform, z_plus
from ..plots import EVIDENCE, RED, scaled
from .canvas import LiveFigure
from .explorer import Explorer

#: Rules of the menu: from a parameter between 0 and 1 to the rule.
RULES = {
    "epsilon": epsilon,
    "gamma": gamma,
    "alpha-beta": lambda beta: alpha_beta(1 + beta, beta),
    "z-plus": lambda _: z_plus(),
}
#: Methods of the menu: those that follow a slider.
METHODS = ("lrp", "gradient x input", "saliency", "integrated gradients")


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    image : int
    heatmap : numpy.ndarray
        Shape ``(H, W)``, on its own scale, -1 to 1.
    ledger : list of dict or None
        Rows of the waterfall; None for methods other than relevance.
    curves : Curves
        Deletion and insertion of this image.
    text : str
        The numbers in one line.
    """

    image: int
    heatmap: np.ndarray
    ledger: list[dict] | None
    curves: Curves
    text: str


def composite(rule: Rule) -> Composite:
    """The rule in all layers but the last, which divides by epsilon."""
    return Composite(rule.name, ((Where(depth=(1.0, 1.0)), epsilon()), *uniform(rule).rows))


def compute(
    model: nn.Module, split: Split, image: int, method: str, rule: str = "gamma", parameter: float = 0.25
) -> View:
    """Explain one image's label and judge the heatmap.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    split : Split
    image : int
        Its place in the split.
    method : str
        One of ``METHODS``.
    rule : str
        A key of ``RULES``, for relevance.
    parameter : float
        Of the rule, from 0 to 1: epsilon, gamma or beta.
    """
    images, targets = split.images[image : image + 1], split.labels[image : image + 1]
    if method == "lrp":
        found, books = propagate(model, images, targets, composite=composite(RULES[rule](parameter)))
        heat, rows, error = found.sum(1), books.rows(), books.error.item()
        said = f"pixels got {rows[-1]['left']:.2f} of {rows[0]['left']:.2f}, the books balance to {error:.0e}"
    else:
        heat, rows = heatmaps(model, images, targets, method), None
        said = f"values add up to {heat.sum().item():.2f}"
    order = curves(model, images, targets, heat, steps=14)
    deletion, insertion = (area.item() for area in order.areas)
    text = f"label {targets.item()}: {said}; faithfulness {insertion - deletion:.2f} ↑"
    return View(image, scaled(heat.numpy())[0], rows, order, text)


class Picture:
    """Image, heatmap, ledger, and both curves; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, 1, H, W)``.
    layers : sequence of str
        Names of the ledger's rows.
    """

    def __init__(self, images: torch.Tensor, layers: Sequence[str]):
        self.images, self.layers = images, list(layers)
        figure = Figure(figsize=(11.5, 3.4), dpi=90, layout="constrained")
        first, second, third, fourth = figure.subplots(1, 4, width_ratios=(1, 1, 1.5, 1.5))
        for ax, title in ((first, "Image"), (second, "Evidence")):
            ax.set(xticks=[], yticks=[], title=title)
        shape = images.shape[-2:]
        self.image = first.imshow(np.zeros(shape), cmap="gray", vmin=0, vmax=1)
        self.heat = second.imshow(np.zeros(shape), cmap=EVIDENCE, vmin=-1, vmax=1)
        second.set_xlabel("red for, blue against", fontsize=8)
        places = range(len(self.layers))
        self.left = third.bar(places, [1.0] * len(self.layers), color="#56B4E9", label="left")
        self.took = third.bar(places, [0.0] * len(self.layers), color=RED, label="kept or given by bias, epsilon")
        third.set_xticks(places, self.layers, rotation=45, ha="right", fontsize=8)
        third.axhline(0, color="black", lw=0.8)
        third.set(title="Ledger (relevance rules only)", ylabel="share of the output", ylim=(-1.0, 2.0))
        third.legend(fontsize=8, loc="upper right")
        (self.deletion,) = fourth.plot([0, 1], [0, 0], color=RED, label="deletion (↓ better)")
        (self.insertion,) = fourth.plot([0, 1], [0, 0], color="#0072B2", ls="--", label="insertion (↑ better)")
        fourth.set(
            title="Faithfulness", xlabel="share of the pixels, highest first", ylabel="probability", ylim=(0, 1.05)
        )
        fourth.legend(fontsize=8, loc="center right")
        live = [self.image, self.heat, *self.left, *self.took, self.deletion, self.insertion]
        self.live = LiveFigure(figure, live)

    def draw(self, view: View) -> bytes:
        """The picture of a view as PNG."""
        self.image.set_data(self.images[view.image, 0])
        self.heat.set_data(view.heatmap)
        blank = {"left": 0.0, "bias": 0.0, "kept": 0.0}
        rows = view.ledger or [blank] * len(self.layers)
        whole = abs(rows[0]["left"]) or 1.0
        for place, row in enumerate(rows):
            self.left[place].set_height(np.clip(row["left"] / whole, -1, 2))
            self.took[place].set_y(np.clip(row["left"] / whole, -1, 2))
            self.took[place].set_height(np.clip((row["bias"] + row["kept"]) / whole, -3, 3))
        self.deletion.set_data(view.curves.shares, view.curves.deletion[0])
        self.insertion.set_data(view.curves.shares, view.curves.insertion[0])
        return self.live.png()


class HeatmapExplorer(Explorer):
    """Choose an image, a method, and for relevance a rule and its parameter; the explanation follows.

    Parameters
    ----------
    model : nn.Module
        A classifier that is quick enough for a slider: a move takes about 30 passes of one image. In evaluation mode.
    split : Split
        The images to choose from, and their labels, which are explained.
    positions : mapping of str to tuple, optional
        Label to ``(image, method, rule, parameter)``: the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, or a position has an unknown image, method or rule.
    """

    def __init__(self, model: nn.Module, split: Split, positions: Mapping[str, tuple] | None = None):
        if len(split.images) == 0:
            raise ValueError("split is empty: at least one image is needed.")
        self.model, self.split = model, split
        self.positions = dict(positions or {"gamma": (0, "lrp", "gamma", 0.25)})
        for setting in self.positions.values():
            self._check(*setting)
        image, method, rule, parameter = next(iter(self.positions.values()))
        style = {"style": {"description_width": "80px"}}
        self.image_slider = widgets.IntSlider(value=image, max=len(split.images) - 1, description="image", **style)
        self.method_menu = widgets.Dropdown(options=METHODS, value=method, description="method", **style)
        self.rule_menu = widgets.Dropdown(options=list(RULES), value=rule, description="rule", **style)
        self.parameter_slider = widgets.FloatSlider(
            value=parameter, min=0, max=1, step=0.05, description="parameter", **style
        )
        self.controls = (self.image_slider, self.method_menu, self.rule_menu, self.parameter_slider)
        layers = [row["layer"] for row in compute(model, split, image, "lrp").ledger]
        self._picture = Picture(split.images, layers)
        self._follow(self.controls)
        self._lay_out([widgets.HBox(self.controls[:2]), widgets.HBox(self.controls[2:])])

    def update(self) -> View:
        """Compute and draw the present setting."""
        is_relevance = self.method_menu.value == "lrp"
        self.rule_menu.disabled = not is_relevance
        self.parameter_slider.disabled = not is_relevance or self.rule_menu.value == "z-plus"
        view = compute(self.model, self.split, *(control.value for control in self.controls))
        return self._show(view, self._picture.draw(view))

    def set(self, image: int, method: str = "lrp", rule: str = "gamma", parameter: float = 0.25) -> View:
        """Choose a setting; the parameter is rounded to the slider's steps of 0.05."""
        self._check(image, method, rule, parameter)
        with self._held():
            for control, value in zip(self.controls, (image, method, rule, round(parameter / 0.05) * 0.05)):
                control.value = value
        return self.update()

    def _check(self, image: int, method: str, rule: str, parameter: float) -> None:
        if not 0 <= image < len(self.split.images):
            raise ValueError(f"image must be from 0 to {len(self.split.images) - 1}, got {image}.")
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}.")
        if not 0 <= parameter <= 1:
            raise ValueError(f"parameter must be from 0 to 1, got {parameter}.")

    def _stored(self):
        for label, setting in self.positions.items():
            view = compute(self.model, self.split, *setting)
            yield label, view, self._picture.draw(view)
