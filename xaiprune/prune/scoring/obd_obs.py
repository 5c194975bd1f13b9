"""Optimal Brain Damage and Optimal Brain Surgeon: what the loss gains when a weight goes, by its curvature.

At a minimum the gradient is zero, and removing weight q from w changes the loss by ``1/2 dw^T H dw``. Damage (LeCun,
Denker and Solla 1990) keeps the other weights and H's diagonal only; Surgeon (Hassibi and Stork 1993) lets the others
answer, for which it needs the inverse of H.
"""

# In stored tables: OBD and OBS

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...curvature import check_request, per_sample_gradients
from ...data import Split, as_split, batches, carries, mark
from ..units import Plan


@dataclass(frozen=True)
class Damage:
    """Saliencies by Optimal Brain Damage.

    Attributes
    ----------
    values : dict of str to torch.Tensor
        Parameter name to float64 saliencies of the parameter's shape, none negative.
    clamped : int
        Entries whose curvature came out negative and was set to 0.
    """

    values: dict[str, torch.Tensor]
    clamped: int


def obd(model: nn.Module, diagonal: Mapping[str, torch.Tensor]) -> Damage:
    """Optimal Brain Damage: ``h w^2 / 2``, with a diagonal of the Hessian or of the Fisher.

    A negative h, at a saddle or from too few probes, would say that the loss falls without end along that weight; it is
    set to 0 and counted.

    Parameters
    ----------
    model : nn.Module
    diagonal : mapping of str to torch.Tensor
        Parameter name to a tensor of its shape, as :func:`xaiprune.curvature.hessian_diagonal` and
        :func:`xaiprune.curvature.fisher_diagonal` give them.

    Returns
    -------
    Damage
        Its ``values`` in the unit of the loss.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> xp.prune.obd(model, {"weight": torch.tensor([[1.0, 4.0]])}).values["weight"].tolist()
    [[0.5, 2.0]]
    """
    parameters = dict(model.named_parameters())
    values = {n: h.clamp(min=0) * parameters[n].detach().double().square() / 2 for n, h in diagonal.items()}
    return Damage(values, sum(int((h < 0).sum()) for h in diagonal.values()))


@dataclass(frozen=True)
class InverseFisher:
    """The inverse of the damped, block-diagonal empirical Fisher.

    Attributes
    ----------
    blocks : dict of str to torch.Tensor
        Parameter name to its inverse blocks, float64, shape ``(blocks, size, size)``; a block holds ``size``
        neighbouring entries of the flattened parameter, the last one filled up with entries that do not exist.
    damping : float
    images : int

    Examples
    --------
    The loss is the output, so that the Fisher is the mean of ``x x^T``, here diag(0.5, 2):

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight)
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> inverse = xp.prune.inverse_fisher(model, data, lambda model, x, y: model(x).mean())
    >>> inverse.blocks["0.weight"][0, :2, :2].round(decimals=2).tolist()
    [[2.0, 0.0], [0.0, 0.5]]
    """

    blocks: dict[str, torch.Tensor]
    damping: float
    images: int


def inverse_fisher(
    model: nn.Module,
    data: Split,
    loss: Callable,
    *,
    names: Iterable[str] | None = None,
    block: int = 50,
    damping: float = 1e-5,
    batch_size: int = 100,
) -> InverseFisher:
    """Inverse of ``F = damping I + 1/N sum_n g_n g_n^T``, in blocks along the diagonal.

    Small blocks are cheapest summed up and inverted once. :func:`with_gradient` reaches the same matrix one gradient at
    a time, which pays where a block is larger than the number of images.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    data : Split, or data of another form
        Best images that the model was not trained on: those it fits have hardly any gradient left.
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.
    names : iterable of str, optional
        Parameters to take; default all.
    block : int
        Entries per block. Memory grows with ``block`` times the number of weights, 8 bytes each.
    damping : float
        Added to the diagonal, positive.
    batch_size : int
        Changes time and memory, not the result.

    Returns
    -------
    InverseFisher

    Raises
    ------
    ValueError
        If data is empty, the model is in training mode, a name does not exist, the loss is not a scalar, a gradient is
        not finite, or block or damping is not positive.

    Examples
    --------
    The loss is the output, so that the Fisher is the mean of ``x x^T``, here diag(0.5, 2):

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight)
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> inverse = xp.prune.inverse_fisher(model, data, lambda model, x, y: model(x).mean())
    >>> inverse.blocks["0.weight"].shape, inverse.images
    (torch.Size([1, 50, 50]), 2)
    """
    data = as_split(data, on=model)
    names = check_request(model, data, names)
    if not isinstance(block, int) or block < 1:
        raise ValueError(f"block must be a whole number of at least 1, got {block!r}.")
    if not damping > 0:
        raise ValueError(f"damping must be positive, got {damping:g}: without it the Fisher has no inverse.")
    fisher: dict[str, torch.Tensor] = {}
    for images, labels in batches(data, batch_size):
        for name, values in per_sample_gradients(model, images, labels, loss, names).items():
            if not torch.isfinite(values).all():
                raise ValueError(f"the gradients of {name!r} are not finite: is the loss NaN or infinite?")
            rows = _in_blocks(values.detach().flatten(1), block)  # (blocks, images, block)
            part = (rows.transpose(1, 2) @ rows).double() / len(data.inputs)
            fisher[name] = fisher[name] + part if name in fisher else part
    damped = damping * torch.eye(block, dtype=torch.float64)
    inverse = {name: torch.cholesky_inverse(torch.linalg.cholesky(part + damped)) for name, part in fisher.items()}
    return mark(InverseFisher(inverse, damping, len(data.inputs)), data=data, what="inverse Fisher matrix")


def with_gradient(inverse: torch.Tensor, gradient: torch.Tensor, images: int) -> torch.Tensor:
    """The inverse after one more gradient: ``(F + g g^T / N)^-1`` from ``F^-1``, without inverting a matrix.

    One step of WoodFisher's recursion (Singh and Alistarh 2020, arXiv 2004.14340), which starts at ``I / damping``:
    ``F^-1 - F^-1 g g^T F^-1 / (N + g^T F^-1 g)``.

    Parameters
    ----------
    inverse : torch.Tensor
        Shape ``(..., B, B)``.
    gradient : torch.Tensor
        Shape ``(..., B)``.
    images : int
        N, the number of gradients in the whole sum.

    Returns
    -------
    torch.Tensor
        Shape ``(..., B, B)``.

    Examples
    --------
    >>> xp.prune.with_gradient(torch.eye(2), torch.tensor([1.0, 0.0]), images=1)  # of I + diag(1, 0)
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000]])
    """
    turned = inverse @ gradient[..., None]
    return inverse - turned @ turned.mT / (images + (gradient[..., None, :] @ turned))


def _in_blocks(values: torch.Tensor, block: int) -> torch.Tensor:
    """Rows (N, entries) cut into blocks, the last one filled up with zeros: (blocks, N, block)."""
    missing = -values.shape[1] % block
    return nn.functional.pad(values, (0, missing)).reshape(len(values), -1, block).transpose(0, 1)


@carries
def obs(model: nn.Module, inverse: InverseFisher) -> dict[str, torch.Tensor]:
    """Optimal Brain Surgeon's saliency ``w_q^2 / (2 [F^-1]_qq)``: the cost if weight q is the first and only to go.

    Parameters
    ----------
    model : nn.Module
    inverse : InverseFisher
        Of this model.

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to float64 saliencies of the parameter's shape, in the unit of the loss.

    Examples
    --------
    The Fisher is diag(0.5, 2), so that no weight can help another, and the saliency is that of :func:`obd`:

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight)
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> inverse = xp.prune.inverse_fisher(model, data, lambda model, x, y: model(x).mean())
    >>> xp.prune.obs(model, inverse)["0.weight"].round(decimals=3).tolist()
    [[0.25, 1.0]]
    """
    found = {}
    for name, weight in _weights(model, inverse).items():
        diagonal = inverse.blocks[name].diagonal(dim1=1, dim2=2).reshape(-1)[: weight.numel()]
        found[name] = weight.square() / (2 * diagonal.view_as(weight))
    return found


@carries
def obs_in_turn(model: nn.Module, inverse: InverseFisher) -> dict[str, torch.Tensor]:
    """Optimal Brain Surgeon as it was published: the cheapest weight of a block goes, the others answer, and again.

    After every weight the saliencies and the inverse are those of what is left, by one step of Gaussian elimination.
    What a weight costs at its turn is its score, raised where needed so that the scores of a block keep the order of
    the turns. With ``obs`` all weights are judged as if each went alone, which underrates those whose helpers go too.

    Parameters
    ----------
    model : nn.Module
    inverse : InverseFisher
        Of this model.

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to float64 scores of the parameter's shape, in the unit of the loss.

    Examples
    --------
    Two inputs that are always equal: either weight can go for nothing, as the other takes its part, but not both.

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight)
    >>> data = xp.data.Split(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.zeros(2))
    >>> inverse = xp.prune.inverse_fisher(model, data, lambda model, x, y: model(x).mean())
    >>> xp.prune.obs_in_turn(model, inverse)["0.weight"].round(decimals=2).tolist()
    [[0.0, 2.0]]
    """
    return {
        name: _turns(weight.flatten(), inverse.blocks[name]).view_as(weight)
        for name, weight in _weights(model, inverse).items()
    }


def _turns(weight: torch.Tensor, inverse: torch.Tensor, chunk: int = 64) -> torch.Tensor:
    """Cost of each entry of a flattened parameter at its turn; a few blocks at a time stay in the processor's cache."""
    size = inverse.shape[1]
    weights, exists = (_in_blocks(values[None], size)[:, 0] for values in (weight, torch.ones_like(weight)))
    costs = []
    for left, some, stays in zip(weights.split(chunk), inverse.split(chunk), exists.split(chunk)):
        left, some, stays = left.clone(), some.clone(), stays > 0
        cost, row, most = torch.zeros_like(left), torch.arange(len(left)), left.new_zeros(len(left))
        for _ in range(size):
            saliency = left.square() / (2 * some.diagonal(dim1=1, dim2=2))
            value, place = saliency.masked_fill(~stays, torch.inf).min(1)
            most = torch.where(value.isfinite(), torch.maximum(most * (1 + 1e-12), value), most)
            cost[row, place] = torch.where(value.isfinite(), most, cost[row, place])
            column, pivot = some[row, :, place], some[row, place, place]
            left -= column * (left[row, place] / pivot)[:, None]
            some -= column[:, :, None] * (column / pivot[:, None])[:, None, :]
            some[row, place, place] = 1  # the rest of its row and column is zero now
            left[row, place], stays[row, place] = 0, False
        costs.append(cost)
    return torch.cat(costs).flatten()[: len(weight)]


@carries
def surgery(model: nn.Module, plan: Plan, inverse: InverseFisher) -> nn.Module:
    """Optimal Brain Surgeon's cut: the plan's weights go to zero, and the others move so that the loss rises least.

    For the set Q of weights that go from a block, ``dw = -F^-1 E (E^T F^-1 E)^-1 w_Q``, with E the columns of the
    identity in Q. With a single weight this is the paper's update; with several it is the exact minimum for all of them
    together, and not the sum of single updates.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    plan : Plan
        Of single weights, all of them parameters in ``inverse``.
    inverse : InverseFisher

    Returns
    -------
    nn.Module
        A copy.

    Raises
    ------
    ValueError
        If the plan removes weights that ``inverse`` does not cover.

    Examples
    --------
    Two inputs that are always equal: when one weight goes, the other takes its part.

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(model[0].weight)
    >>> data = xp.data.Split(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.zeros(2))
    >>> inverse = xp.prune.inverse_fisher(model, data, lambda model, x, y: model(x).mean())
    >>> plan = xp.prune.Plan(tuple(xp.prune.find_weights(model)), {"0.weight": [0]})
    >>> xp.prune.surgery(model, plan, inverse)[0].weight.data.round(decimals=2).tolist()
    [[0.0, 2.0]]
    """
    if unknown := [name for name in plan.removed if name not in inverse.blocks]:
        raise ValueError(f"plan removes entries of {unknown[0]!r}, which inverse does not cover.")
    moved = copy.deepcopy(model)
    parameters = dict(moved.named_parameters())
    for name, gone in plan.removed.items():
        weight = parameters[name]
        with torch.no_grad():
            weight.copy_(_moved(weight.double().flatten(), gone, inverse.blocks[name]).view_as(weight))
    return moved


def _moved(weight: torch.Tensor, gone: np.ndarray, inverse: torch.Tensor, chunk: int = 512) -> torch.Tensor:
    """The flattened weight after its update: exact zeros where entries go."""
    block, answer = inverse.shape[1], weight.new_zeros(len(inverse), inverse.shape[1])
    mask = torch.zeros_like(weight)
    mask[torch.tensor(gone)] = 1
    rows, goes = (_in_blocks(values[None], block)[:, 0] for values in (weight, mask))
    for start in range(0, len(inverse), chunk):
        part = slice(start, start + chunk)
        some, here = inverse[part], goes[part]
        stays = torch.diag_embed(1 - here)  # identity where nothing goes, so that the system can be solved as a whole
        system = here[:, :, None] * some * here[:, None, :] + stays
        force = torch.linalg.solve(system, here * rows[part])
        answer[part] = (rows[part] - (some @ force[:, :, None])[:, :, 0]) * (1 - here)
    return answer.flatten()[: len(weight)]


def _weights(model: nn.Module, inverse: InverseFisher) -> dict[str, torch.Tensor]:
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().double() for name in inverse.blocks}
