"""SmoothGrad by hand: how noise and the number of samples change a heatmap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import data, zoo
from ..data import Split, as_split
from ..explain import curves, rank_correlation, saliency, smoothgrad
from ..plots import scale_heatmaps
from .canvas import Drawing, LiveFigure, Panels, pictured
from .controls import Whole, image_slider
from .explorer import Explorer


@dataclass(frozen=True)
class View:
    """What the explorer shows for one setting.

    Attributes
    ----------
    image : int
    noisy : numpy.ndarray
        One of the noisy copies, as ``canvas.pictured`` gives it.
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

    Returns
    -------
    View
    """
    images, targets = split.inputs[image : image + 1], split.targets[image : image + 1]
    options = {"noise_level": sigma / 100, "samples": samples, "batch_size": samples}
    pair = torch.cat([smoothgrad(model, images, targets, seed=seed, **options) for seed in (0, 1)])
    likeness = rank_correlation(pair[:1], pair[1:]).item()
    found = curves(model, images, targets, pair[:1], steps=14).faithfulness.item()
    span = (images.max() - images.min()).item()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noisy = pictured((images + sigma / 100 * span * noise).clamp(0, 1))[0]
    text = f"two draws agree to {likeness:.2f} ↑ (rank correlation); faithfulness {found:.2f} ↑"
    return View(image, noisy, scale_heatmaps(pair.numpy()), likeness, found, text)


class Picture(Drawing[View]):
    """The image, a noisy copy, the plain gradient and two SmoothGrad maps; made once and updated.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, 1, H, W)``.
    plain : torch.Tensor
        Shape ``(N, H, W)``: saliency without noise.
    """

    def __init__(self, images: torch.Tensor, plain: torch.Tensor):
        self.plain = scale_heatmaps(plain.numpy())
        figure = Figure(figsize=(11, 2.7), dpi=90, layout="constrained")
        titles = ("Image", "One noisy copy", "Gradient, no noise", "SmoothGrad", "again, other noise")
        self.panels = Panels(figure.subplots(1, 5), titles, images, pictures=2)
        self.live = LiveFigure(figure, self.panels.artists)

    def draw(self, view: View) -> bytes:
        self.panels.show(view.image, view.noisy, self.plain[view.image], *view.heatmaps)
        return self.live.png()


class NoiseExplorer(Explorer[View]):
    """Sliders for SmoothGrad's noise and number of samples; two draws side by side show what is left to chance.

    Parameters
    ----------
    model : nn.Module
        A classifier that is quick enough for a slider. In evaluation mode.
    split : Split, or data of another form
        The images to choose from, and their labels, which are explained.
    stops : mapping of str to tuple, or sequence of tuple, optional
        ``(image, sigma, samples)`` of the stored pictures.

    Raises
    ------
    ValueError
        If the split is empty, or a stop lies outside the sliders.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    >>> split = xp.data.mnist("validation", 4)
    >>> view = xp.widgets.NoiseExplorer(model, split).set(image=1, sigma=0)
    >>> view.image, round(view.likeness, 2)  # without noise two draws are alike
    (1, 1.0)
    """

    title = "Noise: gradients, smoothed"

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        stops: Mapping[str, tuple] | Sequence[tuple] | None = None,
    ):
        split = as_split(split, name="split")
        controls = {
            "image": image_slider(split),
            "sigma": Whole("sigma [%]", "noise in per cent of the image's range", value=15, min=0, max=60),
            "samples": Whole("samples", "noisy copies that the mean is over", value=25, min=1, max=64),
        }
        self.model, self.split = model, split
        self.picture = Picture(split.inputs, saliency(model, *split))
        super().__init__(controls, {"as in the paper": (0, 15, 25)} if stops is None else stops)

    @classmethod
    def example(cls) -> NoiseExplorer:
        """LeNet-5."""
        return cls(zoo.load("lenet-5"), data.mnist("validation", 8))

    def compute(self, image: int, sigma: int, samples: int) -> View:
        return compute(self.model, self.split, image, sigma, samples)
