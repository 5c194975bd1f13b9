"""Prune what matters to a sensitive attribute and not to the task, as a second model's relevance tells.

After XTranPrune (Ghadiri et al., MICCAI 2024), which masks single entries of attention; the rule here is that of its
published code. The structural version, :func:`fair_scores`, ranks heads, neurons or dimensions, which can be cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from ...core import evaluating, nonempty, share
from ...data import Split, as_split, carries, mark, marked
from ...explain import explained_output, watching_attention
from ...explain.relevance import Composite, modified_gradients
from ...graph import changing
from .scores import Scores


def entry_relevance(
    model: nn.Module, split: Split, *, composite: Composite | str = "attnlrp", batch_size: int = 100
) -> dict[str, torch.Tensor]:
    """How much relevance passes through each entry of each head's attention: mean size over images.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, showing its attention.
    split : Split, or data of another form
        Images, and the classes whose logits are explained.
    composite : Composite or str
        One that explains attention, with ``attention=True``: "attnlrp", or one of your own.
    batch_size : int

    Returns
    -------
    dict of str to torch.Tensor
        Name of the softmax to shape ``(heads, T, T)``.

    Raises
    ------
    ValueError
        If the composite takes attention as given, so that its entries have no relevance, no attention is shown, the
        model is in training mode, or split is empty.

    Examples
    --------
    >>> model, images = xp.nn.small_transformer().eval(), torch.rand(2, 1, 28, 28)
    >>> found = xp.prune.entry_relevance(model, xp.data.Split(images, torch.tensor([0, 1])))
    >>> list(found)[0], found["blocks.0.attention.weights"].shape
    ('blocks.0.attention.weights', torch.Size([4, 50, 50]))
    """
    split = as_split(split, on=model, name="split")
    total: dict[str, torch.Tensor] = {}
    evaluating(model)
    nonempty(split, "split")
    for images, labels in zip(split.inputs.split(batch_size), split.targets.split(batch_size)):
        with torch.enable_grad(), modified_gradients(model, composite) as trace, watching_attention(model) as seen:
            outputs = model(trace.watch(images))
            shown = dict(seen)
            if not shown or not all(weights.requires_grad for weights in shown.values()):
                raise ValueError(f"composite {composite!r} gives the entries of this model's attention no relevance.")
            found = torch.autograd.grad(explained_output(outputs, labels).sum(), list(shown.values()))
        for (name, weights), gradient in zip(shown.items(), found):
            mine = (weights.detach() * gradient).abs().sum(0, dtype=torch.float64)
            total[name] = total.get(name, 0) + mine
    found = {name: value / len(split.inputs) for name, value in total.items()}
    return mark(found, data=split, what="relevance of attention")


@carries
def entry_masks(
    task: Mapping[str, torch.Tensor], attribute: Mapping[str, torch.Tensor], *, protect: float = 0.8, ratio: float = 0.3
) -> dict[str, torch.Tensor]:
    """Which entries stay: in every head, those that matter to the task, and of the others all but a share.

    Parameters
    ----------
    task, attribute : mapping of str to torch.Tensor
        Of :func:`entry_relevance`, from a model for the task and from one for the attribute: shape ``(heads, T, T)``.
    protect : float
        Share of a head's entries that stays, those of most relevance to the task.
    ratio : float
        Share of the others that goes, those of most relevance to the attribute.

    Returns
    -------
    dict of str to torch.Tensor
        True for entries that stay, shape ``(heads, T, T)``.

    Raises
    ------
    ValueError
        If the two models do not have the same attention, or a share is outside [0, 1].

    Examples
    --------
    >>> task, attribute = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]), torch.tensor([[[9.0, 9.0], [1.0, 5.0]]])
    >>> xp.prune.entry_masks({"softmax": task}, {"softmax": attribute}, protect=0.5, ratio=0.5)
    {'softmax': tensor([[[ True,  True],
             [ True, False]]])}
    """
    share(protect, "protect", zero=True, one=True)
    share(ratio, "ratio", zero=True, one=True)
    if {k: v.shape for k, v in task.items()} != {k: v.shape for k, v in attribute.items()}:
        raise ValueError("task and attribute come from models with different attention.")
    found = {}
    for name, values in task.items():
        mine, theirs = values.flatten(1), attribute[name].flatten(1)
        free = mine.shape[1] - round(protect * mine.shape[1])
        open_to = mine.argsort(dim=1, stable=True)[:, :free]
        order = theirs.gather(1, open_to).argsort(dim=1, descending=True, stable=True)
        gone = open_to.gather(1, order[:, : round(ratio * free)])
        found[name] = torch.ones_like(mine, dtype=torch.bool).scatter(1, gone, False).view(values.shape)
    return found


@contextmanager
def masked_entries(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> Iterator[nn.Module]:
    """Set entries of attention to zero inside the ``with``; the others stay as they are, so that rows sum to less.

    Parameters
    ----------
    model : nn.Module
    masks : mapping of str to torch.Tensor
        Of :func:`entry_masks`.

    Yields
    ------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        If the model has no softmax of such a name.

    Examples
    --------
    >>> model, mask = nn.Sequential(nn.Softmax(dim=-1)), torch.tensor([[True, False], [True, True]])
    >>> with xp.prune.masked_entries(model, {"0": mask}):
    ...     print(model(torch.zeros(2, 2)).tolist())
    [[0.5, 0.0], [0.5, 0.5]]
    """
    modules = dict(model.named_modules())
    if unknown := [name for name in masks if not isinstance(modules.get(name), nn.Softmax)]:
        raise ValueError(f"masks name {unknown[0]!r}, which is no softmax of the model.")
    with changing(model, gives={name: mask.mul for name, mask in masks.items()}), marked(model, masks):
        yield model


@carries
def fair_scores(task: Scores, attribute: Scores, weight: float = 1.0) -> Scores:
    """A ranking in which those units go first that matter to the attribute and not to the task.

    Both scores become ranks over all units, from 0 to 1, and ``weight`` times the attribute's is taken off the task's.

    Parameters
    ----------
    task, attribute : Scores
        Of the same units.
    weight : float
        0 is the task's ranking alone.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If the scores are of different units.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> task = xp.prune.Scores("task", tuple(units), {"0": torch.tensor([1.0, 2.0, 3.0])})
    >>> attribute = xp.prune.Scores("attribute", tuple(units), {"0": torch.tensor([7.0, 0.0, 1.0])})
    >>> xp.prune.fair_scores(task, attribute)["0"].tolist()  # ranks 0, 0.5, 1 less ranks 1, 0, 0.5
    [-1.0, 0.5, 0.5]
    """
    if {group.name: group.size for group in task.groups} != {group.name: group.size for group in attribute.groups}:
        raise ValueError("task and attribute are scores of different units.")
    mine, theirs = _ranks(task), _ranks(attribute)
    values = {group.name: mine[group.name] - weight * theirs[group.name] for group in task.groups}
    return Scores(f"{task.criterion}, against an attribute", task.groups, values)


def _ranks(scores: Scores) -> dict[str, torch.Tensor]:
    """Place of every unit among all, as a share."""
    names, sizes = [group.name for group in scores.groups], [group.size for group in scores.groups]
    values = torch.cat([scores[name] for name in names])
    ranks = values.argsort(stable=True).argsort().double() / max(1, len(values) - 1)
    return dict(zip(names, ranks.split(sizes)))
