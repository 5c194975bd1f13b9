"""A wrong reason, planted on purpose: a small tag that goes with one class, and how much of a heatmap lies on it."""

# In stored tables: planted tags

from __future__ import annotations

import torch

from ..core import real
from ..data import Split, as_split
from .ground_truth import _check_mask

#: Which images of a split carry the tag.
_PLACEMENTS = ("none", "own", "others")
#: Three tests of a network that may have learned the tag, with the placement of each.
TESTS = {"no tag": "none", "as in training": "own", "tag on the others": "others"}


def tag_mask(height: int = 28, width: int = 28, size: int = 4, margin: int = 1) -> torch.Tensor:
    """Where the tag is: a square in the upper left corner, shape ``(H, W)``, bool.

    Parameters
    ----------
    height, width : int
        Of the image in pixels.
    size : int
        Side of the square.
    margin : int
        Distance from both edges.

    Returns
    -------
    torch.Tensor

    Examples
    --------
    >>> xp.explain.tag_mask(4, 4, size=2).int().tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[margin : margin + size, margin : margin + size] = True
    return mask


def add_tag(images: torch.Tensor, rows: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """A copy of the images in which some carry the tag, as white pixels.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``, values in [0, 1].
    rows : torch.Tensor
        Shape ``(N,)``, bool: which images.
    mask : torch.Tensor, optional
        Shape ``(H, W)``, bool; default :func:`tag_mask`.

    Returns
    -------
    torch.Tensor
        Shape ``(N, C, H, W)``.

    Examples
    --------
    >>> images = xp.explain.add_tag(torch.zeros(2, 1, 28, 28), torch.tensor([True, False]))
    >>> images.sum((1, 2, 3)).tolist()  # the tag has 4 x 4 pixels
    [16.0, 0.0]
    """
    mask = tag_mask(*images.shape[2:]) if mask is None else mask
    return torch.where(rows[:, None, None, None] & mask, 1.0, images)


def tag_class(split: Split, label: int, placement: str, share: float = 1.0, seed: int = 0) -> Split:
    """A split in which a class, or all the others, carry the tag.

    Parameters
    ----------
    split : Split, or data of another form
    label : int
        The class that the tag goes with.
    placement : {"none", "own", "others"}
        Nobody's images, those of the class, or those of all other classes: the swapped test.
    share : float
        How many of these images get it, from 0 to 1; drawn at random.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        For an unknown placement, a class that is not there, or a share out of range.

    Examples
    --------
    >>> split = xp.data.Split(torch.zeros(4, 1, 28, 28), torch.tensor([0, 1, 2, 1]))
    >>> images, labels = xp.explain.tag_class(split, label=1, placement="own")
    >>> images.amax((1, 2, 3)).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    split = as_split(split, name="split")
    if placement not in _PLACEMENTS:
        raise ValueError(f"placement must be one of {', '.join(_PLACEMENTS)}, got {placement!r}.")
    if not (split.targets == label).any():
        raise ValueError(f"label must be a class of the split, got {label}.")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}.")
    drawn = torch.rand(len(split.targets), generator=torch.Generator().manual_seed(seed)) < share
    chosen = {"none": drawn & False, "own": split.targets == label, "others": split.targets != label}[placement]
    return split.replaced(inputs=add_tag(split.inputs, chosen & drawn))


def decorrelate(split: Split, suspect: torch.Tensor, mask: torch.Tensor, seed: int = 0) -> Split:
    """A copy of a split in which what lies on a spot no longer goes with the suspect images.

    Half of the suspect images, drawn at random, lose what is on the spot: it becomes what the other images have there
    on average. And half of the others get the spot of a suspect image that is drawn for each.

    Parameters
    ----------
    split : Split, or data of another form
    suspect : torch.Tensor
        Shape ``(N,)``, bool.
    mask : torch.Tensor
        Shape ``(H, W)``, bool: the spot.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If no image is suspect, or all are.

    Examples
    --------
    >>> images, suspect = torch.zeros(6, 1, 8, 8), torch.tensor([True, True, True, False, False, False])
    >>> split = xp.data.Split(xp.explain.add_tag(images, suspect), suspect.long())
    >>> mixed, labels = xp.explain.decorrelate(split, suspect, xp.explain.tag_mask(8, 8))
    >>> mixed.amax((1, 2, 3)).tolist(), labels.tolist()  # who carries the tag now, and what the class is
    ([0.0, 1.0, 0.0, 1.0, 1.0, 0.0], [1, 1, 1, 0, 0, 0])
    """
    split = as_split(split, name="split")
    if not 0 < int(suspect.sum()) < len(suspect):
        raise ValueError(f"suspect must be some of the {len(suspect)} images, got {int(suspect.sum())}.")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(suspect), generator=generator) < 0.5
    sources = suspect.nonzero()[:, 0]
    donors = sources[torch.randint(len(sources), (len(suspect),), generator=generator)]
    usual = split.inputs[~suspect].mean(0)
    replaced = torch.where((suspect & drawn)[:, None, None, None] & mask, usual, split.inputs)
    images = torch.where((~suspect & drawn)[:, None, None, None] & mask, split.inputs[donors], replaced)
    return split.replaced(inputs=images)


def spot_share(heatmaps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """How much of the evidence lies on a spot, with its sign.

    Parameters
    ----------
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``, signed.
    mask : torch.Tensor
        Shape ``(H, W)`` or ``(N, H, W)``, bool.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``: the sum on the spot, divided by the size of all values. 1 where all evidence is on the spot and
        speaks for the answer, -1 where all is there and speaks against it, 0 for a map without evidence.

    Raises
    ------
    TypeError, ValueError
        If the mask does not fit, is empty or covers all.

    Examples
    --------
    >>> heatmaps = torch.tensor([[[3.0, 1.0]], [[-2.0, 2.0]], [[0.0, 0.0]]])
    >>> xp.explain.spot_share(heatmaps, torch.tensor([[True, False]])).tolist()
    [0.75, -0.5, 0.0]
    """
    mask = _check_mask(mask, heatmaps)
    size = heatmaps.abs().flatten(1).sum(1)
    return (heatmaps * mask).flatten(1).sum(1) / torch.where(size == 0, 1.0, size)


def sample_weights(shares: torch.Tensor, labels: torch.Tensor, strength: float = 10.0) -> torch.Tensor:
    """Weights of training images, the lower the more of their evidence lies where it should not.

    Each is ``exp(-strength * share)``, scaled so that a class weighs as much as it did. Shares are those of the
    *labels'* heatmaps: of an image that is answered wrongly because of the spot the spot speaks against the label, and
    its weight rises. In the heatmap of the wrong answer it would fall.

    Weights only say which images count. Where every image of a class has the spot and no other image has, no weights
    make the spot useless: :func:`decorrelate` changes the images.

    Parameters
    ----------
    shares : torch.Tensor
        Shape ``(N,)``, such as :func:`spot_share`; with several rounds of weighting and training their sum.
    labels : torch.Tensor
        Shape ``(N,)``, classes.
    strength : float
        0 gives all images the weight 1.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, float64, with mean 1 in each class. ``torch.utils.data.WeightedRandomSampler`` draws by them for
        a loader, which :func:`xaiprune.training.fit` takes.

    Raises
    ------
    ValueError
        If shares are not finite or do not fit the labels, or the strength is negative.

    Examples
    --------
    >>> shares, labels = torch.tensor([0.75, 0.0, -0.5, 0.0]), torch.tensor([0, 0, 1, 1])
    >>> xp.explain.sample_weights(shares, labels, strength=2).round(decimals=2).tolist()
    [0.36, 1.64, 1.46, 0.54]
    """
    if shares.shape != labels.shape or not shares.isfinite().all():
        raise ValueError(f"shares must be {len(labels)} finite numbers, one for each label, got {tuple(shares.shape)}.")
    if not 0 <= real(strength, "strength") < float("inf"):
        raise ValueError(f"strength must be at least 0 and finite, got {strength}.")
    weights = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        mine = labels == label
        weights[mine] = mine.sum() * torch.softmax(-strength * shares[mine].double(), 0)
    return weights
