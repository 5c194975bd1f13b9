"""One look at a model: what it answers, what its layers give, what it loses when parts are hidden."""

# In stored tables: distillation

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from ..graph import outputs
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
        If a layer is no module of the model.
    """
    count = len(inputs)
    given = inputs if patches is None else torch.cat([inputs, hide(inputs, patches)])
    with torch.set_grad_enabled(graph), outputs(model, layers) as features:
        found = model(given)
    logits, heard = found if isinstance(found, tuple) else (found, found)
    features = {name: values[:count] for name, values in features.items()}
    evidence = None if patches is None else heard[:count] - heard[count:]
    return ModelOutputs(logits[:count], heard[:count], features, evidence)
