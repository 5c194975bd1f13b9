"""One call from a model to a smaller one: steps, a budget, a scorecard after each step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from ..core import evaluating
from ..data import Split, as_split
from ..deploy import RUNTIMES, Frozen, need
from ..explain import METHODS, Method, drift_from, drift_place, drift_value
from ..measure import ACCURACY, Comparison, Metric, Scorecard, card_columns, compare, scorecards
from ..training import classification_loss
from .budget import DRIFT, PLACE, Budget, _spent_by
from .step import Stage, Step, Work, _check_steps
from .store import Store, room, told

#: Splits that a recipe works with: the budget is judged on validation images; test images only end in the report.
_SPLITS = ("train", "validation", "calibration")
#: Of the heatmaps whose drift is measured, where nothing else is asked for.
_METHOD = "occlusion"


@dataclass(frozen=True)
class CompressionResult:
    """What :func:`compress` leaves.

    Attributes
    ----------
    model : nn.Module
        In evaluation mode; a ``Frozen`` where its kernels are integer.
    stage : Stage
        The same, with what makes its architecture.
    original : nn.Module
    steps : tuple of Step
    cards : list of Scorecard
        Of the original and of the model after each step, as ONNX Runtime runs them; each step was timed in turn with
        the original.
    rows : list of dict
        Per step: ``step``, and by the names of a budget what was spent.
    budget : Budget
    metric : Metric
    method : Method
        Of the heatmaps whose drift was measured.
    facts : dict
        Seed, versions, hashes of weights and data, and how latencies were timed.
    folder : Path
        Where the steps are kept.
    """

    model: nn.Module
    stage: Stage
    original: nn.Module
    steps: tuple[Step, ...]
    cards: list[Scorecard]
    rows: list[dict]
    budget: Budget
    metric: Metric
    method: Method
    facts: dict
    folder: Path

    @property
    def spent(self) -> dict[str, float]:
        """What the last model has used, by the names of a budget."""
        return {name: value for name, value in self.rows[-1].items() if name != "step"}

    @property
    def over(self) -> dict[str, float]:
        """The bounds that are broken, the one that binds most first; empty where the budget holds."""
        return self.budget.over(self.spent)

    def compare(self) -> Comparison:
        """The scorecards side by side.

        Returns
        -------
        Comparison
        """
        return compare(self.cards)


class OutOfBudgetError(ValueError):
    """No model within the budget was found; ``nearest`` is the nearest one.

    In another process than the one that found it ``nearest`` is None, for a running model cannot be sent; the message
    names the folder in which it was kept.

    Parameters
    ----------
    message : str
    nearest : Compressed or None
        The model that breaks the budget least.

    Examples
    --------
    >>> try:
    ...     raise xp.pipeline.OutOfBudgetError("size: 0.5 is over 0.3.", nearest=None)
    ... except ValueError as error:
    ...     print(error, error.nearest)
    size: 0.5 is over 0.3. None
    """

    def __init__(self, message: str, nearest: CompressionResult | None):
        super().__init__(message)
        self.nearest = nearest

    def __reduce__(self) -> tuple:
        return type(self), (str(self), None)


def compress(
    model: nn.Module,
    data: Mapping[str, Split],
    steps: Sequence[Step],
    budget: Budget = Budget(),  # noqa: B008 - a value
    *,
    folder: Path | str,
    metric: Metric = ACCURACY,
    loss: Callable = classification_loss,
    method: Method | str = _METHOD,
    explained: int = 40,
    place: bool = False,
    seed: int = 0,
    repeats: int = 40,
    progress: bool = True,
) -> CompressionResult:
    """Carry out a recipe, and say after each step what it cost and what it saved.

    Every step is kept in ``folder`` when it is done. A call with the same model, data, steps and settings goes on where
    an interrupted one was, in the midst of a training too; a recipe that begins like an earlier one begins with its
    stages. What was made with other versions of torch, ONNX Runtime or xaiprune is made anew, and what was timed with
    other repeats or threads is timed anew. A loss or a metric, and what a step of your own holds, is known again by its
    name and its code.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    data : mapping of str to Split, or to data of another form
        "train", "validation" and "calibration", such as
        ``{name: data.mnist(name) for name in ("train", "validation", "calibration")}``. The budget is judged on the
        validation split.
    steps : sequence of Step
    budget : Budget
    folder : Path or str
        Is made where it is missing.
    metric : Metric
    loss : callable
        ``(model, inputs, targets) -> scalar``, to score and tune with.
    method : Method or str
        Of the heatmaps whose drift is measured: one of your own, or a key of ``explain.METHODS``. It needs answers only
        (``answers_only``: occlusion, shapley), for integer kernels have no gradient.
    explained : int
        Validation images that are explained.
    place : bool
        Whether the scorecards tell the place of the drift between noise and chance, too. They do where the budget
        bounds it. The scale takes as long as the heatmaps of 22 models.
    seed, repeats : int
        Of training and scores; timed runs.
    progress : bool

    Returns
    -------
    CompressionResult

    Raises
    ------
    ValueError
        Before anything runs: if the model is in training mode, a split is missing, the steps cannot follow one another,
        no strength of theirs could meet the budget, the method of heatmaps needs more than answers, or it cannot tell
        noise from chance and the budget bounds the place between them.
    OutOfBudgetError
        At the end: if the budget does not hold. The message says which bound binds most, and what was reached;
        ``nearest`` is what would otherwise be given back.
    OSError
        If a stage cannot be written; the ones before it are kept.
    UnavailableError
        If ONNX Runtime is not installed.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> points = xp.data.Split(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
    >>> data, steps = dict.fromkeys(("train", "validation", "calibration"), points), [xp.pipeline.Prune(k=4)]
    >>> done = xp.pipeline.compress(model, data, steps, folder="recipe", explained=10, repeats=1, progress=False)
    >>> [card.name for card in done.cards], round(done.cards[1]["parameters"] / done.cards[0]["parameters"], 2)
    (['original', '1. Prune'], 0.5)
    """
    by = _check_given(model, data, method)
    steps = _check_steps(steps)
    budget.check(steps)
    need("compress", RUNTIMES["ONNX Runtime"].lacks())
    data = {name: as_split(data[name], name=f"data[{name!r}]") for name in _SPLITS}
    identity = {
        "metric": told(metric),
        "loss": told(loss),
        "seed": seed,
        "method": method if isinstance(method, str) else told(method),
        "explained": explained,
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "xaiprune")},
    }
    judge = _Judge(model, data["validation"], metric, by, explained, repeats, place or budget.place is not None)
    if budget.place is not None and judge.compared.scale.blind:
        raise ValueError(
            f"place={budget.place:g} needs heatmaps that tell noise from chance; by {by.name} on {explained} images:\n"
            f"{judge.compared.scale}\nExplain more images, or bound the drift."
        )
    store = Store(folder, model, data, {**identity, "metric": metric, "loss": loss})
    stage, rows, cards = Stage(copy.deepcopy(model)), [], []
    for count, step in enumerate(steps, 1):
        done = steps[:count]
        work = Work(model, data, metric, loss, seed, store.unfinished(done), progress)
        stage = _carried_out(done, stage, store, work)
        measured = store.load_card(done)
        if measured is None or measured["timed"] != judge.timed or judge.lacks(measured):
            measured = judge.measure(f"{count}. {type(step).__name__}", stage.model)
            store.save_card(done, measured)
        before, card = (judge.card(**content) for content in measured["cards"])
        cards = [*(cards or [before]), card]
        rows.append({"step": repr(step), **_spent_by(card, before)})
    facts = {**identity, **judge.timed, "place": PLACE in judge.extra, "sha256": store.hashes}
    result = CompressionResult(stage.model, stage, model, steps, cards, rows, budget, metric, by, facts, Path(folder))
    if over := result.over:
        words = ", ".join(f"{name} is {result.spent[name]:.3g}, allowed {budget.bounds[name]:g}" for name in over)
        raise OutOfBudgetError(f"the budget does not hold: {words}. What was reached is in {folder}.", result)
    return result


def _check_given(model: nn.Module, data: Mapping[str, Split], method: Method | str) -> Method:
    """Refuse what no recipe can be run with: ValueError names it.

    Parameters
    ----------
    model, data, method
        As for :func:`compress`.

    Returns
    -------
    Method
    """
    evaluating(model)
    if missing := [name for name in _SPLITS if name not in data]:
        raise ValueError(f"data lacks {missing[0]!r}: give {', '.join(_SPLITS)}, got {', '.join(data) or 'nothing'}.")
    by = METHODS.find(method, "method")
    if not by.answers_only:
        fit = ", ".join(name for name, row in METHODS.items() if row.answers_only)
        raise ValueError(
            f"method must be one that needs answers only ({fit}), got {by.name!r}: integer kernels have no gradient."
        )
    return by


def _carried_out(steps: tuple[Step, ...], stage: Stage, store: Store, work: Work) -> Stage:
    """The stage after the last of the steps: what was kept, or done now and kept."""
    kept = store.load(steps, work.data["validation"].inputs[:1])
    if kept is not None:
        return kept
    with room(store.place(steps)):
        stage = steps[-1].apply(stage, work)
    store.save(steps, stage)
    return stage


class _Judge:
    """Measures models beside the original, as ONNX Runtime runs both."""

    def __init__(
        self,
        original: nn.Module,
        split: Split,
        metric: Metric,
        method: Method,
        explained: int,
        repeats: int,
        place: bool,
    ):
        self.original, self.split, self.metric = original, split, metric
        self.extra = {DRIFT: self.drift} | ({PLACE: self.place} if place else {})
        self.timed = {"repeats": repeats, "threads": torch.get_num_threads()}
        self.method, self.images = method, split.inputs[:explained]

    @cached_property
    def before(self) -> Frozen:
        """The original as it would be shipped."""
        return Frozen(self.original, self.split.inputs[:1])

    @cached_property
    def compared(self) -> Callable:
        """Drift from the original's heatmaps."""
        return drift_from(self.original, self.images, method=self.method)

    def drift(self, model: nn.Module) -> float:
        """As :func:`explain.drift_value` has it; the original is not asked twice."""
        return 0.0 if model is self.before else drift_value(self.compared, model)

    def place(self, model: nn.Module) -> float:
        """As :func:`explain.drift_place` has it; of the original it is that of no drift."""
        if model is not self.before:
            return drift_place(self.compared, model)
        place = self.compared.scale.place_of(0.0)
        return math.nan if place is None else place

    def lacks(self, measured: dict) -> bool:
        """Whether scorecards that were kept do not tell what is asked for now."""
        return any(column.title not in card["values"] for card in measured["cards"] for column in self.extra)

    def measure(self, name: str, model: nn.Module) -> dict:
        """Scorecards of the original and of a model, measured in one run, as JSON can hold them."""
        shipped = model if isinstance(model, Frozen) else Frozen(model, self.split.inputs[:1])
        models = {"original": self.before, name: shipped}
        cards = scorecards(
            models, self.split, self.metric, repeats=self.timed["repeats"], extra=self.extra, in_sample=True
        )
        kept = [{"name": c.name, "values": dict(c.values), "notes": dict(c.notes), "sample": c.sample} for c in cards]
        return {"timed": self.timed, "cards": kept}

    def card(self, name: str, values: dict, notes: dict, sample: str = "") -> Scorecard:
        """The scorecard that :meth:`measure` wrote."""
        own = {column.title: column for column in self.extra}
        return Scorecard(name, values, {**card_columns(self.metric), **own}, notes, sample)
