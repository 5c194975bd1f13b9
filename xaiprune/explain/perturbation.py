"""Heatmaps by covering parts of the image: Captum's methods behind the same signature as the gradients'."""

from __future__ import annotations

import math

import torch
from captum import attr

from ..core import whole
from ..graph import asks
from .batches import _check_count, _in_batches
from .beginning import _Beginnings
from .target import _check_request


@asks("model")
def occlusion(
    model,
    images,
    targets=None,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: float = 0.0,
    batch_size: int = 500,
    progress: bool = False,
) -> torch.Tensor:
    """What is lost when a square of the image is covered, averaged over the squares that a pixel lies in.

    Zeiler and Fergus 2013 (arXiv 1311.2901).

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or wanted outputs; default the model's own answers.
    window, stride : int, optional
        Side of the square and how far it moves, in pixels; default 7 and 3. Of other inputs every value, and every
        token, is covered alone.
    baseline : float
        Value of covered pixels.
    batch_size : int
        Most images in one pass, the covered copies counted.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, the mean over the image's channels, which are covered together.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them; also for a window larger than the image, or a stride beyond the window.
    """
    images, targets = _check_request(model, images, targets, any_kind=True)
    others = _beginnings_of_others(model, images, window=window, stride=stride)
    if others is None:
        window, stride = 7 if window is None else window, 3 if stride is None else stride
        if not 1 <= window <= min(images.shape[2:]):
            raise ValueError(f"window must be from 1 to {min(images.shape[2:])} pixels, got {window}.")
        if not 1 <= stride <= window:
            raise ValueError(
                f"stride must be from 1 to the window's {window} pixels, got {stride}: some would be left out."
            )

    def attribute(forward, some, along):
        if others is None:
            square, step = (some.shape[1], window, window), (some.shape[1], stride, stride)
        else:
            square = step = _one_value(others, some)
        return attr.Occlusion(forward).attribute(
            some,
            square,
            strides=step,
            baselines=baseline,
            perturbations_per_eval=max(1, batch_size // len(some)),
            additional_forward_args=along,
        )

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.sum(1) / values.shape[1]

    return _in_batches(attribute, model, images, targets, batch_size // 16, progress, mean)


@asks("model")
def coarse_occlusion(
    model,
    images,
    targets=None,
    *,
    parts: int = 4,
    batch_size: int = 64,
    progress: bool = False,
) -> torch.Tensor:
    """What is lost when a part of the image, one of 4 x 4, is covered by the image's own mean colour.

    Occlusion (Zeiler and Fergus 2013, arXiv 1311.2901) in 17 passes, about six times as long as a gradient. It says
    little about single pixels, and much about whether two networks look at the same parts: drift is measured by it
    where nothing else is asked for (``docs/drift.md`` says what it tells, and what not). Covering by the mean takes
    away what is there without a value of its own: black is no cover on a black ground.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or wanted outputs; default the model's own answers.
    parts : int
        So many to a row and so many rows, of equal size to one pixel; of an image of fewer pixels, each pixel.
    batch_size : int
        Most images in one pass.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``: every pixel has its part's value.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them; also for another number of parts.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    >>> image = torch.tensor([[[[3.0, 1.0], [0.0, 0.0]]]])  # their mean is 1
    >>> xp.explain.coarse_occlusion(model, image, parts=2)
    tensor([[[2., 0.],
             [0., 0.]]])
    """
    images, targets = _check_request(model, images, targets)
    height, width = images.shape[2:]
    parts = min(whole(parts, "parts"), height, width)
    rows, columns = (torch.arange(side) * parts // side for side in (height, width))
    places = rows[:, None] * parts + columns

    def attribute(forward, some, along):
        with torch.no_grad():
            mean, intact = some.mean((2, 3), keepdim=True), forward(some, *along)
            covered = (torch.where(places == part, mean, some) for part in range(parts**2))
            lost = torch.stack([intact - forward(each, *along) for each in covered], dim=1)
        return lost[:, None, places]

    return _in_batches(attribute, model, images, targets, batch_size, progress)


@asks("model")
def shapley(
    model,
    images,
    targets=None,
    *,
    patch: int | None = None,
    samples: int = 25,
    baseline: float = 0.0,
    seed: int = 0,
    batch_size: int = 500,
    progress: bool = False,
) -> torch.Tensor:
    """Shapley values of square patches, estimated from random orders in which the patches are uncovered.

    Castro, Gomez and Tejada 2009. The values of all patches add up exactly to what the image adds to the baseline.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or wanted outputs; default the model's own answers.
    patch : int, optional
        Side of the patches in pixels, default 7; those at the right and lower edge may be smaller. Of other inputs
        every value, and every token, is a part.
    samples : int
        Random orders.
    baseline : float
        Value of covered pixels.
    seed : int
        Of the orders. Torch's own generator is left as it was.
    batch_size : int
        Most images in one pass, the partly covered copies counted.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``: each pixel has an equal part of its patch's value.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them; also for a patch that is larger than the image, or no samples.
    """
    images, targets = _check_request(model, images, targets, any_kind=True)
    _check_count("samples", samples)
    sizes: torch.Tensor | int = 1
    others = _beginnings_of_others(model, images, patch=patch)
    if others is None:
        height, width = images.shape[2:]
        patch = 7 if patch is None else patch
        if not 1 <= patch <= min(height, width):
            raise ValueError(f"patch must be from 1 to {min(height, width)} pixels, got {patch}.")
        rows, columns = torch.arange(height) // patch, torch.arange(width) // patch
        parts = rows[:, None] * (columns.max() + 1) + columns
        sizes = parts.flatten().bincount()[parts].to(images.device)

    def attribute(forward, some, along):
        if isinstance(sizes, torch.Tensor):
            mask = parts.expand(1, *some.shape[1:])
        else:
            shape = [side // own for side, own in zip(some.shape[1:], _one_value(others, some))]
            mask = torch.arange(math.prod(shape)).view(1, *shape).expand(1, *some.shape[1:])
        return attr.ShapleyValueSampling(forward).attribute(
            some,
            baseline,
            feature_mask=mask.contiguous().to(some.device),
            n_samples=samples,
            perturbations_per_eval=max(1, batch_size // len(some)),
            additional_forward_args=along,
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = _in_batches(attribute, model, images, targets, batch_size // 8, progress, lambda values: values[:, 0])
    return found / sizes


def _beginnings_of_others(model, images, **options: int | None) -> _Beginnings | None:
    """How inputs are explained that are no images; None of images, of which squares are covered."""
    if isinstance(images, torch.Tensor) and images.ndim == 4 and images.is_floating_point():
        return None
    if given := [name for name, value in options.items() if value is not None]:
        raise ValueError(
            f"{given[0]} is for images (N, C, H, W): of other inputs each value and token is covered alone."
        )
    beginnings = _Beginnings(model, images)
    if not beginnings.alone:
        raise ValueError(
            "images are several inputs, and parts of one are covered: take a method by gradients, such as integrated "
            "gradients, or wrap the model so that it takes the one that is to be explained."
        )
    return beginnings


def _one_value(beginnings: _Beginnings, some: torch.Tensor) -> tuple[int, ...]:
    """How many numbers of each axis are one value: all of a token's embedding."""
    return (*[1] * (some.ndim - 2), some.shape[-1] if beginnings.embedded else 1)
