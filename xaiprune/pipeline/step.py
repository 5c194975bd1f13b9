"""What a step is, what it works with, and which steps can follow one another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from .. import prune
from ..core import fingerprint
from ..data import Split
from ..graph import fold_batch_norm
from ..measure import Metric

#: What a step leaves: a model to train and cut, one whose weights are on a grid, or integer kernels.
_FLOAT, _ROUNDED, _INTEGER = "a float model", "rounded weights", "integer kernels"
#: A change of architecture beside plans: batch normalisation is folded.
_FOLD = "fold"


@dataclass(frozen=True)
class Stage:
    """A model on its way through a recipe.

    Attributes
    ----------
    model : nn.Module
        In evaluation mode; a ``Frozen`` once its kernels are integer.
    changes : tuple
        What makes its architecture out of the original's, in order: plans that are cut, and ``"fold"``.
    """

    model: nn.Module
    changes: tuple = ()


@dataclass(frozen=True)
class Work:
    """What steps work with.

    Attributes
    ----------
    original : nn.Module
    data : mapping of str to Split, or to data of another form
        "train", "validation" and "calibration".
    metric : Metric
    loss : callable
        ``(model, inputs, targets) -> scalar``.
    seed : int
    unfinished : Path
        File that a training keeps its state in.
    progress : bool
    """

    original: nn.Module
    data: Mapping[str, Split]
    metric: Metric
    loss: Callable
    seed: int
    unfinished: Path
    progress: bool = True


def _as_code(value) -> str:
    """A dataclass as it is written in code, without what is as by default; what is one's own is told by its content."""
    given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
    return f"{type(value).__name__}({', '.join(f'{name}={fingerprint(one)}' for name, one in given.items())})"


class Step:
    """What the steps have in common; one of your own is a frozen dataclass (``repr=False``) with ``apply``.

    Attributes
    ----------
    takes : tuple of str
        What can come in: ``FLOAT``, ``ROUNDED`` or both.
    gives : str, optional
        What goes out; None where it is what came in.
    least : mapping of str to float
        What share of a cost is left at the least; a cost that is not named stays as it is.
    """

    takes: ClassVar[tuple[str, ...]] = (_FLOAT, _ROUNDED)
    gives: ClassVar[str | None] = None
    least: ClassVar[Mapping[str, float]] = {}

    def apply(self, stage: Stage, work: Work) -> Stage:
        """Do the step.

        Parameters
        ----------
        stage : Stage
            What comes in; its model may be changed.
        work : Work
            Data, metric, loss and seed of the recipe.

        Returns
        -------
        Stage
            What goes out.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return _as_code(self)


def _changed(original: nn.Module, changes: tuple) -> nn.Module:
    """The architecture that changes make of the original's, as a copy with weights still to be loaded."""
    model = original
    for change in changes:
        model = fold_batch_norm(model) if change == _FOLD else prune.cut(model, change)
    return model if changes else copy.deepcopy(model)


def _check_steps(steps: Sequence) -> tuple:
    """The steps as a tuple, if they can follow one another.

    Raises
    ------
    TypeError
        If one is no step.
    ValueError
        If there is none, or one cannot follow what is before it (both are named).
    """
    steps = tuple(steps)
    if not steps:
        raise ValueError("steps is empty: give at least one, such as Prune(cost_target=0.5).")
    has, by = _FLOAT, None
    for place, step in enumerate(steps, 1):
        if not isinstance(step, Step):
            raise TypeError(f"step {place} must be a step such as Tune(epochs=1), got {step!r}.")
        if not is_dataclass(step):
            raise TypeError(
                f"step {place} must be a dataclass, so that its repr tells it; {type(step).__name__} is none."
            )
        if has not in step.takes:
            raise ValueError(f"step {place}, {step}, cannot follow {by}, which leaves {has}: put {step} before it.")
        has, by = step.gives or has, step if step.gives else by
    return steps
