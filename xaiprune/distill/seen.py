"""One look at a model: what it answers, what its layers give, what it loses when parts are hidden."""

# In stored tables: distillation

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from ..data import Several
from ..graph import asking, outputs, picked
from .hidden import hide


class ModelOutputs(NamedTuple):
    """What a model gives for a batch.

    Attributes
    ----------
    logits : torch.Tensor
        Shape ``(N, classes)``.
    heard : torch.Tensor
        What is compared with a teacher: the logits, or those of a distillation token.
    features : dict of str to torch.Tensor
        Outputs of layers.
    evidence : torch.Tensor, optional
        What is lost of ``heard`` when parts of the images are hidden; shape ``(N, classes)``.
    """

    logits: torch.Tensor
    heard: torch.Tensor
    features: dict[str, torch.Tensor]
    evidence: torch.Tensor | None


def model_outputs(
    model: nn.Module,
    inputs: torch.Tensor,
    layers: Iterable[str] = (),
    *,
    patches: torch.Tensor | None = None,
    graph: bool = False,
) -> ModelOutputs:
    """Run a model once.

    Parameters
    ----------
    model : nn.Module
        As it is: its mode does not change.
    inputs : torch.Tensor
        Shape ``(N, ...)``.
    layers : iterable of str
        Modules whose outputs are kept.
    patches : torch.Tensor, optional
        From ``draw_patches``: hidden in copies of the images, which run in the same batch, to see what is lost.
    graph : bool
        Whether gradients flow back through all of it.

    Returns
    -------
    ModelOutputs

    Raises
    ------
    ValueError
        If a layer is no module of the model, or the output is no tensor and nothing says which part is meant.
    """
    count = len(inputs)
    if patches is not None and (isinstance(inputs, Several) or inputs.ndim != 4 or not inputs.is_floating_point()):
        raise ValueError("loss 'relevance' hides parts of images (N, C, H, W): take another one for these inputs.")
    given = inputs if patches is None else torch.cat([inputs, hide(inputs, patches)])
    with torch.set_grad_enabled(graph), asking(model, strict=False, changes=graph), outputs(model, layers) as features:
        found = model(given)
    logits, heard = found if graph and _is_pair(found) else (picked(found, name="student" if graph else "teacher"),) * 2
    features = {name: values[:count] for name, values in features.items()}
    evidence = None if patches is None else heard[:count] - heard[count:]
    return ModelOutputs(logits[:count], heard[:count], features, evidence)


def _is_pair(found: object) -> bool:
    """Whether a student gives two sets of logits: of the class token and of a distillation token."""
    tensors = isinstance(found, tuple) and len(found) == 2 and all(isinstance(one, torch.Tensor) for one in found)
    return tensors and found[0].shape == found[1].shape
