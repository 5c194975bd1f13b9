"""Cut-out photographs of things: pixels, exact mask, the classes that count as right, and the group.

``data/Objects`` holds them with their licence (Tux Paint stamps, GPL-2 or later).
"""

# In stored tables: composites

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np

from ..core import data_dir, sha256

#: Parts that the labelled things are split into; each is tested once.
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Cutout:
    """A thing without its ground.

    Parameters
    ----------
    name : str
        By which its scenes are drawn: the same name and seed give the same places.
    pixels : numpy.ndarray
        Shape (H, W, 3), bytes.
    mask : numpy.ndarray
        Shape (H, W): truth values, or bytes from 0 (ground) to 255 (thing). Half and more belongs to the thing.
    classes : sequence of int
        Numbers of the classes that count as right, the first one first; none where nobody has said.
    group : int, optional
        Things of one group are split and resampled together. By default a thing is a group of its own.

    Raises
    ------
    ValueError, TypeError
        If a mask has another size than its pixels, or no pixel belongs to the thing.

    Examples
    --------
    >>> square = xp.data.Cutout("square", np.full((8, 8, 3), 200, np.uint8), np.ones((8, 8), bool), [5])
    >>> square.mask.dtype, square.classes
    (dtype('uint8'), (5,))
    """

    name: str
    pixels: np.ndarray
    mask: np.ndarray
    classes: Sequence[int] = ()
    group: int = -1

    def __post_init__(self):
        pixels, mask = np.asarray(self.pixels), np.asarray(self.mask)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise TypeError(f"pixels must be bytes (H, W, 3), got {pixels.dtype} {pixels.shape}.")
        if mask.dtype not in (bool, np.uint8):
            raise TypeError(f"mask must be truth values or bytes, got {mask.dtype}.")
        if mask.shape != pixels.shape[:2]:
            raise ValueError(
                f"mask must have the size of the pixels of {self.name!r}, {pixels.shape[:2]}, got {mask.shape}."
            )
        mask = mask * np.uint8(255) if mask.dtype == bool else mask
        rows, columns = np.nonzero(mask >= 128)
        if len(rows) == 0:
            raise ValueError(f"mask of {self.name!r} has no pixel that belongs to the thing.")
        inside = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        own = {"pixels": pixels[inside], "mask": mask[inside], "classes": tuple(int(one) for one in self.classes)}
        own["group"] = crc32(self.name.encode()) if self.group < 0 else self.group
        for name, value in own.items():
            object.__setattr__(self, name, value)


@cache
def labelled() -> tuple[Cutout, ...]:
    """The 118 labelled things of ``data/Objects``, in 87 groups that share no class.

    Returns
    -------
    tuple of Cutout

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or damaged; it is named.
    """
    rows = json.loads(_read("labels.json"))
    groups = _groups([row["classes"] for row in rows])
    return tuple(_cutout(row["file"], row["classes"], group) for row, group in zip(rows, groups))


@cache
def unlabelled() -> tuple[Cutout, ...]:
    """The 176 things of ``data/Objects`` that nobody has labelled.

    Returns
    -------
    tuple of Cutout

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or damaged; it is named.
    """
    names = [stamp.replace("/", "-").lower() for stamp in json.loads(_read("unlabelled.json"))]
    return tuple(_cutout(f"unlabelled/{name}") for name in names)


def fold_of(cutouts: Sequence[Cutout]) -> tuple[int, ...]:
    """The fold that tests each thing: groups stay whole, and folds have about as many things each.

    Parameters
    ----------
    cutouts : sequence of Cutout

    Returns
    -------
    tuple of int
        From 0 to 4, one for each thing.
    """
    groups = [thing.group for thing in cutouts]
    names = sorted(set(groups))
    drawn = [names[place] for place in np.random.RandomState(0).permutation(len(names))]
    sizes, folds = [0] * FOLDS, {}
    for group in sorted(drawn, key=groups.count, reverse=True):
        folds[group] = sizes.index(min(sizes))
        sizes[folds[group]] += groups.count(group)
    return tuple(folds[group] for group in groups)


def _picture(file: str) -> np.ndarray:
    """A picture of ``data/Objects`` as bytes (H, W, 3) or (H, W, 4), if it is what its checksum says."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(_read(file))))


def _read(file: str) -> bytes:
    path = data_dir() / "Objects" / file
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: the pictures are in the repository's data folder, in no wheel.")
    if (found := sha256(path)) != (expected := _checksums(data_dir() / "SHA256SUMS").get(f"Objects/{file}", "none")):
        raise ValueError(f"{path} is damaged: its SHA-256 is {found[:12]}..., expected {expected[:12]}...")
    return path.read_bytes()


@cache
def _checksums(path: Path) -> dict[str, str]:
    return {name: digest for digest, name in (line.split("  ", 1) for line in path.read_text().splitlines())}


def _cutout(file: str, classes: Sequence[int] = (), group: int = -1) -> Cutout:
    pixels = _picture(file)
    return Cutout(file.rpartition("/")[2].removesuffix(".png"), pixels[..., :3], pixels[..., 3], classes, group)


def _groups(sets: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of groups: sets that share a class, directly or through others, are in one."""
    joined: list[set[int]] = []
    for classes in map(set, sets):
        apart = [group for group in joined if not group & classes]
        joined = [*apart, classes.union(*(group for group in joined if group & classes))]
    order = sorted(joined, key=min)
    return [next(place for place, group in enumerate(order) if classes[0] in group) for classes in sets]
