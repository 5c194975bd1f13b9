"""A search over recipes: which order, how strong, for a budget."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..data import Split
from ..sweeps import digest
from .budget import Budget
from .run import Compressed, OutOfBudget, compress
from .step import Step, check_steps


@dataclass(frozen=True)
class Found:
    """What :func:`search` leaves.

    Attributes
    ----------
    best : Compressed
        Of the recipes that hold the budget, the one that spends least of what was preferred.
    rows : list of dict
        Per trial: ``steps``, ``parameters``, by the names of a budget what was spent, ``over`` (the bounds that are
        broken) and ``front`` (whether no other trial is at least as good in all objectives and better in one).
    why : str
    """

    best: Compressed
    rows: list[dict]
    why: str


def orders(*steps: Step) -> list[tuple[Step, ...]]:
    """All orders in which steps can follow one another.

    Parameters
    ----------
    *steps : Step
    """
    found = []
    for order in itertools.permutations(steps):
        try:
            found.append(check_steps(order))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def one_of(*places: Sequence[Step | None]) -> Callable[[object], list[Step]]:
    """A space for :func:`search`: at every place of a recipe one of some steps.

    Parameters
    ----------
    *places : sequence of Step or None
        The choices at each place, in order; None leaves the place out.

    Raises
    ------
    ValueError
        If no place, or a place without a choice, is given, or every place can be left out.
    TypeError
        If a choice is neither a step nor None.
    """
    if not places or not all(places):
        raise ValueError("places must be at least one, each with at least one choice.")
    if all(None in place for place in places):
        raise ValueError("at least one place must not be left out: a recipe needs a step.")
    if wrong := [choice for place in places for choice in place if not (choice is None or isinstance(choice, Step))]:
        raise TypeError(f"a choice must be a step such as Tune(epochs=1), or None, got {wrong[0]!r}.")

    def space(trial) -> list[Step]:
        chosen = [
            place[trial.suggest_categorical(f"place {number}", list(range(len(place))))]
            for number, place in enumerate(places, 1)
        ]
        return [step for step in chosen if step is not None]

    return space


def search(
    model: nn.Module,
    data: Mapping[str, Split],
    space: Callable[[object], Sequence[Step]],
    budget: Budget = Budget(),  # noqa: B008 - a value
    *,
    folder: Path | str,
    trials: int = 20,
    objectives: Sequence[str] = ("accuracy", "latency", "size"),
    prefer: str = "accuracy",
    seed: int = 0,
    **options,
) -> Found:
    """Try recipes, drawn by Optuna's tree-structured Parzen estimator with the budget as constraints.

    Trials are kept in ``folder``, with all stages: recipes that begin alike share them, and a call that finds earlier
    trials of the same search there goes on with the missing ones as if it had never stopped.

    Parameters
    ----------
    model, data
        As for :func:`compress`.
    space : callable
        ``trial -> steps``, from an ``optuna.Trial``: :func:`one_of`, or your own, such as
        ``lambda trial: [Prune(target=trial.suggest_float("target", 0.2, 0.8)), Tune(epochs=1)]``.
    budget : Budget
    folder : Path or str
    trials : int
        In all, the earlier ones included.
    objectives : sequence of str
        Names of a budget; all are better where they are smaller.
    prefer : str
        What decides among the recipes that hold the budget.
    seed : int
        Of the draws, and as for :func:`compress`.
    **options
        As for :func:`compress`.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If ``trials`` is less than 1 or a name is none of a budget.
    OutOfBudget
        If no trial holds the budget: which bound binds in how many, and the nearest one.
    """
    names = list(Budget.__dataclass_fields__)
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}.")
    if unknown := [name for name in (*objectives, prefer) if name not in names]:
        raise ValueError(f"objectives and prefer must be of {', '.join(names)}, got {unknown[0]!r}.")

    def run(steps: Sequence[Step], budget: Budget) -> Compressed:
        return compress(model, data, steps, budget, folder=folder, seed=seed, **options)

    identity = [digest(*model.state_dict().values()), *(digest(*split) for split in data.values())]
    identity += [f"{name}={value!r}" for name, value in sorted(options.items()) if name != "progress"]
    identity += [repr(budget), *objectives, f"seed={seed}"]
    study, recipes = _study(Path(folder), "; ".join(identity), len(objectives)), {}
    while len(rows := _finished(study)) < trials:
        study.sampler = _sampler(seed + len(rows))
        trial = study.ask()
        steps = check_steps(space(trial))
        spent = run(steps, Budget()).spent
        over = budget.over(spent)
        row = {"steps": repr(list(steps)), "parameters": trial.params, **spent, "over": list(over)}
        trial.set_user_attr("row", row)
        for name in budget.bounds:
            trial.set_constraint(name, over.get(name, 0.0))
        study.tell(trial, [spent[name] for name in objectives])
        recipes[row["steps"]] = steps
    rows = [row | {"front": not any(_beats(other, row, objectives) for other in rows)} for row in rows]
    holding = [row for row in rows if not row["over"]]
    chosen = min(holding or rows, key=lambda row: row[prefer] if holding else _excess(row, budget))
    if chosen["steps"] not in recipes:  # from an earlier call: drawn again by its parameters
        import optuna

        recipes[chosen["steps"]] = check_steps(space(optuna.trial.FixedTrial(chosen["parameters"])))
    broken = Counter(name for row in rows for name in row["over"])
    told = ", ".join(f"{name} in {count}" for name, count in broken.most_common()) or "none"
    if not holding:
        spent = ", ".join(f"{name} {chosen[name]:.3g}" for name in budget.bounds)
        words = f"none of {len(rows)} recipes holds {budget}: broken is {told}. The nearest is {chosen['steps']}"
        raise OutOfBudget(f"{words}, with {spent}.", run(recipes[chosen["steps"]], Budget()))
    why = (
        f"{len(holding)} of {len(rows)} recipes hold {budget}; of these it spends least {prefer} "
        f"({chosen[prefer]:.3g}). Bounds broken by others: {told}."
    )
    return Found(run(recipes[chosen["steps"]], budget), rows, why)


def _beats(one: dict, other: dict, objectives: Sequence[str]) -> bool:
    """Whether one is nowhere worse, and somewhere better."""
    pairs = [(one[name], other[name]) for name in objectives]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _excess(row: dict, budget: Budget) -> float:
    """By how much the worst bound is broken, as a share of it."""
    return max((row[name] - bound) / max(bound, 1e-9) for name, bound in budget.bounds.items())


def _study(folder: Path, name: str, objectives: int):
    """The study in the folder; what a killed run had begun is put first in line."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    logging.getLogger("optuna").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "trials.log")))
    directions = ["minimize"] * objectives
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _finished(study) -> list[dict]:
    return [trial.user_attrs["row"] for trial in study.get_trials() if "row" in trial.user_attrs and trial.values]


def _sampler(seed: int):
    """A sampler for one trial, so that a search that was interrupted draws as if it had not been."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed)
