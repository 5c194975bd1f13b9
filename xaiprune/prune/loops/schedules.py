"""Schedules: how the ratio rises while a model is pruned and tuned in turn."""

# In stored tables: pruning schedules

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from ...core import Checkpoint, InPlace, Registry, arguments
from ...data import Split, as_split, batches, mark
from ...measure import ACCURACY, Metric
from ...training import TrainOptions, classification_loss, fit, scoring_loss
from ..applying import keep_zeros
from ..planning import plan
from ..scoring import CRITERIA, Criterion, Scores, score
from ..units import Plan, find_weights

#: A schedule is a function ``(t, ratio) -> ratio`` of the progress t in [0, 1], from 0 up to ``ratio``.
_Schedule = Callable[[float, float], float]


def _one_shot(t: float, ratio: float) -> float:
    """Everything in the first step."""
    return ratio if t > 0 else 0.0


def _linear(t: float, ratio: float) -> float:
    """The same share of the whole in every step."""
    return ratio * t


def _iterative(t: float, ratio: float) -> float:
    """The same share of *what is left* in every step, as Han et al. 2015 (arXiv 1506.02626) prune and tune in turn."""
    return 1 - (1 - ratio) ** t


def _gradual(t: float, ratio: float) -> float:
    """Fast at first, slow at the end: ``s_f - s_f (1 - t)^3``, the cubic of Zhu and Gupta 2017 (arXiv 1710.01878)."""
    return ratio - ratio * (1 - t) ** 3


SCHEDULES: Registry[_Schedule] = Registry(
    "a schedule",
    callable,
    [("one-shot", _one_shot), ("linear", _linear), ("iterative", _iterative), ("gradual", _gradual)],
)


def ratios(schedule: str | _Schedule, ratio: float, steps: int) -> list[float]:
    """The ratio after each of ``steps`` steps; the last one is ``ratio``.

    Parameters
    ----------
    schedule : str or callable
        A key of ``SCHEDULES``, or a function ``(t, ratio) -> ratio`` of one's own.
    ratio : float
        In (0, 1).
    steps : int
        At least 1.

    Returns
    -------
    list of float
        Rising, in (0, 1).

    Raises
    ------
    ValueError
        If ``ratio`` or ``steps`` is out of its range, or there is no such schedule.

    Examples
    --------
    >>> xp.prune.ratios("linear", 0.8, 2)
    [0.4, 0.8]
    """
    rises = SCHEDULES.find(schedule, "schedule")
    arguments.share(ratio, "ratio")
    arguments.whole(steps, "steps")
    return [rises(step / steps, ratio) for step in range(1, steps + 1)]


@dataclass(frozen=True)
class TuneResult:
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
    options: TrainOptions | None = None,
    *,
    ratio: float,
    schedule: str | _Schedule = "gradual",
    steps: int = 8,
    last_epochs: int | None = None,
    criterion: str | Criterion = "l1",
    scope: str = "global",
    loss: Callable = classification_loss,
    metric: Metric = ACCURACY,
    tolerance: float | None = None,
    **changes,
) -> TuneResult:
    """Prune single weights step by step and tune what is left after each step, in place.

    What has gone stays gone. In every step the weights are ranked anew, the plan rises to the schedule's ratio, and the
    others are trained with the zeros held.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is trained in place. If the call is interrupted and has ``resume``, it goes back to the
        last step that was finished.
    train, validation : Split, or data of another form
        To tune on, and to judge by. Scores that need data use ``train``.
    options : TrainOptions, optional
        Of the tuning after each step; by default one epoch, and 0 epochs prune without tuning. Step number k, from 0,
        is scored and trained with the seed ``seed + k``.
    ratio : float
        Share of all weights that has gone at the end.
    schedule, steps
        As for :func:`ratios`.
    last_epochs : int, optional
        After the last step, where the schedule waits; by default ``epochs``.
    criterion, scope
        As for ``score`` and ``plan``.
    loss, metric
        To train and to score with (see ``training.scoring_loss``), and to judge by.
    tolerance : float, optional
        Stop as soon as a step ends more than this below the unpruned model, in the metric's unit, and go back to the
        step before; by default the schedule runs to its end.
    **changes
        Options by name, as for ``training.fit``. ``resume`` keeps the state after each step; a call that finds it goes
        on from there.

    Returns
    -------
    TuneResult

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range, the model has no prunable weight, or ``resume`` holds the state of a call
        with another argument; nothing has been changed then.

    Examples
    --------
    Of 16 weights 12 are zero, and can go without any tuning:

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])))
    >>> points = xp.data.Split(torch.eye(4), torch.arange(4))
    >>> options = {"schedule": "linear", "steps": 2, "epochs": 0, "batch_size": 2, "progress": False}
    >>> found = xp.prune.prune_and_tune(model, points, points, ratio=0.75, **options)
    >>> [(row["ratio"], row["after"]) for row in found.rows], len(found.plan)
    ([(0.375, 100.0), (0.75, 100.0)], 12)
    """
    options, goals = TrainOptions.of(options, changes, epochs=1), ratios(schedule, ratio, steps)
    groups = find_weights(arguments.evaluating(model))
    total = sum(group.size for group in groups)
    criterion = CRITERIA.find(criterion, "criterion")
    validation, source = as_split(validation, name="validation"), batches(train, name="train")
    identity = {"train": source, "validation": validation, "ratio": ratio, "schedule": schedule, "steps": steps}
    identity |= {"last_epochs": last_epochs, "criterion": criterion, "scope": scope, "loss": loss, "metric": metric}
    identity |= {"tolerance": tolerance, "model": InPlace(model), **options.identity}
    checkpoint, judge = Checkpoint(options.resume, identity), partial(metric, split=validation, in_sample=True)
    state = checkpoint.load() or {"rows": [], "plan": None, "stopped": False, "intact": judge(model)}
    reached = Plan.from_json(state["plan"]) if state["plan"] else None
    with checkpoint:
        for step in range(len(state["rows"]), steps):
            if state["stopped"]:
                break
            good, seed = copy.deepcopy(model.state_dict()), options.seed + step
            scores = score(model, groups, criterion, train, loss=scoring_loss(loss), seed=seed)
            chosen = plan(_with_gone_first(scores, reached), ratio=goals[step], scope=scope)
            rounds = last_epochs if last_epochs is not None and step == steps - 1 else options.epochs
            with keep_zeros(model, chosen):
                before = judge(model)
                if rounds:
                    fit(model, train, loss, options, epochs=rounds, seed=seed, resume=None)
            after = judge(model)
            recovered = tolerance is None or metric.better * (state["intact"] - after) <= tolerance
            row = {"step": step + 1, "ratio": len(chosen) / total, "before": before, "after": after}
            state["rows"].append(row | {"recovered": recovered})
            if recovered:
                reached = chosen
            else:
                state["stopped"] = True
                model.load_state_dict(good)
            checkpoint.save(**state | {"plan": reached and reached.to_json()})
    checkpoint.finish()
    if tolerance is not None:
        mark(model, reached, data=validation, what="where to stop")
    mark(model, reached)
    return TuneResult(reached and mark(reached, model), state["rows"], state["stopped"])


def _with_gone_first(scores: Scores, gone: Plan | None) -> Scores:
    """The scores with those of an earlier plan's units below all others, so that they go again."""
    if gone is None:
        return scores
    values = {name: value.clone() for name, value in scores.values.items()}
    lowest = min(value.min().item() for value in values.values()) - 1
    for name, units in gone.removed.items():
        values[name][torch.tensor(units)] = lowest
    return mark(replace(scores, values=values), scores, gone)
