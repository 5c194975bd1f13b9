"""A dynamic network as it is shipped: a file for each part."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .routing import Dynamic, frozen


class InParts(nn.Module):
    """A dynamic network whose parts are files that ONNX Runtime runs; which of them run is asked for each image.

    For the scorecard it is a model that is run from its file, as a ``runtimes.Frozen`` is.

    Parameters
    ----------
    model : Dynamic
        Later changes of it are not seen.
    example : torch.Tensor
        Images; only their shape matters.

    Attributes
    ----------
    content : bytes
        Of the files of all parts, one after another.
    runtime : str
    """

    runtime = "ONNX Runtime, part by part"

    def __init__(self, model: Dynamic, example: torch.Tensor):
        super().__init__()
        parts = frozen(model, example)
        self.content = b"".join(part.content for part in (parts.trunk, parts.branch, *parts.tails))
        self._parts, self._made_from = [parts], [copy.deepcopy(model)]  # in lists: they are no parameters of this one
        self.eval()

    @property
    def made_from(self) -> Dynamic:
        """The network as it was: of the same parameters and operations."""
        return self._made_from[0]

    def path(self, way: str) -> nn.Module:
        """What an image runs on one way, as ``Dynamic.path`` gives it, from the same files."""
        return self._parts[0].path(way)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes), without a graph."""
        return self._parts[0](images)
