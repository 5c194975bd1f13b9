"""What is explained: one number per image, and whether a request for it makes sense."""

from __future__ import annotations

import torch
from torch import nn

from ..core import evaluating
from ..data import Several, as_inputs
from ..measure import predict

#: How one number for each class comes of the output of a map, in words.
_MEAN = "lambda found: found.mean((2, 3)) for maps (N, classes, H, W)"
#: Methods for inputs that are no images, in words.
_OTHERS = "method='gradient x input', 'integrated gradients', 'occlusion' or 'shapley'"


def _check_evaluating(model: nn.Module) -> None:
    """Refuse a model in training mode."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}.")
    evaluating(model, why=", so that its answers are repeatable")


def _check_request(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor | None = None, *, any_kind: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and targets, if an explanation of them makes sense.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``, floating point.
    targets : torch.Tensor, optional
        Classes, int64 of shape ``(N,)``: each image's logit of its class is explained. Or wanted outputs, floating
        point in the shape of the model's outputs: what is explained is the negative mean squared error of each image to
        its own. None: the class that the model itself gives most.
    any_kind : bool
        Whether inputs of any form are taken: tables, sequences, tokens, several inputs.

    Returns
    -------
    images, targets : torch.Tensor

    Raises
    ------
    TypeError
        If the images or the targets are of another type.
    ValueError
        If the model is in training mode, there is no image or no batch axis, or a target is out of range.
    """
    _check_evaluating(model)
    if any_kind:
        images = as_inputs(images, "images")
        if not isinstance(images, Several) and not images.ndim:
            raise ValueError("images must have a batch axis in front, got one number.")
    elif not isinstance(images, torch.Tensor) or not images.is_floating_point():
        raise TypeError(
            f"images must be a float tensor (N, C, H, W), got {getattr(images, 'dtype', type(images).__name__)}; for "
            f"other inputs name a method that takes them, such as {_OTHERS}."
        )
    if not any_kind and images.ndim != 4:
        hint = "; to a single picture add the batch axis with images[None]" if images.ndim == 3 else ""
        hint += f"; for other inputs name a method that takes them, such as {_OTHERS}"
        raise ValueError(f"images must have shape (N, C, H, W), got {tuple(images.shape)}{hint}.")
    if len(images) == 0:
        raise ValueError("images is empty: at least one image is needed.")
    shape = _shape_of_one(model, images, any_kind)
    if len(shape) == 1 and (targets is None or not targets.is_floating_point()):
        shape = torch.Size((*shape, 1))  # one logit without an axis
    if targets is None:
        if len(shape) != 2:
            raise ValueError(
                f"targets must be given for a model whose outputs have shape {tuple(shape)}: it has no classes; or say "
                f"by output= which number there is for each class, such as output={_MEAN}."
            )
        return images, predict(model, images).view(len(images), -1).argmax(1)
    if not isinstance(targets, torch.Tensor):
        raise TypeError(
            f"targets must be a tensor, one class per image or one wanted output, got {type(targets).__name__}."
        )
    if targets.is_floating_point():
        if targets.shape != (len(images), *shape[1:]):
            wanted = (len(images), *shape[1:])
            raise ValueError(f"targets, wanted outputs, must have shape {wanted}, got {tuple(targets.shape)}.")
        return images, targets
    if targets.dtype in (torch.bool, torch.uint8) or targets.is_complex():
        raise TypeError(f"targets must be classes as int64 or wanted outputs as floats, got {targets.dtype}.")
    if len(shape) != 2:
        raise ValueError(
            f"targets are classes, but the model's outputs have shape {tuple(shape)}: give wanted outputs, or say by "
            f"output= which number there is for each class, such as output={_MEAN}."
        )
    if targets.shape != (len(images),):
        raise ValueError(f"targets must have shape ({len(images)},), one class per image, got {tuple(targets.shape)}.")
    low, high = targets.min().item(), targets.max().item()
    if low < 0 or high >= shape[1]:
        raise ValueError(f"targets must be from 0 to {shape[1] - 1}, got {low if low < 0 else high}.")
    return images, targets.long()


def _shape_of_one(model: nn.Module, images: torch.Tensor | Several, any_kind: bool) -> torch.Size:
    """The shape of what a model gives for one input, if it takes such inputs."""
    shape = tuple(images.shape)
    hint = "; add the batch axis with images[None]" if len(shape) == 3 else ""
    try:
        found = predict(model, images[:1]).shape
    except (RuntimeError, IndexError, TypeError) as error:
        if not any_kind or isinstance(images, Several) or isinstance(error, torch.OutOfMemoryError):
            raise
        if not images.is_floating_point():
            came = f"images must be a float tensor, or tokens that the model's nn.Embedding reads, got {images.dtype}"
            raise TypeError(f"{came}. The model says: {error}") from error
        came = f"images must have shape (N, C, H, W), or the one that the model takes, got {shape}{hint}"
        raise ValueError(f"{came}. The model says: {error}") from error
    if not found or found[0] != 1:
        raise ValueError(
            f"model must give one answer for each input, but for one of images, {(1, *shape[1:])}, it gives "
            f"{tuple(found)}{hint}."
        )
    return found


def explained_output(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The number that is explained, for each image.

    Parameters
    ----------
    outputs : torch.Tensor
        Shape ``(N, classes)``, or that of wanted outputs.
    targets : torch.Tensor
        Classes, int64 ``(N,)``: their logits. Or wanted outputs, floating point: the negative mean squared error.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``.
    """
    targets = targets.to(outputs.device)
    if targets.is_floating_point():
        return -(outputs - targets).square().reshape(len(outputs), -1).mean(1)
    outputs = outputs[:, None] if outputs.ndim == 1 else outputs
    return outputs.gather(1, targets[:, None])[:, 0]
