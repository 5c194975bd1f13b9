"""What a teacher says at a temperature: soft labels, their order, and what is left of them for a student."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from ..data import Split
from ..explain import NoEvidence, heatmaps, likeness
from ..measure import predict
from ..plots import BLUE, EVIDENCE, RED, scaled
from .canvas import LiveFigure
from .explorer import RELEASED, Explorer

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
    likeness : float
        Their rank correlation.
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
    likeness: float
    text: str


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Of distributions ``(..., classes)``, in bits: 0 where one class has all, log2(classes) where all are alike."""
    return torch.special.entr(probabilities).sum(-1) / math.log(2)


class TemperatureExplorer(Explorer):
    """Warm a teacher's answer up, and see what it says beside the right class.

    Parameters
    ----------
    teacher, student : nn.Module
        Classifiers, in evaluation mode; not changed.
    split : Split
        Images and labels to choose from.
    classes : sequence of str
    stops : sequence of tuple
        ``(temperature, alpha, image)`` of the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, the models have other classes than are named, or a stop lies outside of the controls.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        split: Split,
        classes: Sequence[str],
        *,
        stops: Sequence[tuple] = ((1.0, 0.9, 0), (4.0, 0.9, 0)),
    ):
        if len(split.images) == 0:
            raise ValueError("split is empty: at least one image is needed.")
        self.models, self.split, self.classes = (teacher, student), split, tuple(classes)
        self.logits = torch.stack([predict(model, split.images).double() for model in self.models])
        if self.logits.shape[-1] != len(self.classes):
            raise ValueError(f"classes must name {self.logits.shape[-1]} classes, got {len(self.classes)}.")
        self._maps: dict[int, tuple[np.ndarray, float]] = {}
        self.stops = tuple(stops)
        for stop in self.stops:
            self._check(*stop)
        self.temperature = widgets.SelectionSlider(options=TEMPERATURES, value=1.0, description="T", **RELEASED)
        self.alpha = widgets.SelectionSlider(options=ALPHAS, value=0.9, description="alpha", **RELEASED)
        self.image = widgets.IntSlider(max=len(split.images) - 1, description="image", **RELEASED)
        self.controls = (self.temperature, self.alpha, self.image)
        self._picture = Picture(split.images, self.logits[0], self.classes)
        self._follow(self.controls)
        self._lay_out([widgets.HBox(self.controls)])

    def compute(self, temperature: float, alpha: float, image: int) -> View:
        """What is said of an image at a temperature."""
        teacher, student = (self.logits[:, image] / temperature).softmax(-1)
        label = int(self.split.labels[image])
        heard = alpha * teacher
        heard[label] += 1 - alpha
        others = tuple(place for place in teacher.argsort(descending=True).tolist() if place != label)
        answers = self.logits.argmax(-1)
        agreement = 100 * (answers[0] == answers[1]).double().mean().item()
        maps, alike = self._evidence(image)
        bits = entropy(teacher).item()
        ranking = ", ".join(f"{self.classes[place]} {teacher[place]:.2g}" for place in others[:3])
        text = (
            f"T = {temperature:g}: {bits:.2f} of {math.log2(len(self.classes)):.2f} bits; {self.classes[label]} "
            f"{teacher[label]:.3f}, then {ranking}; both models agree on {agreement:.1f} % of the images; evidence: "
            f"rank correlation {alike:.2f} ↑"
        )
        numbers = (values.numpy() for values in (teacher, student, heard))
        return View(image, temperature, alpha, *numbers, bits, others, agreement, maps, alike, text)

    def update(self) -> View:
        """Compute and draw what the controls say."""
        view = self.compute(*(control.value for control in self.controls))
        return self._show(view, self._picture.draw(view))

    def set(self, temperature: float = 1.0, alpha: float = 0.9, image: int = 0) -> View:
        """Choose a setting."""
        values = (temperature, alpha, image)
        self._check(*values)
        with self._held():
            for control, value in zip(self.controls, values):
                control.value = value
        return self.update()

    def _evidence(self, image: int) -> tuple[np.ndarray, float]:
        """Heatmaps of both models for what the teacher answers; made once for each image."""
        if image not in self._maps:
            one, answer = self.split.images[image : image + 1], self.logits[0, image].argmax()[None]
            maps = [heatmaps(model, one, answer, "lrp") for model in self.models]
            try:
                alike = likeness(*maps, "the teacher's heatmap")[0].item()
            except NoEvidence:
                alike = 0.0
            self._maps[image] = scaled(torch.cat(maps).numpy()), alike
        return self._maps[image]

    def _check(self, temperature: float, alpha: float, image: int) -> None:
        if temperature not in TEMPERATURES:
            raise ValueError(f"temperature must be one of {', '.join(map(str, TEMPERATURES))}, got {temperature!r}.")
        if alpha not in ALPHAS:
            raise ValueError(f"alpha must be one of {', '.join(map(str, ALPHAS))}, got {alpha!r}.")
        if not 0 <= image < len(self.split.images):
            raise ValueError(f"image must be from 0 to {len(self.split.images) - 1}, got {image}.")

    def _stored(self):
        for stop in self.stops:
            view = self.compute(*stop)
            yield f"image {stop[2]}", view, self._picture.draw(view)


class Picture:
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
        self.images, self.logits = images, logits
        self.stops = np.geomspace(TEMPERATURES[0], TEMPERATURES[-1], 60)
        figure = Figure(figsize=(13, 3.2), dpi=90, layout="constrained")
        image, labels, curve, *maps = figure.subplots(1, 5, width_ratios=(1, 3, 2.2, 1, 1))
        places, blank = np.arange(len(classes)), np.zeros(images.shape[-2:])
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
        curve.text(TEMPERATURES[0], most * 0.99, "T to infinity: all alike", va="top", fontsize=8)
        (self.line,) = curve.plot(self.stops, np.zeros(60), color=BLUE)
        (self.point,) = curve.plot([1], [0], "o", color=RED)
        curve.set(title="Entropy of the teacher's answer", xscale="log", xlabel="T (dashed: 1)", ylabel="bits")
        curve.set(ylim=(-0.05 * most, 1.05 * most), xlim=(TEMPERATURES[0], TEMPERATURES[-1]))
        curve.set_xticks(marks := (0.5, 1, 2, 5, 10, 20, 50), labels=[f"{mark:g}" for mark in marks])
        curve.minorticks_off()
        for ax, title in zip((image, *maps), ("Image", "Evidence, teacher", "student")):
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=10)
        self.image = image.imshow(blank, cmap="gray", vmin=0, vmax=1)
        self.maps = [ax.imshow(blank, cmap=EVIDENCE, vmin=-1, vmax=1) for ax in maps]
        bars = [bar for group in self.bars for bar in group]
        self.live = LiveFigure(figure, [*bars, self.line, self.point, self.image, *self.maps])

    def draw(self, view: View) -> bytes:
        """The picture of a view as PNG."""
        for group, values in zip(self.bars, (view.teacher, view.student, view.heard)):
            for bar, value in zip(group, values):
                bar.set_width(float(value))
        warm = self.logits[view.image] / torch.from_numpy(self.stops)[:, None]
        self.line.set_ydata(entropy(warm.softmax(-1)))
        self.point.set_data([view.temperature], [view.entropy])
        self.image.set_data(self.images[view.image].mean(0))
        for artist, heat in zip(self.maps, view.heatmaps):
            artist.set_data(heat)
        return self.live.png()
