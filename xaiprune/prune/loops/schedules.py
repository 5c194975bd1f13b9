"""Schedules: how the ratio rises while a model is pruned and tuned in turn."""

# In stored tables: pruning schedules

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ...core import save_atomically
from ...data import Split
from ...measure import ACCURACY, Metric
from ...train import classification_loss, fit
from ..applying import held
from ..planning import plan
from ..scoring import Scores, score
from ..units import Plan, find_weights

#: A schedule is a function ``(t, final) -> ratio`` of the progress t in [0, 1], from 0 up to ``final``.
Schedule = Callable[[float, float], float]


def one_shot(t: float, final: float) -> float:
    """Everything in the first step."""
    return final if t > 0 else 0.0


def linear(t: float, final: float) -> float:
    """The same share of the whole in every step."""
    return final * t


def iterative(t: float, final: float) -> float:
    """The same share of *what is left* in every step, as Han et al. 2015 (arXiv 1506.02626) prune and tune in turn."""
    return 1 - (1 - final) ** t


def gradual(t: float, final: float) -> float:
    """Fast at first, slow at the end: ``s_f - s_f (1 - t)^3``, the cubic of Zhu and Gupta 2017 (arXiv 1710.01878)."""
    return final - final * (1 - t) ** 3


SCHEDULES: dict[str, Schedule] = {
    "one-shot": one_shot,
    "linear": linear,
    "iterative": iterative,
    "gradual": gradual,
}


def ratios(schedule: str, final: float, steps: int) -> list[float]:
    """The ratio after each of ``steps`` steps; the last one is ``final``.

    Parameters
    ----------
    schedule : str
        A key of ``SCHEDULES``: add a row there to have your own.
    final : float
        In (0, 1).
    steps : int
        At least 1.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    if not 0 < final < 1:
        hint = f"; did you mean {final / 100:g}?" if 1 < final < 100 else ""
        raise ValueError(f"final must be in (0, 1), got {final:g}{hint}")
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}.")
    return [SCHEDULES[schedule](step / steps, final) for step in range(1, steps + 1)]


@dataclass(frozen=True)
class Tuned:
    """What :func:`prune_and_tune` leaves.

    Attributes
    ----------
    plan : Plan
        Of the last step that recovered; the model holds its zeros.
    rows : list of dict
        Per step: ``step``, ``ratio``, ``before`` and ``after`` (the metric on the validation split before and after
        tuning) and ``recovered``.
    stopped : bool
        Whether the run ended early since a step did not recover.
    """

    plan: Plan | None
    rows: list[dict] = field(default_factory=list)
    stopped: bool = False


def prune_and_tune(
    model: nn.Module,
    train: Split,
    validation: Split,
    *,
    final: float,
    schedule: str = "gradual",
    steps: int = 8,
    epochs: int = 1,
    last_epochs: int | None = None,
    lr: float = 1e-3,
    criterion: str = "l1",
    scope: str = "global",
    loss: Callable = classification_loss,
    metric: Metric = ACCURACY,
    tolerance: float | None = None,
    augment: Callable | None = None,
    seed: int = 0,
    resume: Path | None = None,
    progress: bool = True,
) -> Tuned:
    """Prune single weights step by step and tune what is left after each step, in place.

    What has gone stays gone. In every step the weights are ranked anew, the plan rises to the schedule's ratio, and the
    others are trained with the zeros held.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is trained in place.
    train, validation : Split
        To tune on, and to judge by. Scores that need data use ``train``.
    final : float
        Share of all weights that has gone at the end.
    schedule, steps
        As for :func:`ratios`.
    epochs : int
        Of the tuning after each step; 0 epochs prune without tuning.
    last_epochs : int, optional
        After the last step, where the schedule waits; by default ``epochs``.
    lr : float
        As for ``fit``.
    criterion, scope
        As for ``score`` and ``plan``.
    loss, metric
        To train with, and to judge by.
    tolerance : float, optional
        Stop as soon as a step ends more than this below the unpruned model, in the metric's unit, and go back to the
        step before; by default the schedule runs to its end.
    augment : callable, optional
        For the training images, as for ``fit``.
    seed : int
    resume : Path, optional
        File that keeps the state after each step; a call that finds it goes on from there. It is deleted at the end.
    progress : bool

    Returns
    -------
    Tuned

    Raises
    ------
    ValueError
        If an argument is outside its range or the model has no prunable weight; nothing has been changed then.
    """
    goals = ratios(schedule, final, steps)
    groups = find_weights(model)
    total = sum(group.size for group in groups)
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first.")
    run = {"schedule": schedule, "final": final, "steps": steps, "criterion": criterion, "scope": scope, "seed": seed}
    state = _Progress(model, metric(model, validation), run, resume)
    for step in range(len(state.rows), steps):
        if state.stopped:
            break
        scores = _with_gone_first(score(model, groups, criterion, train, loss=loss), state.plan)
        chosen = plan(scores, ratio=goals[step], scope=scope)
        with held(model, chosen):
            before = metric(model, validation)
            rounds = last_epochs if last_epochs is not None and step == steps - 1 else epochs
            if rounds:
                fit(model, train, loss, epochs=rounds, lr=lr, seed=seed + step, augment=augment, progress=progress)
        after = metric(model, validation)
        worse = metric.better * (state.intact - after)
        row = {"step": step + 1, "ratio": len(chosen) / total, "before": before, "after": after}
        state.add(row, chosen, recovered=tolerance is None or worse <= tolerance)
    state.finish()
    return Tuned(state.plan, state.rows, state.stopped)


def _with_gone_first(scores: Scores, gone: Plan | None) -> Scores:
    """The scores with those of an earlier plan's units below all others, so that they go again."""
    if gone is None:
        return scores
    values = {name: value.clone() for name, value in scores.values.items()}
    lowest = min(value.min().item() for value in values.values()) - 1
    for name, units in gone.removed.items():
        values[name][torch.tensor(units)] = lowest
    return Scores(scores.criterion, scores.groups, values)


class _Progress:
    """Plan, rows and weights of the last step that recovered, kept in a file if one is given."""

    def __init__(self, model: nn.Module, intact: float, run: dict, resume: Path | None):
        self.model, self.intact, self.run, self.path = model, intact, run, None if resume is None else Path(resume)
        self.plan: Plan | None = None
        self.rows: list[dict] = []
        self.stopped = False
        self._good = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if self.path is not None and self.path.exists():
            state = torch.load(self.path, weights_only=True)
            kept = json.loads(state["kept"])
            if kept["run"] != run:
                raise ValueError(f"resume holds another run, {kept['run']}; give another file name.")
            self.intact, self.rows, self.stopped = kept["intact"], kept["rows"], kept["stopped"]
            self.plan = Plan.from_json(kept["plan"]) if kept["plan"] else None
            self._good = state["weights"]
            model.load_state_dict(self._good)

    def add(self, row: dict, chosen: Plan, recovered: bool) -> None:
        self.rows.append(row | {"recovered": recovered})
        if recovered:
            self.plan = chosen
            self._good = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        else:
            self.stopped = True
            self.model.load_state_dict(self._good)
        if self.path is not None:
            kept = {"run": self.run, "intact": self.intact, "rows": self.rows, "stopped": self.stopped}
            kept["plan"] = self.plan.to_json() if self.plan else None
            state = {"kept": json.dumps(kept), "weights": self._good}
            save_atomically(self.path, lambda temporary: torch.save(state, temporary))

    def finish(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
