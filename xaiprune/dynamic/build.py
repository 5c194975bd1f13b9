"""How a dynamic network is made of a static one (after DyFiP, reconstructed).

Sabih, Hannig and Teich (*DyFiP: Explainable AI-based Dynamic Filter Pruning of Convolutional Neural Networks*,
EuroMLSys 2022): a branch at an early layer predicts the likely classes, and of the filters behind it only those run
that matter for them, by an explanation. No public implementation was found; what is here follows that description, with
sets of classes that are fixed beforehand, so that images with the same set run together through smaller layers.
"""

# In stored tables: dynamic networks

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from .. import distill
from ..data import Split, as_split, carries
from ..measure import macs, predict
from ..prune import Criterion, Scores, UnitGroup, cut, mac_costs, plan, recalibrate, running_norms, score
from ..training import TrainOptions, classification_loss, iterate
from .halves import groups_behind, split_at
from .routing import Branch, Dynamic


def fit_branch(
    trunk: nn.Module,
    train: Split,
    options: TrainOptions | None = None,
    *,
    classes: int,
    width: int = 32,
    **changes,
) -> Branch:
    """A branch that was trained on a trunk's output; the trunk does not change.

    Parameters
    ----------
    trunk : nn.Module
        It gives maps (N, channels, H, W).
    train : Split, or data of another form
        What is augmented comes as images of its own: the trunk runs once.
    options : TrainOptions, optional
        As for ``training.fit``, with the trunk's maps in place of images; by default 10 epochs with ``lr=3e-3``. The
        seed draws the branch's first weights too.
    classes, width : int
        As for :class:`Branch`.
    **changes
        Options by keyword.

    Returns
    -------
    Branch
        In evaluation mode.

    Raises
    ------
    ValueError, TypeError
        If the trunk gives no maps, or as ``training.fit``.

    Examples
    --------
    >>> trunk, split = nn.Conv2d(1, 4, 3, stride=2).eval(), xp.data.mnist("train", 128)
    >>> branch = xp.dynamic.fit_branch(trunk, split, classes=10, epochs=1, progress=False)
    >>> branch(trunk(torch.zeros(2, 1, 28, 28))).shape
    torch.Size([2, 10])
    """
    options = TrainOptions.of(options, changes, epochs=10, lr=3e-3)
    train, collate = as_split(train, collate=options.collate, name="train"), options.collate
    options = replace(options, collate=None)  # maps are put together already
    features = predict(trunk, train.inputs)
    if features.ndim != 4:
        raise ValueError(f"trunk must give maps (N, channels, H, W), got shape {tuple(features.shape)}.")
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        branch = Branch(features.shape[1], classes, width)
    iterate(
        branch,
        options.batches(train.replaced(inputs=features)),
        lambda batch, _: classification_loss(branch, *batch),
        options,
        identity={"trunk": trunk, "train": train, "classes": classes, "width": width, "collate": collate},
        name="branch",
    )
    return branch.eval()


def class_sets(logits: torch.Tensor, count: int, *, surest: float = 1.0) -> list[tuple[int, ...]]:
    """Classes that are doubtful together, as sets.

    Two classes are near where the branch often gives both much probability; the sets are merged from single classes,
    the two with the highest mean nearness first (average linkage).

    Parameters
    ----------
    logits : torch.Tensor
        Of a branch, shape ``(N, classes)``.
    count : int
        Of sets, 1 to the number of classes.
    surest : float
        Images whose largest probability reaches this are left out: they leave anyway.

    Returns
    -------
    list of tuple of int
        Every class in one of them.

    Raises
    ------
    ValueError
        If ``count`` is not from 1 to the number of classes.

    Examples
    --------
    Two images that the branch cannot tell apart between classes 0 and 2, and 1 and 3:

    >>> logits = torch.tensor([[3.0, 0.0, 3.0, 0.0], [0.0, 3.0, 0.0, 3.0]])
    >>> xp.dynamic.class_sets(logits, 2)
    [(0, 2), (1, 3)]
    """
    from sklearn.cluster import AgglomerativeClustering

    classes = logits.shape[1]
    if not 1 <= count <= classes:
        raise ValueError(f"count must be 1 to {classes}, the number of classes, got {count}.")
    given = logits.double().softmax(1)
    doubtful = given[given.amax(1) < surest] if surest < 1 else given
    together = doubtful.T @ doubtful
    own = together.diagonal().clamp(min=1e-12).sqrt()
    apart = (1 - together / (own[:, None] * own)).clamp(min=0).numpy()
    np.fill_diagonal(apart, 0)
    if count == classes:
        return [(label,) for label in range(classes)]
    labels = AgglomerativeClustering(count, metric="precomputed", linkage="average").fit_predict(apart)
    found = [tuple(np.flatnonzero(labels == place).tolist()) for place in range(count)]
    return sorted(found)


def class_scores(
    model: nn.Module,
    units: Sequence[UnitGroup],
    data: Split,
    *,
    classes: int,
    criterion: Criterion | str = "taylor",
    loss: Callable = classification_loss,
    seed: int = 0,
) -> list[Scores]:
    """Scores of units for each class by itself, each divided by its sum in a group.

    So a class with large values does not speak for all, and a unit's score is its share of what the group does.

    Parameters
    ----------
    model : nn.Module
    units : sequence of UnitGroup
    data : Split, or data of another form
        Calibration images; of every class at least one.
    classes : int
    criterion : Criterion or str
        One of your own that reads images, or its key in ``prune.CRITERIA``.
    loss, seed
        As for ``prune.score``.

    Returns
    -------
    list of Scores
        By class.

    Raises
    ------
    ValueError
        If a class has no image (it is named).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).eval()
    >>> _ = nn.init.eye_(model[0].weight)  # each unit reads one input
    >>> units, data = xp.find_units(model, torch.zeros(1, 2)), xp.data.Split(torch.eye(2), torch.arange(2))
    >>> by_class = xp.dynamic.class_scores(model, units, data, classes=2, criterion="activation")
    >>> [scores["0"].tolist() for scores in by_class]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    found, data = [], as_split(data, on=model)
    for label in range(classes):
        rows = data.targets == label
        if not rows.any():
            raise ValueError(f"data has no image of class {label}.")
        mine = score(model, list(units), criterion, data.rows(rows), loss=loss, seed=seed)
        found.append(mine.normalised("sum"))
    return found


@carries
def set_scores(by_class: Sequence[Scores], some: Sequence[int]) -> Scores:
    """Scores for a set of classes: a unit matters as much as it does for the class that needs it most.

    Parameters
    ----------
    by_class : sequence of Scores
        From :func:`class_scores`.
    some : sequence of int

    Returns
    -------
    Scores

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    >>> units = tuple(xp.find_units(model, torch.zeros(1, 2)))
    >>> values = torch.tensor([[0.75, 0.25], [0.5, 0.5]])  # of two classes
    >>> by_class = [xp.prune.Scores("mine", units, {"0": mine}) for mine in values]
    >>> xp.dynamic.set_scores(by_class, (0, 1))["0"].tolist()
    [0.75, 0.5]
    """
    mine = [by_class[label] for label in some]
    values = {name: torch.stack([one[name] for one in mine]).amax(0) for name in mine[0].values}
    return replace(by_class[0], criterion=f"{by_class[0].criterion} for {tuple(some)}", values=values)


def cut_tails(
    model: nn.Module,
    layer: str,
    sets: Sequence[Sequence[int]],
    by_class: Sequence[Scores],
    data: Split,
    *,
    cost_target: float,
    round_to: int = 1,
) -> list[nn.Module]:
    """The part behind a layer, cut for each set of classes.

    Parameters
    ----------
    model : nn.Module
        Whole; not changed.
    layer : str
        Behind which is cut.
    sets : sequence of sequence of int
    by_class : sequence of Scores
        Of units that lie behind the layer.
    data : Split, or data of another form
        By which the statistics of batch normalisation are counted anew: for each tail, on images of its classes.
    cost_target : float
        Share of the tail's operations that is left, in (0, 1).
    round_to : int

    Returns
    -------
    list of nn.Module

    Raises
    ------
    ValueError
        If a group of the scores lies before the layer, or not that many operations can go.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> data, behind = xp.data.Split(torch.eye(2), torch.arange(2)), xp.dynamic.groups_behind(model, units, "1")
    >>> by_class = [xp.score(model, behind, "l1") for _ in range(2)]
    >>> tails = xp.dynamic.cut_tails(model, "1", [(0,), (1,)], by_class, data, cost_target=0.5)
    >>> len(tails), tails[0].get_submodule("2").out_features
    (2, 2)
    """
    data = as_split(data, on=model)
    groups, example = list(by_class[0].groups), data.inputs[:1]
    names = {group.name for group in groups_behind(model, groups, layer)}
    if before := [group.name for group in groups if group.name not in names]:
        raise ValueError(f"by_class holds group {before[0]!r}, which does not lie behind {layer!r}.")
    costs, trunk = mac_costs(model, groups, example), split_at(model, layer).trunk
    share = cost_target + (1 - cost_target) * macs(trunk, example) / costs.total
    tails = []
    for some in sets:
        smaller = cut(model, plan(set_scores(by_class, some), cost_target=share, costs=costs, round_to=round_to))
        tail = split_at(smaller, layer).tail
        if running_norms(tail):
            recalibrate(tail, predict(trunk, data.inputs[torch.isin(data.targets, torch.tensor(some))]))
        tails.append(tail)
    return tails


def tune_tails(
    model: Dynamic,
    teacher: nn.Module,
    told: distill.Transfer,
    options: TrainOptions | None = None,
    *,
    temperature: float = 2.0,
    alpha: float = 0.9,
    **changes,
) -> None:
    """Train the tails in place towards what a teacher says, each on the images that come its way.

    The trunk stays as it is, so that its outputs are computed once.

    Parameters
    ----------
    model : Dynamic
    teacher : nn.Module
        From ``distill.freeze``, or a ``deploy.Frozen``: the network that the tails were cut from, say.
    told : Transfer
        What it said of training images, from ``distill.transfer``. An image goes by what the branch says of its copies
        on average, whether it would leave or not.
    options : TrainOptions, optional
        As for ``training.fit``, but that nothing is kept to resume from.
    temperature, alpha
        As for ``distill.distill``.
    **changes
        Options by keyword, such as ``epochs=3, lr=1e-3``; ``epochs`` is needed.

    Raises
    ------
    ValueError, TypeError
        Before any tail is changed: if less than one batch of images goes to one of them, or ``resume`` is given.
    """
    options = TrainOptions.of(options, changes)
    if options.resume is not None:
        raise ValueError(f"resume must be None: what tune_tails has begun is not kept, got {options.resume}.")
    features = predict(model.trunk, told.inputs.flatten(0, 1))
    early = predict(model.branch, features).unflatten(0, told.inputs.shape[:2])
    features = features.unflatten(0, told.inputs.shape[:2])
    ways = Dynamic(model.trunk, model.branch, model.tails, model.sets, 1.0).route(early.mean(0))
    for place, some in enumerate(model.sets):
        if (count := int((ways == place).sum())) < options.batch_size:
            raise ValueError(
                f"{count} images of told go to the tail for {some}, less than one batch of {options.batch_size}."
            )
    for place, tail in enumerate(model.tails):
        rows = ways == place
        labels = None if told.targets is None else told.targets[rows]
        mine = distill.Transfer(features[:, rows], labels, told.logits[:, rows])
        distill.distill(teacher, tail, mine, None, options, temperature=temperature, alpha=alpha)
