"""One look at a model: what it answers, what its layers give, where its evidence lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import nn


class Seen(NamedTuple):
    """What a model gives for a batch.

    Attributes
    ----------
    logits : torch.Tensor
        Shape ``(N, classes)``.
    heard : torch.Tensor
        What is compared with a teacher: the logits, or those of a distillation token.
    features : dict of str to torch.Tensor
        Outputs of layers.
    heatmaps : torch.Tensor, optional
        Shape ``(N, H, W)``.
    """

    logits: torch.Tensor
    heard: torch.Tensor
    features: dict[str, torch.Tensor]
    heatmaps: torch.Tensor | None

    def detached(self) -> Seen:
        """The same numbers without a graph."""
        features = {name: values.detach() for name, values in self.features.items()}
        heatmaps = None if self.heatmaps is None else self.heatmaps.detach()
        return Seen(self.logits.detach(), self.heard.detach(), features, heatmaps)


def look(
    model: nn.Module,
    images: torch.Tensor,
    layers: Iterable[str] = (),
    *,
    heatmaps: bool = False,
    classes: torch.Tensor | None = None,
    graph: bool = False,
) -> Seen:
    """Run a model once.

    Parameters
    ----------
    model : nn.Module
        As it is: its mode does not change.
    images : torch.Tensor
        Shape ``(N, ...)``.
    layers : iterable of str
        Modules whose outputs are kept.
    heatmaps : bool
        Whether to explain: gradient x input, summed over colours.
    classes : torch.Tensor, optional
        What is explained, shape ``(N,)``; default the model's answers.
    graph : bool
        Whether gradients flow back through all of it.
    """
    inputs = images.detach().requires_grad_() if heatmaps else images
    with torch.set_grad_enabled(graph or heatmaps), _outputs(model, layers) as features:
        given = model(inputs)
    logits, heard = given if isinstance(given, tuple) else (given, given)
    if not heatmaps:
        return Seen(logits, heard, features, None)
    classes = heard.argmax(1) if classes is None else classes
    answers = heard.gather(1, classes[:, None]).sum()
    if not answers.requires_grad:
        raise ValueError(f"model ({type(model).__name__}) gives no gradients, so that its evidence cannot be compared.")
    (slope,) = torch.autograd.grad(answers, inputs, create_graph=graph)
    return Seen(logits, heard, features, (slope * inputs).sum(1))


@contextmanager
def _outputs(model: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect outputs of layers while the model runs."""
    found: dict[str, torch.Tensor] = {}
    known = dict(model.named_modules())
    with ExitStack() as stack:
        for name in layers:
            if name not in known:
                raise ValueError(f"layers must name modules of the student, got {name!r}.")

            def keep(module, inputs, output, name=name):
                found[name] = output

            stack.callback(known[name].register_forward_hook(keep).remove)
        yield found
