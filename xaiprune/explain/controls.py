"""Heatmaps that know nothing of a network's reasons: what a method must beat before its numbers mean anything.

A control is defined here and nowhere else: :func:`judge`, :func:`faithfulness` and :func:`gate` take it from here.
"""

# In stored tables: ground truth

from __future__ import annotations

import copy

import torch
from torch import nn

from ..core import Registry
from .methods import IMAGE, METHODS, Method


class NoControlError(ValueError):
    """What a control would show is not there in these images."""


def lit_pixels(images: torch.Tensor, baseline: float = 0.0) -> torch.Tensor:
    """Which pixels change when they are taken away: in at least one channel they differ from what takes their place.

    Parameters
    ----------
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    baseline : float
        Value of a pixel that is gone.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, bool.

    Examples
    --------
    >>> xp.explain.lit_pixels(torch.tensor([[[[0.0, 0.5], [0.0, 1.0]]]]))
    tensor([[[False,  True],
             [False,  True]]])
    """
    return (images != baseline).any(1)


def reinitialised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a model with the weights of a new one; torch's own generator is left as it was.

    Parameters
    ----------
    model : nn.Module
        Layers with ``reset_parameters`` draw anew; parameters of no such layer are shuffled.
    seed : int

    Returns
    -------
    nn.Module
        In evaluation mode.

    Raises
    ------
    ValueError
        If a layer computes its weights from other parameters.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> torch.equal(xp.explain.reinitialised(model).weight, model.weight)
    False
    """
    for name, module in model.named_modules():
        if hasattr(module, "parametrizations") or any(
            key.endswith("_orig") for key, _ in module.named_parameters("", False)
        ):
            raise ValueError(
                f"layer {name!r} computes its weights from others (a mask of torch.nn.utils.prune, a parametrization), "
                "which new weights would not reach; make it permanent first, as with prune.remove."
            )
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = set()
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
                drawn |= {id(parameter) for parameter in module.parameters(recurse=False)}
        for parameter in fresh.parameters():
            if id(parameter) not in drawn:
                shuffled = parameter.detach().flatten()[torch.randperm(parameter.numel())]
                parameter.data.copy_(shuffled.view_as(parameter))
    return fresh.eval()


def _random(model: nn.Module, images: torch.Tensor, targets=None, *, seed: int = 0) -> torch.Tensor:
    shape = len(images), *images.shape[2:]
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(images)


def _random_lit(model, images: torch.Tensor, targets=None, *, baseline: float = 0.0, seed: int = 0) -> torch.Tensor:
    """Lit pixels in random order, before all others in random order."""
    lit = lit_pixels(images, baseline)
    if lit.all():
        raise NoControlError(f"every pixel differs from {baseline:g}, by which it is replaced: random is this control")
    return _random(model, images, seed=seed) + lit


def _image(model: nn.Module, images: torch.Tensor, targets=None, *, baseline: float = 0.0) -> torch.Tensor:
    return IMAGE(model, images - baseline)


def _centre(model: nn.Module, images: torch.Tensor, targets=None, *, width: float = 0.25) -> torch.Tensor:
    """A bell over the middle, whose standard deviation is so much of the image's sides."""
    bells = (torch.exp(-torch.linspace(-0.5, 0.5, side).square() / (2 * width**2)) for side in images.shape[2:])
    return torch.outer(*bells).to(images).expand(len(images), -1, -1).clone()


def _edges(model: nn.Module, images: torch.Tensor, targets=None) -> torch.Tensor:
    """The size of Sobel's gradient of the mean over channels."""
    grey = nn.functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = images.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    return nn.functional.conv2d(grey, torch.stack([across, across.T])[:, None]).norm(dim=1)


def _untrained(
    model: nn.Module, images: torch.Tensor, targets=None, *, method: Method | str = "gradient x input", seed: int = 0
) -> torch.Tensor:
    return METHODS.find(method, "method")(reinitialised(model, seed), images, targets)


#: Heatmaps by name that look at no network, and a method's on a network with new weights. Each is a :class:`Method`; an
#: option ``method`` is the method that is judged, ``baseline`` the value of a pixel that is gone.
CONTROL_METHODS: Registry[Method] = Registry(
    "a control",
    Method,
    (
        Method("random", _random, signed=False),
        Method(IMAGE.name, _image, {"baseline": 0.0}, signed=False),
        Method("random among lit pixels", _random_lit, {"baseline": 0.0}, signed=False),
        Method("centre", _centre, signed=False),
        Method("edges", _edges, signed=False),
        Method("re-initialised network", _untrained, {"method": "gradient x input"}),
    ),
)
