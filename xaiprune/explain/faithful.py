"""Faithfulness: what happens to the answer when the pixels that a heatmap names are taken away, or given back."""

# In stored tables: ground truth

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..data import judges
from ..graph import asks
from ..measure import predict
from .imputation import imputed
from .target import _check_request, explained_output


@dataclass(frozen=True, eq=False)
class Curves:
    """What a model answers while pixels go, and while they come.

    Attributes
    ----------
    shares : torch.Tensor
        Shape ``(steps + 1,)``: the part of the pixels that is gone, or there.
    deletion, insertion : torch.Tensor
        Shape ``(N, steps + 1)``: the probability of the target, or minus the squared error to a wanted output.
    sample : str
        What is to be said of the images: "in sample" where some took part in choosing the model.
    """

    shares: torch.Tensor
    deletion: torch.Tensor
    insertion: torch.Tensor
    sample: str = ""

    @property
    def areas(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Areas under both curves, for each image; less is better for deletion, more for insertion."""
        return torch.trapezoid(self.deletion, self.shares), torch.trapezoid(self.insertion, self.shares)

    @property
    def faithfulness(self) -> torch.Tensor:
        """Insertion's area less deletion's, shape ``(N,)``; 0 is what an order without meaning gets."""
        deletion, insertion = self.areas
        return insertion - deletion


@judges("images")
@asks("model")
def curves(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None,
    heatmaps: torch.Tensor,
    *,
    steps: int = 20,
    baseline: float | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = 0.0,
    seed: int = 0,
    batch_size: int = 100,
) -> Curves:
    """Take pixels away in the order of a heatmap, highest first, and give them back in the same order.

    Deletion and insertion of Petsiuk, Das and Saenko 2018 (RISE, arXiv 1806.07421). Pixels of equal value go in random
    order, so an empty heatmap is a random order and cannot win.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor or None
        Classes or wanted outputs; None for the model's own answers.
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``.
    steps : int
        In how many equal parts the pixels go.
    baseline : float or callable
        Value of a pixel that is gone; or ``(images, gone) -> images``, where ``gone`` is ``(N, H, W)``, bool, as
        :func:`imputed` fills them.
    seed : int
        Of the order among equal values.
    batch_size : int
        Most images in one pass.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``; then the result says so.

    Returns
    -------
    Curves

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them; also if a heatmap does not fit its image or is not finite.

    Examples
    --------
    Two pixels speak for class 0, and go first in one heatmap, last in the other:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[3.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    >>> images, right = torch.ones(1, 1, 2, 2), torch.tensor([[[2.0, 2.0], [1.0, 1.0]]])
    >>> for heatmaps in (right, -right):
    ...     found = xp.explain.curves(model, images, None, heatmaps, steps=2)
    ...     print(found.deletion.round(decimals=2).tolist(), round(found.faithfulness.item(), 2))
    [[1.0, 0.5, 0.5]] 0.25
    [[1.0, 1.0, 0.5]] -0.25
    """
    images, targets = _check_request(model, images, targets)
    if heatmaps.shape != (len(images), *images.shape[2:]):
        wanted = (len(images), *images.shape[2:])
        raise ValueError(f"heatmaps must have shape {wanted}, one per image, got {tuple(heatmaps.shape)}.")
    if not torch.isfinite(heatmaps).all():
        raise ValueError("heatmaps hold NaN or infinity: they order no pixels.")
    pixels = heatmaps[0].numel()
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must be from 1 to the {pixels} pixels, got {steps}.")
    ranks = _ranks(heatmaps, seed).view(heatmaps.shape)
    counts = torch.linspace(0, pixels, steps + 1).round().long()
    at_once, values = max(1, batch_size // (2 * len(images))), []
    for some in counts.split(at_once):
        away = [mask for count in some for mask in (ranks < count, ranks >= count)]
        masked = torch.cat([_without(images, gone, baseline) for gone in away])
        repeated = targets.repeat(len(away), *[1] * (targets.ndim - 1))
        values.append(_answer(model, masked, repeated, batch_size).view(len(some), 2, len(images)))
    deletion, insertion = torch.cat(values).unbind(1)
    return Curves(counts / pixels, deletion.T.contiguous(), insertion.T.contiguous())


@judges("images")
@asks("model")
def road(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None,
    heatmaps: torch.Tensor,
    *,
    steps: int = 10,
    noise: float = 0.01,
    seed: int = 0,
    batch_size: int = 100,
) -> Curves:
    """Deletion and insertion without the trace that a constant leaves: pixels that are gone are imputed.

    ROAD, remove and debias (Rong et al. 2022, arXiv 2202.00449). A spot of one value has a shape, which itself can
    speak for a class; as a mean of its neighbours a pixel is hardly seen to be missing.

    Parameters
    ----------
    model, images, targets, heatmaps, steps
        As for :func:`curves`.
    noise : float
        Standard deviation of what is added to imputed pixels, in units of the images.
    seed : int
        Of the order among equal values, and of the noise.
    batch_size : int
        Most images in one pass.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``; then the result says so.

    Returns
    -------
    Curves
        Deletion is the paper's order "most relevant first"; insertion at a share is its "least relevant first" at the
        rest.

    Raises
    ------
    TypeError, ValueError
        As for :func:`curves` and :func:`imputed`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.stack([torch.ones(64), -torch.ones(64)]) / 8)
    >>> images = torch.zeros(1, 1, 8, 8)
    >>> images[:, :, 2:4, 2:4] = 1  # what speaks for class 0
    >>> for heatmaps in (images[:, 0], 1 - images[:, 0]):
    ...     print(round(xp.explain.road(model, images, None, heatmaps, steps=8, noise=0).faithfulness.item(), 2))
    0.3
    -0.34
    """
    fill = partial(imputed, noise=noise, seed=seed)
    options = {"steps": steps, "baseline": fill, "seed": seed, "batch_size": batch_size}
    return curves(model, images, targets, heatmaps, **options)


def _without(images: torch.Tensor, gone: torch.Tensor, baseline: float | Callable) -> torch.Tensor:
    return baseline(images, gone) if callable(baseline) else images.masked_fill(gone[:, None], baseline)


def _ranks(heatmaps: torch.Tensor, seed: int) -> torch.Tensor:
    """Place of every pixel in the order, highest value first; shape ``(N, pixels)``."""
    flat = heatmaps.flatten(1)
    shuffle = torch.rand(flat.shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    order = flat.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, order).argsort(1)


def _answer(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, batch_size: int) -> torch.Tensor:
    outputs = predict(model, images, batch_size)
    if targets.is_floating_point():
        return explained_output(outputs, targets)
    if outputs.numel() == len(images):  # one logit, of two classes
        return torch.sigmoid(outputs.view(-1))
    return explained_output(outputs.softmax(1), targets)
