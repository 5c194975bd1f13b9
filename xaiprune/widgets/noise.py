"""SmoothGrad by hand: how noise and the number of samples change a heatmap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from ..data import Split
from ..explain import curves, rank_correlation, saliency, smoothgrad
from ..plots import EVIDENCE, scaled
from .canvas import LiveFigure
from .explorer import Explorer


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    image : int
    noisy : numpy.ndarray
        Shape ``(H, W)``: one of the noisy copies.
    heatmaps : numpy.ndarray
        Shape ``(2, H, W)``: of the same noise twice, from different draws; on their own scales.
    likeness : float
        Rank correlation of these two: how much of the map is left to chance.
    faithfulness : float
        Insertion less deletion of the first.
    text : str
        The numbers in one line.
    """

    image: int
    noisy: np.ndarray
    heatmaps: np.ndarray
    likeness: float
    faithfulness: float
    text: str


def compute(model: nn.Module, split: Split, image: int, sigma: float, samples: int) -> View:
    """SmoothGrad of one image's label, drawn twice.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    split : Split
    image : int
        Its place in the split.
    sigma : float
        Noise in per cent of the image's range.
    samples : int
        Noisy copies.
    """
    images, targets = split.images[image : image + 1], split.labels[image : image + 1]
    options = {"sigma": sigma, "samples": samples, "batch_size": samples}
    pair = torch.cat([smoothgrad(model, images, targets, seed=seed, **options) for seed in (0, 1)])
    likeness = rank_correlation(pair[:1], pair[1:]).item()
    found = curves(model, images, targets, pair[:1], steps=14).faithfulness.item()
    span = (images.max() - images.min()).item()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noisy = (images + sigma / 100 * span * noise).clamp(0, 1)[0, 0]
    text = f"two draws agree to {likeness:.2f} ↑ (rank correlation); faithfulness {found:.2f} ↑"
    return View(image, noisy.numpy(), scaled(pair.numpy()), likeness, found, text)


class Picture:
    """The image, a noisy copy, the plain gradient and two SmoothGrad maps; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, 1, H, W)``.
    plain : torch.Tensor
        Shape ``(N, H, W)``: saliency without noise.
    """

    def __init__(self, images: torch.Tensor, plain: torch.Tensor):
        self.images, self.plain = images, scaled(plain.numpy())
        figure = Figure(figsize=(11, 2.7), dpi=90, layout="constrained")
        axes, titles = (
            figure.subplots(1, 5),
            ("Image", "One noisy copy", "Gradient, no noise", "SmoothGrad", "again, other noise"),
        )
        blank = np.zeros(images.shape[-2:])
        self.artists = []
        for place, (ax, title) in enumerate(zip(axes, titles)):
            options = {"cmap": "gray", "vmin": 0} if place < 2 else {"cmap": EVIDENCE, "vmin": -1}
            self.artists.append(ax.imshow(blank, vmax=1, **options))
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=10)
        self.live = LiveFigure(figure, self.artists)

    def draw(self, view: View) -> bytes:
        """The picture of a view as PNG."""
        shown = (self.images[view.image, 0], view.noisy, self.plain[view.image], *view.heatmaps)
        for artist, values in zip(self.artists, shown):
            artist.set_data(values)
        return self.live.png()


class NoiseExplorer(Explorer):
    """Sliders for SmoothGrad's noise and number of samples; two draws side by side show what is left to chance.

    Parameters
    ----------
    model : nn.Module
        A classifier that is quick enough for a slider. In evaluation mode.
    split : Split
        The images to choose from, and their labels, which are explained.
    positions : mapping of str to tuple, optional
        Label to ``(image, sigma, samples)``: the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, or a position lies outside the sliders.
    """

    def __init__(self, model: nn.Module, split: Split, positions: Mapping[str, tuple] | None = None):
        if len(split.images) == 0:
            raise ValueError("split is empty: at least one image is needed.")
        self.model, self.split = model, split
        self.positions = dict(positions or {"as in the paper": (0, 15, 25)})
        for setting in self.positions.values():
            self._check(*setting)
        image, sigma, samples = next(iter(self.positions.values()))
        style = {"style": {"description_width": "90px"}}
        self.sliders = (
            widgets.IntSlider(value=image, max=len(split.images) - 1, description="image", **style),
            widgets.IntSlider(value=sigma, max=60, description="sigma [%]", **style),
            widgets.IntSlider(value=samples, min=1, max=64, description="samples", **style),
        )
        self._picture = Picture(split.images, saliency(model, *split))
        self._follow(self.sliders)
        self._lay_out([widgets.HBox(self.sliders)])

    def update(self) -> View:
        """Compute and draw the sliders' present setting."""
        view = compute(self.model, self.split, *(slider.value for slider in self.sliders))
        return self._show(view, self._picture.draw(view))

    def set(self, image: int, sigma: int, samples: int) -> View:
        """Choose a setting."""
        self._check(image, sigma, samples)
        with self._held():
            for slider, value in zip(self.sliders, (image, sigma, samples)):
                slider.value = value
        return self.update()

    def _check(self, image: int, sigma: int, samples: int) -> None:
        if not 0 <= image < len(self.split.images):
            raise ValueError(f"image must be from 0 to {len(self.split.images) - 1}, got {image}.")
        if not 0 <= sigma <= 60:
            raise ValueError(f"sigma must be from 0 to 60 %, got {sigma}.")
        if not 1 <= samples <= 64:
            raise ValueError(f"samples must be from 1 to 64, got {samples}.")

    def _stored(self):
        for label, setting in self.positions.items():
            view = compute(self.model, self.split, *setting)
            yield label, view, self._picture.draw(view)
