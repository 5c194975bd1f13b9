"""The steps of a recipe: small values that say what is done to a model, and do it."""

# In stored tables: recipe steps

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from .. import distill, prune, quantize
from ..augment import AUGMENTATIONS
from ..deploy import Frozen
from ..prune import running_norms
from ..quantize import Config, Format
from .step import FLOAT, FOLD, INTEGER, ROUNDED, Stage, Step, Work

#: What :class:`Prune` can take away, and what it can count.
UNITS: dict[str, Callable] = {
    "channels": prune.find_units,
    "blocks": prune.find_blocks,
    "heads": prune.find_heads,
    "neurons": prune.find_neurons,
}
COSTS: dict[str, Callable] = {"macs": prune.mac_costs, "latency": prune.latency_costs}


@dataclass(frozen=True, repr=False)
class Prune(Step):
    """Take away the units that matter least, and count the statistics of batch normalisation anew.

    Attributes
    ----------
    target : float, optional
        Share of the costs that is left of the model that comes in, in (0, 1).
    ratio, k : float or int, optional
        In its place: the share of all units that goes, or their number.
    criterion : str
        Key of ``prune.CRITERIA``.
    units : {"channels", "blocks", "heads", "neurons"}
    costs : {"macs", "latency"}
    scope : {"global", "uniform"}
        Whether groups compete, or each gives the same share.
    ranks : bool
        Whether scores are compared between groups by their ranks.
    round_to : int
    """

    target: float | None = None
    ratio: float | None = None
    k: int | None = None
    criterion: str = "taylor"
    units: str = "channels"
    costs: str = "macs"
    scope: str = "global"
    ranks: bool = True
    round_to: int = 1

    least: ClassVar[Mapping[str, float]] = {"size": 0.0, "latency": 0.0, "memory": 0.0}

    def __post_init__(self):
        if sum(value is not None for value in (self.target, self.ratio, self.k)) != 1:
            raise ValueError(f"Prune takes exactly one of target, ratio and k, got {self}.")
        for name in ("target", "ratio"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                hint = f"; did you mean {value / 100:g}?" if 1 < value < 100 else ""
                raise ValueError(f"{name} must be in (0, 1), got {value:g}{hint}.")
        _check_choice("criterion", self.criterion, prune.CRITERIA)
        _check_choice("units", self.units, UNITS)
        _check_choice("costs", self.costs, COSTS)
        _check_choice("scope", self.scope, ("global", "uniform"))

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage after the cut."""
        calibration = work.data["calibration"]
        example = calibration.images[:1]
        groups = UNITS[self.units](stage.model, example)
        scores = prune.score(stage.model, groups, self.criterion, calibration, loss=work.loss, seed=work.seed)
        scores = scores.normalised("rank") if self.ranks else scores
        asked = {name: getattr(self, name) for name in ("target", "ratio", "k")}
        asked = {name: value for name, value in asked.items() if value is not None}
        if self.target is not None:
            asked["costs"] = COSTS[self.costs](stage.model, groups, example)
        plan = prune.plan(scores, scope=self.scope, round_to=self.round_to, **asked)
        smaller = prune.cut(stage.model, plan)
        if running_norms(smaller):
            prune.recalibrate(smaller, calibration.images)
        return Stage(smaller, (*stage.changes, plan))


@dataclass(frozen=True, repr=False)
class Tune(Step):
    """Train on labels, and keep the state that did best on validation images.

    Attributes
    ----------
    epochs : int
    lr : float
    batch_size : int
    augment : str, optional
        Key of ``augment.AUGMENTATIONS``.
    """

    epochs: int
    lr: float = 1e-3
    batch_size: int = 128
    augment: str | None = None

    takes: ClassVar[tuple[str, ...]] = (FLOAT,)

    def __post_init__(self):
        _check_whole("epochs", self.epochs, 1)
        _check_whole("batch_size", self.batch_size, 1)
        if not self.lr > 0:
            raise ValueError(f"lr must be larger than 0, got {self.lr!r}.")
        if self.augment is not None:
            _check_choice("augment", self.augment, AUGMENTATIONS)

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage after training."""
        options = {name: getattr(self, name) for name in ("epochs", "lr", "batch_size")}
        options |= {"augment": AUGMENTATIONS.get(self.augment), "metric": work.metric, "seed": work.seed}
        self.train(stage.model, work, resume=work.unfinished, progress=work.progress, **options)
        return stage

    def train(self, model: nn.Module, work: Work, **options) -> None:
        """Train a model in place, with the options of ``prune.tune``."""
        prune.tune(model, work.data["train"], work.data["validation"], loss=work.loss, **options)


@dataclass(frozen=True, repr=False)
class Distill(Tune):
    """Train towards what the original model says, and keep the state that did best on validation images.

    Attributes
    ----------
    epochs, lr, batch_size, augment
        As for :class:`Tune`.
    temperature, alpha : float
        As for ``distill.distill``.
    loss : str
        Key of ``distill.LOSSES``, of those that read no features.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    loss: str = "soft targets"

    def __post_init__(self):
        super().__post_init__()
        _check_choice("loss", self.loss, [name for name, row in distill.LOSSES.items() if row.reads != "features"])

    def train(self, model: nn.Module, work: Work, **options) -> None:
        """Train a model in place towards the original."""
        teacher = Frozen(work.original, work.data["train"].images[:1])
        taught = {"loss": self.loss, "temperature": self.temperature, "alpha": self.alpha}
        distill.distill(teacher, model, work.data["train"], work.data["validation"], **taught, **options)


@dataclass(frozen=True, repr=False)
class Round(Step):
    """Fold batch normalisation, and move weights to the nearest numbers of a format; the model stays one of floats.

    Attributes
    ----------
    bits : int
        2 to 16.
    per_channel : bool
        Whether each output channel has a step of its own.
    """

    bits: int = 8
    per_channel: bool = True

    gives: ClassVar[str] = ROUNDED

    def __post_init__(self):
        self.form  # noqa: B018 - a format that does not exist says so

    @property
    def form(self) -> Format:
        """The format of the weights."""
        return Format(self.bits, per_channel=self.per_channel)

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage with rounded weights."""
        rounded = quantize.simulate(stage.model, {}, Config(self.form, None))
        for layer in quantize.quantized_layers(rounded).values():
            nn.utils.parametrize.remove_parametrizations(layer, "weight")
        return Stage(rounded, (*stage.changes, FOLD))


@dataclass(frozen=True, repr=False)
class Quantize(Step):
    """Integer kernels of 8 bits: the last step, for nothing can be cut or trained after it.

    Attributes
    ----------
    calibrator : str
        Of activations; key of ``quantize.CALIBRATORS``.
    images : int
        Calibration images that are looked at.
    first_in_float : int
        How many of the first layers stay as they are.
    """

    calibrator: str = "min-max"
    images: int = 512
    first_in_float: int = 0

    gives: ClassVar[str] = INTEGER
    least: ClassVar[Mapping[str, float]] = {"size": 0.25, "latency": 0.0, "memory": 0.0}

    def __post_init__(self):
        _check_choice("calibrator", self.calibrator, quantize.CALIBRATORS)
        for name, low in (("images", 1), ("first_in_float", 0)):
            _check_whole(name, getattr(self, name), low)

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage as an ONNX file with integer kernels."""
        images = work.data["calibration"].images[: self.images]
        kept = list(quantize.quantized_layers(stage.model))[: self.first_in_float]
        form = Format(scheme="affine", calibrator=self.calibrator)
        config = Config(quantize.INT8.weights, form, {name: Config(None, None) for name in kept})
        return Stage(Frozen(stage.model, images[:1], quantize.int8_bytes(stage.model, images, config)), stage.changes)


def _check_choice(name: str, value: str, allowed) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


def _check_whole(name: str, value: int, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}.")
