"""Relevance of pixels and of inner activations, ready to use."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._pytree import tree_iter
from tqdm.auto import tqdm

from ...data import as_inputs
from ...graph import asks
from ..beginning import _Beginnings, _joined
from ..target import _check_request, explained_output
from .composites import Composite
from .ledger import Ledger
from .trace import _Trace, modified_gradients


@asks("model")
def lrp(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    composite: Composite | str = "epsilon-plus",
    batch_size: int = 64,
    progress: bool = False,
) -> torch.Tensor:
    """Heatmaps by layer-wise relevance propagation: how much each pixel adds to the logit.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form.
    targets : torch.Tensor, optional
        Classes, shape ``(N,)``; default the model's own answers.
    composite : Composite or str
        Which layer follows which rule, and what becomes of biases; a key of ``COMPOSITES``. In deep networks biases
        take most of the logit, unless the composite hands it on: ``COMPOSITES[...].with_bias("redistribute")``.
    batch_size : int
        Most images in one pass: this bounds the memory.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    torch.Tensor
        Shape ``(N, H, W)``: relevance summed over the image's channels, in units of the logit. With what biases,
        constants and rules keep, it adds up to the logit; :func:`propagate` gives the books.

    Raises
    ------
    ValueError
        As :func:`modified_gradients` and ``check_request`` raise it; also for wanted outputs as targets.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, -1.0]]))
    >>> xp.explain.lrp(model, torch.ones(1, 1, 2, 2)).round(decimals=3)  # they add up to the logit, 2
    tensor([[[ 1.,  2.],
             [ 0., -1.]]])
    """
    images, targets = _check_request(model, images, targets, any_kind=True)
    beginnings = _Beginnings(model, images)
    parts = zip(images.split(batch_size), targets.split(batch_size))
    bar = tqdm(parts, total=-(-len(images) // batch_size), disable=not progress, desc="relevance")
    found = []
    for some, classes in bar:
        begun = beginnings.of(some)
        relevance, _ = _propagated(model, begun, classes, composite)
        found.append(begun.heatmaps(relevance, lambda values: values.sum(1)))
    return _joined(found)


@asks("model")
def propagate(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *, composite: Composite | str = "epsilon-plus"
) -> tuple[torch.Tensor, Ledger]:
    """One backward pass: the relevance of every value of the images, and the books.

    Parameters
    ----------
    model : nn.Module
    images : torch.Tensor
        Shape ``(N, C, H, W)``: all in one pass.
    targets : torch.Tensor
        Classes, shape ``(N,)``.
    composite : Composite or str
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    relevance : torch.Tensor
        Shape ``(N, C, H, W)``.
    ledger : Ledger

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0]])), model[1].bias.data.fill_(0.5)
    >>> relevance, ledger = xp.explain.relevance.propagate(model, torch.ones(1, 1, 1, 2), torch.tensor([0]))
    >>> {name: round(value.item(), 3) for name, value in ledger.sums().items()}  # of the logit, 3.5
    {'input': 3.0, 'biases': 0.5, 'softmax': 0.0, 'nowhere': 0.0}
    """
    images = as_inputs(images, "images")
    return _propagated(model, _Beginnings(model, images).of(images), targets, composite)


def _propagated(model, begun, targets: torch.Tensor, composite: Composite | str) -> tuple[torch.Tensor, Ledger]:
    """Relevance of the values from which inputs are explained, and the books."""
    with torch.enable_grad(), modified_gradients(model, composite) as trace:
        pixels = trace.watch(begun.values)
        total, chosen = _forward(begun.run, pixels, targets, trace)
    (gradient,) = torch.autograd.grad(total, pixels)
    relevance = trace.relevance(pixels, gradient)
    return relevance, trace.ledger(chosen, relevance)


@asks("model")
def inner_relevance(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None,
    layer: str,
    *,
    composite: Composite | str = "epsilon-plus",
) -> torch.Tensor:
    """Relevance of the outputs of an inner layer.

    Parameters
    ----------
    model : nn.Module
    images : torch.Tensor
        Shape ``(N, C, H, W)``: all in one pass.
    targets : torch.Tensor or None
        Classes, shape ``(N,)``; None for the model's own answers.
    layer : str
        Qualified name of a module.
    composite : Composite or str
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    torch.Tensor
        In the shape of the layer's outputs.

    Raises
    ------
    ValueError
        If there is no such layer, or its output takes no part: that of a convolution that is folded into the
        normalisation after it does not exist in the folded model.
    """
    images, targets = _check_request(model, images, targets)
    modules = dict(model.named_modules())
    if layer not in modules:
        known = ", ".join(name for name in modules if name)
        raise ValueError(f"layer must be the name of a module ({known}), got {layer!r}.")
    kept = []
    with torch.enable_grad(), modified_gradients(model, composite) as trace:
        hook = modules[layer].register_forward_hook(lambda module, inputs, output: kept.append(_first(output)))
        try:
            total, _ = _forward(model, trace.watch(images), targets, trace)
        finally:
            hook.remove()
    kept = [value for value in kept if value is not None]
    found = torch.autograd.grad(total, kept, allow_unused=True) if kept else []
    parts = [trace.relevance(value, gradient) for value, gradient in zip(kept, found) if gradient is not None]
    if not parts:
        raise ValueError(
            f"layer {layer!r}: its output has no part in the answer. If a normalisation follows, ask for that layer: "
            "the two count as one."
        )
    return sum(parts)


def _first(output):
    """A layer's output, or the first tensor in it that has a gradient."""
    return next((value for value in tree_iter(output) if isinstance(value, torch.Tensor) and value.requires_grad), None)


def _forward(model: nn.Module, pixels: torch.Tensor, targets: torch.Tensor, trace: _Trace) -> tuple:
    """The sum over images of what is explained, as the end of a graph, and each image's value."""
    if targets.is_floating_point():
        raise ValueError(
            "targets must be classes: relevance divides a logit. Use a gradient method for wanted outputs."
        )
    outputs = model(pixels)
    if not isinstance(outputs, torch.Tensor):
        kind = type(outputs).__name__
        raise ValueError(f"the model's output is a {kind} and no tensor: wrap the model so that it gives the logits.")
    if not outputs.requires_grad and outputs not in trace.closed and trace.closing:
        raise ValueError(
            f"layer {trace.closing!r}: the input reaches the output only through this softmax, which "
            f"composite {trace.composite.name!r} takes as given; take one that explains attention, such as 'attnlrp'."
        )
    if not outputs.requires_grad or outputs in trace.factors:
        raise ValueError(
            "the model's output is a gate (sigmoid or softmax) or a constant: explain the logits before it."
        )
    if trace.composite.of_pixels and not any(
        entry.first and entry.kind in ("convolution", "dense") for entry in trace.entries
    ):
        raise ValueError(
            f"composite {trace.composite.name!r} has a rule for pixels, but no layer reads the pixels themselves; "
            "normalise the images before they enter the model."
        )
    return explained_output(outputs, targets).sum(), explained_output(outputs.detach(), targets)
