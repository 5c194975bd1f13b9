"""The loop in which a student learns from a teacher, whose answers may be known beforehand."""

# In stored tables: distillation

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..core import fingerprint, whole
from ..data import Several, Split, as_split, device_of, mark, to_device
from ..graph import asks
from ..measure import ACCURACY, METRICS, Metric
from ..training import AUGMENTATIONS, Moment, TrainOptions, iterate
from .hidden import draw_patches
from .losses import Loss
from .objective import Objective, _check_teacher
from .seen import ModelOutputs, model_outputs


class Transfer(NamedTuple):
    """Images and what a teacher says of them: what it has said once need not be asked again.

    Attributes
    ----------
    inputs : torch.Tensor
        Shape ``(copies, N, ...)``.
    targets : torch.Tensor, optional
        Shape ``(N,)``.
    logits : torch.Tensor
        Shape ``(copies, N, classes)``.
    patches : torch.Tensor, optional
        What was hidden in a second look, shape ``(copies, N, rows, columns)``, bool.
    evidence : torch.Tensor, optional
        What the logits lost by it, shape ``(copies, N, classes)``.
    """

    inputs: torch.Tensor
    targets: torch.Tensor | None
    logits: torch.Tensor
    patches: torch.Tensor | None = None
    evidence: torch.Tensor | None = None


@asks("teacher")
def transfer(
    teacher: nn.Module,
    split: Split,
    *,
    copies: int = 1,
    augment: Callable | str | None = None,
    evidence: bool = False,
    seed: int = 0,
    batch_size: int = 500,
) -> Transfer:
    """Ask a teacher once, about the images or about augmented copies of them.

    Parameters
    ----------
    teacher : nn.Module
        From :func:`freeze`, or a ``deploy.Frozen``.
    split : Split, or data of another form
        Its labels may be None.
    copies : int
        At least 1; training goes through one of them in each epoch, in turn.
    augment : callable or str, optional
        ``(inputs, generator) -> inputs``, or a key of ``training.AUGMENTATIONS``; without it all copies would be alike,
        and one is enough.
    evidence : bool
        Whether to ask a second time, with parts hidden: for the loss "relevance".
    seed, batch_size : int
    output : str, int or callable, optional
        As for ``measure.predict``.

    Returns
    -------
    Transfer

    Raises
    ------
    ValueError
        If the teacher is in training mode or requires gradients, or several copies are asked for without ``augment``.

    Examples
    --------
    >>> teacher = xp.distill.freeze(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    >>> split = xp.data.mnist("train", 5)
    >>> xp.distill.transfer(teacher, split, copies=2, augment=xp.training.random_shift).logits.shape
    torch.Size([2, 5, 10])
    """
    _check_teacher(teacher)
    if whole(copies, "copies") > 1 and augment is None:
        raise ValueError(f"copies must be 1 where nothing is augmented, got {copies}: they would all be alike.")
    augment = None if augment is None else AUGMENTATIONS.find(augment, "augment")
    split = as_split(split, on=teacher, name="split")
    if isinstance(split.inputs, Several):
        raise ValueError(
            "split has several inputs, and a transfer set keeps one tensor: give distill the split itself."
        )
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.stack([split.inputs if augment is None else augment(split.inputs, generator) for _ in range(copies)])
    shape, every = inputs.shape[:2], inputs.flatten(0, 1)
    patches = draw_patches(len(every), generator) if evidence else None
    hidden = itertools.repeat(None) if patches is None else patches.split(batch_size)
    seen = [model_outputs(teacher, batch, patches=parts) for batch, parts in zip(every.split(batch_size), hidden)]
    logits = torch.cat([part.logits for part in seen]).unflatten(0, shape)
    if not evidence:
        return Transfer(inputs, split.targets, logits)
    lost = torch.cat([part.evidence for part in seen]).unflatten(0, shape)
    return Transfer(inputs, split.targets, logits, patches.unflatten(0, shape), lost)


@asks("student", "teacher", changes=True)
def distill(
    teacher: nn.Module,
    student: nn.Module,
    train: Split | Transfer,
    validation: Split | None,
    options: TrainOptions | None = None,
    *,
    loss: str | Loss | Callable | Mapping = "soft targets",
    temperature: float | Callable[[float], float] = 4.0,
    alpha: float = 0.9,
    layers: Sequence[str] | Mapping[str, str] = (),
    class_axis: int | None = None,
    metric: Metric | str = ACCURACY,
    output: str | int | Callable | None = None,
    **changes,
) -> list[dict]:
    """Train a student in place towards its teacher: ``training.tune`` with what the teacher says.

    Parameters
    ----------
    teacher : nn.Module
        From :func:`freeze`, or a ``deploy.Frozen``; it does not change.
    student : nn.Module
        In evaluation mode. One that gives a pair of logits in training learns labels with the first and its teacher's
        answers with the second (a distillation token).
    train : Split, Transfer, or data of another form
        Of a split the teacher sees every batch, as augmented; a transfer set has its answers already. Labels may be
        None where ``alpha`` is 1.
    validation : Split, or data of another form, optional
        With labels: the student ends with the state that did best on it. None keeps the last state.
    options : TrainOptions, optional
        As for ``training.fit``.
    loss
        As for :func:`distillation_loss`.
    temperature : float, or callable
        Or a schedule: from the share of training done, in [0, 1), to the temperature.
    alpha, layers
        As for :func:`distillation_loss`. Between features of different widths a 1x1 convolution is learned along
        ("hints").
    class_axis : int, optional
        As for :func:`distillation_loss`.
    metric : Metric or str
        Or a key of ``measure.METRICS``.
    output : str, int or callable, optional
        As for ``measure.predict``, of both models.
    **changes
        Options by keyword, such as ``epochs=3, lr=1e-3``; ``epochs`` is needed.

    Returns
    -------
    list of dict
        As ``training.tune`` gives them; without validation as ``training.fit`` does.

    Raises
    ------
    ValueError, TypeError
        As :func:`distillation_loss` and ``training.fit``; if labels are needed and missing, a transfer set lacks
        evidence or is augmented once more, or the student's features cannot be compared.

    Examples
    --------
    >>> points = xp.data.Split(torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8))
    >>> teacher, student = xp.distill.freeze(nn.Linear(4, 4)), nn.Linear(4, 4).eval()
    >>> rows = xp.distill.distill(teacher, student, points, points, epochs=2, batch_size=8, progress=False)
    >>> [row["epoch"] for row in rows], sum(row["best"] for row in rows)
    ([-1, 0, 1], 1)
    """
    options = TrainOptions.of(options, changes)
    objective, metric = Objective(teacher, loss, temperature, alpha, layers, class_axis), METRICS.find(metric, "metric")
    source = options.check(_Told(train, options)) if isinstance(train, Transfer) else options.batches(train)
    if isinstance(train, Transfer):
        if options.augment is not None:
            raise ValueError("augment must be None for a transfer set: its copies are augmented already.")
        if objective.hides and train.evidence is None:
            raise ValueError("train has no evidence: make it with transfer(..., evidence=True).")
    example, targets, *_ = to_device(next(source.drawn(0, torch.Generator())), device_of(student))
    if objective.needs_labels and targets is None:
        raise ValueError(f"train has no labels: take alpha=1 (got {alpha:g}) and a loss that reads none.")
    taught = _Taught(student, _regressors(student, objective, example[:2], options.seed))

    def value(batch: tuple, moment: Moment) -> torch.Tensor:
        objective.at(moment)
        inputs, targets, *told = batch
        if told:
            seen, patches = _recalled(objective, inputs, *told)
        else:
            patches = objective.draw(inputs)
            seen = objective.ask(inputs, patches)
        return objective.value(student, inputs, targets, seen, patches, taught.by_layer)

    judged = None if validation is None else as_split(validation, name="validation")
    identity = {"teacher": teacher, "train": source, "validation": judged, "loss": loss, "temperature": temperature}
    identity |= {"alpha": alpha, "layers": objective.layers, "metric": metric}
    stated = {"class_axis": class_axis, "output": output}
    identity |= {name: value for name, value in stated.items() if value is not None}
    rows = iterate(
        taught,
        source,
        value,
        options,
        identity=identity,
        validate=None if judged is None else lambda _: metric(student, judged, in_sample=True),
        better=0 if judged is None else metric.better,
        name="student",
    )
    mark(student, data=judged if options.epochs else None, what="the epoch that was kept")
    return rows


def _recalled(
    objective: Objective, inputs: torch.Tensor, logits: torch.Tensor, patches, evidence
) -> tuple[ModelOutputs, torch.Tensor | None]:
    """What a teacher said of images, and the patches that were hidden then; of its features it is asked again."""
    patches = patches if objective.hides else None
    if objective.layers:
        return objective.ask(inputs, patches), patches
    return ModelOutputs(logits, logits, {}, evidence if objective.hides else None), patches


class _Told:
    """The batches of a transfer set: images and labels, and what the teacher said; one of its copies in each epoch."""

    name = "train"

    def __init__(self, known: Transfer, options: TrainOptions):
        self.known, self.batch_size, self.count = known, options.batch_size, known.inputs.shape[1]
        self._steps = self.count // self.batch_size if options.drop_last else -(-self.count // self.batch_size)

    def __len__(self) -> int:
        return self._steps

    def drawn(self, epoch: int, generator: torch.Generator) -> Iterator[tuple]:
        """The batches of an epoch, in a new order."""
        return self._batches(epoch % len(self.known.inputs), torch.randperm(self.count, generator=generator))

    def fingerprint(self) -> str:
        """Images and answers."""
        return fingerprint(self.known)

    def _batches(self, copy: int, order: torch.Tensor) -> Iterator[tuple]:
        inputs, targets, *told = self.known
        for rows in order[: self._steps * self.batch_size].split(self.batch_size):
            said = (None if tensor is None else tensor[copy, rows] for tensor in told)
            yield inputs[copy, rows], None if targets is None else targets[rows], *said


class _Taught(nn.Module):
    """A student, and the 1x1 regressors behind some of its layers, that learn along."""

    def __init__(self, student: nn.Module, regressors: Mapping[str, nn.Module]):
        super().__init__()
        self.student, self.regressors = student, nn.ModuleList(regressors.values())
        self._layers = tuple(regressors)

    @property
    def by_layer(self) -> dict[str, nn.Module]:
        """The regressors by layers of the student."""
        return dict(zip(self._layers, self.regressors))


def _regressors(student: nn.Module, objective: Objective, example: torch.Tensor, seed: int) -> dict[str, nn.Module]:
    """By layers of the student, where hints are compared between features of different widths (FitNets, eq. 3)."""
    if not any(row.regressed for row, _ in objective.rows):
        return {}
    mine, told, found = model_outputs(student, example, objective.layers), objective.ask(example), {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for one, other in objective.layers.items():
            width, wanted = mine.features[one].shape[1], told.features[other].shape[1]
            if width != wanted and mine.features[one].ndim == 4:
                found[one] = nn.Conv2d(width, wanted, 1).to(example.device)
    return found
