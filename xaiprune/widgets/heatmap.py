"""One image, one explanation: where the evidence is, where relevance went, and whether the map deserves trust."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..core import Registry
from ..data import Preprocessing, Split, as_split
from ..explain import METHODS, Curves, Method, curves, heatmaps, lrp
from ..explain.relevance import Composite, Rule, Where, alpha_beta, epsilon, gamma, propagate, uniform, z_plus
from ..plots import RED, scale_heatmaps
from .canvas import Drawing, LiveFigure, Panels, pixels_of
from .controls import Menu, Number, image_slider, rows_of
from .explorer import Explorer

#: Rules of the menu: a rule, or what makes one of a parameter between 0 and 1.
RULES: Registry[Rule | Callable[[float], Rule]] = Registry(
    "a rule",
    lambda row: isinstance(row, Rule) or callable(row),
    {
        "epsilon": epsilon,
        "gamma": gamma,
        "alpha-beta": lambda beta: alpha_beta(1 + beta, beta),
        "z-plus": z_plus(),
    }.items(),
)


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
    """The rule in all layers but the last, which divides by epsilon.

    Parameters
    ----------
    rule : Rule

    Returns
    -------
    Composite
    """
    return Composite(rule.name, ((Where(depth=(1.0, 1.0)), epsilon()), *uniform(rule).rows))


def compute(
    model: nn.Module,
    split: Split,
    image: int,
    method: Method | str,
    rule: Rule | Callable[[float], Rule] | str = "gamma",
    parameter: float = 0.25,
    classes: Sequence[str] | None = None,
) -> View:
    """Explain one image's label and judge the heatmap.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    split : Split
    image : int
        Its place in the split.
    method : Method or str
        Or a key of ``METHODS``; ``"lrp"`` goes by the rule and leaves a ledger.
    rule : Rule, callable or str
        For relevance; or a key of ``RULES``.
    parameter : float
        Of the rule, from 0 to 1: epsilon, gamma or beta.
    classes : sequence of str, optional
        Names of the labels, for the text.

    Returns
    -------
    View
    """
    images, targets = split.inputs[image : image + 1], split.targets[image : image + 1]
    if method in ("lrp", METHODS["lrp"]):
        rule = RULES.find(rule, "rule")
        rule = rule if isinstance(rule, Rule) else rule(parameter)
        found, books = propagate(model, images, targets, composite=composite(rule))
        heat, rows, error = found.sum(1), books.rows(), books.error.item()
        said = f"pixels got {rows[-1]['left']:.2f} of {rows[0]['left']:.2f}, the books balance to {error:.0e}"
    else:
        heat, rows = heatmaps(model, images, targets, method), None
        said = f"values add up to {heat.sum().item():.2f}"
    order = curves(model, images, targets, heat, steps=14)
    deletion, insertion = (area.item() for area in order.areas)
    label = targets.item() if classes is None else classes[targets.item()]
    text = f"label {label}: {said}; faithfulness {insertion - deletion:.2f} ↑"
    return View(image, scale_heatmaps(heat.numpy())[0], rows, order, text)


#: Methods that no patent is known to bear on: layer-wise relevance propagation runs only where it is named.
FREE = tuple(name for name, method in METHODS.items() if method.function is not lrp)


class Picture(Drawing[View]):
    """Image, heatmap, ledger, and both curves; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``, in [0, 1].
    layers : sequence of str
        Names of the ledger's rows.
    """

    def __init__(self, images: torch.Tensor, layers: Sequence[str]):
        self.layers = list(layers)
        figure = Figure(figsize=(11.5, 3.4), dpi=90, layout="constrained")
        first, second, *third, fourth = figure.subplots(
            1, 3 + bool(layers), width_ratios=(1, 1, *[1.5] * bool(layers), 1.5)
        )
        self.panels = Panels((first, second), ("Image", "Evidence"), images)
        second.set_xlabel("red for, blue against", fontsize=8)
        self.left, self.took = (), ()
        for ledger in third:
            self._begin(ledger)
        (self.deletion,) = fourth.plot([0, 1], [0, 0], color=RED, label="deletion (↓ better)")
        (self.insertion,) = fourth.plot([0, 1], [0, 0], color="#0072B2", ls="--", label="insertion (↑ better)")
        fourth.set(
            title="Faithfulness", xlabel="share of the pixels, highest first", ylabel="probability", ylim=(0, 1.05)
        )
        fourth.legend(fontsize=8, loc="center right")
        self.live = LiveFigure(figure, [*self.panels.artists, *self.left, *self.took, self.deletion, self.insertion])

    def _begin(self, ledger: Axes) -> None:
        """Bars of the ledger, a pair for each layer."""
        places, nothing = range(len(self.layers)), [0.0] * len(self.layers)
        self.left = ledger.bar(places, [1.0] * len(self.layers), color="#56B4E9", label="left")
        self.took = ledger.bar(places, nothing, color=RED, label="kept or given by bias, epsilon")
        ledger.set_xticks(places, self.layers, rotation=45, ha="right", fontsize=8)
        ledger.axhline(0, color="black", lw=0.8)
        ledger.set(title="Ledger (relevance rules only)", ylabel="share of the output", ylim=(-1.0, 2.0))
        ledger.legend(fontsize=8, loc="upper right")

    def draw(self, view: View) -> bytes:
        self.panels.show(view.image, view.heatmap)
        blank = {"left": 0.0, "bias": 0.0, "kept": 0.0}
        rows = view.ledger or [blank] * len(self.layers)
        whole = max((abs(row["left"]) for row in rows[:1]), default=0.0) or 1.0
        for place, row in enumerate(rows):
            self.left[place].set_height(np.clip(row["left"] / whole, -1, 2))
            self.took[place].set_y(np.clip(row["left"] / whole, -1, 2))
            self.took[place].set_height(np.clip((row["bias"] + row["kept"]) / whole, -3, 3))
        self.deletion.set_data(view.curves.shares, view.curves.deletion[0])
        self.insertion.set_data(view.curves.shares, view.curves.insertion[0])
        return self.live.png()


class HeatmapExplorer(Explorer[View]):
    """Choose an image, a method, and for relevance a rule and its parameter; the explanation follows.

    Parameters
    ----------
    model : nn.Module
        A classifier that is quick enough for a slider: a move takes about 30 passes of one image. In evaluation mode.
    split : Split, or data of another form
        The images to choose from, and their labels, which are explained.
    stops : mapping of str to tuple, or sequence of tuple, optional
        ``(image, method, rule, parameter)`` of the stored pictures.
    methods : sequence of Method or str
        For the menu; the first is its default. With ``"lrp"`` among them the rules and the ledger are used.
    preprocessing : Preprocessing, optional
        By which the inputs were made of pixels, so that pixels can be shown. By default inputs are pixels in [0, 1].
    classes : sequence of str, optional
        Names of the labels.
    live : bool
        Whether the picture follows while a slider moves; False waits until it is released, for networks that take over
        a tenth of a second.

    Raises
    ------
    ValueError
        If the split is empty, or a stop has an unknown image, method or rule.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    >>> split = xp.data.mnist("validation", 4)
    >>> view = xp.widgets.HeatmapExplorer(model, split).set(image=2, method="saliency")
    >>> view.image, view.heatmap.shape
    (2, (28, 28))
    """

    title = "Heatmaps: rules of relevance and other methods"

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        stops: Mapping[str, tuple] | Sequence[tuple] | None = None,
        *,
        methods: Sequence[Method | str] = FREE,
        preprocessing: Preprocessing | None = None,
        classes: Sequence[str] | None = None,
        live: bool = True,
    ):
        split = as_split(split, name="split")
        self.methods = rows_of("a method", Method, METHODS, methods, "methods")
        self.rules = rows_of(RULES.what, RULES.fits, RULES)
        controls = {
            "image": image_slider(split),
            "method": Menu("method", "how the image is explained", self.methods),
            "rule": Menu("rule", "how relevance is divided, by the method lrp", self.rules, "gamma"),
            "parameter": Number("parameter", "epsilon, gamma or beta of the rule", value=0.25, min=0, max=1, step=0.05),
        }
        self.model, self.split, self.classes, self.live = model, split, classes, live
        rows = compute(model, split, 0, "lrp").ledger if "lrp" in self.methods else ()
        self.picture = Picture(pixels_of(split.inputs, preprocessing), [row["layer"] for row in rows])
        super().__init__(controls, ((0, next(iter(self.methods)), "gamma", 0.25),) if stops is None else stops)

    @classmethod
    def example(cls) -> HeatmapExplorer:
        """LeNet-5."""
        return cls(zoo.load("lenet-5"), data.mnist("validation", 8), methods=("lrp", *FREE))

    def compute(self, image: int, method: str, rule: str, parameter: float) -> View:
        method = method if method == "lrp" else self.methods[method]
        return compute(self.model, self.split, image, method, self.rules[rule], parameter, self.classes)

    def _show(self, setting: dict) -> View:
        view = super()._show(setting)
        self.controls["rule"].disabled = view.ledger is None
        self.controls["parameter"].disabled = view.ledger is None or isinstance(self.rules[setting["rule"]], Rule)
        return view
