"""Figures for sliders: made once, their artists updated, encoded quickly."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image


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
        """The figure as it is now."""
        self.canvas.restore_region(self._background)
        for artist in self.live:
            artist.axes.draw_artist(artist)
        return png_bytes(np.asarray(self.canvas.buffer_rgba()))


def png_bytes(pixels: np.ndarray) -> bytes:
    """Pixels (H, W, 3 or 4), bytes, as PNG: lightly compressed, since a browser on this machine reads it."""
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(stream, "png", compress_level=1)
    return stream.getvalue()


def strip(pngs: Sequence[bytes]) -> bytes:
    """Pictures one below the other."""
    pictures = [np.asarray(Image.open(io.BytesIO(png))) for png in pngs]
    return png_bytes(np.concatenate(pictures))


def bundle(widget, png: bytes, text: str) -> dict:
    """What a notebook shows: the widget where it runs, the strip of pictures where it does not."""
    return {**widget._repr_mimebundle_(), "image/png": base64.b64encode(png).decode(), "text/plain": text}
