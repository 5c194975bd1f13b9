"""Prune and tune in turn: a model that really gets smaller, step by step."""

# In stored tables: shrinking

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ...core import Checkpoint, arguments
from ...data import Split, as_split, batches, mark
from ...measure import ACCURACY, Metric
from ...training import TrainOptions, classification_loss, scoring_loss, tune
from ..applying import cut
from ..costs import Costs, mac_costs
from ..finding import find_units
from ..planning import plan
from ..scoring import CRITERIA, Criterion, Scores, score
from ..units import Plan, UnitGroup
from .budget import ExplanationBudget
from .recalibrate import recalibrate, running_norms
from .schedules import _Schedule, ratios


@dataclass(frozen=True)
class Cutting:
    """What a step of :func:`shrink` may cut, and how it chooses.

    Attributes
    ----------
    units : callable
        ``(model, example) -> list of UnitGroup``: what may go.
    costs : callable
        ``(model, units, example) -> Costs``: what counts.
    rescale : callable, optional
        ``(scores, costs) -> Scores`` before they are ranked, such as ``lambda s, c: s.per(c.per_unit())``.
    min_units, round_to : int
        As for :func:`plan`.
    """

    units: Callable[[nn.Module, torch.Tensor], list[UnitGroup]] = find_units
    costs: Callable[[nn.Module, list[UnitGroup], torch.Tensor], Costs] = mac_costs
    rescale: Callable[[Scores, Costs], Scores] | None = None
    min_units: int = 1
    round_to: int = 1

    def plan(self, scores: Scores, costs: Costs, cost_target: float) -> Plan:
        """The plan that leaves a share of the costs.

        Parameters
        ----------
        scores : Scores
        costs : Costs
            Of the same groups.
        cost_target : float
            From 1 on nothing has to go, and nothing goes.

        Returns
        -------
        Plan
        """
        if cost_target >= 1:
            return Plan(scores.groups, {})
        scores = scores if self.rescale is None else self.rescale(scores, costs)
        return plan(scores, cost_target=cost_target, costs=costs, min_units=self.min_units, round_to=self.round_to)


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
    schedule: str | _Schedule = "linear",
    criterion: str | Criterion = "taylor",
    cutting: Cutting | None = None,
    last_epochs: int | None = None,
    loss: Callable | Sequence[Callable] = classification_loss,
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
    train, validation : Split, or data of another form
        To tune on, and to judge by.
    options : TrainOptions, optional
        Of the tuning after each step; by default one epoch, and 0 epochs are no tuning. Step number k, from 0, is
        scored and tuned with the seed ``seed + k``.
    cost_target : float
        Share of the cost that is left at the end, in (0, 1).
    calibration : Split, or data of another form
        To score on, and to re-calibrate with.
    steps, schedule
        As for :func:`ratios`: how the cost falls.
    criterion : str or Criterion
        Key of ``CRITERIA``, or one of your own.
    cutting : Cutting, optional
        What may be cut, and how it is chosen: by default channels and neurons, by their operations.
    last_epochs : int, optional
        Of tuning after the last step; by default ``epochs``.
    loss : callable or sequence of callable
        To tune and to score with: ``distill.distillation_loss(freeze(model))`` distils from the model that came in, and
        scores by the targets (see ``training.scoring_loss``). Several losses are a trade: where a step overspends the
        budget it is tuned again with the next one, such as one that asks for the model's attention too, with a rising
        weight; the first one scores.
    metric : Metric
    budget : ExplanationBudget, optional
        A step that overspends it with every loss ends the run, and the step before is given back.
    **changes
        Options by name, as for ``training.fit``. ``resume`` keeps the state after each step, and beside it that of the
        tuning; a call that finds it goes on from there.

    Returns
    -------
    ShrinkResult

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or ``resume`` holds the state of a call with another argument.
    """
    options, cutting = TrainOptions.of(options, changes, epochs=1), Cutting() if cutting is None else cutting
    arguments.evaluating(model)
    arguments.share(cost_target, "cost_target", what="the share of the cost that is left")
    goals = [1 - ratio for ratio in ratios(schedule, 1 - cost_target, steps)]
    losses = (loss,) if callable(loss) else tuple(loss)
    if not losses:
        raise ValueError("loss is empty: give one loss, or several in the order in which they are tried.")
    criterion = CRITERIA.find(criterion, "criterion")
    validation = as_split(validation, name="validation")
    calibration = as_split(calibration, name="calibration")
    identity = {"model": model, "train": batches(train, name="train"), "validation": validation}
    identity |= {"calibration": calibration, "cost_target": cost_target, "steps": steps, "schedule": schedule}
    identity |= {"criterion": criterion, "cutting": cutting, "last_epochs": last_epochs, "loss": losses}
    identity |= {"metric": metric, "budget": budget, **options.identity}
    checkpoint = Checkpoint(options.resume, identity)
    example, judge = validation[0][:1], partial(metric, split=validation, in_sample=True)
    groups = cutting.units(model, example)
    whole = cutting.costs(model, groups, example).total
    done, smaller, rows, stopped = Plan(tuple(groups), {}), copy.deepcopy(model), [], False
    if state := checkpoint.load():
        done, rows = Plan.from_json(state["plan"]), state["rows"]
        smaller = cut(model, done).eval()
        smaller.load_state_dict(state["weights"])
    for step in range(len(rows), steps):
        # saved before the step, so that what it leaves unfinished is known as this call's
        checkpoint.save(plan=mark(done, smaller).to_json(), rows=rows, weights=smaller.state_dict())
        groups, seed = cutting.units(smaller, example), options.seed + step
        now = cutting.costs(smaller, groups, example)
        scores = score(smaller, groups, criterion, calibration, loss=scoring_loss(losses), seed=seed)
        chosen = cutting.plan(scores, now, goals[step] * whole / now.total)
        next_model = cut(smaller, chosen)
        row = {"step": step + 1, "share": now.of(chosen) / whole, "cut": judge(next_model)}
        if running_norms(next_model):
            recalibrate(next_model, calibration[0])
        row["recalibrated"] = judge(next_model)
        rounds = last_epochs if last_epochs is not None and step == steps - 1 else options.epochs
        for place, one in enumerate(losses):
            candidate = copy.deepcopy(next_model)
            if rounds:
                part = checkpoint.part(f"step{step + 1}.loss{place}")
                told = {"epochs": rounds, "seed": seed, "resume": part}
                tune(candidate, train, validation, options, loss=one, metric=metric, **told)
            row["tuned"] = judge(candidate)
            if budget is not None:
                spent = budget.spent(candidate)
                row |= {"drift": spent["drift"], "holds": spent["holds"], "loss": place}
            if row.get("holds", True):
                break
        rows.append(row)
        if stopped := not row.get("holds", True):
            break
        smaller, done = candidate, done.then(chosen)
    checkpoint.finish()
    if budget is not None:
        mark(smaller, data=budget.split, what="a budget")
    return mark(ShrinkResult(smaller, mark(done, smaller), rows, stopped), smaller)
