"""Small data sets beside the course's two: points of the plane, printed digits, and chest X-rays for those online."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..core import cache_dir
from .split import Split

#: Fonts of the printed digits, all of them part of matplotlib.
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10")
#: Splits of MedMNIST's files.
PNEUMONIA_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def toy(name: str, points: int = 2000, seed: int = 0) -> Split:
    """Points of the plane in two classes, as many of each: scikit-learn's ``make_moons`` and ``make_circles``.

    Parameters
    ----------
    name : {"moons", "circles"}
        With the noise (0.1) and the factor (0.3) of Yeom et al. 2021.
    points : int
        In all; even.
    seed : int

    Returns
    -------
    Split
        ``inputs`` of shape (points, 2), float32, and ``targets`` of shape (points,), int64.

    Raises
    ------
    ValueError
        For an unknown name or an odd number of points.

    Examples
    --------
    >>> points, labels = xp.data.samples.toy("moons", points=10)
    >>> points.shape, labels.bincount().tolist()
    (torch.Size([10, 2]), [5, 5])
    """
    from sklearn import datasets

    makers = {
        "moons": lambda: datasets.make_moons(points, noise=0.1, random_state=seed),
        "circles": lambda: datasets.make_circles(points, noise=0.1, factor=0.3, random_state=seed),
    }
    if name not in makers:
        raise ValueError(f"name must be one of {', '.join(makers)}, got {name!r}.")
    if points < 2 or points % 2:
        raise ValueError(f"points must be an even number from 2, so that both classes have as many, got {points}.")
    places, labels = makers[name]()
    return Split(torch.from_numpy(places).float(), torch.from_numpy(labels).long())


def balanced(split: Split, per_class: int, seed: int = 0) -> Split:
    """The same number of images of every class, drawn at random.

    Parameters
    ----------
    split : Split
    per_class : int
    seed : int

    Returns
    -------
    Split
        ``per_class`` images of every class that occurs.

    Raises
    ------
    ValueError
        If a class has fewer images than that.

    Examples
    --------
    >>> split = xp.data.Split(torch.arange(5.0), torch.tensor([0, 0, 0, 1, 1]))
    >>> images, labels = xp.data.samples.balanced(split, per_class=2)
    >>> labels.tolist()
    [0, 0, 1, 1]
    """
    counts = torch.bincount(split.targets)
    fewest = int(counts[counts > 0].min())
    if not 1 <= per_class <= fewest:
        raise ValueError(f"per_class must be from 1 to {fewest}, the images of the rarest class, got {per_class}.")
    order = torch.randperm(len(split.targets), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([order[split.targets[order] == label][:per_class] for label in split.targets.unique()])
    return split.rows(rows)


def printed_digits(fonts: tuple[str, ...] = FONTS, sizes: tuple[int, ...] = (20, 22, 24)) -> Split:
    """The ten digits in printed fonts, centred by their mass as MNIST's are: other shapes for the same classes.

    Parameters
    ----------
    fonts : tuple of str
        Names of font files that come with matplotlib.
    sizes : tuple of int
        Sizes of the font in pixels.

    Returns
    -------
    Split
        ``inputs`` of shape (10 x fonts x sizes, 1, 28, 28), float32 in [0, 1], and ``targets``.

    Raises
    ------
    ValueError
        For a font that matplotlib does not bring.

    Examples
    --------
    >>> images, labels = xp.data.samples.printed_digits(("DejaVuSans",), sizes=(20,))
    >>> images.shape, labels.tolist()
    (torch.Size([10, 1, 28, 28]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder, images, labels = Path(matplotlib.get_data_path()) / "fonts" / "ttf", [], []
    for name in fonts:
        if not (path := folder / f"{name}.ttf").exists():
            raise ValueError(f"fonts must be among those of matplotlib, such as {', '.join(FONTS)}; got {name!r}.")
        for size in sizes:
            font = ImageFont.truetype(str(path), size)
            for digit in range(10):
                picture = Image.new("L", (28, 28))
                ImageDraw.Draw(picture).text((14, 14), str(digit), fill=255, font=font, anchor="mm")
                pixels = np.asarray(picture, np.float32) / 255
                middle = [
                    int(np.rint(13.5 - (np.arange(28) * pixels.sum(1 - axis)).sum() / pixels.sum())) for axis in (0, 1)
                ]
                images.append(np.roll(pixels, middle, axis=(0, 1)))
                labels.append(digit)
    return Split(torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels))


def pneumonia_mnist(split: str, file: Path | str | None = None) -> Split:
    """Chest X-rays of children, 28 x 28, with pneumonia (1) or without (0): PneumoniaMNIST of MedMNIST (CC BY 4.0).

    Parameters
    ----------
    split : {"train", "validation", "test"}
        4,708, 524 and 624 images.
    file : Path or str, optional
        A file in MedMNIST's format. Default: ``pneumoniamnist.npz`` in the cache, which the ``medmnist`` package
        downloads if it is not there.

    Returns
    -------
    Split
        ``inputs`` of shape (N, 1, 28, 28), float32 in [0, 1], and ``targets`` of shape (N,), int64.

    Raises
    ------
    ValueError
        For an unknown split, or a file that lacks it or holds other shapes.
    FileNotFoundError
        If ``file`` does not exist.
    ImportError
        If the file has to be downloaded and ``medmnist`` is not installed.
    """
    if split not in PNEUMONIA_SPLITS:
        raise ValueError(f"split must be one of {', '.join(PNEUMONIA_SPLITS)}, got {split!r}.")
    if file is None:
        file = cache_dir() / "medmnist" / "pneumoniamnist.npz"
        if not file.exists():
            _download(file.parent)
    if not Path(file).exists():
        raise FileNotFoundError(f"there is no file {file}.")
    part = PNEUMONIA_SPLITS[split]
    with np.load(file, allow_pickle=False) as arrays:
        if missing := {f"{part}_images", f"{part}_labels"} - set(arrays.files):
            raise ValueError(f"{file} is not in MedMNIST's format: it lacks {', '.join(sorted(missing))}.")
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != (len(images), 1):
        found = f"{images.dtype} {images.shape} and {labels.shape}"
        raise ValueError(f"{file}: images must be bytes of shape (N, H, W) with labels (N, 1), got {found}.")
    return Split(torch.from_numpy(images)[:, None].float() / 255, torch.from_numpy(labels[:, 0].astype(np.int64)))


def _download(folder: Path) -> None:
    try:
        from medmnist import PneumoniaMNIST
    except ImportError as error:
        raise ImportError("PneumoniaMNIST is downloaded by the medmnist package: pip install medmnist.") from error
    folder.mkdir(parents=True, exist_ok=True)
    PneumoniaMNIST(split="train", download=True, root=str(folder))
