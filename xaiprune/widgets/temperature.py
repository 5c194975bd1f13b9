"""What a teacher says at a temperature: soft labels, their order, and what is left of them for a student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..data import Split, as_split
from ..explain import Method
from ..measure import predict
from ..plots import BLUE, RED
from .canvas import Drawing, LiveFigure, Panels
from .controls import Stops, image_slider
from .evidence import compared
from .explorer import Explorer

#: Stops of the temperature; T = 1 is the model's own answer.
TEMPERATURES = (0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0)
ALPHAS = tuple(number / 10 for number in range(11))


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    image : int
    temperature, alpha : float
    teacher, student : numpy.ndarray
        Soft labels at this temperature, shape ``(classes,)``.
    heard : numpy.ndarray
        ``(1 - alpha) label + alpha teacher``: how much of the teacher a student hears beside the label.
    entropy : float
        Of the teacher's soft label, in bits.
    others : tuple of int
        The wrong classes, the likeliest first.
    agreement : float
        Share of the explorer's images that both answer alike, in per cent.
    heatmaps : numpy.ndarray
        Of the teacher and the student for the teacher's answer, shape ``(2, H, W)``.
    drift : float
        1 less their rank correlation.
    text : str
        The numbers in one line.
    """

    image: int
    temperature: float
    alpha: float
    teacher: np.ndarray
    student: np.ndarray
    heard: np.ndarray
    entropy: float
    others: tuple[int, ...]
    agreement: float
    heatmaps: np.ndarray
    drift: float
    text: str


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy in bits: 0 where one class has all, log2(classes) where all are alike.

    Parameters
    ----------
    probabilities : torch.Tensor
        Shape ``(..., classes)``.

    Returns
    -------
    torch.Tensor
        Shape ``(...)``.
    """
    return torch.special.entr(probabilities).sum(-1) / math.log(2)


def compute(
    logits: torch.Tensor,
    labels: torch.Tensor,
    classes: Sequence[str],
    temperature: float,
    alpha: float,
    image: int,
    evidence: tuple[np.ndarray, float],
) -> View:
    """What is said of an image at a temperature.

    Parameters
    ----------
    logits : torch.Tensor
        Of teacher and student, shape ``(2, N, classes)``.
    labels : torch.Tensor
        Shape ``(N,)``.
    classes : sequence of str
    temperature, alpha : float
    image : int
    evidence : tuple
        Both heatmaps of the image and the drift, from ``compared``.

    Returns
    -------
    View
    """
    teacher, student = (logits[:, image] / temperature).softmax(-1)
    label = int(labels[image])
    heard = alpha * teacher
    heard[label] += 1 - alpha
    others = tuple(place for place in teacher.argsort(descending=True).tolist() if place != label)
    answers = logits.argmax(-1)
    agreement = 100 * (answers[0] == answers[1]).double().mean().item()
    bits = entropy(teacher).item()
    ranking = ", ".join(f"{classes[place]} {teacher[place]:.2g}" for place in others[:3])
    text = (
        f"T = {temperature:g}: {bits:.2f} of {math.log2(len(classes)):.2f} bits; {classes[label]} "
        f"{teacher[label]:.3f}, then {ranking}; both models agree on {agreement:.1f} % of the images; evidence: "
        f"drift {evidence[1]:.2f} ↓"
    )
    numbers = (values.numpy() for values in (teacher, student, heard))
    return View(image, temperature, alpha, *numbers, bits, others, agreement, *evidence, text)


class Picture(Drawing[View]):
    """The image, bars of soft labels, the entropy over all temperatures with its limits, and both models' evidence.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    logits : torch.Tensor
        The teacher's, shape ``(N, classes)``.
    classes : tuple of str
    """

    def __init__(self, images: torch.Tensor, logits: torch.Tensor, classes: tuple[str, ...]):
        self.logits = logits
        self.stops = np.geomspace(TEMPERATURES[0], TEMPERATURES[-1], 60)
        figure = Figure(figsize=(13, 3.2), dpi=90, layout="constrained")
        image, labels, curve, *maps = figure.subplots(1, 5, width_ratios=(1, 3, 2.2, 1, 1))
        places = np.arange(len(classes))
        rows = (("teacher", BLUE), ("student", "#999999"), ("teacher and label,\nmixed by alpha", RED))
        self.bars = [
            labels.barh(places + 0.27 * (number - 1), np.zeros(len(classes)), 0.27, color=colour, label=name)
            for number, (name, colour) in enumerate(rows)
        ]
        labels.set(title="Soft labels", xlim=(0, 1.5), xticks=(0, 0.5, 1), yticks=places, yticklabels=classes)
        labels.set_xlabel("probability", x=1 / 3)
        labels.invert_yaxis()
        labels.legend(loc="lower right", fontsize=8)
        most = math.log2(len(classes))
        curve.axhline(0, ls=":", color="#777777")
        curve.axhline(most, ls=":", color="#777777")
        curve.axvline(1, ls="--", lw=1, color="#777777")
        curve.text(TEMPERATURES[-1], 0.03, "T to 0: one class", ha="right", va="bottom", fontsize=8)
        curve.text(1.1, most * 0.99, "T to infinity: all alike", va="top", fontsize=8)
        (self.line,) = curve.plot(self.stops, np.zeros(60), color=BLUE)
        (self.point,) = curve.plot([1], [0], "o", color=RED)
        curve.set(title="Entropy of the teacher's answer", xscale="log", xlabel="T (dashed: 1)", ylabel="bits")
        curve.set(ylim=(-0.05 * most, 1.05 * most), xlim=(TEMPERATURES[0], TEMPERATURES[-1]))
        curve.set_xticks(marks := (0.5, 1, 2, 5, 10, 20, 50), labels=[f"{mark:g}" for mark in marks])
        curve.minorticks_off()
        self.panels = Panels((image, *maps), ("Image", "Evidence, teacher", "student"), images)
        bars = [bar for group in self.bars for bar in group]
        self.live = LiveFigure(figure, [*bars, self.line, self.point, *self.panels.artists])

    def draw(self, view: View) -> bytes:
        for group, values in zip(self.bars, (view.teacher, view.student, view.heard)):
            for bar, value in zip(group, values):
                bar.set_width(float(value))
        warm = self.logits[view.image] / torch.from_numpy(self.stops)[:, None]
        self.line.set_ydata(entropy(warm.softmax(-1)))
        self.point.set_data([view.temperature], [view.entropy])
        self.panels.show(view.image, *view.heatmaps)
        return self.live.png()


class TemperatureExplorer(Explorer[View]):
    """Warm a teacher's answer up, and see what it says beside the right class.

    Parameters
    ----------
    teacher, student : nn.Module
        Classifiers, in evaluation mode; not changed.
    split : Split, or data of another form
        Images and labels to choose from.
    classes : sequence of str
    method : Method or str
        Of the heatmaps.
    stops : sequence of tuple, or mapping of str to tuple
        ``(temperature, alpha, image)`` of the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, the models have other classes than are named, or a stop lies outside of the controls.

    Examples
    --------
    >>> teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval() for _ in range(2))
    >>> split = xp.data.mnist("validation", 4)
    >>> explorer = xp.widgets.TemperatureExplorer(teacher, student, split, xp.data.MNIST_CLASSES)
    >>> explorer.set(temperature=8.0).entropy > explorer.set(temperature=1.0).entropy
    True
    """

    title = "Temperature: what a teacher says"
    live = False

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        split: Split,
        classes: Sequence[str],
        *,
        method: Method | str = "gradient x input",
        stops: Mapping[str, tuple] | Sequence[tuple] = ((1.0, 0.9, 0), (4.0, 0.9, 0)),
    ):
        split = as_split(split, name="split")
        controls = {
            "temperature": Stops("T", "temperature of the soft labels", value=1.0, options=TEMPERATURES),
            "alpha": Stops("alpha", "weight of the teacher beside the label", value=0.9, options=ALPHAS),
            "image": image_slider(split),
        }
        self.models, self.split, self.classes = (teacher, student), split, tuple(classes)
        self.logits = torch.stack([predict(model, split.inputs).double() for model in self.models])
        if self.logits.shape[-1] != len(self.classes):
            raise ValueError(f"classes must name {self.logits.shape[-1]} classes, got {len(self.classes)}.")
        self._evidence = cache(lambda image: compared(teacher, student, split.inputs[image : image + 1], method))
        self.picture = Picture(split.inputs, self.logits[0], self.classes)
        super().__init__(controls, stops)

    @classmethod
    def example(cls) -> TemperatureExplorer:
        """A teacher and another network."""
        models = (zoo.load(name) for name in ("mnist-1200-1200", "lenet-300-100"))
        return cls(*models, data.mnist("validation", 30), data.MNIST_CLASSES)

    def compute(self, temperature: float, alpha: float, image: int) -> View:
        setting = (temperature, alpha, image, self._evidence(image))
        return compute(self.logits, self.split.targets, self.classes, *setting)
