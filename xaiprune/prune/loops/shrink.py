"""Prune and tune in turn: a model that really gets smaller, step by step."""

# In stored tables: shrinking

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ...core import Checkpoint, arguments
from ...data import Split
from ...measure import ACCURACY, Metric
from ...training import TrainOptions, classification_loss, tune
from ..applying import cut
from ..costs import Costs, mac_costs
from ..planning import plan
from ..scoring import CRITERIA, Criterion, Scores, score
from ..units import Plan, UnitGroup, find_units
from .budget import ExplanationBudget
from .recalibrate import recalibrate, running_norms
from .schedules import ratios


@dataclass(frozen=True)
class ShrinkResult:
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
    options: TrainOptions | None = None,
    *,
    cost_target: float,
    calibration: Split,
    steps: int = 4,
    schedule: str | Callable = "linear",
    criterion: str | Criterion = "taylor",
    rescale: Callable[[Scores, Costs], Scores] = lambda scores, costs: scores,
    units: Callable[[nn.Module, torch.Tensor], list[UnitGroup]] = find_units,
    costs: Callable[[nn.Module, list[UnitGroup], torch.Tensor], Costs] = mac_costs,
    min_units: int = 1,
    round_to: int = 1,
    last_epochs: int | None = None,
    loss: Callable | Sequence[Callable] = classification_loss,
    score_loss: Callable | None = None,
    metric: Metric = ACCURACY,
    budget: ExplanationBudget | None = None,
    **changes,
) -> ShrinkResult:
    """Cut, re-calibrate and tune in turn, until a share of the cost is left.

    Every step scores the units of the model as it is by then. The model that came in is not changed.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    train, validation : Split
        To tune on, and to judge by.
    options : TrainOptions, optional
        Of the tuning after each step; by default one epoch. 0 epochs are no tuning.
    cost_target : float
        Share of the cost that is left at the end, in (0, 1).
    calibration : Split
        To score on, and to re-calibrate with.
    steps, schedule
        As for :func:`ratios`: how the cost falls.
    criterion : str or Criterion
        Key of ``CRITERIA``, or one of your own.
    rescale : callable
        ``(scores, costs) -> scores`` before they are ranked, such as ``lambda s, c: s.per(c.per_unit())``.
    units, costs : callable
        What may go, and what counts.
    min_units, round_to
        As for :func:`plan`.
    last_epochs : int, optional
        Of tuning after the last step; by default ``epochs``.
    loss : callable or sequence of callable
        As for ``training.tune``; ``distill.distillation_loss(freeze(model))`` distils from the model that came in.
        Several losses are a trade: where a step overspends the budget it is tuned again with the next one, such as one
        that asks for the model's attention too, with a rising weight.
    score_loss : callable, optional
        By which units are scored; by default the first ``loss``.
    metric : Metric
    budget : ExplanationBudget, optional
        A step that overspends it with every loss ends the run, and the step before is given back.
    **changes
        Options by name, as for ``training.fit``. ``resume`` keeps the state after each step; a call that finds it goes
        on from there.

    Returns
    -------
    ShrinkResult

    Raises
    ------
    ValueError
        If an argument is out of its range, or ``resume`` holds the state of a call with another argument.
    """
    options = TrainOptions.of(options, {"epochs": 1} | changes if options is None else changes)
    arguments.evaluating(model)
    arguments.share(cost_target, "cost_target", what="the share of the cost that is left")
    losses = (loss,) if callable(loss) else tuple(loss)
    if not losses:
        raise ValueError("loss is empty: give one loss, or several in the order in which they are tried.")
    criterion = CRITERIA.find(criterion, "criterion")
    by = losses[0] if score_loss is None else score_loss
    goals = [1 - ratio for ratio in ratios(schedule, 1 - cost_target, steps)]
    example = validation.images[:1]
    identity = {
        "model": model,
        "train": train,
        "validation": validation,
        "calibration": calibration,
        "cost_target": cost_target,
    }
    identity |= {"steps": steps, "schedule": schedule, "criterion": criterion, "rescale": rescale, "units": units}
    identity |= {
        "costs": costs,
        "min_units": min_units,
        "round_to": round_to,
        "last_epochs": last_epochs,
        "loss": losses,
    }
    identity |= {"score_loss": by, "metric": metric, "budget": budget, **options.identity}
    state = _State(Plan(tuple(units(model, example)), {}), Checkpoint(options.resume, identity))
    whole = costs(model, list(state.plan.groups), example).total
    smaller = state.build(model)
    for step in range(len(state.rows), steps):
        if state.stopped:
            break
        groups, seed = units(smaller, example), options.seed + step
        now = costs(smaller, groups, example)
        share = goals[step] * whole / now.total
        scores = rescale(score(smaller, groups, criterion, calibration, loss=by, seed=seed), now)
        enough = share >= 1  # the step before went further than it had to
        chosen = (
            Plan(tuple(groups), {})
            if enough
            else plan(scores, cost_target=share, costs=now, min_units=min_units, round_to=round_to)
        )
        next_model = cut(smaller, chosen)
        row = {"step": step + 1, "share": now.of(chosen) / whole, "cut": metric(next_model, validation)}
        if running_norms(next_model):
            recalibrate(next_model, calibration.images)
        row["recalibrated"] = metric(next_model, validation)
        rounds = last_epochs if last_epochs is not None and step == steps - 1 else options.epochs
        for place, one in enumerate(losses):
            candidate = copy.deepcopy(next_model)
            if rounds:
                part = state.kept.part(f"step{step + 1}.loss{place}")
                told = {"epochs": rounds, "seed": seed, "resume": part}
                tune(candidate, train, validation, options, loss=one, metric=metric, **told)
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
    state.kept.finish()
    return ShrinkResult(smaller, state.plan, state.rows, state.stopped)


class _State:
    """Plan, rows and weights of the last step that held, in a file too if one is given."""

    def __init__(self, plan: Plan, kept: Checkpoint):
        self.plan, self.kept = plan, kept
        self.rows: list[dict] = []
        self.stopped = False
        self._weights: dict | None = None
        if state := kept.load():
            self.rows, self.stopped, self._weights = state["rows"], state["stopped"], state["weights"]
            self.plan = Plan.from_json(state["plan"])
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

    def _save(self) -> None:
        self.kept.save(rows=self.rows, stopped=self.stopped, plan=self.plan.to_json(), weights=self._weights)
