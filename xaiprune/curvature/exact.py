"""Curvature without an estimate, for nets small enough to hold every other way against."""

# In stored tables: exact Hessian

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..data import Split, as_split
from .hessian import HessianProduct
from .per_sample import check_request


def exact_hessian(
    model: nn.Module, data: Split, loss: Callable, *, names: Iterable[str] | None = None, most: int = 5000
) -> torch.Tensor:
    """The whole Hessian, column by column: for nets that are small enough to check the estimates on.

    Parameters
    ----------
    model, data, loss, names
        As for :class:`HessianProduct`.
    most : int
        Parameters up to which this makes sense; more are refused.

    Returns
    -------
    torch.Tensor
        Float64, shape ``(parameters, parameters)``, in the order of the flattened parameters.

    Raises
    ------
    ValueError
        As for :class:`HessianProduct`, and if the model has more than ``most`` parameters.

    Examples
    --------
    The mean of ``(w x)**2`` over two inputs bends by ``2 * mean(x x^T)``, whatever the weights are:

    >>> def square(model, inputs, targets):
    ...     return model(inputs).square().mean()
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> xp.curvature.exact_hessian(nn.Linear(2, 1, bias=False).eval(), data, square).tolist()
    [[1.0, 0.0], [0.0, 4.0]]
    """
    product = HessianProduct(model, data, loss, names)
    total = sum(parameter.numel() for parameter in product.parameters.values())
    if total > most:
        raise ValueError(f"model has {total:,} parameters, more than {most:,}: its Hessian is too large to write down.")
    columns = []
    for place in range(total):
        unit = torch.zeros(total)
        unit[place] = 1
        pieces = zip(product.parameters.items(), unit.split([p.numel() for p in product.parameters.values()]))
        column = product({name: part.view(p.shape).to(p) for (name, p), part in pieces})
        columns.append(torch.cat([part.flatten() for part in column.values()]).double())
    return torch.stack(columns, 1)


def measured_rises(model: nn.Module, data: Split, loss: Callable, name: str) -> torch.Tensor:
    """What the loss really rises by when each entry of a parameter goes alone: one evaluation per entry.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; its weights are put back.
    data : Split, or data of another form
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.
    name : str
        The parameter.

    Returns
    -------
    torch.Tensor
        Float64, of the parameter's shape.

    Raises
    ------
    ValueError
        If data is empty, the model is in training mode, or the parameter does not exist.

    Examples
    --------
    A fit without an error, and what it loses without each of its two weights:

    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> _ = nn.init.ones_(model.weight)
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0], [2.0]]))
    >>> rises = xp.curvature.measured_rises(model, data, lambda model, x, y: (model(x) - y).square().mean(), "weight")
    >>> rises.tolist()
    [[0.5, 2.0]]
    """
    data = as_split(data, on=model)
    check_request(model, data, [name])
    parameter = dict(model.named_parameters())[name]
    original, rises = parameter.detach().clone(), torch.zeros(parameter.numel(), dtype=torch.float64)
    flat = parameter.detach().view(-1)
    with torch.no_grad():
        whole = loss(model, *data).item()
        try:
            for entry in range(len(flat)):
                flat[entry] = 0
                rises[entry] = loss(model, *data).item() - whole
                flat[entry] = original.view(-1)[entry]
        finally:
            parameter.copy_(original)
    return rises.view(parameter.shape)
