"""The table ``dynamic`` of lesson 09: networks made of the pruned MobileNets, and static ones of equal cost.

Where they are missing, the branches are trained and kept as ``data/checkpoints/mobilenet-branch-seed*``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from dataclasses import dataclass

import torch
from torch import nn

from experiments import mobilenet as pruned
from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import distill, dynamic, explain, measure, prune, zoo
from xaiprune.data import FASHION_MNIST_CLASSES, Split, fashion_mnist
from xaiprune.dynamic import Dynamic
from xaiprune.measure import ACCURACY, predict
from xaiprune.training import flip_and_shift

MODEL, SEEDS = pruned.MODEL, pruned.SEEDS
FILES = (f"{MODEL}-seed0.safetensors", *(f"{pruned.PRUNED}-seed{seed}.safetensors" for seed in SEEDS))
#: The branch's layer, sets of classes, training images and their augmented copies.
LAYER, SETS, IMAGES, COPIES = "features.2", 4, 20_000, 4
CLASSES = len(FASHION_MNIST_CLASSES)
#: Widths stay multiples of this, for speed (lesson 05).
ROUND_TO = 16
#: Mean operations over images, as a share of those of the pruned network that all begin with; and so many that with a
#: tail of 0.8 the worst way costs at most 1.1 times the mean.
MEAN, BOUND = 0.55, 0.85
BRANCH = "mobilenet-branch"
TRAINED = {"epochs": 6}
TUNED = {"epochs": 6, "lr": 1e-3, "temperature": 2.0, "alpha": 0.9, "progress": False}
COMPARED = 200


@dataclass(frozen=True)
class Static:
    """The pruned network cut further, alike for all images, to ``mean`` of its operations."""

    mean: float = MEAN


@dataclass(frozen=True)
class Way:
    """A kind of dynamic network; the threshold at which images leave is where the mean operations are as asked.

    Attributes
    ----------
    tail : float
        Share of the tail's operations that is left of it; at 1 nothing is cut, and nothing tuned.
    sets : int
        Of classes, with a tail each.
    by_class : bool
        Whether a tail keeps what its classes need, or what any class needs.
    own : bool
        Whether a tail is tuned on the images that come its way, or on all.
    mean : float
        Operations over images: those of the static network of that mean.
    """

    tail: float
    sets: int = SETS
    by_class: bool = True
    own: bool = True
    mean: float = MEAN


METHODS: dict[str, Way | Static] = {
    "static": Static(),
    "exits": Way(1.0, sets=1),
    "exits, tail of 0.8": Way(0.8, sets=1),
    "exits, tail of 0.7": Way(0.7, sets=1),
    "exits, smaller tail": Way(0.6, sets=1),
    "exits, tail of 0.35": Way(0.35, sets=1),
    "exits, tails by class": Way(0.6),
    "exits, tails alike": Way(0.6, by_class=False),
    "exits, tails by class, all images": Way(0.6, own=False),
    "static, larger": Static(BOUND),
    "exits, larger mean": Way(0.8, sets=1, mean=BOUND),
}
#: The static network beside which each dynamic one stands: of the same mean.
BESIDE = {
    method: next(name for name, other in METHODS.items() if other == Static(way.mean))
    for method, way in METHODS.items()
}
#: Four times the training of the others: a single seed.
COSTLY = "exits, tails by class, all images"


@functools.cache
def said(at: Setting) -> distill.Transfer:
    """What the unpruned network says of augmented copies."""
    images = at.split(fashion_mnist, "train", IMAGES)
    return distill.transfer(teacher(at), images, copies=COPIES, augment=flip_and_shift)


@functools.cache
def teacher(at: Setting) -> nn.Module:
    """The unpruned network."""
    return at.teacher(zoo.load(MODEL), fashion_mnist("calibration", 1).inputs)


@functools.cache
def branch(seed: int) -> nn.Module:
    """A branch of a pruned network: the shipped one, or made and kept."""
    start, trunk = time.perf_counter(), trunk_of(seed)
    with contextlib.suppress(FileNotFoundError):
        return zoo.load_weights(dynamic.Branch(channels(trunk), CLASSES), BRANCH, seed)
    made, settings = made_branch(seed, WHOLE), {**TRAINED, "seed": seed}
    facts = {"name": BRANCH, "command": TABLES[0].command, "data": "fashion_mnist"}
    facts |= {"train_images": IMAGES, "copies": COPIES, "of": f"{pruned.PRUNED}-seed{seed}", "behind": LAYER}
    facts |= {**settings, "metric": ACCURACY.name}
    for name in ("validation", "test"):
        facts[name] = WHOLE.judge(nn.Sequential(trunk, made), fashion_mnist(name))
    facts["minutes"] = round((time.perf_counter() - start) / 60, 1)
    zoo.save_card(made, zoo.save_weights(made, BRANCH, seed), facts)
    return made


def trunk_of(seed: int) -> nn.Module:
    """What a pruned network does before its branch."""
    return dynamic.split_at(pruned.load_pruned(seed), LAYER).trunk


def channels(trunk: nn.Module) -> int:
    """What a branch takes."""
    with torch.no_grad():
        return trunk(fashion_mnist("calibration", 1).inputs).shape[1]


def made_branch(seed: int, at: Setting) -> nn.Module:
    """A branch that is trained on the labels of the same copies."""
    known = said(at)
    copies = Split(known.inputs.flatten(0, 1), known.targets.repeat(len(known.inputs)))
    options = {**at.trained(TRAINED), "seed": seed, "progress": False}
    options.pop("batch_size", None)  # fit_branch has its own
    return dynamic.fit_branch(trunk_of(seed), copies, classes=CLASSES, **options)


def smaller(seed: int, mean: float, at: Setting = WHOLE) -> nn.Module:
    """A static one, cut and not yet tuned."""
    model, calibration = pruned.load_pruned(seed), at.split(fashion_mnist, "calibration")
    scores, costs = pruned.ranked(model, calibration)
    chosen = prune.plan(scores, cost_target=mean, costs=costs, round_to=ROUND_TO)
    return prune.recalibrate(prune.cut(model, chosen), calibration.inputs)


def routed(way: Way, seed: int, at: Setting = WHOLE) -> Dynamic:
    """A dynamic one of at most the operations of the static one of its mean, on average; not yet tuned."""
    model = pruned.load_pruned(seed)
    calibration, validation = (at.split(fashion_mnist, name) for name in ("calibration", "validation"))
    goal = measure.macs(smaller(seed, way.mean, at), validation.inputs[:1])
    (trunk, whole), early = dynamic.split_at(model, LAYER), branch(seed)
    logits = predict(nn.Sequential(trunk, early), validation.inputs)
    sure, image = logits.softmax(1).amax(1), validation.inputs[:1]
    with torch.no_grad():
        features = trunk(image)
    first, rest = measure.macs(trunk, image) + measure.macs(early, features), measure.macs(whole, features)
    staying = (goal - first) / (way.tail * rest)
    sets = dynamic.class_sets(logits, way.sets, surest=sure.quantile(staying).item())
    tails = [whole]
    if way.tail < 1:
        units = dynamic.groups_behind(model, prune.find_units(model, image), LAYER)
        scores = dynamic.class_scores(model, units, calibration, classes=CLASSES, criterion="relevance")
        if not way.by_class:
            scores = [dynamic.set_scores(scores, range(CLASSES))] * CLASSES
        tails = dynamic.cut_tails(model, LAYER, sets, scores, calibration, cost_target=way.tail, round_to=ROUND_TO)
    done = Dynamic(trunk, early, tails, sets, 1.0)
    done.threshold = affordable(done, logits, [first + measure.macs(tail, features) for tail in tails], first, goal)
    return done


def affordable(model: Dynamic, logits: torch.Tensor, costs: list[int], first: int, goal: int) -> float:
    """The highest threshold at which images cost no more than asked on average."""
    sure, ways = logits.softmax(1).amax(1), model.route(logits)
    order = sure.argsort()  # the first to stay are the least sure
    spent = (torch.tensor(costs)[ways[order]] - first).cumsum(0)
    staying = int((spent <= (goal - first) * len(order)).sum())
    return 1.0 if staying == len(order) else sure[order[staying]].item()


def row(method: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """One network, judged on test images."""
    test, validation = (at.split(fashion_mnist, name) for name in ("test", "validation"))
    way, tuned = METHODS[method], at.trained(TUNED)
    if isinstance(way, Static):
        model = smaller(seed, way.mean, at)
        distill.distill(teacher(at), model, said(at), None, seed=seed, **tuned)
    else:
        model = routed(way, seed, at)
        if way.tail < 1:
            everything = [range(CLASSES)]  # a tail that is the only one is tuned on all images
            alone = [Dynamic(model.trunk, model.branch, [tail], everything, 1.0) for tail in model.tails]
            for network in [model] if way.own else alone:
                dynamic.tune_tails(network, teacher(at), said(at), seed=seed, **tuned)
    original, image = zoo.load(MODEL), test.inputs[:1]
    whole = measure.macs(original, image)
    found = {"method": method, "seed": seed}
    if isinstance(way, Static):
        spent = dict.fromkeys(("mean", "worst"), measure.macs(model, image))
        found |= {"left": 0.0}
    else:
        spent = dynamic.route_macs(model, test.inputs)
        found |= {"left": round(model.shares(test.inputs)[dynamic.EXIT], 4), "sets": [list(s) for s in model.sets]}
        early = nn.Sequential(model.trunk, model.branch)
        found |= {"threshold": round(model.threshold, 5), "branch": at.judge(early, test)}
    found |= {"macs": round(spent["mean"] / whole, 4), "worst": round(spent["worst"] / whole, 4)}
    found |= {"validation": at.judge(model, validation, in_sample=True), "test": at.judge(model, test)}
    drift = explain.drift(original, model, test.inputs[: at.few(COMPARED)], method="occlusion")
    return [found | {"drift": round(drift.value, 4)}]


def probed(method: str, seed: int, at: Setting) -> list[dict]:
    """A row, or that of a branch that is made anew."""
    if method != BRANCH:
        return row(method, seed, at)
    model, test = nn.Sequential(trunk_of(seed), made_branch(seed, at)), at.split(fashion_mnist, "test")
    return [{"method": method, "seed": seed, "test": at.judge(model, test)}]


TABLES = [
    Table(
        "dynamic",
        row,
        [(method, seed) for seed, method in itertools.product(SEEDS, METHODS) if seed == 0 or method != COSTLY],
        code=("distillation", "drift", "dynamic networks", "training"),
        checkpoints=FILES,
        tried=[(method, 0) for method in (BRANCH, "static", "exits, tails by class")],
        at=Setting(images=96, count=4, training={"epochs": 1, "batch_size": 8}),
        probed=probed,
        tolerance=0.03,
        processes=2,
    )
]
