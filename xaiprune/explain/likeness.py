"""How alike two heatmaps are: likenesses as data, and the drift that each gives."""

# In stored tables: drift

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from ..core import Registry
from .faithful import curves

#: Side of the squares of pixels that are compared as regions: so many to a row, so many rows.
_REGIONS = 7
#: Share of a heatmap's pixels, those of the largest size, that are its informative ones.
_INFORMATIVE = 0.25
#: Parts in which pixels come, for the likeness by insertion.
_STEPS = 10


class NoEvidenceError(ValueError):
    """All heatmaps of a model are constant: nothing in the images speaks for its answers."""


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Spearman's rank correlation of each pair of heatmaps; pixels of equal value share the mean of their ranks.

    Parameters
    ----------
    one, other : torch.Tensor
        Shape ``(N, H, W)``.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, float64, from -1 to 1.

    Raises
    ------
    ValueError
        If the shapes differ, or a heatmap is constant or not finite (the first such image is named).

    Examples
    --------
    >>> one = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> xp.explain.rank_correlation(one, one.exp()), xp.explain.rank_correlation(one, -one)
    (tensor([1.], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    _check_pair(one, other)
    ranks = []
    for name, values in (("one", one), ("other", other)):
        flat = values.detach().flatten(1).double().numpy()
        if len(constant := np.flatnonzero(np.ptp(flat, axis=1) == 0)):
            raise ValueError(
                f"{name} is constant for image {constant[0]}: it ranks no pixel above another, so rank correlation is "
                "undefined. Does the model still answer to its input?"
            )
        ranked = rankdata(flat, axis=1)
        ranked -= ranked.mean(axis=1, keepdims=True)
        ranks.append(ranked / np.linalg.norm(ranked, axis=1, keepdims=True))
    return torch.from_numpy((ranks[0] * ranks[1]).sum(axis=1))


def top_overlap(one: torch.Tensor, other: torch.Tensor, share: float = 0.1) -> torch.Tensor:
    """Of the pixels with the highest values in one heatmap, how many are so in the other too.

    Parameters
    ----------
    one, other : torch.Tensor
        Shape ``(N, H, W)``.
    share : float
        Which part of the pixels counts as the highest, above 0 and at most 1. Pixels that tie at the cut do not count,
        so that a map with fewer pixels above zero has fewer that are highest.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, float64, from 0 to 1: shared pixels over those of the map that has more. Two random maps share
        ``share`` of them. Two maps of which neither has a highest pixel share all, one such map shares none.

    Raises
    ------
    ValueError
        If the shapes differ, ``share`` is out of range, or a value is not finite.
    """
    _check_pair(one, other)
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}.")
    pixels = one[0].numel()
    count = max(1, round(share * pixels))
    chosen = []
    for values in (one.flatten(1), other.flatten(1)):
        cut = values.sort(dim=1, descending=True).values[:, min(count, pixels - 1), None]
        chosen.append(values > cut if count < pixels else values >= cut)
    most = torch.maximum(*(each.sum(1) for each in chosen))
    return torch.where(most == 0, 1.0, (chosen[0] & chosen[1]).sum(1).double() / most.clamp(min=1))


@dataclass(frozen=True)
class Likeness:
    """A named way to say how alike two heatmaps are.

    Attributes
    ----------
    name : str
    function : callable
        ``(reference, found) -> (N,)`` for heatmaps ``(N, H, W)``: 1 for equal maps, lower for others. Of two maps that
        know nothing of each other it may say anything below 1: drift's scale measures what.
    asks_model : bool
        Whether the function takes ``(reference, found, original, images, targets)``, to try the maps on the original.
    """

    name: str
    function: Callable
    asks_model: bool = False

    def __call__(self, reference: torch.Tensor, found: torch.Tensor, *asked: object) -> torch.Tensor:
        """Likenesses of shape ``(N,)``; what is asked are the original, its images and the targets."""
        return self.function(reference, found, *(asked if self.asks_model else ()))


def _by_rank(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Rank correlation, and 0 where one of two maps is constant: parts of maps may be."""
    found = torch.zeros(len(one), dtype=torch.float64)
    told = ~(_constant(one) | _constant(other))
    if told.any():
        found[told] = rank_correlation(one[told], other[told])
    return found


def _by_informative_pixels(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Rank correlation on the quarter of the pixels that has the largest sizes in the reference."""
    count = max(2, round(_INFORMATIVE * one[0].numel()))
    places = one.flatten(1).abs().topk(min(count, one[0].numel()), dim=1).indices
    return _by_rank(*(values.flatten(1).gather(1, places)[:, None] for values in (one, other)))


def _by_regions(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Rank correlation of the evidence in 7 x 7 regions: what lies close together counts together."""
    if one.ndim != 3:
        raise ValueError(
            f"likeness 'regions' is of heatmaps (N, H, W), got shape {tuple(one.shape)}: take 'cosine' or 'mass'."
        )
    sides = tuple(min(_REGIONS, side) for side in one.shape[1:])
    pooled = (nn.functional.adaptive_avg_pool2d(values.double()[:, None], sides)[:, 0] for values in (one, other))
    return _by_rank(*pooled)


def _by_cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Cosine of the angle between the maps: pixels count by how much they say."""
    return nn.functional.cosine_similarity(one.flatten(1).double(), other.flatten(1).double(), eps=0)


def _by_mass(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The part of the evidence, in absolute values, that lies on the same pixels."""
    shares = [values.flatten(1).double().abs() for values in (one, other)]
    shares = [values / values.sum(1, keepdim=True) for values in shares]
    return torch.minimum(*shares).sum(1)


def _by_insertion(one: torch.Tensor, other: torch.Tensor, original: nn.Module, images, targets) -> torch.Tensor:
    """1 less what the original's answer loses when its pixels come in the order of the other map."""
    steps = min(_STEPS, one[0].numel())
    own, others = (curves(original, images, targets, maps, steps=steps).areas[1] for maps in (one, other))
    return 1 - (own - others).double()


LIKENESSES: Registry[Likeness] = Registry(
    "a likeness",
    Likeness,
    (
        Likeness("rank correlation", rank_correlation),
        Likeness("informative pixels", _by_informative_pixels),
        Likeness("top overlap", top_overlap),
        Likeness("regions", _by_regions),
        Likeness("cosine", _by_cosine),
        Likeness("mass", _by_mass),
        Likeness("insertion", _by_insertion, asks_model=True),
    ),
)


def heatmap_drift(
    reference: torch.Tensor,
    found: torch.Tensor,
    name: str,
    likeness: Likeness | str = "rank correlation",
    asked: tuple = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """1 less the likeness of each pair of heatmaps; 1 where the second has no evidence left.

    Parameters
    ----------
    reference, found : torch.Tensor
        Shape ``(N, H, W)``.
    name : str
        What the reference is, for the message.
    likeness : Likeness or str
        One of your own, or a key of ``LIKENESSES``.
    asked : tuple
        The original, its images and the targets, for a likeness that asks them.

    Returns
    -------
    values, silent : torch.Tensor
        Shape ``(N,)``: float64, 0 for equal maps; and bool, where the second map is constant.

    Raises
    ------
    ValueError
        If a map of the reference is constant, or there is no such likeness.
    NoEvidenceError
        If all maps found are constant.

    Examples
    --------
    >>> one = torch.tensor([[[3.0, 2.0], [1.0, 0.0]]])
    >>> [xp.explain.heatmap_drift(one, one.flip(1), "one", name)[0].item() for name in ("rank correlation", "mass")]
    [1.6, 0.6666666666666667]
    """
    likeness = LIKENESSES.find(likeness, "likeness")
    _check_pair(reference, found)
    if len(constant := _constant(reference).nonzero()):
        raise ValueError(f"{name} of image {constant[0].item()} is constant: it ranks no pixel above another.")
    silent = _constant(found)
    if silent.all():
        raise NoEvidenceError("all heatmaps found are constant: does the model still answer to its input?")
    blank = silent.view(-1, *[1] * (found.ndim - 1))
    values = 1 - likeness(reference, torch.where(blank, reference, found), *asked).double()
    values[silent] = 1
    values[(reference == found).flatten(1).all(1)] = 0  # not 1e-16
    return values, silent


def _constant(heatmaps: torch.Tensor) -> torch.Tensor:
    flat = heatmaps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def _check_pair(one: torch.Tensor, other: torch.Tensor) -> None:
    if one.shape != other.shape or one.ndim < 2 or len(one) == 0:
        raise ValueError(
            f"heatmaps must have the same shape (N, H, W), got {tuple(one.shape)} and {tuple(other.shape)}."
        )
    for name, values in (("one", one), ("other", other)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinity: no drift can be told from it.")
