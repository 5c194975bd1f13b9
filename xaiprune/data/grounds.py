"""What composites stand on: textures, plain colours, and crops of two photographs."""

# In stored tables: composites

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from ..core import Registry
from .cutouts import _picture

#: Height and width of a composite, in pixels.
_SIDE = 224


@dataclass(frozen=True)
class Ground:
    """Something to stand on.

    Attributes
    ----------
    name : str
    draw : callable
        ``numpy.random.RandomState -> (224, 224, 3)``, bytes.
    kept : bool
        Whether it is kept for the test split.
    shown : bool
        Whether composites on it may be stored and shown: no photograph may.
    """

    name: str
    draw: Callable[[np.random.RandomState], np.ndarray]
    kept: bool = False
    shown: bool = True


def _texture(name: str, random: np.random.RandomState) -> np.ndarray:
    """A crop of scikit-image's texture (CC0), mirrored in half of all cases."""
    return _crop(_file(name), _SIDE, random)


def _photograph(name: str, random: np.random.RandomState) -> np.ndarray:
    """A crop of scikit-learn's photograph (CC BY 2.0), 224 pixels or more, made as large as a composite."""
    from PIL import Image

    pixels = _sample(name)
    crop = _crop(pixels, random.randint(_SIDE, min(pixels.shape[:2]) + 1), random)
    return np.asarray(Image.fromarray(np.ascontiguousarray(crop)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))


def _plain(colour: int | None, random: np.random.RandomState) -> np.ndarray:
    """One colour, which is drawn where none is given."""
    value = random.randint(0, 256, 3) if colour is None else [colour] * 3
    return np.broadcast_to(np.uint8(value), (_SIDE, _SIDE, 3))


def _crop(pixels: np.ndarray, side: int, random: np.random.RandomState) -> np.ndarray:
    top, left = (random.randint(0, length - side + 1) for length in pixels.shape[:2])
    crop = pixels[top : top + side, left : left + side]
    return crop[:, ::-1] if random.randint(2) else crop


@cache
def _file(name: str) -> np.ndarray:
    return _picture(f"ground-{name}.png")


@cache
def _sample(name: str) -> np.ndarray:
    from sklearn.datasets import load_sample_image

    return load_sample_image(f"{name}.jpg")


GROUNDS: Registry[Ground] = Registry(
    "a ground",
    Ground,
    (
        Ground("brick", partial(_texture, "brick")),
        Ground("gravel", partial(_texture, "gravel"), kept=True),
        Ground("grass", partial(_texture, "grass"), kept=True),
        Ground("white", partial(_plain, 255)),
        Ground("grey", partial(_plain, 128)),
        Ground("colour", partial(_plain, None)),
        Ground("china", partial(_photograph, "china"), shown=False),
        Ground("flower", partial(_photograph, "flower"), shown=False),
    ),
)
