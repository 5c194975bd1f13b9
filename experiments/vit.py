"""Tables of lesson 06: pruned transformers, and how long each ranking of heads and neurons holds.

``vit_pruned`` writes ``data/checkpoints/vit-pruned-*`` too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import distill, zoo
from xaiprune.data import fashion_mnist
from xaiprune.experiments import tables
from xaiprune.measure import fairness
from xaiprune.nn import vit
from xaiprune.prune import (
    RATIOS,
    Costs,
    Plan,
    UnitGroup,
    cut,
    find_heads,
    find_neurons,
    learn_masks,
    load_cut,
    mac_costs,
    masked,
    plan,
    ratio_curve,
    save_cut,
    score,
)
from xaiprune.training import flip_and_shift, tune

MODEL, SEEDS = "vit-fashion-mnist", (0, 1, 2)
#: How the shipped models were pruned: by masks that were learned, or by relevance.
METHODS = ("masks", "relevance")
#: Share of the operations that is left; images that masks are learned on and that relevance is measured on.
TARGET, LEARNED_ON, SCORED_ON = 0.5, 8000, 500
TUNING = {"epochs": 5, "lr": 1e-3, "augment": partial(flip_and_shift, pixels=1), "progress": False}

#: Rankings whose curves are stored; those of one group of units alone are in the second row.
CRITERIA = (
    *("attnlrp", "attnlrp-gamma", "cp-lrp", "z-plus", "integrated gradients", "taylor", "fisher"),
    *("l2", "activation", "random"),
)
OF_HEADS = ("attention-entropy", "confidence")
KINDS: dict[str, Callable[[nn.Module], list[UnitGroup]]] = {"heads": find_heads, "neurons": find_neurons}
DRAWS, JUDGED = 20, 500

#: Masks on neurons against a planted bias: weights of the term that asks for evenness (0 is the control), share of the
#: operations that is left, and how the masks are learned: on training images without the bias.
BIASED, EVENNESS, EVEN_TARGET, EVEN_ON = "vit-biased", (0.0, 1.0), 0.75, 9000
LEARNING = {"epochs": 4, "batch_size": 128, "progress": False}

#: What the shipped models depend on.
CODE = ("gates", "learned masks", "plans by cost", "recovery")


def units_and_costs(model: nn.Module) -> tuple[list[UnitGroup], Costs]:
    """Heads and neurons, and what they cost in operations."""
    units = find_heads(model) + find_neurons(model)
    return units, mac_costs(model, units, fashion_mnist("calibration", 1).inputs)


def planned(method: str, seed: int, at: Setting) -> Plan:
    """The plan of one of the shipped models; that of relevance does not depend on the seed."""
    model = zoo.load(MODEL)
    units, costs = units_and_costs(model)
    if method == "masks":
        known, options = at.split(fashion_mnist, "train", LEARNED_ON), at.trained({"progress": False})
        masks = learn_masks(model, units, known, costs, cost_target=TARGET, seed=seed, **options)
        return plan(masks.scores, cost_target=TARGET, costs=costs)
    scores = score(model, units, "attnlrp", at.split(fashion_mnist, "calibration", SCORED_ON))
    return plan(scores.normalised("mean"), cost_target=TARGET, costs=costs)


def pruned(method: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """One of the shipped models: cut to half of the operations at once, then tuned towards the original's answers."""
    start = time.perf_counter()
    model = zoo.load(MODEL)
    train, validation, test = (at.split(fashion_mnist, name) for name in ("train", "validation", "test"))
    chosen = planned(method, seed, at)
    smaller = cut(model, chosen)
    row = {"method": method, "seed": seed, "macs": round(units_and_costs(model)[1].share(chosen), 4)}
    row |= {"cut": at.judge(smaller, validation)}
    tune(
        smaller,
        train,
        validation,
        loss=distill.distillation_loss(distill.freeze(model)),
        metric=at.metric,
        seed=seed,
        resume=unfinished(f"vit-pruned-{method}-{seed}.pt", CODE),
        **at.trained(TUNING),
    )
    save_cut(smaller, chosen, checkpoint(method, seed, at))
    row |= {"validation": at.judge(smaller, validation, in_sample=True), "test": at.judge(smaller, test)}
    return [row | {"minutes": round((time.perf_counter() - start) / 60, 1)}]


def checkpoint(method: str, seed: int, at: Setting = WHOLE):
    """Where a shipped model lies, without an ending."""
    return at.checkpoints / f"vit-pruned-{method}-seed{seed}"


def load_pruned(method: str, seed: int = 0) -> nn.Module:
    """One of the shipped models."""
    return load_cut(vit.VisionTransformer, checkpoint(method, seed))


def curve(kind: str, criterion: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Validation accuracy without tuning, at 20 pruning rates."""
    model, evidence = zoo.load(MODEL), at.split(fashion_mnist, "calibration", SCORED_ON)
    scores = score(model, KINDS[kind](model), criterion, evidence, seed=seed)
    judged, rates = at.split(fashion_mnist, "validation", JUDGED), (0.0, *at.some(RATIOS[1:]))
    found = ratio_curve(model, scores, judged, ratios=rates, metric=at.metric)
    row = {"kind": kind, "criterion": criterion, "seed": seed, "a_pr": round(found.a_pr, 3), "top_pr": found.top_pr}
    return [row | {"values": [round(value, 2) for value in found.values]}]


def even_masks(weight: float, seed: int, at: Setting = WHOLE) -> list[dict]:
    """A plan for the biased model, by masks learned without the bias, and what it does on validation images."""
    model, known = zoo.load(BIASED), at.split(fashion_mnist, "train", EVEN_ON)
    validation = at.split(fashion_mnist, "validation")
    units = find_neurons(model)
    costs = mac_costs(model, units, known.inputs[:1])
    masks = learn_masks(
        model,
        units,
        fairness.paired(known, fairness.brighter(known)),
        costs,
        cost_target=EVEN_TARGET,
        loss=fairness.even_loss(weight),
        seed=seed,
        **at.trained(LEARNING),
    )
    chosen = plan(masks.scores, cost_target=EVEN_TARGET, costs=costs)
    with masked(model, chosen):
        found = fairness.fairness_of(model, validation, fairness.brighter(validation))
    row = {"weight": weight, "seed": seed, "macs": round(costs.share(chosen), 4)}
    removed = {name: units.tolist() for name, units in chosen.removed.items()}
    return [row | {name: round(value, 4) for name, value in found.items()} | {"removed": removed}]


def even_plans(weight: float) -> list[Plan]:
    """The stored plans against the bias, one per seed."""
    units = tuple(find_neurons(zoo.load(BIASED)))
    return [Plan(units, row["removed"]) for row in tables.where(tables.read("vit_fairness"), weight=weight)]


_POINTS = [(kind, name, 0) for kind in KINDS for name in CRITERIA if name != "random"]
_POINTS += [("heads", name, 0) for name in OF_HEADS]
_POINTS += [(kind, "random", seed) for kind in KINDS for seed in range(DRAWS)]
_FILE, _PRUNED = f"{MODEL}-seed0.safetensors", [(method, seed) for seed in SEEDS for method in METHODS]
TABLES = [
    Table(
        "vit_pruned",
        pruned,
        _PRUNED,
        code=CODE,
        checkpoints=(_FILE, *(f"{checkpoint(*part).name}.safetensors" for part in _PRUNED)),
        tried=[(method, 0) for method in METHODS],
        at=Setting(images=64, training={"epochs": 1, "batch_size": 16}),
        processes=2,
    ),
    Table(
        "vit_curves",
        curve,
        _POINTS,
        code=(
            *("criteria by attribution", "criteria of heads", "criteria of slices", "gates"),
            *("pruning rates", "reading of models"),
        ),
        checkpoints=(_FILE,),
        tried=[
            *(("heads", name, 0) for name in (*CRITERIA, *OF_HEADS)),
            *(("neurons", name, 1) for name in ("attnlrp", "fisher", "l2", "activation", "random")),
        ],
        at=Setting(images=8, count=6),
        processes=2,
    ),
    Table(
        "vit_fairness",
        even_masks,
        [(weight, seed) for weight in EVENNESS for seed in range(3)],
        code=("fairness", "gates", "learned masks", "plans by cost"),
        checkpoints=(f"{BIASED}-seed0.safetensors",),
        tried=[(weight, 0) for weight in EVENNESS],
        at=Setting(images=256, training={"epochs": 1}),
        processes=2,
    ),
]
