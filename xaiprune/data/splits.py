"""The course's data sets: real images, checked, split once and for all.

``data/MNIST`` and ``data/FashionMNIST`` hold the complete data sets as gzipped IDX files. Every file is
compared with its SHA-256 before it is believed, unpacked once into a cache, and handed over as tensors.
Outside a checkout the same functions download the files through torchvision into the user's cache.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from ..core import cache_dir, data_dir, save_atomically, sha256, whole
from .split import Split

SPLITS = ("train", "validation", "calibration", "test")
#: Images of the original training file that each split gets; the test split is the original test file.
SPLIT_SIZES = {"train": 54_000, "validation": 5_000, "calibration": 1_000, "test": 10_000}

MNIST_CLASSES = tuple("0123456789")
FASHION_MNIST_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

#: Files of each data set, with the SHA-256 of what they unpack to, so that any way of packing them will do.
FILES = {
    "MNIST": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
_RESTORE = "Restore it with `git checkout -- data`."


def mnist(split: str, limit: int | None = None) -> Split:
    """Handwritten digits, 28 x 28, ten classes (LeCun, Cortes, Burges; CC BY-SA 3.0).

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
        The first three share the original 60,000 training images (54,000, 5,000 and 1,000, drawn once with a
        fixed permutation); ``"test"`` is the original test file of 10,000. Choose on validation, report on test.
    limit : int, optional
        Only the first ``limit`` images. A split is already in random order, so these are a fair sample.

    Returns
    -------
    Split
        ``inputs`` of shape (N, 1, 28, 28), float32 in [0, 1], and ``targets`` of shape (N,), int64.

    Raises
    ------
    ValueError
        For an unknown split, a limit outside 1..N, or a file that is damaged (the file is named).
    FileNotFoundError
        Where a file is missing from a checkout's ``data/``.

    Examples
    --------
    >>> images, labels = xp.data.mnist("test", 3)
    >>> images.shape, labels.tolist()
    (torch.Size([3, 1, 28, 28]), [7, 2, 1])
    """
    return _load("MNIST", split, limit)


def mnist_whole(split: str, limit: int | None = None) -> Split:
    """:func:`mnist` with all 60,000 original training images as its training split, in the same random order.

    For a last fit, when nothing is left to choose: the validation and calibration images are among them, so that what
    is measured there says nothing about new images.

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
    limit : int, optional
        As for :func:`mnist`.

    Returns
    -------
    Split

    Raises
    ------
    ValueError, FileNotFoundError
        As for :func:`mnist`.
    """
    if split != "train":
        return mnist(split, limit)
    parts = [mnist(name) for name in SPLITS[:3]]
    whole = Split(*(torch.cat(tensors) for tensors in zip(*parts)))
    return whole if limit is None else whole.first(limit)


def fashion_mnist(split: str, limit: int | None = None) -> Split:
    """Pictures of clothes, 28 x 28, ten classes (Zalando; MIT). Their names are ``FASHION_MNIST_CLASSES``.

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
    limit : int, optional
        As for :func:`mnist`.

    Returns
    -------
    Split
        Of the shapes of :func:`mnist`.

    Raises
    ------
    ValueError, FileNotFoundError
        As for :func:`mnist`.

    Examples
    --------
    >>> images, labels = xp.data.fashion_mnist("validation", 3)
    >>> images.shape, [xp.data.FASHION_MNIST_CLASSES[label] for label in labels]
    (torch.Size([3, 1, 28, 28]), ['Trouser', 'Coat', 'Sneaker'])
    """
    return _load("FashionMNIST", split, limit)


def check_images(
    images,
    name: str = "images",
    shape: tuple[int, ...] | None = None,
    bounds: tuple[float, float] | None = (0, 1),
) -> torch.Tensor:
    """Return ``images`` if they are a batch of float images within bounds, and say what is wrong if not.

    Parameters
    ----------
    images : torch.Tensor
        Expected shape ``(N, C, H, W)`` with N of at least 1.
    name : str
        The argument's name, for the message.
    shape : tuple of int, optional
        Expected ``(C, H, W)``.
    bounds : tuple of float, optional
        The least and the largest value that a pixel may have; with None any finite value, as for pictures that are
        normalised as a network's card says.

    Returns
    -------
    torch.Tensor
        The images themselves.

    Raises
    ------
    TypeError
        If it is not a floating-point tensor.
    ValueError
        If it is empty, has no batch axis, has another image shape, or leaves the bounds.
    """
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        got = f"a {images.dtype} tensor" if isinstance(images, torch.Tensor) else type(images).__name__
        raise TypeError(f"{name} must be a float tensor (N, C, H, W), got {got}; divide bytes by 255.")
    if images.ndim != 4:
        hint = "; add the batch axis with images[None]" if images.ndim == 3 else ""
        raise ValueError(f"{name} must have shape (N, C, H, W), got {tuple(images.shape)}{hint}.")
    if len(images) == 0:
        raise ValueError(f"{name} is empty: at least one image is needed.")
    if shape is not None and tuple(images.shape[1:]) != tuple(shape):
        raise ValueError(f"{name} must have image shape {tuple(shape)}, got {tuple(images.shape[1:])}.")
    low, high = images.min().item(), images.max().item()
    if not math.isfinite(low + high):
        raise ValueError(f"{name} must be finite, got values from {low:g} to {high:g}.")
    if bounds and not bounds[0] <= low <= high <= bounds[1]:
        hint = "; divide them by 255" if bounds == (0, 1) and high > 2 and low >= 0 else ""
        raise ValueError(f"{name} must lie in {list(bounds)}, got values from {low:g} to {high:g}{hint}.")
    return images


def _load(dataset: str, split: str, limit: int | None) -> Split:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    size = SPLIT_SIZES[split]
    if limit is not None:
        whole(limit, "limit", 1, size, f"the images of the {split} split")
    part = "t10k" if split == "test" else "train"
    rows = _rows(split)[:limit]
    pixels = _unpacked(dataset, f"{part}-images-idx3-ubyte")[rows]
    labels = _unpacked(dataset, f"{part}-labels-idx1-ubyte")[rows]
    images = torch.from_numpy(pixels)[:, None].to(torch.float32).div_(255)
    return Split(images, torch.from_numpy(labels.astype(np.int64)))


def _rows(split: str) -> np.ndarray:
    """Row numbers of a split. RandomState's stream is frozen by NumPy, so the splits never move."""
    if split == "test":
        return np.arange(SPLIT_SIZES["test"])
    order = np.random.RandomState(0).permutation(60_000)
    ends = np.cumsum([SPLIT_SIZES[name] for name in SPLITS[:3]])[:2]
    return np.split(order, ends)[SPLITS.index(split)]


def _unpacked(dataset: str, name: str) -> np.ndarray:
    """One IDX file as an array, through the cache of unpacked files."""
    expected = FILES[dataset][name]
    archive = _packed_path(dataset, name)
    cached = cache_dir() / "unpacked" / f"{dataset}-{name}-{expected[:12]}"
    if cached.exists() and cached.stat().st_mtime >= archive.stat().st_mtime and sha256(cached) == expected:
        return _parse_idx(cached.read_bytes())
    try:
        raw = gzip.decompress(archive.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged and does not unpack ({error}). {_RESTORE}") from error
    if (found := hashlib.sha256(raw).hexdigest()) != expected:
        message = f"{archive} is damaged: unpacked, its SHA-256 is {found[:12]}..., expected {expected[:12]}..."
        raise ValueError(f"{message} {_RESTORE}")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not the lesson
        save_atomically(cached, lambda path: path.write_bytes(raw))
    return _parse_idx(raw)


def _packed_path(dataset: str, name: str) -> Path:
    path = data_dir() / dataset / f"{name}.gz"
    if path.exists():
        return path
    if data_dir().exists():
        raise FileNotFoundError(f"{path} is missing. {_RESTORE}")
    from torchvision import datasets  # outside a checkout: torchvision's downloader, into the cache

    getattr(datasets, dataset)(cache_dir(), train=name.startswith("train"), download=True)
    return cache_dir() / dataset / "raw" / f"{name}.gz"


def _parse_idx(raw: bytes) -> np.ndarray:
    """Read the IDX format: two zero bytes, the type (8, unsigned bytes), the rank, the sizes, the values."""
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
