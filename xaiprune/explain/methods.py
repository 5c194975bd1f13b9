"""The kit's ways to explain, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from ..core import Registry
from ..graph import asks
from . import attention, gradients, perturbation
from .relevance import lrp


@dataclass(frozen=True)
class Method:
    """A named way to make heatmaps.

    Attributes
    ----------
    name : str
    function : callable
        ``(model, images, targets, **options) -> heatmaps (N, H, W)``.
    options : dict
        Passed to the function.
    signed : bool
        Whether its values tell evidence for from evidence against.
    attention : bool
        Whether it needs a model that shows its attention.
    answers_only : bool
        Whether a model's answers are all that it needs: no gradients, no layers.
    """

    name: str
    function: Callable
    options: dict = field(default_factory=dict)
    signed: bool = True
    attention: bool = False
    answers_only: bool = False

    @asks("model")
    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor | None = None, **options):
        """Heatmaps of shape ``(N, H, W)``."""
        return self.function(model, images, targets, **(self.options | options))


METHODS: Registry[Method] = Registry(
    "a method",
    Method,
    (
        Method("saliency", gradients.saliency, signed=False),
        Method("gradient x input", gradients.gradient_x_input),
        Method("smoothgrad", gradients.smoothgrad, signed=False),
        Method("integrated gradients", gradients.integrated_gradients),
        Method("occlusion", perturbation.occlusion, answers_only=True),
        Method("coarse occlusion", perturbation.coarse_occlusion, answers_only=True),
        Method("shapley", perturbation.shapley, answers_only=True),
        Method("lrp", lrp),
        Method("lrp gamma-box", lrp, {"composite": "epsilon-gamma-box"}),
        Method("attnlrp", lrp, {"composite": "attnlrp"}),
        Method("attnlrp gamma", lrp, {"composite": "attnlrp-gamma"}),
        Method("cp-lrp", lrp, {"composite": "cp-lrp"}),
        Method("cp-lrp gamma", lrp, {"composite": "cp-lrp-gamma"}),
        Method("rollout", attention.rollout, signed=False, attention=True),
        Method("chefer approximated", attention.chefer, signed=False, attention=True),
    ),
)


def _sizes(model: nn.Module, images: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    return images.abs().mean(1)


#: Not an explanation: the picture as its own heatmap, the size of every pixel. It never looks at the model.
IMAGE = Method("the image itself", _sizes, signed=False)


@asks("model")
def heatmaps(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    method: Method | str = "integrated gradients",
    **options,
) -> torch.Tensor:
    """Heatmaps by any method of the kit.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``; for most methods also tables, sequences, tokens, or several inputs.
    targets : torch.Tensor, optional
        Classes ``(N,)`` or, for methods other than relevance, wanted outputs; default the model's own answers.
    method : Method or str
        Or a key of ``METHODS``.
    output : str, int or callable, optional
        As for ``measure.predict``: what is explained, of a model that gives more than a tensor.
    **options
        Of the method.

    Returns
    -------
    torch.Tensor, or dict or tuple of torch.Tensor
        Shape ``(N, H, W)``; of other inputs their own shape, one number for each value and token. Where several inputs
        are explained, those of each.

    Raises
    ------
    ValueError
        If there is no such method, or as the method raises it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, -1.0]]))
    >>> for method in ("saliency", "gradient x input"):
    ...     print(method, xp.explain.heatmaps(model, torch.full((1, 1, 2, 2), 0.5), method=method).tolist())
    saliency [[[1.0, 2.0], [0.0, 1.0]]]
    gradient x input [[[0.5, 1.0], [0.0, -0.5]]]
    """
    return METHODS.find(method, "method")(model, images, targets, **options)
