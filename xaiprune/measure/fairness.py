"""Does a classifier serve two groups alike? Three ratios, an attribute of real images, and a bias planted in training.

The ratios are those of XTranPrune (Ghadiri et al., MICCAI 2024), as its published code computes them: 1 is even-handed,
and a gap is 1 less the ratio.
"""

# In stored tables: fairness

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..data import Split, as_split, fashion_mnist, judges
from .metrics import predict

#: Classes of Fashion-MNIST that are easily mistaken for each other: in the planted bias the first of a pair is hardly
#: ever dark in training, and the second hardly ever bright.
PAIRS = ((0, 6), (2, 4), (7, 9), (3, 1))


def fairness(predictions: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor) -> dict[str, float]:
    """Accuracy, and how even it is between groups.

    Parameters
    ----------
    predictions, labels : torch.Tensor
        Classes, shape ``(N,)``.
    groups : torch.Tensor
        Which group each image belongs to, shape ``(N,)``: whole numbers from 0.

    Returns
    -------
    dict
        ``accuracy`` in per cent, and three ratios in [0, 1] of the worst group to the best:
        ``PQD``, predictive quality disparity: accuracy; ``DPM``, demographic disparity: how often a class is answered,
        mean over classes; ``EOM``, equality of opportunity: how often a class is found, mean over classes.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two groups, or a class has no image in some group.
    """
    if not predictions.shape == labels.shape == groups.shape or labels.ndim != 1:
        shapes = [tuple(value.shape) for value in (predictions, labels, groups)]
        raise ValueError(f"predictions, labels and groups must have one shape (N,), got {', '.join(map(str, shapes))}.")
    names, classes = groups.unique(), labels.unique()
    if len(names) < 2:
        raise ValueError(f"groups must hold at least two groups, got {names.tolist()}.")
    right, quality, answered, found = (predictions == labels).double(), [], [], []
    for name in names:
        mine = groups == name
        quality.append(right[mine].mean())
        answered.append(torch.stack([(predictions[mine] == c).double().mean() for c in classes]))
        found.append(torch.stack([right[mine & (labels == c)].mean() for c in classes]))
    if torch.stack(found).isnan().any():
        raise ValueError("groups leave a class without images in one of them: give more images.")
    ratios = {"PQD": torch.stack(quality)[:, None], "DPM": torch.stack(answered), "EOM": torch.stack(found)}
    return {"accuracy": 100 * right.mean().item()} | {name: _worst_to_best(value) for name, value in ratios.items()}


def _worst_to_best(rates: torch.Tensor) -> float:
    """Mean over classes of the lowest rate over the highest; rates (groups, classes), without classes never met."""
    low, high = rates.amin(0), rates.amax(0)
    return (low[high > 0] / high[high > 0]).mean().item()


@judges("split")
def fairness_of(model: nn.Module, split: Split, groups: torch.Tensor) -> dict[str, float]:
    """:func:`fairness` of a model's answers on a split.

    Parameters
    ----------
    model : nn.Module
        A classifier.
    split : Split
    groups : torch.Tensor
        0 or 1 for every image, shape ``(N,)``.
    in_sample : bool
        As for ``accuracy``; then the result says so.

    Returns
    -------
    dict of str to float
        As :func:`fairness` gives it.

    Examples
    --------
    A model that is always right for group 0, and for half of group 1:

    >>> outputs = torch.eye(2)[[0, 1, 0, 0]]
    >>> points = xp.data.Split(outputs, torch.tensor([0, 1, 0, 1]))
    >>> xp.measure.fairness.fairness_of(nn.Identity(), points, torch.tensor([0, 0, 1, 1]))
    {'accuracy': 75.0, 'PQD': 0.5, 'DPM': 0.25, 'EOM': 0.5}
    """
    split = as_split(split, name="split")
    return fairness(predict(model, split.inputs).argmax(1), split.targets, groups)


def brighter(split: Split) -> torch.Tensor:
    """1 for images whose mean pixel is above the median of their class in the split, else 0; shape ``(N,)``.

    Parameters
    ----------
    split : Split

    Returns
    -------
    torch.Tensor
        int64.

    Examples
    --------
    >>> images = torch.tensor([0.1, 0.2, 0.9]).reshape(3, 1, 1, 1)
    >>> xp.measure.fairness.brighter(xp.data.Split(images, torch.zeros(3, dtype=torch.int64))).tolist()
    [0, 0, 1]
    """
    split = as_split(split, name="split")
    means, found = split.inputs.flatten(1).mean(1), torch.zeros_like(split.targets)
    for label in split.targets.unique():
        mine = split.targets == label
        found[mine] = (means[mine] > means[mine].median()).long()
    return found


def thinned(split: Split, pairs: Sequence[tuple[int, int]] = PAIRS, keep: float = 0.15, seed: int = 0) -> Split:
    """A split with a bias: of each pair's first class few dark images are left, of its second few bright ones.

    Parameters
    ----------
    split : Split, or data of another form
    pairs : sequence of (int, int)
    keep : float
        Share of those images that stays.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If ``keep`` is not in (0, 1].
    """
    split = as_split(split, name="split")
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], the share of images that stays, got {keep:g}.")
    bright, stays = brighter(split), torch.ones(len(split.targets), dtype=torch.bool)
    luck = torch.rand(len(split.targets), generator=torch.Generator().manual_seed(seed)) < keep
    for first, second in pairs:
        rare = ((split.targets == first) & (bright == 0)) | ((split.targets == second) & (bright == 1))
        stays &= ~rare | luck
    return split.rows(stays)


def paired(split: Split, groups: torch.Tensor) -> Split:
    """A split whose labels are twice the class plus the group, 0 or 1: what :func:`even_loss` reads.

    Parameters
    ----------
    split : Split
    groups : torch.Tensor
        0 or 1 for every image, shape ``(N,)``.

    Returns
    -------
    Split
    """
    split = as_split(split, name="split")
    return split.replaced(targets=2 * split.targets + groups)


def even_loss(weight: float = 1.0) -> Callable:
    """Cross-entropy, and ``weight`` times how far a class's mean is apart between its two groups, mean over classes.

    Parameters
    ----------
    weight : float
        0 is cross-entropy alone.

    Returns
    -------
    callable
        ``(model, inputs, targets) -> scalar``, with the labels of :func:`paired`.

    Raises
    ------
    ValueError
        If ``weight`` is negative.
    """
    if not weight >= 0:
        raise ValueError(f"weight must be at least 0, got {weight:g}.")

    def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        each = nn.functional.cross_entropy(model(images), labels // 2, reduction="none")
        means = {cell.item(): each[labels == cell].mean() for cell in labels.unique()}
        apart = [(mean - means[cell + 1]).abs() for cell, mean in means.items() if cell % 2 == 0 and cell + 1 in means]
        return each.mean() + weight * sum(apart) / max(1, len(apart))

    return loss


def biased_fashion_mnist(split: str, limit: int | None = None) -> Split:
    """Fashion-MNIST with :func:`thinned` for the train split; the others are as they are.

    Parameters
    ----------
    split, limit
        As for :func:`xaiprune.data.mnist`.

    Returns
    -------
    Split
    """
    return thinned(fashion_mnist(split, limit)) if split == "train" else fashion_mnist(split, limit)


def fashion_mnist_brightness(split: str, limit: int | None = None) -> Split:
    """Fashion-MNIST with :func:`brighter` in the place of the labels: two classes, dark and bright.

    Parameters
    ----------
    split, limit
        As for :func:`xaiprune.data.mnist`.

    Returns
    -------
    Split
        Labels 0 (dark) and 1 (bright).
    """
    whole = fashion_mnist(split, limit)
    return whole.replaced(targets=brighter(whole))
