"""The stored runs behind lesson 09: dynamic networks made of the pruned MobileNets, and static ones of equal cost.

``stored.make_all`` writes the table ``dynamic``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from xaiprune import distill, dynamic, explain, measure, prune, runtimes, zoo
from xaiprune.augment import flip_and_shift
from xaiprune.data import FASHION_MNIST_CLASSES, Split, fashion_mnist
from xaiprune.dynamic import Dynamic
from xaiprune.metrics import accuracy, predict

from . import mobilenet_sweep as pruned

COMMAND, MODEL, SEEDS = "python -m tests.benchmarks.capstone --full", pruned.MODEL, pruned.SEEDS
FILES = (f"{MODEL}-seed0.safetensors", *(f"{pruned.PRUNED}-seed{seed}.safetensors" for seed in SEEDS))
MODULES = {
    "dynamic": (
        *("xaiprune.dynamic.build", "xaiprune.dynamic.halves", "xaiprune.dynamic.routing"),
        *("xaiprune.distill", "xaiprune.train", "xaiprune.explain.drift"),
    )
}
#: The branch's layer, sets of classes, training images and their augmented copies.
LAYER, SETS, IMAGES, COPIES = "features.2", 4, 20_000, 4
#: Mean operations over images, as shares of those of the pruned network that all begin with.
MEANS = (0.45, 0.6)
TUNED = {"epochs": 8, "lr": 1e-3, "temperature": 2.0, "alpha": 0.9, "progress": False}
COMPARED = 200


@dataclass(frozen=True)
class Way:
    """A kind of dynamic network.

    Attributes
    ----------
    exits : bool
        Whether sure images leave; the threshold is where the mean operations are as asked.
    tail : float, optional
        Share of the tail's operations that is left of it; None where nothing is cut, or, without exits, what the mean
        operations leave.
    sets : int
        Of classes, with a tail each.
    by_class : bool
        Whether a tail's units are scored on images of its classes, or all tails' on all images.
    """

    exits: bool
    tail: float | None
    sets: int = SETS
    by_class: bool = True


METHODS: dict[str, Way | None] = {
    "static": None,
    "exits": Way(True, None, sets=1),
    "exits, smaller tail": Way(True, 0.6, sets=1),
    "exits, tails by class": Way(True, 0.6),
    "exits, tails alike": Way(True, 0.6, by_class=False),
    "tails by class": Way(False, None),
    "tails alike": Way(False, None, by_class=False),
}


@functools.cache
def said() -> distill.Transfer:
    """What the unpruned network says of augmented copies."""
    return distill.transfer(teacher(), fashion_mnist("train", IMAGES), copies=COPIES, augment=flip_and_shift)


@functools.cache
def teacher() -> nn.Module:
    """The unpruned network."""
    return runtimes.Frozen(zoo.load(MODEL), fashion_mnist("calibration", 1).images)


@functools.cache
def branch(seed: int) -> nn.Module:
    """A branch of a pruned network, trained on the labels of the same copies."""
    trunk, images = dynamic.split_at(pruned.load_pruned(seed), LAYER).trunk, said().images
    copies = Split(images.flatten(0, 1), said().labels.repeat(len(images)))
    return dynamic.fit_branch(trunk, copies, classes=len(FASHION_MNIST_CLASSES), epochs=2, seed=seed, progress=False)


def smaller(seed: int, mean: float) -> nn.Module:
    """The static one: cut to the same operations, tuned on the same images."""
    model, calibration = pruned.load_pruned(seed), fashion_mnist("calibration")
    scores, costs = pruned.ranked(model, calibration)
    model = prune.recalibrate(prune.cut(model, prune.plan(scores, target=mean, costs=costs)), calibration.images)
    distill.distill(teacher(), model, said(), None, seed=seed, **TUNED)
    return model


def routed(way: Way, seed: int, mean: float) -> Dynamic:
    """A dynamic one of that mean, its threshold by validation images, its tails tuned on the same images."""
    model, calibration, validation = pruned.load_pruned(seed), fashion_mnist("calibration"), fashion_mnist("validation")
    (trunk, whole), early = dynamic.split_at(model, LAYER), branch(seed)
    said_early = predict(nn.Sequential(trunk, early), validation.images)
    sure = said_early.softmax(1).amax(1)
    every, first, tail = costs(model, trunk, early)
    share = way.tail or 1.0
    if way.exits:
        stay = (mean * every - first) / (share * tail)
        threshold = sure.quantile(stay).item()
    else:
        threshold, share = 1.0, (mean * every - first) / tail
    sets = dynamic.class_sets(said_early, way.sets, surest=threshold)
    units = dynamic.behind(model, prune.find_units(model, calibration.images[:1]), LAYER)
    if way.by_class:
        scores = dynamic.class_scores(model, units, calibration, classes=len(FASHION_MNIST_CLASSES))
    else:
        scores = [prune.score(model, units, "relevance", calibration)] * len(FASHION_MNIST_CLASSES)
    tails = [whole]
    if share < 1:
        tails = dynamic.tails_for(model, LAYER, sets, scores, calibration, target=share)
    done = Dynamic(trunk, early, tails, sets, threshold)
    dynamic.tune_tails(done, teacher(), said(), seed=seed, **TUNED)
    return done


def costs(model: nn.Module, trunk: nn.Module, early: nn.Module) -> tuple[int, int, int]:
    """Operations of the whole network, of trunk and branch, and of the tail."""
    image = fashion_mnist("calibration", 1).images
    before = measure.macs(trunk, image)
    every = measure.macs(model, image)
    return every, before + measure.macs(early, trunk(image).detach()), every - before


def row(method: str, mean: float, seed: int) -> list[dict]:
    """One network, judged on test images."""
    test, validation, way = fashion_mnist("test"), fashion_mnist("validation"), METHODS[method]
    model = smaller(seed, mean) if way is None else routed(way, seed, mean)
    whole = measure.macs(zoo.load(MODEL), test.images[:1])
    found = {"method": method, "mean": mean, "seed": seed}
    if way is None:
        spent = {"mean": measure.macs(model, test.images[:1]), "worst": measure.macs(model, test.images[:1])}
        found |= {"left": 0.0}
    else:
        spent = dynamic.path_macs(model, test.images)
        found |= {"left": round(model.shares(test.images)[dynamic.EXIT], 4), "sets": [list(s) for s in model.sets]}
        found |= {"threshold": round(model.threshold, 5), "branch": early_accuracy(model, test)}
    found |= {"macs": round(spent["mean"] / whole, 4), "worst": round(spent["worst"] / whole, 4)}
    found |= {"validation": round(accuracy(model, validation), 3), "test": round(accuracy(model, test), 3)}
    drift = explain.drift(zoo.load(MODEL), model, test.images[:COMPARED], method="occlusion")
    return [found | {"drift": round(1 - drift.rank.median().item(), 4)}]


def early_accuracy(model: Dynamic, split: Split) -> float:
    """Of the branch alone."""
    return round(accuracy(nn.Sequential(model.trunk, model.branch), split), 3)


def jobs() -> dict[str, tuple[Callable, list[tuple]]]:
    """The parts of each table: a function and its arguments."""
    low = [name for name, way in METHODS.items() if way is None or way.exits]
    high = [name for name, way in METHODS.items() if way is None or not way.exits]
    parts = [*itertools.product(low, MEANS[:1], SEEDS), *itertools.product(high, MEANS[1:], SEEDS)]
    return {"dynamic": (row, sorted(parts, key=lambda part: part[2]))}
