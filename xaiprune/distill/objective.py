"""The objective of a student: labels, and what its teacher says, shows and looks at."""

# In stored tables: distillation

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from ..core import arguments, fingerprint
from ..data import as_inputs
from ..measure import IGNORED, Rows, answer_rows, cross_entropy
from ..training import Moment, classification_loss
from .hidden import draw_patches
from .losses import LOSSES, Loss, find_loss
from .seen import ModelOutputs, model_outputs


def freeze(model: nn.Module) -> nn.Module:
    """A copy of a model that can teach: in evaluation mode, its parameters without gradients.

    Parameters
    ----------
    model : nn.Module
        Not changed.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> teacher = xp.distill.freeze(nn.Linear(2, 2))
    >>> teacher.training, [parameter.requires_grad for parameter in teacher.parameters()]
    (False, [False, False])
    """
    return copy.deepcopy(model).eval().requires_grad_(False)


def distillation_loss(
    teacher: nn.Module,
    loss: str | Loss | Callable | Mapping = "soft targets",
    *,
    temperature: float | Callable[[float], float] = 4.0,
    alpha: float = 0.9,
    layers: Sequence[str] | Mapping[str, str] = (),
    class_axis: int | None = None,
) -> Objective:
    """A loss for ``fit`` and ``training.tune``: ``(1 - a) CE(labels) + a (sum of weight x loss)``.

    With "soft targets" alone it is ``(1 - a) CE + a T^2 KL(teacher || student)`` (Hinton, Vinyals and Dean 2015,
    section 2).

    Parameters
    ----------
    teacher : nn.Module
        From :func:`freeze`, or a ``deploy.Frozen``; it sees the batch that the student sees, augmentation included.
    loss : str, Loss, callable or mapping
        A row of ``LOSSES``, one of your own, or a function ``(student logits, teacher logits) -> scalar``; several with
        their weights: ``{"soft targets": 1, "attention": 10}``.
    temperature : float, or callable
        T > 0: both sets of logits are divided by it. Or a schedule: from the share of training done, in [0, 1), to it.
    alpha : float
        a in [0, 1]: 0 is cross-entropy alone, 1 needs no labels.
    layers : sequence of str, or mapping of str to str
        For losses of features: layers of the student to those of the teacher, or names that hold for both.
    class_axis : int, optional
        Of outputs with more axes than two: as for ``measure.answer_rows``. Each place of a map and each step of a
        sequence weighs the same, for labels and for the teacher.

    Returns
    -------
    Objective
        ``(student, inputs, targets) -> scalar``. Models that give more than a tensor are asked inside of
        ``graph.asking(model, output)``, as ``distill(..., output=...)`` and ``fit(..., output=...)`` do.

    Raises
    ------
    ValueError
        If ``temperature`` or ``alpha`` is out of range, a loss is unknown or has a negative weight, the teacher is in
        training mode, requires gradients or lacks a layer; when called, if classes or shapes do not match.

    Examples
    --------
    A student that is its teacher has nothing left to learn from it:

    >>> model, inputs, targets = nn.Linear(2, 3), torch.rand(4, 2), torch.tensor([0, 1, 2, 0])
    >>> loss = xp.distill.distillation_loss(xp.distill.freeze(model), "soft targets", alpha=1.0)
    >>> round(loss(model, inputs, targets).item(), 5)
    0.0
    """
    return Objective(teacher, loss, temperature, alpha, layers, class_axis)


class Objective:
    """What :func:`distillation_loss` returns: ``(student, inputs, targets) -> scalar``.

    Parameters
    ----------
    teacher, loss, temperature, alpha, layers, class_axis
        As for :func:`distillation_loss`.

    Attributes
    ----------
    scored_by : callable
        Cross-entropy: what units of a student are scored by (see ``training.scoring_loss``).
    """

    scored_by = staticmethod(classification_loss)

    def __init__(
        self,
        teacher: nn.Module,
        loss: str | Loss | Callable | Mapping,
        temperature: float | Callable[[float], float],
        alpha: float,
        layers: Sequence[str] | Mapping[str, str],
        class_axis: int | None = None,
    ):
        _check_teacher(teacher)
        arguments.share(alpha, "alpha", zero=True, one=True)
        self.teacher, self.alpha, self._schedule = teacher, alpha, temperature
        self.temperature = _temperature(temperature, 0.0)
        self.rows, self.class_axis = _rows(loss), class_axis
        self.layers = dict(layers) if isinstance(layers, Mapping) else {name: name for name in layers}
        self.hides = any(row.reads == "evidence" for row, _ in self.rows)
        self.generator = torch.Generator().manual_seed(0)
        if bool(self.layers) != any(row.reads == "features" for row, _ in self.rows):
            raise ValueError("layers must be given for losses of features, and for them alone.")
        if unknown := set(self.layers.values()) - set(dict(teacher.named_modules())):
            raise ValueError(f"layers must name modules of the teacher, got {sorted(unknown)}.")

    def __call__(self, student: nn.Module, inputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        inputs = as_inputs(inputs)
        patches = self.draw(inputs)
        return self.value(student, inputs, targets, self.ask(inputs, patches), patches)

    def at(self, moment: Moment) -> None:
        """Set what changes on the way: the temperature, and the patches that are hidden next.

        Parameters
        ----------
        moment : Moment
            The patches depend on its step alone, so that a resumed run hides the same ones.
        """
        self.temperature = _temperature(self._schedule, moment.done)
        self.generator.manual_seed(moment.step + 1)

    def fingerprint(self) -> str:
        """What is asked of the student, for the identity of a run that can be resumed.

        Returns
        -------
        str
        """
        stated = () if self.class_axis is None else (self.class_axis,)
        return fingerprint((self.teacher, self.rows, self._schedule, self.alpha, self.layers, *stated))

    @property
    def needs_labels(self) -> bool:
        """Whether labels are read."""
        return self.alpha < 1 or any("labels" in row.needs for row, _ in self.rows)

    def draw(self, inputs: torch.Tensor) -> torch.Tensor | None:
        """Patches to hide in a batch, where a loss compares what the models lose by it.

        Parameters
        ----------
        inputs : torch.Tensor
            A batch, shape (N, ...).

        Returns
        -------
        torch.Tensor or None
            Shape (N, rows, columns), bool; None where no loss asks for it.
        """
        return draw_patches(len(inputs), self.generator) if self.hides else None

    def ask(self, inputs: torch.Tensor, patches: torch.Tensor | None = None) -> ModelOutputs:
        """What the teacher gives for a batch, without a graph.

        Parameters
        ----------
        inputs : torch.Tensor
            A batch, shape (N, ...).
        patches : torch.Tensor, optional
            What is hidden, from ``draw_patches``; for losses of evidence.

        Returns
        -------
        ModelOutputs
        """
        arguments.evaluating(self.teacher, "teacher")  # it may be a part of what is trained
        return model_outputs(self.teacher, inputs, self.layers.values(), patches=patches)

    def value(
        self,
        student: nn.Module,
        inputs: torch.Tensor,
        targets: torch.Tensor | None,
        told: ModelOutputs,
        patches: torch.Tensor | None = None,
        regressors: Mapping[str, nn.Module] | None = None,
    ) -> torch.Tensor:
        """The objective, given what the teacher gave, with the same patches hidden.

        Parameters
        ----------
        student : nn.Module
        inputs, targets : torch.Tensor
            Shapes ``(N, ...)`` and ``(N,)``; labels may be None where none are read.
        told : ModelOutputs
            From :meth:`ask`.
        patches : torch.Tensor, optional
        regressors : mapping of str to nn.Module, optional
            By layers of the student: what their features go through before losses that are ``regressed`` compare them.

        Returns
        -------
        torch.Tensor
            A scalar.

        Raises
        ------
        ValueError
            If student and teacher have other classes, or layers that cannot be compared; if it is not said which axis
            is that of the classes.
        """
        mine = model_outputs(student, inputs, self.layers, patches=patches, graph=True)
        if mine.heard.shape != told.logits.shape:
            shapes = tuple(mine.heard.shape), tuple(told.logits.shape)
            raise ValueError(
                f"student and teacher must have the same classes, their outputs are {shapes[0]}, {shapes[1]}."
            )
        stated = self.class_axis
        hard = self.alpha < 1
        total = (1 - self.alpha) * cross_entropy(answer_rows(mine.logits, targets, class_axis=stated)) if hard else 0.0
        for row, weight in self.rows if self.alpha else ():
            pairs, labels = self._pairs(row, mine, told, regressors or {}), targets
            if row.rows:
                pairs, labels = self._by_rows(*pairs[0], targets)
            context = {"labels": labels, "temperature": self.temperature}
            given = {need: context[need] for need in row.needs}
            for pair in pairs:
                total = total + self.alpha * weight * row.function(*pair, **given)
        return total

    def _by_rows(
        self, mine: torch.Tensor, told: torch.Tensor, targets: torch.Tensor | None
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor | None]:
        """Logits as rows, without those whose labels say that they do not count, and their labels."""
        places = targets is not None and targets.ndim == mine.ndim - 1 and not targets.is_floating_point()
        labels = targets if self.needs_labels or (places and mine.ndim > 2) else None
        if mine.ndim == 3 and labels is None and self.class_axis is None:
            raise ValueError(
                f"class_axis must be said for outputs of shape {tuple(mine.shape)} without labels: -1 for (N, steps, "
                "classes), 1 for (N, classes, steps)."
            )
        found = answer_rows(mine, labels, class_axis=self.class_axis)
        axis = self.class_axis
        if mine.ndim == 3 and axis is None:  # what the labels said holds for the teacher too
            axis = 1 if labels.shape[1] == mine.shape[2] else 2
        told = Rows(answer_rows(told, class_axis=axis).logits, found.labels)
        if found.labels is None or not (found.labels == IGNORED).any():
            return [(found.logits, told.logits)], found.labels
        counts = found.labels != IGNORED
        return [(found.logits[counts], told.logits[counts])], found.labels[counts]

    def _pairs(
        self, row: Loss, mine: ModelOutputs, told: ModelOutputs, regressors: Mapping
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What a loss compares: one pair of tensors, or one for every layer."""
        if row.reads == "logits":
            return [(mine.heard, told.logits)]
        if row.reads == "evidence":
            return [(mine.evidence, told.evidence)]
        behind = regressors if row.regressed else {}
        pairs = [
            (behind.get(one, nn.Identity())(mine.features[one]), told.features[other])
            for one, other in self.layers.items()
        ]
        for (one, other), pair in zip(self.layers.items(), pairs):
            shapes = [tuple(tensor.shape) for tensor in pair]
            if not row.fits(*shapes):
                raise ValueError(
                    f"layers {one!r} of the student and {other!r} of the teacher cannot be compared: {shapes[0]} and "
                    f"{shapes[1]}."
                )
        return pairs


def _check_teacher(teacher: nn.Module) -> None:
    """Raise if a model could change while it teaches."""
    arguments.evaluating(teacher, "teacher")
    if any(parameter.requires_grad for parameter in teacher.parameters()):
        raise ValueError("teacher requires gradients; pass distill.freeze(teacher), a copy that does not.")


def _temperature(schedule: float | Callable[[float], float], done: float) -> float:
    """A temperature, or that of a schedule where this share of the training is done."""
    temperature = schedule(done) if callable(schedule) else schedule
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature:g}.")
    return temperature


def _rows(loss: str | Loss | Callable | Mapping) -> list[tuple[Loss, float]]:
    """Losses with their weights."""
    weights = loss if isinstance(loss, Mapping) else {loss: 1.0}
    if not weights:
        raise ValueError(f"loss is empty: give one or several of {', '.join(LOSSES)}, or your own.")
    if bad := {LOSSES.name_of(one): weight for one, weight in weights.items() if not weight >= 0}:
        raise ValueError(f"weights of losses must be at least 0, got {bad}.")
    return [(find_loss(one), weight) for one, weight in weights.items()]
