"""Colour images for those who have a network: CIFAR-10 and Imagenette, fetched once into the user's cache."""

from __future__ import annotations

import tarfile

import numpy as np
import torch

from ..core import cache_dir
from .split import Split
from .splits import SPLITS

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
IMAGENETTE_CLASSES = (
    *("tench", "English springer", "cassette player", "chain saw", "church"),
    *("French horn", "garbage truck", "gas pump", "golf ball", "parachute"),
)
#: The binary version, which needs no unpickling: 3,073 bytes an image, the label first. Address and MD5 of its makers.
CIFAR10_ARCHIVE = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
_RECORD = 1 + 3 * 32 * 32


def cifar10(split: str, limit: int | None = None) -> Split:
    """Small colour photographs, 32 x 32, ten classes (Krizhevsky 2009).

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
        The first three share the 50,000 training images: all but 6,000, then 5,000 and 1,000, drawn once.
    limit : int, optional
        Only the first ``limit`` images.

    Returns
    -------
    Split
        ``inputs`` of shape (N, 3, 32, 32), float32 in [0, 1], and ``targets`` of shape (N,), int64.

    Raises
    ------
    ValueError
        For an unknown split, a limit below 1, or an archive that is damaged.
    OSError
        Where the archive is not in the cache and there is no network.
    """
    _check(split, limit)
    archive = cache_dir() / "downloads" / CIFAR10_ARCHIVE[0].rpartition("/")[2]
    if not archive.exists():
        from torchvision.datasets.utils import download_url

        download_url(CIFAR10_ARCHIVE[0], archive.parent, md5=CIFAR10_ARCHIVE[1])
    names = ["test_batch.bin"] if split == "test" else [f"data_batch_{number}.bin" for number in range(1, 6)]
    try:
        with tarfile.open(archive) as packed:
            raw = b"".join(packed.extractfile(f"cifar-10-batches-bin/{name}").read() for name in names)
        records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
    except (tarfile.TarError, KeyError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{archive} is damaged ({error}): delete it, and it will be fetched again.") from error
    rows = _rows(split, len(records))[:limit]
    images = torch.from_numpy(records[rows, 1:].reshape(-1, 3, 32, 32)).to(torch.float32).div_(255)
    return Split(images, torch.from_numpy(records[rows, 0].astype(np.int64)))


def imagenette(split: str, limit: int | None = None, size: int = 128) -> Split:
    """Photographs of ten easy classes of ImageNet (Howard 2019), with the shorter side 160 pixels, the middle cut out.

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
        The first three share the training images: all but 1,500, then 1,000 and 500, drawn once; test is their
        validation folder.
    limit : int, optional
        Only the first ``limit`` images, of all classes: the whole training split takes 1.6 GB at 128 x 128.
    size : int
        Height and width, at most 160.

    Returns
    -------
    Split
        ``inputs`` of shape (N, 3, size, size), float32 in [0, 1], and ``targets`` of shape (N,), int64.

    Raises
    ------
    ValueError
        For an unknown split, a limit below 1, or a size outside 1..160.
    OSError
        Where the images are not in the cache and there is no network.
    """
    _check(split, limit)
    if not 1 <= size <= 160:
        raise ValueError(f"size must be from 1 to 160, the shorter side of the images, got {size}.")
    from torchvision import datasets, transforms

    cut = transforms.Compose([transforms.CenterCrop(size), transforms.ToTensor()])
    folder = cache_dir() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    part = "val" if split == "test" else "train"
    found = datasets.Imagenette(folder, part, "160px", download=True, transform=cut)
    order = np.random.RandomState(0).permutation(len(found)) if split == "test" else np.arange(len(found))
    rows = order[_rows(split, len(found), validation=1000, calibration=500)][:limit]
    pairs = [found[row] for row in rows]
    return Split(torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs]))


def _check(split: str, limit: int | None) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit must be a whole number of at least 1, got {limit!r}.")


def _rows(split: str, count: int, validation: int = 5000, calibration: int = 1000) -> np.ndarray:
    """Row numbers of a split; fixed for ever, since RandomState's stream is. Small files keep a tenth for each."""
    if split == "test":
        return np.arange(count)
    sizes = [min(validation, count // 10), min(calibration, count // 10)]
    ends = np.cumsum([count - sum(sizes), sizes[0]])
    return np.split(np.random.RandomState(0).permutation(count), ends)[SPLITS.index(split)]
