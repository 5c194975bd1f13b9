"""Things on grounds, drawn from a seed: thousands of different pictures of a few hundred cut-outs."""

# In stored tables: composites

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import Dataset

from ..core import choice, nonempty, real, whole
from .composites import Composites, _thing_ids
from .cutouts import FOLDS, Cutout, fold_of, labelled, unlabelled
from .grounds import _SIDE, GROUNDS, Ground
from .preprocessing import Preprocessing

#: Parts of the things: "test" is a fold, "validation" the one after it, "train" the other three.
OBJECT_SPLITS = ("train", "validation", "test", "all", "unlabelled")
#: The longest side of a thing as parts of a composite's side, from and to; and where two stand side by side.
_SIZES, _SIZES_OF_TWO = (0.4, 0.9), (0.4, 0.5)


@dataclass(frozen=True, eq=False)
class Scenes(Dataset):
    """Composites that are made when they are asked for: a ``Dataset`` of inputs and first classes.

    A scene is a thing and the number of a copy. Its size, place, mirroring and ground are drawn from the seed, this
    number and the thing's name: other things, other grounds and fewer copies change nothing else of it.

    Parameters
    ----------
    cutouts : sequence of Cutout
    grounds : sequence of str or Ground
        Each thing stands on all of them in turn, from one that is drawn.
    each : int
        Composites of each thing.
    size : float or pair of float
        The thing's longest side as a part of the picture's: one number, or from and to.
    seed : int
    preprocessing : Preprocessing, optional
        By default inputs are pixels in [0, 1].

    Raises
    ------
    ValueError, TypeError
        If there is no thing, no ground or no such ground, or a size is not between 0 and 1.

    Examples
    --------
    >>> square = xp.data.Cutout("square", np.full((8, 8, 3), 200, np.uint8), np.ones((8, 8), bool), [5])
    >>> scenes = xp.data.Scenes([square], ["white", "grey"], each=4, size=0.5)
    >>> len(scenes), scenes[0][0].shape, scenes[0][1]
    (4, torch.Size([3, 224, 224]), 5)
    >>> made = scenes.make()
    >>> made.masks.sum((1, 2)).tolist() == [112**2] * 4, sorted(made.grounds)
    (True, ['grey', 'grey', 'white', 'white'])
    """

    cutouts: Sequence[Cutout]
    grounds: Sequence[str | Ground]
    each: int = 20
    size: float | tuple[float, float] = _SIZES
    seed: int = 0
    preprocessing: Preprocessing | None = None

    def __post_init__(self):
        grounds = [self.grounds] if isinstance(self.grounds, str | Ground) else self.grounds
        grounds = tuple(GROUNDS.find(ground, "grounds") for ground in grounds)
        own = {"cutouts": tuple(nonempty(self.cutouts, "cutouts", "at least one thing is needed"))}
        own |= {"grounds": nonempty(grounds, "grounds", "at least one is needed"), "each": whole(self.each, "each")}
        own |= {"size": _range(self.size), "seed": whole(self.seed, "seed", 0, 2**32 - 1)}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return self.each * len(self.cutouts)

    def __getitem__(self, row: int):
        inputs, targets = self.make([range(len(self))[row]])
        return inputs[0] if targets is None else (inputs[0], int(targets[0]))

    @property
    def ids(self) -> torch.Tensor:
        """By what the things are known again, shape (N, 2), int64: of the thing, and of its group."""
        things = [thing for thing, _ in self._scenes(range(len(self)))]
        return _thing_ids([thing.name for thing in things], torch.tensor([thing.group for thing in things]))

    def on(self, *grounds: str | Ground) -> Scenes:
        """The same scenes on other grounds.

        Parameters
        ----------
        *grounds : str or Ground

        Returns
        -------
        Scenes
        """
        return replace(self, grounds=grounds)

    def make(self, rows: Sequence[int] | None = None) -> Composites:
        """Composites of some scenes.

        Parameters
        ----------
        rows : sequence of int, optional
            By default all.

        Returns
        -------
        Composites

        Raises
        ------
        ValueError
            If no pixel of a thing is left at its size; the thing is named.
        """
        (made,) = self._made(rows, two=False)
        return made

    def batches(self, batch_size: int = 100) -> Iterator[Composites]:
        """All composites in parts, each of them with its labels and masks.

        Parameters
        ----------
        batch_size : int
            100 composites take 60 MB.

        Yields
        ------
        Composites
        """
        whole(batch_size, "batch_size")
        for start in range(0, len(self), batch_size):
            yield self.make(range(start, min(start + batch_size, len(self))))

    def make_two(self, rows: Sequence[int] | None = None) -> tuple[Composites, Composites]:
        """Composites on which another thing, of another group, stands beside the first.

        Parameters
        ----------
        rows : sequence of int, optional
            By default all.

        Returns
        -------
        first, second : Composites
            The same inputs; what is said of the one thing and of the other.

        Raises
        ------
        ValueError
            If all things are of one group, or things may be wider than half of the picture.
        """
        if len({thing.group for thing in self.cutouts}) < 2:
            raise ValueError(
                "cutouts must be of two groups or more, so that things of different groups stand together."
            )
        if self.size[1] > 0.5:
            raise ValueError(f"size must be at most 0.5, so that two things stand side by side, got {self.size[1]:g}.")
        return self._made(rows, two=True)

    def _made(self, rows: Sequence[int] | None, two: bool) -> tuple[Composites, ...]:
        scenes = self._scenes(range(len(self)) if rows is None else rows)
        pixels = np.empty((len(scenes), _SIDE, _SIDE, 3), np.uint8)
        masks = np.zeros((1 + two, len(scenes), _SIDE, _SIDE), bool)
        seen, grounds = [], []
        for place, (thing, copy) in enumerate(scenes):
            random = self._random(thing, copy, 1)
            grounds.append(self.grounds[(_number(self.seed, thing) + copy) % len(self.grounds)])
            seen.append(self._two(thing, random.randint(2**16, size=2)) if two else [(thing, slice(None))])
            pixels[place] = _drawn(grounds[-1], random)
            for mask, (one, part) in zip(masks, seen[-1]):
                self._put(one, copy, pixels[place, :, part], mask[place, :, part])
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
        inputs = inputs if self.preprocessing is None else self.preprocessing(inputs)
        made = tuple(
            _composites(inputs, [found[number][0] for found in seen], torch.from_numpy(mask), grounds)
            for number, mask in enumerate(masks)
        )
        if two:  # each picture is known again by both of its things
            ids = torch.cat([one.ids for one in made], 1)
            for one in made:
                one.__dict__["ids"] = ids
        return made

    def _scenes(self, rows: Sequence[int]) -> list[tuple[Cutout, int]]:
        """Each row's thing and the number of its copy: all things in a random order, then again in another one."""
        places = [divmod(row, len(self.cutouts)) for row in rows]
        orders = {copy: np.random.RandomState([self.seed, copy]) for copy, _ in places}
        orders = {copy: random.permutation(len(self.cutouts)) for copy, random in orders.items()}
        return [(self.cutouts[orders[copy][place]], copy) for copy, place in places]

    def _two(self, thing: Cutout, drawn: np.ndarray) -> list[tuple[Cutout, slice]]:
        """The thing and another one, each with its half of the picture."""
        others = [other for other in self.cutouts if other.group != thing.group]
        halves = [slice(_SIDE // 2), slice(_SIDE // 2, _SIDE)]
        return list(zip((thing, others[drawn[0] % len(others)]), halves[:: 1 - 2 * (drawn[1] % 2)]))

    def _put(self, thing: Cutout, copy: int, pixels: np.ndarray, mask: np.ndarray) -> None:
        """Put a thing onto a part of a picture, and where it is into the mask, both in place."""
        size, down, across, mirrored = self._random(thing, copy, 0).random_sample(4)
        small = _resized(thing, max(1, round(_SIDE * (self.size[0] + size * (self.size[1] - self.size[0])))))
        small = small[:, ::-1] if mirrored < 0.5 else small
        top, left = (int(at * (room - length + 1)) for at, room, length in zip((down, across), mask.shape, small.shape))
        here = slice(top, top + small.shape[0]), slice(left, left + small.shape[1])
        blended = small[..., :3] + (1 - small[..., 3:] / np.float32(255)) * pixels[here]
        pixels[here] = np.rint(blended).clip(max=255)  # a bicubic filter overshoots
        mask[here] = small[..., 3] >= 128
        if not mask[here].any():
            raise ValueError(
                f"no pixel of {thing.name!r} is left at {max(small.shape[:2])} pixels; choose a larger size."
            )

    def _random(self, thing: Cutout, *numbers: int) -> np.random.RandomState:
        """Its stream is frozen by NumPy, so that composites never change."""
        return np.random.RandomState([self.seed, _number(0, thing), *numbers])


def scenes(
    split: str = "all",
    *,
    fold: int = 0,
    each: int = 20,
    size: float | tuple[float, float] = _SIZES,
    grounds: Sequence[str | Ground] | None = None,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
) -> Scenes:
    """Scenes of the course's cut-out things, to be made batch by batch.

    Parameters
    ----------
    split, fold, each, size, grounds, seed, preprocessing
        As for :func:`objects`.

    Returns
    -------
    Scenes
        A ``Dataset``, which takes as much memory as the cut-outs; its ``batches`` give composites part by part.

    Raises
    ------
    ValueError, TypeError
        As :func:`objects`.

    Examples
    --------
    >>> some = xp.data.scenes("unlabelled", each=50)
    >>> len(some), some.make(range(3)).inputs.shape
    (8800, torch.Size([3, 3, 224, 224]))
    """
    choice(split, "split", OBJECT_SPLITS)
    whole(fold, "fold", 0, FOLDS - 1, f"one of {FOLDS} folds")
    things = unlabelled() if split == "unlabelled" else labelled()
    if split not in ("all", "unlabelled"):
        parts = {(fold + shift) % FOLDS: part for shift, part in enumerate(("test", "validation"))}
        things = [thing for thing, own in zip(things, fold_of(things)) if parts.get(own, "train") == split]
    if grounds is None:
        grounds = [row for row in GROUNDS.values() if split == "all" or row.kept == (split == "test")]
    made = Scenes(things, grounds, each, size, seed, preprocessing)
    if split in ("train", "validation", "unlabelled") and (kept := [row.name for row in made.grounds if row.kept]):
        free = ", ".join(row.name for row in GROUNDS.values() if not row.kept)
        raise ValueError(
            f"grounds: {kept[0]} is kept for the test split; for {split} there are {free}, or one of your own."
        )
    return made


def objects(
    split: str = "all",
    limit: int | None = None,
    *,
    fold: int = 0,
    each: int = 20,
    size: float | tuple[float, float] = _SIZES,
    grounds: Sequence[str | Ground] | None = None,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
) -> Composites:
    """Photographs of things (Tux Paint stamps; GPL-2 or later) on grounds, 224 x 224, with labels and exact masks.

    118 things have labels, the classes of ImageNet-1k that count as right. Label sets that share a class are one group,
    and groups stay together: five folds test each thing once. What is tuned or chosen for a fold uses "train" and
    "validation" of the same fold.

    Parameters
    ----------
    split : {"train", "validation", "test", "all", "unlabelled"}
        "test" is the fold, "validation" the next one, "train" the other three; "all" for networks to which nothing was
        done; "unlabelled" are 176 other things.
    limit : int, optional
        Only the first ``limit`` composites. They are in random order: every thing once, then every thing again.
    fold : int
        0 to 4.
    each : int
        Composites of each thing. All labelled things 20 times, 2,360 composites, take 1.4 GB; :func:`scenes` makes them
        batch by batch.
    size : float or pair of float
        The thing's longest side as a part of the picture's: one number, or from and to.
    grounds : sequence of str or Ground, optional
        Keys of ``GROUNDS``, or your own. By default "test" has the two that are kept for it, "all" has all, the others
        have the rest. With other grounds all else stays the same.
    seed : int
    preprocessing : Preprocessing, optional
        Such as ``xp.zoo.preprocessing("efficientnet-lite0")``. By default inputs are pixels in [0, 1].

    Returns
    -------
    Composites
        Those for which ``shown`` is false stand on scikit-learn's photographs: they are not to be stored or shown.

    Raises
    ------
    ValueError
        For an unknown split, fold or ground, a ground that is kept for the test split, a size that is not between 0 and
        1, a limit outside of 1..N, or a file that is damaged (it is named).
    FileNotFoundError
        Where the things are missing; they are in no wheel.

    Examples
    --------
    >>> some = xp.data.objects("test", limit=3, grounds=["white"], size=0.6)
    >>> some.inputs.shape, some.masks.shape, some.grounds[0]
    (torch.Size([3, 3, 224, 224]), torch.Size([3, 224, 224]), 'white')
    >>> white = some.inputs.permute(0, 2, 3, 1)[~some.masks].median()
    >>> white.item(), some.right(some.targets).tolist()
    (1.0, [True, True, True])
    """
    options = {"fold": fold, "each": each, "size": size, "grounds": grounds, "seed": seed}
    found = scenes(split, **options, preprocessing=preprocessing)
    return found.make(_limited(found, limit))


def two_objects(
    split: str = "all",
    limit: int | None = None,
    *,
    fold: int = 0,
    each: int = 20,
    size: float | tuple[float, float] = _SIZES_OF_TWO,
    grounds: Sequence[str | Ground] | None = None,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
) -> tuple[Composites, Composites]:
    """Composites with two labelled things side by side, of different groups: what is evidence for one lies on it.

    Parameters
    ----------
    split, limit, fold, each
        As for :func:`objects`; every thing comes first ``each`` times. Both things are of the split.
    size : float or pair of float
        At most 0.5, since each thing has half of the picture.
    grounds, seed, preprocessing
        As for :func:`objects`.

    Returns
    -------
    first, second : Composites
        The same inputs: classes, masks and names of the one thing, and those of the other.

    Raises
    ------
    ValueError, FileNotFoundError
        As :func:`objects`.

    Examples
    --------
    >>> one, other = xp.data.two_objects("test", limit=2, grounds=["grey"])
    >>> one.inputs is other.inputs, bool((one.masks & other.masks).any()), bool((one.groups == other.groups).any())
    (True, False, False)
    """
    options = {"fold": fold, "each": each, "size": size, "grounds": grounds, "seed": seed}
    found = scenes(split, **options, preprocessing=preprocessing)
    return found.make_two(_limited(found, limit))


def _limited(found: Scenes, limit: int | None) -> range:
    return range(len(found) if limit is None else whole(limit, "limit", 1, len(found), "the composites of the split"))


def _drawn(ground: Ground, random: np.random.RandomState) -> np.ndarray:
    drawn = ground.draw(random)
    if drawn.shape != (_SIDE, _SIDE, 3) or drawn.dtype != np.uint8:
        raise ValueError(
            f"grounds: {ground.name!r} must draw bytes {(_SIDE, _SIDE, 3)}, got {drawn.dtype} {drawn.shape}."
        )
    return drawn


def _number(seed: int, thing: Cutout) -> int:
    """A number that stands for a seed and a thing's name."""
    return crc32(f"{seed} {thing.name}".encode())


def _range(size: float | tuple[float, float]) -> tuple[float, float]:
    low, high = (
        real(one, "size") for one in (size if isinstance(size, tuple | list) and len(size) == 2 else (size,) * 2)
    )
    if not 0 < low <= high <= 1:
        hint = f"; did you mean {low / 100:g}?" if 1 < low <= 100 else ""
        raise ValueError(
            f"size must be parts of the picture's side, 0 < from <= to <= 1, got {low:g} to {high:g}{hint}."
        )
    return low, high


def _resized(thing: Cutout, longest: int) -> np.ndarray:
    """The thing with its longest side so many pixels, (H, W, 4): colours times mask, and mask."""
    from PIL import Image

    height, width = thing.mask.shape
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    weighed = Image.fromarray(np.dstack([thing.pixels, thing.mask])).convert("RGBa")  # else dark rims grow around it
    return np.array(weighed.resize(size, Image.Resampling.BICUBIC))


def _composites(inputs: torch.Tensor, things: list[Cutout], masks: torch.Tensor, grounds: list[Ground]) -> Composites:
    known = all(thing.classes for thing in things)
    return Composites(
        inputs,
        torch.tensor([thing.classes[0] for thing in things]) if known else None,
        masks=masks,
        labels=tuple(thing.classes for thing in things),
        objects=tuple(thing.name for thing in things),
        grounds=tuple(ground.name for ground in grounds),
        groups=torch.tensor([thing.group for thing in things]),
        shown=torch.tensor([ground.shown for ground in grounds]),
    )
