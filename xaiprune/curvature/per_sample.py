"""Gradients of every image's own loss, all images at once.

The mean gradient of a batch says nothing about how its images differ. For a dense layer with input a and output
derivative delta, the gradient of image n is the outer product ``delta_n a_n^T``; its square summed over images is
``(delta^2)^T (a^2)``: one product of matrices instead of a loop. A convolution is a dense layer on unfolded patches,
with a sum over places before the square. Every other parameter goes through ``torch.func.vmap``.
"""

# In stored tables: per-sample gradients

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from ..core import evaluating, nonempty
from ..data import Split, as_split, batches, differentiable

#: Numbers that the per-image gradients of one layer may take at once: 128 MB in float32.
_CHUNK = 2**25


def fisher_diagonal(
    model: nn.Module, data: Split, loss: Callable, *, names: Iterable[str] | None = None, batch_size: int = 500
) -> dict[str, torch.Tensor]:
    """Diagonal of the empirical Fisher: the mean over images of the squared gradient of the image's own loss.

    It is *not* the square of the mean gradient, and not the mean over batches of their squared gradients: those shrink
    with the batch. "Empirical" because the labels are the data's and not drawn from the model, as those of
    :func:`gauss_newton_diagonal` are.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, so that no image depends on another.
    data : Split, or data of another form
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.
    names : iterable of str, optional
        Parameters to take; default all.
    batch_size : int
        Changes memory and time, not the result.

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to a float64 tensor of the parameter's shape.

    Raises
    ------
    ValueError
        If data is empty, the model is in training mode, a name does not exist, the loss is not a scalar, or a gradient
        is not finite (the parameter is named).

    Examples
    --------
    The loss is the output, so that an image's gradient is the image:

    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> xp.curvature.fisher_diagonal(model, data, lambda model, x, y: model(x).mean())  # the mean of x**2
    {'weight': tensor([[0.5000, 2.0000]], dtype=torch.float64)}
    """
    return gradient_moments(model, data, loss, power=2, names=names, batch_size=batch_size)


def gauss_newton_diagonal(
    model: nn.Module, data: Split, *, names: Iterable[str] | None = None, batch_size: int = 500
) -> dict[str, torch.Tensor]:
    """Diagonal of the Gauss-Newton matrix of the cross-entropy, which is the Fisher with labels drawn from the model.

    The curvature of the loss by the logits z is ``diag(p) - p p^T = sum_c p_c (e_c - p)(e_c - p)^T``: the mean over
    labels c, drawn with the model's own probabilities p, of the squared gradient (Martens 2020, arXiv 1412.1193). Along
    one weight a network of ReLUs and linear layers is itself linear almost everywhere. For such networks this *is* the
    Hessian's diagonal, without a random probe and for the price of one Fisher for each class. Of other networks it
    leaves out what the layers themselves bend, and is never negative.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, with logits of shape (N, classes).
    data : Split, or data of another form
        Its targets are not read.
    names, batch_size
        As for :func:`fisher_diagonal`.

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to a float64 tensor of the parameter's shape.

    Raises
    ------
    ValueError
        As for :func:`fisher_diagonal`, and if the model's outputs are no logits.

    Examples
    --------
    Two classes of equal probability bend the loss by 1/4 along each logit:

    >>> data = xp.data.Split(torch.tensor([[1.0, 2.0]]), torch.zeros(1))
    >>> model = nn.Linear(2, 2, bias=False).eval()
    >>> _ = nn.init.zeros_(model.weight)
    >>> xp.curvature.gauss_newton_diagonal(model, data)["weight"].round(decimals=4).tolist()
    [[0.25, 1.0], [0.25, 1.0]]
    """
    data = as_split(data, on=model)
    names = check_request(model, data, names)
    with torch.no_grad():
        logits = model(data.inputs[:1])
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"model must give logits of shape (N, classes), got {tuple(logits.shape)}.")
    data = Split(data.inputs, torch.zeros(len(data.inputs), dtype=torch.long, device=data.inputs.device))
    total: dict[str, torch.Tensor] = {}
    for label in range(logits.shape[1]):
        loss = partial(_as_if, label=label)
        for name, part in gradient_moments(model, data, loss, power=2, names=names, batch_size=batch_size).items():
            total[name] = total[name] + part if name in total else part
    return total


def _as_if(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, label: int) -> torch.Tensor:
    """Cross-entropy as if every image had this label, by the root of the label's probability."""
    log_shares = model(inputs).log_softmax(1)[:, label]
    return -((log_shares.detach() / 2).exp() * log_shares).mean()


def gradient_moments(
    model: nn.Module,
    data: Split,
    loss: Callable,
    *,
    power: float,
    names: Iterable[str] | None = None,
    batch_size: int = 500,
) -> dict[str, torch.Tensor]:
    """Mean over images of ``|gradient of the image's own loss| ** power``.

    Parameters
    ----------
    model, data, loss
        As for :func:`fisher_diagonal`.
    power : float
        Positive; 2 gives the diagonal of the empirical Fisher.
    names, batch_size
        As for :func:`fisher_diagonal`.

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to a float64 tensor of the parameter's shape.

    Raises
    ------
    ValueError
        As for :func:`fisher_diagonal`.
    """
    data = as_split(data, on=model)
    names = check_request(model, data, names)
    totals = {name: torch.zeros_like(dict(model.named_parameters())[name], dtype=torch.float64) for name in names}
    for inputs, targets in batches(data, batch_size):
        for name, part in _sums(model, inputs, targets, loss, names, power):
            totals[name] += part.detach()
    for name, total in totals.items():
        if not torch.isfinite(total).all():
            raise ValueError(f"the gradients of {name!r} are not finite: is the loss NaN or infinite for some image?")
    return {name: total / len(data.inputs) for name, total in totals.items()}


def per_sample_gradients(
    model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, loss: Callable, names: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Gradient of each image's own loss: parameter name to a tensor of shape ``(images, *parameter's shape)``.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    inputs, targets : torch.Tensor
        Shapes (N, ...) and (N, ...).
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.
    names : iterable of str
        Parameters.

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to a tensor of shape ``(N, *parameter's shape)``.

    Examples
    --------
    >>> inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> def loss(model, inputs, targets):
    ...     return model(inputs).mean()
    >>> found = xp.curvature.per_sample_gradients(model, inputs, torch.zeros(2), loss, ["weight"])
    >>> found["weight"].tolist()
    [[[1.0, 0.0]], [[0.0, 2.0]]]
    """
    parameters, found = dict(model.named_parameters()), {}
    names = list(names)
    records = _record(model, inputs, targets, loss, names)
    for name in names:
        if name in records:
            found[name] = _outer(*records[name]).reshape(len(inputs), *parameters[name].shape)
    rest = [name for name in names if name not in found]
    return found | (_by_vmap(model, inputs, targets, loss, rest) if rest else {})


def check_request(model: nn.Module, data: Split, names: Iterable[str] | None) -> list[str]:
    """The names of the parameters that are asked for, once the request makes sense.

    Parameters
    ----------
    model : nn.Module
    data : Split
    names : iterable of str, or None
        Parameters; None for all.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If data is empty, the model is in training mode, or a name does not exist.
    """
    parameters = dict(model.named_parameters())
    nonempty(as_split(data), "data")
    evaluating(model, why=", so that no image depends on another")
    names = list(parameters) if names is None else [names] if isinstance(names, str) else list(names)
    if unknown := [name for name in names if name not in parameters]:
        raise ValueError(f"names holds {unknown[0]!r}, which is no parameter of the model.")
    return names


def check_scalar(value: torch.Tensor) -> torch.Tensor:
    """The value of a loss, or an error if it is not one number.

    Parameters
    ----------
    value : torch.Tensor
        What a loss returned.

    Returns
    -------
    torch.Tensor
        The value itself.

    Raises
    ------
    ValueError
        If it is not one number.
    """
    if not isinstance(value, torch.Tensor) or value.ndim > 0:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"loss must return a scalar tensor, the mean over the images; it returned {shape}.")
    return value


def _sums(model, inputs, targets, loss, names, power) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameter name and the sum over images of ``|gradient| ** power``, in its parameter's shape or a part of it."""
    parameters = dict(model.named_parameters())
    records = _record(model, inputs, targets, loss, names)
    for name, (delta, entered) in records.items():
        shape = parameters[name].shape
        if delta.shape[2] == 1:  # one place: the power of a product is the product of the powers
            delta, entered = (_power(values[:, :, 0], power) for values in (delta, entered))
            yield name, (delta.T @ entered).reshape(shape)
            continue
        size = max(1, _CHUNK // (delta.shape[1] * entered.shape[1]))
        for some_deltas, some_entered in zip(delta.split(size), entered.split(size)):
            yield name, _power(_outer(some_deltas, some_entered), power).sum(0).reshape(shape)
    if rest := [name for name in names if name not in records]:
        size = max(1, _CHUNK // sum(parameters[name].numel() for name in rest))
        for some_inputs, some_targets in zip(inputs.split(size), targets.split(size)):
            for name, values in _by_vmap(model, some_inputs, some_targets, loss, rest).items():
                yield name, _power(values, power).sum(0)


def _power(values: torch.Tensor, power: float) -> torch.Tensor:
    """``|values| ** power``."""
    return values.square() if power == 2 else values.abs().pow(power)


def _joined(places: list[torch.Tensor]) -> torch.Tensor:
    """The places of all runs of a layer, one after another."""
    return places[0] if len(places) == 1 else torch.cat(places, 2)


def _outer(delta: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Per image, the sum over places of ``delta x inputs``: (N, O, P) and (N, I, P) give (N, O, I)."""
    return torch.bmm(delta, inputs.transpose(1, 2))


def _record(model, inputs, targets, loss, names) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Output derivatives (N, O, P) and inputs (N, I, P), P places each, of the parameters that have a closed form.

    A bias has the input 1. A layer that runs several times has the places of all its runs.
    """
    calls: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    layers = {name: module for name, module in model.named_modules() if _unfold_of(module) is not None}
    wanted = {name.rpartition(".")[0] for name in names} & layers.keys() - _tied(model)
    with ExitStack() as stack, torch.enable_grad():
        for name in wanted:
            hook = partial(_keep, calls.setdefault(name, []))
            stack.callback(layers[name].register_forward_hook(hook).remove)
        inputs = differentiable(inputs)
        value = check_scalar(loss(model, inputs, targets)) * len(inputs)
        outputs = [output for several in calls.values() for _, output in several]
        derivatives = iter(torch.autograd.grad(value, outputs)) if outputs else iter(())
    found = {}
    for name, several in calls.items():
        if several:
            pairs = [(next(derivatives), entered) for entered, _ in several]
            delta = _joined([_places(layers[name], d) for d, _ in pairs])
            if f"{name}.weight" in names:
                found[f"{name}.weight"] = delta, _joined([_unfold_of(layers[name])(a) for _, a in pairs])
            if f"{name}.bias" in names:
                found[f"{name}.bias"] = delta, torch.ones_like(delta[:, :1])
    return found


def _tied(model: nn.Module) -> set[str]:
    """Layers that share a parameter with another layer: their gradients belong together."""
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    return {layer for several in owners.values() if len(several) > 1 for layer in several}


def _keep(calls: list, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    calls.append((inputs[0].detach(), output))


def _places(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """A layer's output or its derivative as (N, features, places)."""
    if isinstance(module, nn.Linear):
        return values.reshape(len(values), -1, values.shape[-1]).transpose(1, 2)
    return values.flatten(2)


def _unfold_of(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """How a layer's input becomes (N, entries of a row of its weight, places); None where there is no closed form."""
    if type(module) is nn.Linear:
        return partial(_places, module)
    plain = type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"
    if plain and not isinstance(module.padding, str):
        geometry = {name: getattr(module, name) for name in ("dilation", "padding", "stride")}
        return partial(nn.functional.unfold, kernel_size=module.kernel_size, **geometry)
    return None


def _by_vmap(model, inputs, targets, loss, names) -> dict[str, torch.Tensor]:
    """Per-image gradients of any parameters, by vectorising the gradient of one image's loss."""
    everything = {name: tensor.detach() for name, tensor in model.named_parameters()}
    everything |= dict(model.named_buffers())

    def value(chosen: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return check_scalar(loss(_Called(model, everything | chosen), image[None], label[None]))

    chosen = {name: everything[name] for name in names}
    return vmap(grad(value), in_dims=(None, 0, 0))(chosen, inputs, targets)


class _Called(nn.Module):
    """A model with other tensors in the place of its own."""

    def __init__(self, model: nn.Module, tensors: dict[str, torch.Tensor]):
        super().__init__()
        self.call = partial(functional_call, model, tensors)

    def forward(self, *inputs):
        return self.call(inputs)
