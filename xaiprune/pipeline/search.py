"""A search over recipes: which order, how strong, for a budget."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..core import fingerprint
from ..data import Split, as_split, mark
from .budget import Budget
from .run import _METHOD, CompressionResult, OutOfBudgetError, _check_given, compress
from .step import Step, _check_steps


@dataclass(frozen=True)
class SearchResult:
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

    best: CompressionResult
    rows: list[dict]
    why: str


def orders(*steps: Step) -> list[tuple[Step, ...]]:
    """All orders in which steps can follow one another.

    Parameters
    ----------
    *steps : Step

    Returns
    -------
    list of tuple of Step

    Examples
    --------
    >>> from xaiprune.pipeline import Prune, Quantize
    >>> xp.pipeline.orders(Quantize(), Prune(ratio=0.5))  # nothing can be cut after integer kernels
    [(Prune(ratio=0.5), Quantize())]
    """
    found = []
    for order in itertools.permutations(steps):
        try:
            found.append(_check_steps(order))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


class _OneOf:
    """A space whose name tells its choices."""

    def __init__(self, places: Sequence[Sequence[Step | None]]):
        self.places = tuple(map(tuple, places))

    def __call__(self, trial) -> list[Step]:
        chosen = [
            place[trial.suggest_categorical(f"place {number}", list(range(len(place))))]
            for number, place in enumerate(self.places, 1)
        ]
        return [step for step in chosen if step is not None]

    def every(self) -> Iterator[dict[str, int]]:
        """The parameters of each recipe."""
        names = [f"place {number}" for number in range(1, len(self.places) + 1)]
        for chosen in itertools.product(*(range(len(place)) for place in self.places)):
            yield dict(zip(names, chosen))

    def __repr__(self) -> str:
        return f"one_of{self.places!r}"


def choices(*places: Sequence[Step | None]) -> Callable[[object], list[Step]]:
    """A space for :func:`search`: at every place of a recipe one of some steps.

    Parameters
    ----------
    *places : sequence of Step or None
        The choices at each place, in order; None leaves the place out.

    Returns
    -------
    callable
        ``trial -> steps``.

    Raises
    ------
    ValueError
        If no place, or a place without a choice, is given, every place can be left out, or the choices of some recipe
        cannot follow one another (both steps are named).
    TypeError
        If a choice is neither a step nor None.

    Examples
    --------
    >>> from xaiprune.pipeline import Prune, Tune
    >>> space = xp.pipeline.choices([Prune(ratio=0.3), Prune(ratio=0.6)], [Tune(epochs=1), None])
    >>> import optuna
    >>> space(optuna.trial.FixedTrial({"place 1": 0, "place 2": 1}))
    [Prune(ratio=0.3)]
    """
    if not places or not all(places):
        raise ValueError("places must be at least one, each with at least one choice.")
    if all(None in place for place in places):
        raise ValueError("at least one place must not be left out: a recipe needs a step.")
    if wrong := [choice for place in places for choice in place if not (choice is None or isinstance(choice, Step))]:
        raise TypeError(f"a choice must be a step such as Tune(epochs=1), or None, got {wrong[0]!r}.")
    for first, second in itertools.combinations(places, 2):
        for one, other in itertools.product(first, second):
            if one is not None and other is not None:
                _check_steps([one, other])
    return _OneOf(places)


def search(
    model: nn.Module,
    data: Mapping[str, Split],
    space: Callable[[object], Sequence[Step]],
    budget: Budget = Budget(),  # noqa: B008 - a value
    *,
    folder: Path | str,
    trials: int | None = 20,
    objectives: Sequence[str] = ("accuracy", "latency", "size"),
    prefer: str = "accuracy",
    seed: int = 0,
    **options,
) -> SearchResult:
    """Try recipes, drawn by Optuna's tree-structured Parzen estimator with the budget as constraints.

    Trials are kept in ``folder``, with all stages: recipes that begin alike share them, and a call that finds earlier
    trials of the same search there goes on with the missing ones as if it had never stopped. A recipe that cannot be
    carried out (its loss is not finite, nothing is left to cut) is one of the trials, and holds no budget.

    Parameters
    ----------
    model, data
        As for :func:`compress`.
    space : callable
        ``trial -> steps``, from an ``optuna.Trial``: :func:`choices`, or your own, such as
        ``lambda trial: [Prune(cost_target=trial.suggest_float("share", 0.2, 0.8)), Tune(epochs=1)]``.
    budget : Budget
    folder : Path or str
    trials : int or None
        In all, the earlier ones included. None for every recipe of :func:`choices`, once: where they are few, nothing
        needs to be drawn.
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
    SearchResult

    Raises
    ------
    ValueError
        If ``trials`` is less than 1, a name is none of a budget, ``compress`` would refuse what is given, no recipe
        could be carried out, or the folder's trials were drawn from another space.
    OutOfBudgetError
        If no trial holds the budget: which bound binds in how many, and the nearest one.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> points = xp.data.Split(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
    >>> data = dict.fromkeys(("train", "validation", "calibration"), points)
    >>> space, quick = xp.pipeline.choices([xp.pipeline.Prune(k=4)]), {"explained": 10, "repeats": 1, "progress": False}
    >>> found = xp.pipeline.search(model, data, space, folder="search", trials=1, **quick)
    >>> len(found.rows), found.best.steps
    (1, (Prune(k=4),))
    """
    import optuna

    names = list(Budget.__dataclass_fields__)
    if trials is None and not isinstance(space, _OneOf):
        raise ValueError("trials must be a number for a space that is a function; None is for all of choices(...).")
    if trials is not None and trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}.")
    if unknown := [name for name in (*objectives, prefer) if name not in names]:
        raise ValueError(f"objectives and prefer must be of {', '.join(names)}, got {unknown[0]!r}.")
    _check_given(model, data, options.get("method", _METHOD))

    if "place" in (*objectives, prefer, *budget.bounds):
        options["place"] = True

    def run(steps: Sequence[Step], budget: Budget) -> CompressionResult:
        return compress(model, data, steps, budget, folder=folder, seed=seed, **options)

    data = {name: as_split(split, name=f"data[{name!r}]") for name, split in data.items()}
    given = {"model": model, "data": data, "budget": budget, "objectives": objectives, "seed": seed, **options}
    given |= {"space": space} if isinstance(space, _OneOf) else {}
    identity = "; ".join(f"{name}={fingerprint(value)}" for name, value in given.items() if name != "progress")
    study, recipes = _study(Path(folder), identity, len(objectives)), {}
    if trials is None:
        waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
        known = [trial.system_attrs["fixed_params"] for trial in waiting]
        known += [trial.params for trial in study.get_trials() if trial.user_attrs]
        missing = [drawn for drawn in space.every() if drawn not in known]
        for drawn in missing:
            study.enqueue_trial(drawn)
        trials = len(waiting) + len(missing) + sum(map(len, _ended(study)))
    while sum(map(len, kept := _ended(study))) < trials:
        study.sampler = _sampler(seed + sum(map(len, kept)))
        trial = study.ask()
        steps = space(trial)
        try:
            steps = _check_steps(steps)
            spent = run(steps, Budget()).spent
            if unknown := [name for name in (*objectives, *budget.bounds) if not math.isfinite(spent[name])]:
                raise ValueError(f"{unknown[0]} is {spent[unknown[0]]}.")
        except ValueError as error:
            trial.set_user_attr("refused", f"{list(steps)}: {error}")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        over = budget.over(spent)
        row = {"steps": repr(list(steps)), "parameters": trial.params, **spent, "over": list(over)}
        trial.set_user_attr("row", row)
        for name in budget.bounds:
            trial.set_constraint(name, over.get(name, 0.0))
        study.tell(trial, [spent[name] for name in objectives])
        recipes[row["steps"]] = steps
    rows, refused = kept
    if not rows:
        raise ValueError(f"none of {trials} recipes could be carried out; the first: {refused[0]}")
    rows = [row | {"front": not any(_beats(other, row, objectives) for other in rows)} for row in rows]
    holding = [row for row in rows if not row["over"]]
    chosen = min(holding or rows, key=lambda row: row[prefer] if holding else budget.excess(row))
    if chosen["steps"] not in recipes:  # from an earlier call: drawn again by its parameters
        steps = _check_steps(space(optuna.trial.FixedTrial(chosen["parameters"])))
        if repr(list(steps)) != chosen["steps"]:
            raise ValueError(f"{folder} holds trials of another space: {chosen['steps']}. Give another folder.")
        recipes[chosen["steps"]] = steps
    broken = Counter(name for row in rows for name in row["over"])
    words = ", ".join(f"{name} in {count}" for name, count in broken.most_common()) or "none"
    words += f"; {len(refused)} could not be carried out, the first: {refused[0]}" if refused else ""
    if not holding:
        spent = ", ".join(f"{name} {chosen[name]:.3g}" for name in budget.bounds)
        nearest = f"The nearest is {chosen['steps']}, with {spent}."
        message = f"none of {len(rows)} recipes holds {budget}: broken is {words}. {nearest}"
        raise OutOfBudgetError(message, run(recipes[chosen["steps"]], Budget()))
    why = (
        f"{len(holding)} of {len(rows)} recipes hold {budget}; of these it spends least {prefer} "
        f"({chosen[prefer]:.3g}). Bounds broken by others: {words}."
    )
    best = run(recipes[chosen["steps"]], budget)
    mark(best.model, data=data["validation"], what="the recipe")
    return SearchResult(best, rows, why)


def _beats(one: dict, other: dict, objectives: Sequence[str]) -> bool:
    """Whether one is nowhere worse, and somewhere better."""
    pairs = [(one[name], other[name]) for name in objectives]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _study(folder: Path, name: str, objectives: int):
    """The study in the folder; what a killed run had begun is given up, and drawn again."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    logging.getLogger("optuna").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "trials.log")))
    directions = ["minimize"] * objectives
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _ended(study) -> tuple[list[dict], list[str]]:
    """The rows of recipes that were carried out, and why others were not."""
    trials = study.get_trials()
    rows = [trial.user_attrs["row"] for trial in trials if "row" in trial.user_attrs and trial.values]
    return rows, [trial.user_attrs["refused"] for trial in trials if "refused" in trial.user_attrs]


def _sampler(seed: int):
    """A sampler for one trial, so that a search that was interrupted draws as if it had not been."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed)
