"""The stored runs behind lesson 08 of other uses: after a cut, in few bits, from CNN to transformer, two aims at once.

``stored.make_all`` writes the tables ``distillation_elsewhere`` and ``distillation_both``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import nn

from tests.benchmarks import distillation_students as students
from xaiprune import distill, prune, quantize, zoo
from xaiprune.data import fashion_mnist
from xaiprune.measure import accuracy
from xaiprune.nn import vit
from xaiprune.quantize import Config, Format
from xaiprune.training import seed_everything

COMMAND, MODEL, VIT, SEEDS = students.COMMAND, students.MODEL, "vit-fashion-mnist", range(3)
FILES = (f"{MODEL}-seed0.safetensors", f"{VIT}-seed0.safetensors")
MODULES = {
    "distillation_elsewhere": (
        *("xaiprune.distill", "xaiprune.train", "xaiprune.prune.recover"),
        *("xaiprune.quantize.training", "xaiprune.zoo.vit"),
    ),
    "distillation_both": students.MODULES["distillation_students"],
}
#: A student that is asked for features and for evidence, beside those of ``distillation_students``.
BOTH = {"loss": {"soft targets": 1.0, "hints": 1.0, "relevance": 1.0}, "layers": students.LAYERS, "alpha": 1.0}


def pruned() -> nn.Module:
    """MobileNet without a quarter of every layer's channels, its statistics counted anew."""
    model, images = zoo.load(MODEL), fashion_mnist("calibration", 1).inputs
    model = prune.cut(model, prune.plan(prune.score(model, prune.find_units(model, images), "l2"), ratio=0.25))
    return prune.recalibrate(model, fashion_mnist("train", 1000).inputs)


def pruned_transformer() -> nn.Module:
    """The transformer without three quarters of its heads and of its neurons."""
    model = zoo.load(VIT)
    units = prune.find_heads(model) + prune.find_neurons(model)
    return prune.cut(model, prune.plan(prune.score(model, units, "l2"), ratio=0.75))


def quantized() -> nn.Module:
    """MobileNet with weights in 3 bits and activations in 4, its steps to be learned."""
    model = zoo.load(MODEL)
    seen = quantize.calibrate(model, fashion_mnist("calibration", 256).inputs)
    return quantize.learnable(quantize.simulate(model, seen, Config(Format(3), Format(4, "affine", "mse"))))


#: What is taught, by whom, and how long.
STUDENTS: dict[str, tuple[Callable[[], nn.Module], str, dict]] = {
    "pruned": (pruned, MODEL, {"epochs": 6, "lr": 1e-3}),
    "pruned transformer": (pruned_transformer, VIT, {"epochs": 3, "lr": 1e-3}),
    "quantized": (quantized, MODEL, {"epochs": 1, "lr": 2e-4, "batch_size": 64}),
    "transformer": (vit.small_transformer, MODEL, {"epochs": 10, "lr": 2e-3}),
    "transformer with a token": (vit.small_distilled_transformer, MODEL, {"epochs": 10, "lr": 2e-3}),
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


def elsewhere(what: str, how: str, seed: int) -> list[dict]:
    """A cut, a quantized or another network, taught on the same images."""
    seed_everything(seed)
    make, name, options = STUDENTS[what]
    model = make().eval()
    before = accuracy(model, fashion_mnist("test"))
    known = students.said("plain", name=name)
    distill.distill(students.teacher(name), model, known, None, seed=seed, progress=False, **TAUGHT[how], **options)
    row = {"what": what, "how": how, "seed": seed, "before": round(before, 3)}
    return [row | {"test": round(accuracy(model, fashion_mnist("test")), 3)}]


def both(seed: int) -> list[dict]:
    """A student of a quarter of MobileNet, with hints and relevance."""
    seed_everything(seed)
    model, known = students.build(), students.said("blended", evidence=True)
    distill.distill(students.teacher(), model, known, None, seed=seed, **BOTH, **students.TRAINED)
    return [{"method": "hints and relevance", "seed": seed, **students.judged(model)}]


def jobs() -> dict[str, tuple[Callable, list[tuple]]]:
    """The parts of each table: a function and its arguments."""
    others = [(*pair, seed) for seed, pair in itertools.product(SEEDS, PAIRS)]
    return {"distillation_both": (both, [(0,), (1,)]), "distillation_elsewhere": (elsewhere, others)}
