"""The loop in which a student learns from a teacher, whose answers may be known beforehand."""

# In stored tables: distillation

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from ..core import fingerprint
from ..data import Split
from ..measure import ACCURACY, Metric
from ..training import TrainOptions, fit, tune
from .hidden import draw_patches
from .losses import Loss
from .objective import Objective, _check_teacher, _check_temperature
from .seen import ModelOutputs, model_outputs


class Transfer(NamedTuple):
    """Images and what a teacher says of them: what it has said once need not be asked again.

    Attributes
    ----------
    images : torch.Tensor
        Shape ``(copies, N, ...)``.
    labels : torch.Tensor, optional
        Shape ``(N,)``.
    logits : torch.Tensor
        Shape ``(copies, N, classes)``.
    patches : torch.Tensor, optional
        What was hidden in a second look, shape ``(copies, N, rows, columns)``, bool.
    evidence : torch.Tensor, optional
        What the logits lost by it, shape ``(copies, N, classes)``.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    logits: torch.Tensor
    patches: torch.Tensor | None = None
    evidence: torch.Tensor | None = None


def transfer(
    teacher: nn.Module,
    split: Split,
    *,
    copies: int = 1,
    augment: Callable | None = None,
    evidence: bool = False,
    seed: int = 0,
    batch_size: int = 500,
) -> Transfer:
    """Ask a teacher once, about the images or about augmented copies of them.

    Parameters
    ----------
    teacher : nn.Module
        From :func:`freeze`, or a ``deploy.Frozen``.
    split : Split
        Its labels may be None.
    copies : int
        At least 1; training goes through one of them in each epoch, in turn.
    augment : callable, optional
        ``(images, generator) -> images``; without it all copies would be alike, and one is enough.
    evidence : bool
        Whether to ask a second time, with parts hidden: for the loss "relevance".
    seed, batch_size : int

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
    if copies < 1 or (copies > 1 and augment is None):
        raise ValueError(f"copies must be at least 1, and 1 where nothing is augmented, got {copies}.")
    generator = torch.Generator().manual_seed(seed)
    images = torch.stack([split.images if augment is None else augment(split.images, generator) for _ in range(copies)])
    shape, every = images.shape[:2], images.flatten(0, 1)
    patches = draw_patches(len(every), generator) if evidence else None
    hidden = itertools.repeat(None) if patches is None else patches.split(batch_size)
    seen = [model_outputs(teacher, batch, patches=parts) for batch, parts in zip(every.split(batch_size), hidden)]
    logits = torch.cat([part.logits for part in seen]).unflatten(0, shape)
    if not evidence:
        return Transfer(images, split.labels, logits)
    lost = torch.cat([part.evidence for part in seen]).unflatten(0, shape)
    return Transfer(images, split.labels, logits, patches.unflatten(0, shape), lost)


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
    metric: Metric = ACCURACY,
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
    train : Split or Transfer
        Of a split the teacher sees every batch, as augmented; a transfer set has its answers already. ``labels`` may be
        None where ``alpha`` is 1.
    validation : Split, optional
        With labels: the student ends with the state that did best on it. None keeps the last state.
    options : TrainOptions, optional
    loss
        As for :func:`distillation_loss`.
    temperature : float, or callable
        Or a schedule: from the share of training done, in [0, 1], to the temperature.
    alpha, layers
        As for :func:`distillation_loss`. Between features of different widths a 1x1 convolution is learned along
        ("hints").
    metric : Metric
        By which the best state is known.
    **changes
        Options by name, as for ``training.fit``: ``epochs``, ``lr`` ...

    Returns
    -------
    list of dict
        As ``training.tune`` gives them; without validation as ``fit`` does.

    Raises
    ------
    ValueError
        As :func:`distillation_loss`; if labels are needed and missing, a transfer set lacks evidence or is augmented
        once more, or the student's maps cannot be matched.

    Examples
    --------
    >>> points = xp.data.Split(torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8))
    >>> teacher, student = xp.distill.freeze(nn.Linear(4, 4)), nn.Linear(4, 4).eval()
    >>> rows = xp.distill.distill(teacher, student, points, points, epochs=2, batch_size=8, progress=False)
    >>> [row["epoch"] for row in rows], sum(row["best"] for row in rows)
    ([-1, 0, 1], 1)
    """
    options = TrainOptions.of(options, changes)
    schedule = temperature if callable(temperature) else lambda done: temperature
    objective = Objective(teacher, loss, schedule(0.0), alpha, layers)
    if objective.needs_labels and train.labels is None:
        raise ValueError(f"train has no labels: take alpha=1 (got {alpha:g}) and a loss that reads none.")
    if known := isinstance(train, Transfer):
        if options.augment is not None:
            raise ValueError("augment must be None for a transfer set: its copies are augmented already.")
        if objective.hides and train.evidence is None:
            raise ValueError("train has no evidence: make it with transfer(..., evidence=True).")
    count = train.images.shape[1] if known else len(train.images)
    rows = torch.arange(count)
    lesson = _Lesson(objective, train, schedule, count // options.batch_size)
    example = train.images[0, :2] if known else train.images[:2]
    split = Split(rows if known else train.images, rows)
    with _regressed(student, objective, example, options.seed) as model:
        if validation is None:
            return fit(model, split, lesson, options)
        return tune(model, split, validation, options, loss=lesson, metric=metric)


class _Lesson:
    """An objective for batches that come with their rows: it knows the labels, the copy, and the temperature."""

    def __init__(self, objective: Objective, train: Split | Transfer, schedule: Callable, per_epoch: int):
        self.objective, self.train, self.schedule = objective, train, schedule
        self.per_epoch, self.epoch = per_epoch, 0

    def at(self, step: int, steps: int) -> None:
        """What changes on the way: the temperature, the copy of a transfer set, and the patches that are hidden."""
        self.objective.temperature = self.schedule(step / steps)
        _check_temperature(self.objective.temperature)
        self.epoch = step // self.per_epoch
        self.objective.generator.manual_seed(step + 1)  # so that a resumed run hides the same patches

    def fingerprint(self) -> str:
        """What is taught, for the identity of a run that can be resumed."""
        start = self.schedule(0.0), self.schedule(0.5), self.schedule(1.0)
        taught = {"teacher": self.objective.teacher, "losses": self.objective.rows, "alpha": self.objective.alpha}
        return fingerprint(taught | {"layers": self.objective.layers, "temperature": start, "train": self.train})

    def __call__(self, student: nn.Module, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        labels = None if self.train.labels is None else self.train.labels[rows]
        if not isinstance(self.train, Transfer):
            return self.objective(student, images, labels)
        copy = self.epoch % len(self.train.images)
        images, logits = self.train.images[copy, rows], self.train.logits[copy, rows]
        patches = self.train.patches[copy, rows] if self.objective.hides else None
        if self.objective.layers:
            told = self.objective.ask(images, patches)
        else:
            told = ModelOutputs(logits, logits, {}, self.train.evidence[copy, rows] if self.objective.hides else None)
        return self.objective.value(student, images, labels, told, patches)


class _Taught(nn.Module):
    """A student with a 1x1 regressor behind some of its layers, that runs whenever these do."""

    def __init__(self, student: nn.Module, regressors: Mapping[str, nn.Module]):
        super().__init__()
        self.student, self.regressors = student, nn.ModuleList(regressors.values())

    def forward(self, images: torch.Tensor):
        return self.student(images)


@contextmanager
def _regressed(student: nn.Module, objective: Objective, example: torch.Tensor, seed: int) -> Iterator[nn.Module]:
    """The student; with regressors where hints are compared between features of different widths (FitNets, eq. 3)."""
    if not any(row.regressed for row, _ in objective.rows):
        yield student
        return
    with torch.no_grad():
        mine, told = model_outputs(student, example, objective.layers), objective.ask(example)
    regressors, layers = {}, {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for one, other in objective.layers.items():
            width, wanted = mine.features[one].shape[1], told.features[other].shape[1]
            if width == wanted or mine.features[one].ndim != 4:
                layers[f"student.{one}"] = other
                continue
            layers[f"regressors.{len(regressors)}"] = other
            regressors[one] = nn.Conv2d(width, wanted, 1)
    model = _Taught(student, regressors).eval()
    with ExitStack() as stack:
        for name, regressor in regressors.items():
            hook = student.get_submodule(name).register_forward_hook(partial(_run, regressor))
            stack.callback(hook.remove)
        objective.layers = layers
        yield model


def _run(regressor: nn.Module, layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    """Give a layer's output to its regressor, whose own output is what is looked at."""
    regressor(output)
