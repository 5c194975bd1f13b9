"""A dynamic network as it is shipped: one file for what runs for every image, and one for each tail."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..deploy import Frozen
from ..measure import Latency, Shipped, latencies
from .routing import Dynamic, Route, _over_images, _path_of, _send_on


class OnnxDynamic(Shipped):
    """A dynamic network whose parts are files that ONNX Runtime runs; which of them run is asked for each image.

    Trunk, branch and the question which way to go are one file: called apart, an image that stays takes longer (lesson
    09 times it). For the scorecard this is a model that is run from its file, as a ``deploy.Frozen`` is.

    Parameters
    ----------
    model : Dynamic
        Later changes of it are not seen, the threshold's neither.
    example : torch.Tensor
        Images; only their shape matters.

    Attributes
    ----------
    content : bytes
        Of all files, one after another.

    Examples
    --------
    >>> model = xp.dynamic.Dynamic(nn.Identity(), nn.Identity(), [nn.Tanh()], [(0, 1)], threshold=0.9)
    >>> images = torch.tensor([[5.0, 0.0], [0.5, 0.0]])  # of which the branch is 99 % and 62 % sure
    >>> shipped = xp.dynamic.OnnxDynamic(model, images)
    >>> torch.allclose(shipped(images), model(images), atol=1e-6)
    True
    """

    made_from: Dynamic

    def __init__(self, model: Dynamic, example: torch.Tensor):
        with torch.no_grad():
            features = model.trunk(example)
        first, tails = Frozen(model.first, example), [Frozen(tail, features) for tail in model.tails]
        content = b"".join(part.content for part in (first, *tails))
        super().__init__(model, content, "ONNX Runtime, part by part", lambda: self._answers)
        self._parts = first, tails  # in a tuple, and so no parts of this module

    def path(self, way: str) -> Route:
        """What an image runs on one way, as ``Dynamic.path`` gives it, from the same files.

        Parameters
        ----------
        way : str
            ``exit``, or one of the sets as text.

        Returns
        -------
        Route
        """
        return _path_of(way, *self._parts, self.made_from.sets)

    def _answers(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes); each part has its own file, and reloads it by itself."""
        first, tails = self._parts
        return _send_on(*first(images), tails)


def route_latencies(
    model: Dynamic, images: torch.Tensor, others: Mapping[str, nn.Module] | None = None, *, repeats: int = 40
) -> tuple[dict[str, float], dict[str, Latency]]:
    """Milliseconds at batch 1 by way, as ONNX Runtime runs the parts; all timed in turn with other models.

    Parameters
    ----------
    model : Dynamic
    images : torch.Tensor
        By which the ways are weighed.
    others : mapping of str to nn.Module, optional
        Whole models to time beside it.
    repeats : int

    Returns
    -------
    ways : dict of str to float
        Medians by way, their ``mean`` over the images, and the ``worst``.
    times : dict of str to Latency
        Of every way and of the other models.
    """
    shares, quick = model.shares(images), OnnxDynamic(model, images[:1])
    timed = {way: quick.path(way) for way in shares}
    timed |= {name: Frozen(other, images[:1]) for name, other in (others or {}).items()}
    times = latencies(timed, images[:1], repeats=repeats, runtime="ONNX Runtime")
    return _over_images({way: times[way].median for way in shares}, shares), times
