"""Prune and tune in turn: a model that really gets smaller, step by step."""

# In stored tables: shrinking

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ...core import save_atomically
from ...data import Split
from ...measure import ACCURACY, Metric
from ...train import classification_loss
from ..applying import cut
from ..costs import Costs, mac_costs
from ..planning import plan
from ..scoring import Scores, score
from ..units import Plan, UnitGroup, find_units
from .budget import Budget
from .recalibrate import recalibrate, running_norms, tune
from .schedules import ratios


@dataclass(frozen=True)
class Shrunk:
    """What :func:`shrink` leaves.

    Attributes
    ----------
    model : nn.Module
        The cut and tuned model.
    plan : Plan
        Against the model that came in: all steps as one.
    rows : list of dict
        Per step: ``step``, ``share`` of the cost that is left, ``cut``, ``recalibrated`` and ``tuned`` (the metric on
        the validation split after each of these), and with a budget ``drift``, ``holds`` and ``loss``, the number of
        the loss that the step ended with.
    stopped : bool
        Whether the run ended early since a step overspent the budget.
    """

    model: nn.Module
    plan: Plan
    rows: list[dict] = field(default_factory=list)
    stopped: bool = False


def shrink(
    model: nn.Module,
    train: Split,
    validation: Split,
    *,
    target: float,
    calibration: Split,
    steps: int = 4,
    schedule: str = "linear",
    criterion: str = "taylor",
    rescale: Callable[[Scores, Costs], Scores] = lambda scores, costs: scores,
    units: Callable[[nn.Module, torch.Tensor], list[UnitGroup]] = find_units,
    costs: Callable[[nn.Module, list[UnitGroup], torch.Tensor], Costs] = mac_costs,
    floor: int = 1,
    round_to: int = 1,
    epochs: int = 1,
    last_epochs: int | None = None,
    lr: float = 1e-3,
    loss: Callable | Sequence[Callable] = classification_loss,
    metric: Metric = ACCURACY,
    budget: Budget | None = None,
    augment: Callable | None = None,
    seed: int = 0,
    resume: Path | None = None,
    progress: bool = True,
) -> Shrunk:
    """Cut, re-calibrate and tune in turn, until a share of the cost is left.

    Every step scores the units of the model as it is by then. The model that came in is not changed.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    train, validation : Split
        To tune on, and to judge by.
    target : float
        Share of the cost that is left at the end, in (0, 1).
    calibration : Split
        To score on, and to re-calibrate with.
    steps, schedule
        As for :func:`ratios`: how the cost falls.
    criterion : str
        Key of ``CRITERIA``.
    rescale : callable
        ``(scores, costs) -> scores`` before they are ranked, such as ``lambda s, c: s.per(c.per_unit())``.
    units, costs : callable
        What may go, and what counts.
    floor, round_to
        As for :func:`plan`.
    epochs, last_epochs : int
        Of tuning after each step, and after the last one (by default the same). 0 is no tuning.
    lr : float
        As for :func:`tune`.
    loss : callable or sequence of callable
        As for :func:`tune`; ``distill.towards(freeze(model))`` distils from the model that came in. Several losses are
        a trade: where a step overspends the budget it is tuned again with the next one, such as one that asks for the
        model's attention too, with a rising weight.
    metric : Metric
    budget : Budget, optional
        A step that overspends it with every loss ends the run, and the step before is given back.
    augment : callable, optional
        As for :func:`tune`.
    seed : int
    resume : Path, optional
        File that keeps the state after each step; a call that finds it goes on from there. It is deleted at the end.
    progress : bool

    Returns
    -------
    Shrunk

    Raises
    ------
    ValueError
        If an argument is out of its range, or ``resume`` holds another run.
    """
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first.")
    if not 0 < target < 1:
        hint = f"; did you mean {target / 100:g}?" if 1 < target < 100 else ""
        raise ValueError(f"target must be in (0, 1), the share of the cost that is left, got {target:g}{hint}.")
    losses = (loss,) if callable(loss) else tuple(loss)
    if not losses:
        raise ValueError("loss is empty: give one loss, or several in the order in which they are tried.")
    goals = [1 - ratio for ratio in ratios(schedule, 1 - target, steps)]
    example = validation.images[:1]
    run = {"target": target, "steps": steps, "schedule": schedule, "criterion": criterion, "seed": seed, "lr": lr}
    run |= {"epochs": epochs, "last_epochs": last_epochs, "floor": floor, "round_to": round_to}
    state = _State(Plan(tuple(units(model, example)), {}), run, resume)
    whole = costs(model, list(state.plan.groups), example).total
    smaller = state.build(model)
    for step in range(len(state.rows), steps):
        if state.stopped:
            break
        groups = units(smaller, example)
        now = costs(smaller, groups, example)
        share = goals[step] * whole / now.total
        scores = rescale(score(smaller, groups, criterion, calibration, seed=seed + step), now)
        enough = share >= 1  # the step before went further than it had to
        chosen = (
            Plan(tuple(groups), {}) if enough else plan(scores, target=share, costs=now, floor=floor, round_to=round_to)
        )
        next_model = cut(smaller, chosen)
        row = {"step": step + 1, "share": now.of(chosen) / whole, "cut": metric(next_model, validation)}
        if running_norms(next_model):
            recalibrate(next_model, calibration.images)
        row["recalibrated"] = metric(next_model, validation)
        rounds = last_epochs if last_epochs is not None and step == steps - 1 else epochs
        for place, one in enumerate(losses):
            candidate = copy.deepcopy(next_model)
            if rounds:
                tune(
                    candidate,
                    train,
                    validation,
                    epochs=rounds,
                    lr=lr,
                    loss=one,
                    metric=metric,
                    augment=augment,
                    seed=seed + step,
                    resume=None if resume is None else Path(f"{resume}.step{step + 1}.loss{place}"),
                    progress=progress,
                )
            row["tuned"] = metric(candidate, validation)
            if budget is not None:
                spent = budget.spent(candidate)
                row |= {"drift": spent["drift"], "holds": spent["holds"], "loss": place}
            if row.get("holds", True):
                break
        if row.get("holds", True):
            smaller = candidate
            state.add(row, state.plan.then(chosen), smaller)
        else:
            state.stop(row)
    state.finish()
    return Shrunk(smaller, state.plan, state.rows, state.stopped)


class _State:
    """Plan, rows and weights of the last step that held, in a file too if one is given."""

    def __init__(self, plan: Plan, run: dict, path: Path | None):
        self.plan, self.run, self.path = plan, run, None if path is None else Path(path)
        self.rows: list[dict] = []
        self.stopped = False
        self._weights: dict | None = None
        if self.path is not None and self.path.exists():
            state = torch.load(self.path, weights_only=True)
            kept = json.loads(state["kept"])
            if kept["run"] != run:
                raise ValueError(f"resume holds another run, {kept['run']}; give another file name.")
            self.rows, self.stopped, self._weights = kept["rows"], kept["stopped"], state["weights"]
            self.plan = Plan.from_json(kept["plan"])
        else:
            self._save()  # so that what the first step leaves unfinished is known as this run's

    def build(self, model: nn.Module) -> nn.Module:
        """The model as the last step left it."""
        if self._weights is None:
            return copy.deepcopy(model)
        smaller = cut(model, self.plan)
        smaller.load_state_dict(self._weights)
        return smaller.eval()

    def add(self, row: dict, plan: Plan, model: nn.Module) -> None:
        self.rows.append(row)
        self.plan = plan
        self._weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._save()

    def stop(self, row: dict) -> None:
        self.rows.append(row)
        self.stopped = True
        self._save()

    def finish(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _save(self) -> None:
        if self.path is not None:
            kept = {"run": self.run, "rows": self.rows, "stopped": self.stopped, "plan": self.plan.to_json()}
            state = {"kept": json.dumps(kept), "weights": self._weights}
            save_atomically(self.path, lambda temporary: torch.save(state, temporary))
