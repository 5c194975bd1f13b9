"""A wrong reason, planted on purpose: a small tag that goes with one class, and how much of a heatmap lies on it."""

from __future__ import annotations

import torch

from ..data import Split, as_split

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
