"""Tables of lesson 08 on other uses: after a cut, in few bits, from CNN to transformer, two aims at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import nn

from experiments import distillation_students as students
from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import distill, prune, quantize, zoo
from xaiprune.core import seed_everything
from xaiprune.data import fashion_mnist
from xaiprune.nn import vit
from xaiprune.quantize import Config, Format

MODEL, VIT, SEEDS = students.MODEL, "vit-fashion-mnist", range(3)
FILES = (f"{MODEL}-seed0.safetensors", f"{VIT}-seed0.safetensors")
#: A student that is asked for features and for evidence, beside those of ``distillation_students``.
BOTH = {"loss": {"soft targets": 1.0, "hints": 1.0, "relevance": 1.0}, "layers": students.LAYERS, "alpha": 1.0}


def pruned(at: Setting) -> nn.Module:
    """MobileNet without a quarter of every layer's channels, its statistics counted anew."""
    model, images = at.network(zoo.load(MODEL)), fashion_mnist("calibration", 1).inputs
    model = prune.cut(model, prune.plan(prune.score(model, prune.find_units(model, images), "l2"), ratio=0.25))
    return prune.recalibrate(model, at.split(fashion_mnist, "train", 1000).inputs)


def pruned_transformer(at: Setting) -> nn.Module:
    """The transformer without three quarters of its heads and of its neurons."""
    model = zoo.load(VIT)
    units = prune.find_heads(model) + prune.find_neurons(model)
    return prune.cut(model, prune.plan(prune.score(model, units, "l2"), ratio=0.75))


def quantized(at: Setting) -> nn.Module:
    """MobileNet with weights in 3 bits and activations in 4, its steps to be learned."""
    model = at.network(zoo.load(MODEL))
    seen = quantize.calibrate(model, at.split(fashion_mnist, "calibration", 256).inputs)
    return quantize.learnable(quantize.simulate(model, seen, Config(Format(3), Format(4, "affine", "mse"))))


#: What is taught, by whom, and how long.
STUDENTS: dict[str, tuple[Callable[[Setting], nn.Module], str, dict]] = {
    "pruned": (pruned, MODEL, {"epochs": 6, "lr": 1e-3}),
    "pruned transformer": (pruned_transformer, VIT, {"epochs": 3, "lr": 1e-3}),
    "quantized": (quantized, MODEL, {"epochs": 1, "lr": 2e-4, "batch_size": 64}),
    "transformer": (lambda at: vit.small_transformer(), MODEL, {"epochs": 10, "lr": 2e-3}),
    "transformer with a token": (lambda at: vit.small_distilled_transformer(), MODEL, {"epochs": 10, "lr": 2e-3}),
}
#: How, on the same augmented copies: by labels, by what the teacher says, or by its answers alone (as DeiT is).
TAUGHT: dict[str, dict] = {
    "labels": {"alpha": 0.0},
    "soft targets": {"alpha": 0.9, "temperature": 2.0},
    "soft targets, T = 1": {"alpha": 0.9, "temperature": 1.0},
    "hard targets": {"loss": "hard targets", "alpha": 0.5},
}
#: What is taught, and how.
PAIRS = (
    *itertools.product(("pruned", "pruned transformer"), ("labels", "soft targets", "soft targets, T = 1")),
    *itertools.product(("quantized", "transformer"), ("labels", "soft targets")),
    *itertools.product(("transformer", "transformer with a token"), ("hard targets",)),
)


def elsewhere(what: str, how: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """A cut, a quantized or another network, taught on the same images."""
    seed_everything(seed)
    make, name, options = STUDENTS[what]
    model, test = make(at).eval(), at.split(fashion_mnist, "test")
    row = {"what": what, "how": how, "seed": seed, "before": at.judge(model, test)}
    known, options = students.said("plain", name=name, at=at), TAUGHT[how] | at.trained(options)
    distill.distill(students.teacher(name, at), model, known, None, seed=seed, progress=False, **options)
    return [row | {"test": at.judge(model, test)}]


def both(seed: int, at: Setting = WHOLE) -> list[dict]:
    """A student of a quarter of MobileNet, with hints and relevance."""
    seed_everything(seed)
    model, known = students.build(at), students.said("blended", evidence=True, at=at)
    distill.distill(students.teacher(at=at), model, known, None, seed=seed, **students.trained(BOTH, at))
    return [{"method": "hints and relevance", "seed": seed, **students.judged(model, at)}]


TABLES = [
    Table(
        "distillation_elsewhere",
        elsewhere,
        [(*pair, seed) for seed, pair in itertools.product(SEEDS, PAIRS)],
        code=("distillation", "quantization-aware training", "recovery", "training", "vision transformers"),
        checkpoints=FILES,
        tried=[(*pair, 0) for pair in PAIRS],
        at=Setting(images=24, blocks=3, training={"epochs": 1, "batch_size": 24}),
        processes=2,
    ),
    Table(
        "distillation_both",
        both,
        [(0,), (1,)],
        code=students.CODE,
        checkpoints=FILES,
        tried=[(0,)],
        at=Setting(images=48, count=4, blocks=3, training={"epochs": 1, "batch_size": 24, "lr": 1e-3}),
        tolerance=0.03,
        processes=2,
    ),
]
