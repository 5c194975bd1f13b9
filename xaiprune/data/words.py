"""Words of six languages, each as a picture of its letters, so that everything for images works on them too.

``data/Words/words.tsv.gz`` holds 4,000 frequent words of each language, from the package wordfreq (Robyn Speer;
CC BY-SA 4.0), without those that are frequent in two of them.
"""

from __future__ import annotations

import gzip
from functools import cache

import torch

from ..core import data_dir, sha256
from .split import Split
from .splits import SPLITS

LANGUAGES = ("English", "German", "French", "Italian", "Spanish", "Dutch")
CODES = ("en", "de", "fr", "it", "es", "nl")
#: Letters, in the order of a picture's columns.
LETTERS = "abcdefghijklmnopqrstuvwxyzàâäæçèéêëìíîïñòóôöùúûüÿßœ"
#: Places of a word; shorter ones stand at the end.
PLACES = 12
#: Words of each split, in the order of the file, which is random.
SIZES = {"train": 18_000, "validation": 2_500, "calibration": 500, "test": 3_000}
DIGEST = "f9638578fa9928a91ff97d4387a56f601845bccba5bc42273a4b53187430a335"


def words(split: str, limit: int | None = None) -> Split:
    """Words as pictures, with their languages as labels.

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
    limit : int, optional
        Only the first ``limit`` words.

    Returns
    -------
    Split
        ``inputs`` of shape (N, 1, 12, letters), float32: a row for each place of a letter, and in it a 1 in the
        letter's column; rows of zeros before the word. ``targets`` of shape (N,), int64: places in ``LANGUAGES``.

    Raises
    ------
    ValueError
        For an unknown split, a limit outside 1..N, or a file that is damaged.

    Examples
    --------
    >>> images, labels = xp.data.words.words("test", 3)
    >>> xp.data.words.spelled(images), [xp.data.LANGUAGES[label] for label in labels]
    (['uitnodiging', 'agregó', 'constitué'], ['Dutch', 'Spanish', 'French'])
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    start = sum(SIZES[name] for name in SPLITS[: SPLITS.index(split)])
    rows = _rows()[start : start + SIZES[split]]
    found = Split(pictures([word for _, word in rows]), torch.tensor([CODES.index(code) for code, _ in rows]))
    return found if limit is None else found.first(limit)


def pictures(some: list[str]) -> torch.Tensor:
    """Words as pictures, shape (N, 1, 12, letters).

    Parameters
    ----------
    some : list of str
        Words of 1 to 12 letters.

    Returns
    -------
    torch.Tensor
        float32, a 1 for each letter of each word.

    Raises
    ------
    ValueError
        If a word is empty, too long, or has another letter (it is named).

    Examples
    --------
    >>> images = xp.data.words.pictures(["the", "une"])
    >>> images.shape, images.sum((1, 2, 3)).tolist()
    (torch.Size([2, 1, 12, 51]), [3.0, 3.0])
    """
    images = torch.zeros(len(some), 1, PLACES, len(LETTERS))
    for place, word in enumerate(some):
        if not 1 <= len(word) <= PLACES:
            raise ValueError(f"a word must have 1 to {PLACES} letters, got {word!r}.")
        if wrong := [letter for letter in word if letter not in LETTERS]:
            raise ValueError(f"a word must be of the letters {LETTERS}, got {wrong[0]!r} in {word!r}.")
        for at, letter in enumerate(word, PLACES - len(word)):
            images[place, 0, at, LETTERS.index(letter)] = 1
    return images


def spelled(images: torch.Tensor) -> list[str]:
    """The words of pictures.

    Parameters
    ----------
    images : torch.Tensor
        Shape (N, 1, 12, letters), as :func:`pictures` makes them.

    Returns
    -------
    list of str
    """
    letters = images[:, 0].argmax(-1).tolist()
    there = images[:, 0].sum(-1) > 0
    return ["".join(LETTERS[n] for n, is_there in zip(row, rows) if is_there) for row, rows in zip(letters, there)]


@cache
def _rows() -> list[tuple[str, str]]:
    path = data_dir() / "Words" / "words.tsv.gz"
    if (found := sha256(path)) != DIGEST:
        raise ValueError(f"{path} is damaged: its SHA-256 is {found[:12]}..., expected {DIGEST[:12]}...")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return [tuple(line.split("\t")) for line in lines]
