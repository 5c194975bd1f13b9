"""Ranking: in which order units go, one by one or in chunks that keep widths a multiple of something."""

from __future__ import annotations

import numpy as np
import torch

from ...core import choice, whole
from ..scoring import Scores
from ..units import UnitGroup


def _chunks_of(group: UnitGroup, min_units: int, round_to: int) -> np.ndarray:
    """Numbers of units that can go from a group one after another: what stays is a multiple of round_to.

    Units that are no layer's width, such as blocks, go one by one. ValueError if the group is smaller than round_to.
    """
    round_to = round_to if group.kind.counted else 1
    if round_to > group.size:
        raise ValueError(
            f"round_to = {round_to} is larger than group {group.name!r} of {group.size} units, which could lose "
            "nothing: take a smaller one, or leave the group out with scores.only(...)."
        )
    stays = np.arange((group.size - 1) // round_to * round_to, min_units - 1, -round_to)
    return -np.diff(np.concatenate([[group.size], stays]))


def _ranked(scores: Scores, chunks: list[np.ndarray], scope: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group and number of every chunk, and the order in which chunks go."""
    ranks = [
        _mean_ranks(scores[group.name], sizes) if scope == "global" else np.cumsum(sizes) / group.size
        for group, sizes in zip(scores.groups, chunks)
    ]
    places = np.repeat(np.arange(len(chunks)), [len(sizes) for sizes in chunks])
    steps = np.concatenate([np.arange(len(sizes)) for sizes in chunks])
    return places, steps, np.argsort(np.concatenate(ranks), kind="stable")  # ties: by group, then by index


def _ranked_chunks(scores: Scores, scope: str, min_units: int, round_to: int) -> tuple[np.ndarray, np.ndarray]:
    """Chunks of units in the order in which they go: the place of each one's group, and its size.

    A group whose chunks do not rise in rank gives them up in its own order all the same.
    """
    _check_limits(scope, min_units, round_to)
    chunks = [_chunks_of(group, min_units, round_to) for group in scores.groups]
    places, _, order = _ranked(scores, chunks, scope)
    seen, sizes = [0] * len(chunks), []
    for place in places[order]:
        sizes.append(chunks[place][seen[place]])
        seen[place] += 1
    return places[order], np.array(sizes, int)


def _check_limits(scope: str, min_units: int, round_to: int) -> None:
    """Raise ValueError for a scope that does not exist, or limits that are not whole numbers of at least 1."""
    whole(min_units, "min_units")
    whole(round_to, "round_to")
    choice(scope, "scope", ("global", "uniform"))


def _mean_ranks(scores: torch.Tensor, sizes: np.ndarray) -> np.ndarray:
    """Mean score of each chunk of units, the lowest units first; shape ``(chunks,)``."""
    starts = np.cumsum(sizes) - sizes
    lowest_first = scores.sort().values[: sizes.sum()].numpy()
    return np.add.reduceat(lowest_first, starts) / sizes if len(sizes) else np.empty(0)
