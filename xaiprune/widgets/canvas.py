"""Figures for sliders: made once, their artists updated, encoded quickly."""

from __future__ import annotations

import base64
import io
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from ipywidgets import DOMWidget
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from ..data import Preprocessing
from ..plots import EVIDENCE

_View = TypeVar("View")
LETTER, LINE = 8, 18  # of a caption: mean width of wide letters and height of a line, in pixels


class LiveFigure:
    """A figure whose background is drawn once and whose live artists are drawn over it.

    Parameters
    ----------
    figure : Figure
        Laid out and complete but for the live artists.
    live : sequence of Artist
        Updated by the caller before each :meth:`png`.
    """

    def __init__(self, figure: Figure, live: Sequence[Artist]):
        self.canvas = FigureCanvasAgg(figure)
        self.live = list(live)
        for artist in self.live:
            artist.set_animated(True)
        self.canvas.draw()
        self._background = self.canvas.copy_from_bbox(figure.bbox)

    def png(self) -> bytes:
        """The figure as it is now.

        Returns
        -------
        bytes
            PNG.
        """
        self.canvas.restore_region(self._background)
        for artist in self.live:
            artist.axes.draw_artist(artist)
        return png_bytes(np.asarray(self.canvas.buffer_rgba()))


class Drawing(ABC, Generic[_View]):
    """A figure that is made once and shows one view after another: the base of each explorer's ``Picture``.

    Attributes
    ----------
    live : LiveFigure
        The figure, and the artists in it that differ from view to view.
    """

    live: LiveFigure

    @abstractmethod
    def draw(self, view: _View) -> bytes:
        """Update the live artists to a view, and encode the figure.

        Parameters
        ----------
        view : View
            What the explorer's ``compute`` gave.

        Returns
        -------
        bytes
            PNG, of one size for all views.
        """


class Panels:
    """An image, then heatmaps of evidence, one to an axis.

    Parameters
    ----------
    axes : iterable of Axes
    titles : iterable of str
    images : torch.Tensor
        Shape ``(N, C, H, W)``, in [0, 1]: one of them is shown.
    pictures : int
        How many are pictures and no heatmaps: the first, and others that are images too.
    """

    def __init__(self, axes: Iterable[Axes], titles: Iterable[str], images: torch.Tensor, pictures: int = 1):
        self.images, self.artists = pictured(images), []
        for number, (ax, title) in enumerate(zip(axes, titles)):
            looks = {"cmap": "gray", "vmin": 0} if number < pictures else {"cmap": EVIDENCE, "vmin": -1}
            self.artists.append(ax.imshow(self.images[0], vmax=1, **looks))
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=10)

    def show(self, image: int, *heatmaps: np.ndarray) -> None:
        """Show one of the images, and what belongs to it.

        Parameters
        ----------
        image : int
            Its place among the images.
        *heatmaps : numpy.ndarray
            Shape ``(H, W)`` each, one for each of the other axes: in [-1, 1]; of pictures as
            :func:`pictured` gives them.
        """
        for artist, values in zip(self.artists, (self.images[image], *heatmaps)):
            artist.set_data(values)


def pictured(images: torch.Tensor) -> np.ndarray:
    """Images as matplotlib draws them: in colour where there are three colours, else the mean of the channels.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``, in [0, 1].

    Returns
    -------
    numpy.ndarray
        Shape ``(N, H, W, 3)`` or ``(N, H, W)``.

    Examples
    --------
    >>> pictured = xp.widgets.canvas.pictured
    >>> pictured(torch.zeros(2, 3, 8, 8)).shape, pictured(torch.zeros(2, 1, 8, 8)).shape
    ((2, 8, 8, 3), (2, 8, 8))
    """
    return (images.permute(0, 2, 3, 1) if images.shape[1] == 3 else images.mean(1)).numpy()


def pixels_of(inputs: torch.Tensor, preprocessing: Preprocessing | None) -> torch.Tensor:
    """Inputs of a model as pixels.

    Parameters
    ----------
    inputs : torch.Tensor
        Shape ``(N, C, H, W)``.
    preprocessing : Preprocessing, optional
        What made the inputs from pixels; without one they are pixels.

    Returns
    -------
    torch.Tensor
        Shape ``(N, C, H, W)``, in [0, 1].

    Examples
    --------
    >>> grey = xp.widgets.canvas.pixels_of(torch.zeros(2, 3, 8, 8), xp.zoo.preprocessing("efficientnet-lite0"))
    >>> round(grey[0, 0, 0, 0].item(), 2)
    0.5
    """
    return inputs if preprocessing is None else preprocessing.pixels(inputs)


def png_bytes(pixels: np.ndarray) -> bytes:
    """Pixels as PNG: lightly compressed, since a browser on this machine reads it.

    Parameters
    ----------
    pixels : numpy.ndarray
        Shape ``(H, W, 3 or 4)``, bytes.

    Returns
    -------
    bytes
    """
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(stream, "png", compress_level=1)
    return stream.getvalue()


def strip(pngs: Sequence[bytes], captions: Sequence[str]) -> bytes:
    """Pictures one below the other, each under a caption that says what it is.

    Parameters
    ----------
    pngs : sequence of bytes
        Of one width.
    captions : sequence of str
        Broken into lines where they are longer than the picture is wide.

    Returns
    -------
    bytes
        PNG.
    """
    pictures = []
    for png, caption in zip(pngs, captions):
        picture = np.asarray(Image.open(io.BytesIO(png)))
        pictures += [_written(caption, picture.shape[1]), picture]
    return png_bytes(np.concatenate(pictures))


def _written(text: str, width: int) -> np.ndarray:
    """Pixels (H, width, 3) of text in black on white."""
    lines = textwrap.wrap(text, max(1, width // LETTER))
    image = Image.new("RGB", (width, LINE * (len(lines) + 1)), "white")
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 13)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((LETTER, LINE * (number + 0.5)), line, "black", font)
    return np.asarray(image)


def bundle(widget: DOMWidget, png: bytes, text: str) -> dict:
    """What a notebook shows: the widget where it runs, the strip of pictures where it does not.

    Parameters
    ----------
    widget : DOMWidget
    png : bytes
    text : str
        For readers without pictures.

    Returns
    -------
    dict
        MIME type to content.
    """
    return {**widget._repr_mimebundle_(), "image/png": base64.b64encode(png).decode(), "text/plain": text}
