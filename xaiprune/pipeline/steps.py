"""The steps of a recipe: small values that say what is done to a model, and do it."""

# In stored tables: recipe steps

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from .. import distill, prune, quantize, training
from ..core import Registry, arguments
from ..deploy import Frozen
from ..prune import running_norms
from ..quantize import Config, Format
from ..training import TrainOptions
from .step import _FLOAT, _FOLD, _INTEGER, _ROUNDED, Stage, Step, Work

#: What :class:`Prune` can take away, and what it can count.
_UNITS: Registry[Callable] = Registry(
    "a function that finds units",
    callable,
    [
        ("channels", prune.find_units),
        ("blocks", prune.find_blocks),
        ("heads", prune.find_heads),
        ("neurons", prune.find_neurons),
    ],
)
_COSTS: Registry[Callable] = Registry(
    "a function that gives costs", callable, [("macs", prune.mac_costs), ("latency", prune.latency_costs)]
)


@dataclass(frozen=True, repr=False)
class Prune(Step):
    """Take away the units that matter least, and count the statistics of batch normalisation anew.

    Attributes
    ----------
    cost_target : float, optional
        Share of the costs that is left of the model that comes in, in (0, 1).
    ratio, k : float or int, optional
        In its place: the share of all units that goes, or their number.
    criterion : str or Criterion
        Key of ``prune.CRITERIA``, or one of your own.
    units : str or callable
        "channels", "blocks", "heads" or "neurons"; or a function ``(model, example) -> list of UnitGroup`` of your own.
    costs : str or callable
        "macs" or "latency"; or a function ``(model, groups, example) -> Costs`` of your own.
    scope : {"global", "uniform"}
        Whether groups compete, or each gives the same share.
    ranks : bool
        Whether scores are compared between groups by their ranks.
    round_to : int

    Examples
    --------
    >>> step = xp.pipeline.Prune(cost_target=0.5, criterion="l1")
    >>> step, step.units, step.costs
    (Prune(cost_target=0.5, criterion='l1'), 'channels', 'macs')
    """

    cost_target: float | None = None
    ratio: float | None = None
    k: int | None = None
    criterion: str | prune.Criterion = "taylor"
    units: str | Callable = "channels"
    costs: str | Callable = "macs"
    scope: str = "global"
    ranks: bool = True
    round_to: int = 1

    least: ClassVar[Mapping[str, float]] = {"size": 0.0, "latency": 0.0, "memory": 0.0}

    def __post_init__(self):
        if sum(value is not None for value in (self.cost_target, self.ratio, self.k)) != 1:
            raise ValueError(f"Prune takes exactly one of cost_target, ratio and k, got {self}.")
        for name in ("cost_target", "ratio"):
            value = getattr(self, name)
            if value is not None:
                arguments.share(value, name)
        prune.CRITERIA.find(self.criterion, "criterion")
        _UNITS.find(self.units, "units")
        _COSTS.find(self.costs, "costs")
        arguments.choice(self.scope, "scope", ("global", "uniform"))

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage after the cut."""
        calibration = work.data["calibration"]
        example = calibration.inputs[:1]
        groups = _UNITS.find(self.units, "units")(stage.model, example)
        scores = prune.score(stage.model, groups, self.criterion, calibration, loss=work.loss, seed=work.seed)
        scores = scores.normalised("rank") if self.ranks else scores
        asked = {name: getattr(self, name) for name in ("cost_target", "ratio", "k")}
        asked = {name: value for name, value in asked.items() if value is not None}
        if self.cost_target is not None:
            asked["costs"] = _COSTS.find(self.costs, "costs")(stage.model, groups, example)
        plan = prune.plan(scores, scope=self.scope, round_to=self.round_to, **asked)
        smaller = prune.cut(stage.model, plan)
        if running_norms(smaller):
            prune.recalibrate(smaller, calibration.inputs)
        return Stage(smaller, (*stage.changes, plan))


@dataclass(frozen=True, repr=False)
class Tune(Step):
    """Train on labels, and keep the state that did best on validation images.

    Attributes
    ----------
    epochs : int
    lr : float
    batch_size : int
    augment : str or callable, optional
        Key of ``training.AUGMENTATIONS``, or a function ``(inputs, generator) -> inputs`` of your own.
    """

    epochs: int
    lr: float = 1e-3
    batch_size: int = 128
    augment: str | Callable | None = None

    takes: ClassVar[tuple[str, ...]] = (_FLOAT,)

    def __post_init__(self):
        arguments.whole(self.epochs, "epochs")
        self.options  # noqa: B018 - options that do not exist say so

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage after training."""
        options = replace(self.options, seed=work.seed, resume=work.unfinished, progress=work.progress)
        self.train(stage.model, work, options)
        return stage

    @property
    def options(self) -> TrainOptions:
        """How the training goes."""
        return TrainOptions(epochs=self.epochs, lr=self.lr, batch_size=self.batch_size, augment=self.augment)

    def train(self, model: nn.Module, work: Work, options: TrainOptions) -> None:
        """Train a model in place.

        Parameters
        ----------
        model : nn.Module
        work : Work
            Data, metric and loss of the recipe.
        options : TrainOptions
            Those of the step, with the recipe's seed and its file to resume from.
        """
        data = work.data["train"], work.data["validation"]
        training.tune(model, *data, options, loss=work.loss, metric=work.metric)


@dataclass(frozen=True, repr=False)
class Distill(Tune):
    """Train towards what the original model says, and keep the state that did best on validation images.

    Attributes
    ----------
    epochs, lr, batch_size, augment
        As for :class:`Tune`.
    temperature, alpha : float
        As for ``distill.distill``.
    loss : str, Loss or callable
        Key of ``distill.LOSSES``, of those that read no features, or one of your own.

    Examples
    --------
    >>> xp.pipeline.Distill(epochs=2, temperature=2.0)
    Distill(epochs=2, temperature=2.0)
    """

    temperature: float = 4.0
    alpha: float = 0.9
    loss: str | distill.Loss | Callable = "soft targets"

    def __post_init__(self):
        super().__post_init__()
        if distill.find_loss(self.loss).reads == "features":
            raise ValueError(f"loss must read no features, got {self.loss!r}: a recipe names no layers.")

    def train(self, model: nn.Module, work: Work, options: TrainOptions) -> None:
        """Train a model in place towards the original."""
        teacher = Frozen(work.original, work.data["train"].inputs[:1])
        taught = {"loss": self.loss, "temperature": self.temperature, "alpha": self.alpha}
        data = work.data["train"], work.data["validation"]
        distill.distill(teacher, model, *data, options, metric=work.metric, **taught)


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

    gives: ClassVar[str] = _ROUNDED

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
        return Stage(rounded, (*stage.changes, _FOLD))


@dataclass(frozen=True, repr=False)
class Quantize(Step):
    """Integer kernels of 8 bits: the last step, for nothing can be cut or trained after it.

    Attributes
    ----------
    calibrator : str or Calibrator
        Of activations; key of ``quantize.CALIBRATORS``, or one of your own.
    images : int
        Calibration images that are looked at.
    first_in_float : int
        How many of the first layers stay as they are.

    Examples
    --------
    >>> xp.pipeline.Quantize(first_in_float=1), xp.pipeline.Quantize.least["size"]
    (Quantize(first_in_float=1), 0.25)
    """

    calibrator: str | quantize.Calibrator = "min-max"
    images: int = 512
    first_in_float: int = 0

    gives: ClassVar[str] = _INTEGER
    least: ClassVar[Mapping[str, float]] = {"size": 0.25, "latency": 0.0, "memory": 0.0}

    def __post_init__(self):
        quantize.CALIBRATORS.find(self.calibrator, "calibrator")
        arguments.whole(self.images, "images")
        arguments.whole(self.first_in_float, "first_in_float", 0)

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage as an ONNX file with integer kernels."""
        images = work.data["calibration"].inputs[: self.images]
        kept = list(quantize.quantized_layers(stage.model))[: self.first_in_float]
        form = Format(scheme="affine", calibrator=self.calibrator)
        config = Config(quantize.INT8.weights, form, {name: Config(None, None) for name in kept})
        return Stage(Frozen(stage.model, images[:1], quantize.int8_bytes(stage.model, images, config)), stage.changes)
