"""Explanations that read attention: what a transformer's tokens look at, multiplied up from block to block.

They need a model that shows its attention: an ``nn.Softmax`` in every block whose output is (N, heads, T, T), with the
class token first, as the zoo's VisionTransformer has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..graph import asks
from .relevance import modified_gradients
from .target import _check_request, explained_output


@contextmanager
def watching_attention(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Inside the ``with`` every forward pass leaves its attention here.

    Parameters
    ----------
    model : nn.Module

    Yields
    ------
    dict of str to torch.Tensor
        Name of the softmax to its last output, shape ``(N, heads, T, T)``: row i is where token i looks, with sum 1.
        Under ``torch.enable_grad`` they are part of the graph.
    """
    seen: dict[str, torch.Tensor] = {}
    hooks = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, nn.Softmax):

                def hook(module, inputs, output, name=name):
                    if output.ndim == 4 and output.shape[-1] == output.shape[-2]:
                        seen[name] = output

                hooks.append(module.register_forward_hook(hook))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@asks("model")
def attention_weights(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Where every token of every image looks, head by head.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``: all in one pass.
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    dict of str to torch.Tensor
        Name of the softmax, in the order of the blocks, to its output of shape ``(N, heads, T, T)``.

    Raises
    ------
    ValueError
        If the model shows no attention.

    Examples
    --------
    >>> model = xp.nn.small_transformer().eval()
    >>> found = xp.explain.attention_weights(model, torch.zeros(2, 1, 28, 28))
    >>> [weights.shape for weights in found.values()][0], len(found)  # 49 patches and the class token
    (torch.Size([2, 4, 50, 50]), 4)
    """
    _check_request(model, images)
    with torch.no_grad(), watching_attention(model) as seen:
        model(images)
    return _shown(model, seen)


@asks("model")
def rollout(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    batch_size: int = 64,
) -> torch.Tensor:
    """Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928): the mean of the heads, half of it passing over.

    The same map for every class, and no signs: it tells where information can have come from.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        Checked, and not used.
    batch_size : int
        Images in one pass.
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``; a patch's share is spread evenly over its pixels.

    Raises
    ------
    ValueError
        If the model shows no attention, or its tokens are no square of patches behind a class token.
    """
    images, targets = _check_request(model, images, targets)
    found = []
    for some in images.split(batch_size):
        with torch.no_grad(), watching_attention(model) as seen:
            model(some)
        steps = [weights.mean(1) for weights in _shown(model, seen).values()]
        found.append(_to_pixels(_multiplied([(step + torch.eye(step.shape[-1])) / 2 for step in steps]), some))
    return torch.cat(found)


@asks("model")
def chefer(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    batch_size: int = 64,
) -> torch.Tensor:
    """Relevance of Chefer, Gur and Wolf (CVPR 2021, arXiv 2012.09838), approximated: attention's relevance x gradient.

    In each block the mean over heads of ``(gradient x relevance)+`` of the attention, plus the identity, multiplied up
    from block to block as in rollout. What differs from the paper is the relevance: here it is that of this kit's
    positive rule with half of a product for each factor ("attnlrp-plus"); the paper scales the relevance of both
    factors of a product, and of both terms of a sum, so that together they keep what came in. So its maps need not be
    these. It is not the "gradient attention rollout" of other programs either, which has no relevance in it.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        Classes, shape ``(N,)``; default the model's own answers.
    batch_size : int
        Images in one pass.
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``, not negative.

    Raises
    ------
    ValueError
        As for :func:`rollout`.
    """
    images, targets = _check_request(model, images, targets)
    found = []
    for some, classes in zip(images.split(batch_size), targets.split(batch_size)):
        plain = _gradients(model, some, classes)
        with modified_gradients(model, "attnlrp-plus"):
            ruled = _gradients(model, some, classes)
        steps = [
            (gradient * (weights * changed)).clamp(min=0).mean(1) + torch.eye(weights.shape[-1])
            for (weights, gradient), (_, changed) in zip(plain, ruled)
        ]
        found.append(_to_pixels(_multiplied(steps), some))
    return torch.cat(found)


def _gradients(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> list[tuple]:
    """The attention of every block, and the gradient of the targets' logits there."""
    with torch.enable_grad(), watching_attention(model) as seen:
        outputs = model(images.detach().clone().requires_grad_())
        weights = list(_shown(model, seen).values())
        found = torch.autograd.grad(explained_output(outputs, targets).sum(), weights)
    return [(value.detach(), gradient) for value, gradient in zip(weights, found)]


def _shown(model: nn.Module, seen: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not seen:
        raise ValueError(
            f"model ({type(model).__name__}) shows no attention: no nn.Softmax in it gives (N, heads, T, T). Fused "
            "attention hides its weights; xp.zoo.from_torchvision and xp.zoo.from_timm lay them open."
        )
    return seen


def _multiplied(steps: list[torch.Tensor]) -> torch.Tensor:
    """What the class token has from each patch after all blocks; shape ``(N, T - 1)``."""
    total = steps[0]
    for step in steps[1:]:
        total = step @ total
    return total[:, 0, 1:]


def _to_pixels(patches: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Values (N, T - 1) of patches spread evenly over their pixels: (N, H, W)."""
    side, (height, width) = math.isqrt(patches.shape[1]), images.shape[2:]
    if side * side != patches.shape[1] or height % side or width % side:
        raise ValueError(
            f"the model has {patches.shape[1] + 1} tokens, which is no square of patches of a {height} x {width} image "
            "behind a class token."
        )
    each = patches.view(-1, side, side) * (side * side / (height * width))
    return each.repeat_interleave(height // side, 1).repeat_interleave(width // side, 2)
