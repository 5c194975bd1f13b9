"""Heatmaps by gradients: Captum's methods behind one signature.

Every function takes ``(model, images, targets=None, *, ..., batch_size, progress, output)`` and returns heatmaps
``(N, H, W)``. Other inputs than images, such as tables, sequences, tokens, or several inputs as a tuple or dictionary,
have heatmaps in their own shape: one number for each value, and for each token.
What is explained for each image is a class's logit, or how well an output matches a wanted one: see
:func:`xaiprune.explain.target.check_request`.
"""

from __future__ import annotations

import torch
from captum import attr
from torch import nn

from ..graph import asks
from ..measure import predict
from .batches import _check_count, _in_batches, _largest
from .beginning import _Beginnings
from .target import _check_request, explained_output


@asks("model")
def saliency(model, images, targets=None, *, batch_size: int = 64, progress: bool = False) -> torch.Tensor:
    """Size of the gradient, the largest over the image's channels (Simonyan et al. 2013, arXiv 1312.6034).

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or wanted outputs; default the model's own answers.
    batch_size : int
        Most images in one pass of the model: this bounds the memory.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, not negative.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them.
    """

    def attribute(forward, some, along):
        return attr.Saliency(forward).attribute(some, additional_forward_args=along)

    return _in_batches(attribute, model, images, targets, batch_size, progress, _largest)


@asks("model")
def gradient_x_input(model, images, targets=None, *, batch_size: int = 64, progress: bool = False) -> torch.Tensor:
    """Gradient times input: on a network of ReLUs without biases the contributions add up to the output.

    Parameters, return value and errors are those of :func:`saliency`; the values have signs.

    Parameters
    ----------
    model, images, targets, batch_size, progress, output
        As for :func:`saliency`.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, with signs, summed over the image's channels.

    Raises
    ------
    TypeError, ValueError
        As for :func:`saliency`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, -1.0]]))
    >>> xp.explain.gradient_x_input(model, torch.full((1, 1, 2, 2), 0.5))
    tensor([[[ 0.5000,  1.0000],
             [ 0.0000, -0.5000]]])
    """

    def attribute(forward, some, along):
        return attr.InputXGradient(forward).attribute(some, additional_forward_args=along)

    return _in_batches(attribute, model, images, targets, batch_size, progress)


@asks("model")
def smoothgrad(
    model,
    images,
    targets=None,
    *,
    noise_level: float = 0.15,
    samples: int = 25,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = False,
) -> torch.Tensor:
    """Size of the mean gradient over noisy copies of the image (Smilkov et al. 2017, arXiv 1706.03825).

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or wanted outputs; default the model's own answers.
    noise_level : float
        Standard deviation of the noise as a share of each image's own range, as in the paper.
    samples : int
        Noisy copies of each image.
    seed : int
        Of the noise. Torch's own generator is left as it was.
    batch_size : int
        Most images in one pass, the noisy copies counted.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, not negative.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them; also for a negative ``noise_level`` and for no samples.
    """
    if not noise_level >= 0:
        raise ValueError(f"noise_level must be 0 or more, a share of the images' range, got {noise_level}.")
    _check_count("samples", samples)

    def attribute(forward, some, along):
        spans = some.detach().flatten(1).amax(1) - some.detach().flatten(1).amin(1)
        if len(spans.unique()) > 1:  # Captum takes one standard deviation for all
            each = zip(some.split(1), *(values.split(1) for values in along))
            return torch.cat([attribute(forward, one, tuple(others)) for one, *others in each])
        return attr.NoiseTunnel(attr.Saliency(forward)).attribute(
            some,
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=max(1, batch_size // len(some)),
            stdevs=noise_level * spans[0].item(),
            additional_forward_args=along,
            abs=False,
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _in_batches(attribute, model, images, targets, batch_size // samples, progress, _largest)


@asks("model")
def integrated_gradients(
    model,
    images,
    targets=None,
    *,
    baseline: float = 0.0,
    steps: int = 50,
    batch_size: int = 500,
    progress: bool = False,
) -> torch.Tensor:
    """The gradient's mean on the straight path from a baseline to the image, times their difference.

    Sundararajan, Taly and Yan 2017 (arXiv 1703.01365), with Gauss-Legendre steps. The values add up to the difference
    of what is explained, but for the error of so many steps: :func:`completeness` measures it.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or wanted outputs; default the model's own answers.
    baseline : float
        Value of all pixels at the start of the path: 0 is black.
    steps : int
        Points on the path.
    batch_size : int
        Most images in one pass, the points of the path counted.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, summed over the image's channels.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` raises them; also for no steps.

    Examples
    --------
    >>> class Square(nn.Module):
    ...     def forward(self, images):
    ...         return images.square().sum((1, 2, 3))[:, None]
    >>> xp.explain.integrated_gradients(Square().eval(), torch.tensor([[[[1.0, 2.0]]]]))  # they add up to 1 + 4
    tensor([[[1., 4.]]])
    """
    _check_count("steps", steps)

    def attribute(forward, some, along):
        return attr.IntegratedGradients(forward).attribute(
            some,
            baseline,
            n_steps=steps,
            internal_batch_size=max(len(some), batch_size),
            additional_forward_args=along,
        )

    return _in_batches(attribute, model, images, targets, batch_size // steps, progress)


@asks("model")
def completeness(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None,
    heatmaps: torch.Tensor,
    *,
    baseline: float = 0.0,
) -> torch.Tensor:
    """How far each heatmap's sum is from what the image adds to the baseline, relative to that.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor or None
        As for the heatmaps.
    heatmaps : torch.Tensor
        Shape ``(N, H, W)``, or that of other inputs; of several inputs as they come.
    baseline : float
        Value of all pixels of the baseline.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``: ``|sum - (f(x) - f(x'))| / |f(x) - f(x')|``; not finite where the image adds nothing.

    Raises
    ------
    ValueError
        If there is not one heatmap per image, or as ``check_request`` raises it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    >>> images, heatmaps = torch.ones(2, 1, 2, 2), torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]])
    >>> xp.explain.completeness(model, images, None, heatmaps)  # the second lacks half of the 3 that the image adds
    tensor([0.0000, 0.5000])
    """
    images, targets = _check_request(model, images, targets, any_kind=True)
    maps = heatmaps.values() if isinstance(heatmaps, dict) else heatmaps
    maps = [maps] if isinstance(maps, torch.Tensor) else [one for one in maps if one is not None]
    if {len(one) for one in maps} != {len(images)}:
        raise ValueError(f"heatmaps must be one per image, got {len(maps[0])} for {len(images)} images.")
    total = sum(one.flatten(1).sum(1) for one in maps)
    beginnings = _Beginnings(model, images)
    if beginnings.plain:
        difference = explained_output(predict(model, images), targets)
        difference = difference - explained_output(predict(model, torch.full_like(images, baseline)), targets)
    else:
        begun = beginnings.of(images)
        with torch.no_grad():
            ends = [begun.run(each) for each in (begun.values, torch.full_like(begun.values, baseline))]
        difference = explained_output(ends[0], targets) - explained_output(ends[1], targets)
    return (total - difference).abs() / difference.abs()
