"""Ground truth: heatmaps beside the exact mask of what is shown.

Where a mask says which pixels are the object, a heatmap can be right or wrong. The measures are values (``MEASURES``),
and each is read beside controls that know nothing of the network (``CONTROL_METHODS``): an even map has the object's
share of the pixels, not 0.
"""

# In stored tables: ground truth

from __future__ import annotations

import torch
from torch import nn

from ..core import whole
from ..data import judges
from ..graph import asks
from ..measure import predict
from .likeness import rank_correlation
from .methods import METHODS, Method
from .target import _check_request


def relevance_mass(heatmaps: torch.Tensor, mask: torch.Tensor, *, positive: bool = False) -> torch.Tensor:
    """The part of a heatmap that lies on some pixels; of its positive values it is the object mass.

    Parameters
    ----------
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``.
    mask : torch.Tensor
        Shape ``(H, W)`` or ``(N, H, W)``, bool.
    positive : bool
        Whether only evidence for the answer counts, and not the size of what speaks against it.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, from 0 to 1. A map that is even all over has the mask's share of the pixels.

    Raises
    ------
    TypeError, ValueError
        If the mask does not fit, is empty or covers all; if a heatmap is zero everywhere, or has nothing positive.

    Examples
    --------
    >>> heatmaps = torch.tensor([[[3.0, -1.0], [0.0, 0.0]]])
    >>> mask = torch.tensor([[True, False], [True, True]])
    >>> xp.explain.relevance_mass(heatmaps, mask), xp.explain.relevance_mass(heatmaps, mask, positive=True)
    (tensor([0.7500]), tensor([1.]))
    """
    mask = _check_mask(mask, heatmaps)
    sizes = heatmaps.clamp(min=0) if positive else heatmaps.abs()
    total = sizes.flatten(1).sum(1)
    if (total == 0).any():
        which, what = int((total == 0).nonzero()[0]), "has nothing positive" if positive else "is zero everywhere"
        raise ValueError(f"heatmap {which} {what}: no part of it lies anywhere.")
    return (sizes * mask).flatten(1).sum(1) / total


def pointing(heatmaps: torch.Tensor, mask: torch.Tensor, *, margin: int = 0) -> torch.Tensor:
    """The pointing game: whether a heatmap's highest pixel lies on the object (Zhang et al. 2018, arXiv 1608.00507).

    Parameters
    ----------
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``.
    mask : torch.Tensor
        Shape ``(H, W)`` or ``(N, H, W)``, bool.
    margin : int
        How many pixels beside the object still count, in a square around each of its pixels; the paper has 15.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``: 1 or 0, and of pixels that tie for the highest the share on the object.

    Raises
    ------
    TypeError, ValueError
        If the mask does not fit, is empty or covers all, or the margin is negative.

    Examples
    --------
    >>> heatmaps = torch.tensor([[[3.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    >>> xp.explain.pointing(heatmaps, torch.tensor([[True, False], [False, False]]))
    tensor([1.0000, 0.2500])
    """
    mask = _check_mask(mask, heatmaps)
    if margin:
        around = 2 * whole(margin, "margin", 0) + 1
        mask = nn.functional.max_pool2d(mask[:, None].float(), around, 1, margin)[:, 0] > 0
    highest = heatmaps == heatmaps.flatten(1).amax(1)[:, None, None]
    return (highest & mask).flatten(1).sum(1) / highest.flatten(1).sum(1)


def asked_share(heatmaps: torch.Tensor, mask: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of the positive evidence on two objects, the part on the one whose class was asked for.

    Parameters
    ----------
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``, for the class of the first object.
    mask, other : torch.Tensor
        Shape ``(N, H, W)``, bool: where the first object is, and the other one.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``. Averaged over both classes of a picture it is 1/2 for every map that is the same for both.

    Raises
    ------
    TypeError, ValueError
        If a mask does not fit or is empty, the objects overlap, or a heatmap has nothing positive on either.

    Examples
    --------
    >>> heatmaps = torch.tensor([[[3.0, 1.0], [5.0, 0.0]]])
    >>> one, other = torch.tensor([[[True, False], [False, False]]]), torch.tensor([[[False, True], [False, False]]])
    >>> xp.explain.asked_share(heatmaps, one, other)
    tensor([0.7500])
    """
    mask, other = _check_mask(mask, heatmaps), _check_mask(other, heatmaps, "other")
    if (mask & other).any():
        raise ValueError("mask and other overlap: a pixel that belongs to both objects speaks for neither.")
    return relevance_mass(torch.where(mask | other, heatmaps, 0.0), mask, positive=True)


@judges("images")
@asks("model")
def two_object_share(
    model: nn.Module,
    images: torch.Tensor,
    targets: tuple[torch.Tensor, torch.Tensor],
    masks: tuple[torch.Tensor, torch.Tensor],
    method: Method | str = "integrated gradients",
) -> torch.Tensor:
    """Whether a method tells two objects apart: it explains both classes, and the evidence must move with the question.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``, each with two objects, as ``xp.data.two_objects`` makes them.
    targets : pair of torch.Tensor
        Shape ``(N,)`` each: the class of the one object, and of the other.
    masks : pair of torch.Tensor
        Shape ``(N, H, W)`` each, bool.
    method : Method or str
        Or a key of ``METHODS``.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``: the mean of both :func:`asked_share`; 1/2 for a method that gives both classes the same map.

    Raises
    ------
    TypeError, ValueError
        As :func:`asked_share` and the method raise them.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[3.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    >>> images, both = torch.ones(1, 1, 2, 2), (torch.tensor([0]), torch.tensor([1]))
    >>> left, right = torch.tensor([[[True, False], [False, False]]]), torch.tensor([[[False, True], [False, False]]])
    >>> xp.explain.two_object_share(model, images, both, (left, right), "gradient x input")  # of 3/4 and 1
    tensor([0.8750])
    """
    method = METHODS.find(method, "method")
    shares = [
        asked_share(_heard(method(model, images, target), mask | other), mask, other)
        for target, mask, other in zip(targets, masks, reversed(masks))
    ]
    return sum(shares) / 2


@judges("images")
@asks("model")
def ground_reliance(
    model: nn.Module,
    images: torch.Tensor,
    others: torch.Tensor,
    mask: torch.Tensor,
    targets: torch.Tensor | None = None,
    method: Method | str = "integrated gradients",
) -> dict[str, torch.Tensor]:
    """What changes when only the ground behind an object does.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images, others : torch.Tensor
        Shape ``(N, C, H, W)``: the same objects in the same places on two grounds, as ``Scenes.on`` makes them.
    mask : torch.Tensor
        Shape ``(N, H, W)``, bool.
    targets : torch.Tensor, optional
        Shape ``(N,)``, what is explained; default the answers on the first ground.
    method : Method or str
        Or a key of ``METHODS``.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``.

    Returns
    -------
    dict of str to torch.Tensor
        Shape ``(N,)`` each. ``answers``: 1 where the answer is another one. ``evidence``: 1 less the rank correlation
        of the two heatmaps over the object's own pixels, 0 where the evidence stays; 1 where a map is even there.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` and the method raise them; if the mask or the second images do not fit, or show other
        objects: half of the object's pixels or more differ.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]]))
    >>> mask, images = torch.tensor([[[True, True], [False, False]]]), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    >>> others = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    >>> found = xp.explain.ground_reliance(model, images, others, mask, method="gradient x input")
    >>> {name: round(values.item(), 3) for name, values in found.items()}  # the answer turned, its evidence stayed
    {'answers': 1.0, 'evidence': 0.0}
    """
    method = METHODS.find(method, "method")
    images, targets = _check_request(model, images, targets)
    if others.shape != images.shape:
        raise ValueError(f"others must have the shape of images, {tuple(images.shape)}, got {tuple(others.shape)}.")
    mask = _check_mask(mask, images[:, 0])
    if (images == others).all(1)[mask].double().mean() < 0.5:
        raise ValueError("others must show the same objects in the same places; here most of their pixels differ.")
    one, two = (method(model, some, targets) for some in (images, others))
    answers = [predict(model, some).argmax(1) for some in (images, others)]
    evidence = torch.ones(len(images), dtype=images.dtype)
    for place, here in enumerate(mask):
        pair = one[place][here][None, None], two[place][here][None, None]
        if all(each.amax() > each.amin() for each in pair):
            evidence[place] = 1 - rank_correlation(*pair)[0]
    return {"answers": (answers[0] != answers[1]).to(images.dtype), "evidence": evidence.clamp(min=0)}


def _heard(heatmaps: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Heatmaps, where one has nothing positive (on the mask) an even one: it says as much as if it said nothing."""
    seen = heatmaps if mask is None else torch.where(mask, heatmaps, 0.0)
    silent = seen.flatten(1).amax(1) <= 0
    return torch.where(silent[:, None, None], torch.ones_like(heatmaps), heatmaps)


def _check_mask(mask: torch.Tensor, heatmaps: torch.Tensor, name: str = "mask") -> torch.Tensor:
    """A mask of shape (N, H, W), if it can judge heatmaps."""
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"{name} must be a bool tensor, got {getattr(mask, 'dtype', type(mask).__name__)}.")
    if mask.shape not in (heatmaps.shape, heatmaps.shape[1:]):
        wanted = f"{tuple(heatmaps.shape)} or {tuple(heatmaps.shape[1:])}"
        raise ValueError(f"{name} must fit heatmaps: shape {wanted}, got {tuple(mask.shape)}.")
    mask = mask.expand_as(heatmaps)
    if not heatmaps.isfinite().all():
        raise ValueError("heatmaps hold NaN or infinity: no part of them lies anywhere.")
    covered = mask.flatten(1).sum(1)
    for wrong, what in ((0, "has no pixel"), (mask[0].numel(), "covers the whole picture")):
        if len(which := (covered == wrong).nonzero()):
            raise ValueError(f"{name} of image {which[0].item()} {what}: it cannot tell right evidence from wrong.")
    return mask
