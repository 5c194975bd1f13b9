"""The stored runs behind lesson 06: pruned transformers, and how long each ranking of heads and neurons holds.

``run_all`` writes ``data/checkpoints/vit-pruned-*`` and the tables ``vit_*``; its parts run side by side, a core each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from torch import nn

from tests.benchmarks import stored
from xaiprune import distill, zoo
from xaiprune.core import files
from xaiprune.data import fashion_mnist
from xaiprune.experiments import tables
from xaiprune.measure import accuracy, fairness
from xaiprune.nn import vit
from xaiprune.prune import (
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
    rate_curve,
    save_cut,
    score,
)
from xaiprune.training import flip_and_shift, tune

COMMAND = "python -m tests.benchmarks.vit --full"
MODEL, SEEDS = "vit-fashion-mnist", (0, 1, 2)
#: How the shipped models were pruned: by masks that were learned, or by relevance.
METHODS = ("masks", "relevance")
#: Share of the operations that is left; images that masks are learned on and that relevance is measured on.
TARGET, LEARNED_ON, SCORED_ON = 0.5, 8000, 500
TUNING = {"epochs": 5, "lr": 1e-3, "augment": partial(flip_and_shift, pixels=1), "progress": False}

#: Rankings whose curves are stored; those of one group of units alone are in the second row.
CRITERIA = (
    *("attnlrp", "attnlrp-gamma", "cp-lrp", "z-plus", "integrated-gradients", "taylor", "fisher"),
    *("l2", "activation", "random"),
)
OF_HEADS = ("attention-entropy", "confidence")
KINDS: dict[str, Callable[[nn.Module], list[UnitGroup]]] = {"heads": find_heads, "neurons": find_neurons}
DRAWS, JUDGED = 20, 500

#: Masks on neurons against a planted bias: weights of the term that asks for evenness (0 is the control), share of the
#: operations that is left, and how the masks are learned: on training images without the bias.
BIASED, EVENNESS, EVEN_TARGET, EVEN_ON = "vit-biased", (0.0, 1.0), 0.75, 9000
LEARNING = {"epochs": 4, "batch_size": 128, "progress": False}

MODULES = {
    "vit_pruned": tuple(f"xaiprune.prune.{name}" for name in ("gates", "masks", "recover", "targets")),
    "vit_curves": (
        *(f"xaiprune.prune.criteria.{name}" for name in ("attribution", "heads", "reading", "slices")),
        *("xaiprune.prune.gates", "xaiprune.prune.rates"),
    ),
    "vit_fairness": ("xaiprune.fairness", *(f"xaiprune.prune.{name}" for name in ("gates", "masks", "targets"))),
}


def units_and_costs(model: nn.Module) -> tuple[list[UnitGroup], Costs]:
    """Heads and neurons, and what they cost in operations."""
    units = find_heads(model) + find_neurons(model)
    return units, mac_costs(model, units, fashion_mnist("calibration", 1).images)


def planned(method: str, seed: int) -> Plan:
    """The plan of one of the shipped models; that of relevance does not depend on the seed."""
    model = zoo.load(MODEL)
    units, costs = units_and_costs(model)
    if method == "masks":
        masks = learn_masks(
            model, units, fashion_mnist("train", LEARNED_ON), costs, target=TARGET, seed=seed, progress=False
        )
        return plan(masks.scores, target=TARGET, costs=costs)
    scores = score(model, units, "attnlrp", fashion_mnist("calibration", SCORED_ON))
    return plan(scores.normalised("mean"), target=TARGET, costs=costs)


def pruned(method: str, seed: int) -> list[dict]:
    """One of the shipped models: cut to half of the operations at once, then tuned towards the original's answers."""
    start = time.perf_counter()
    model, validation, test = zoo.load(MODEL), fashion_mnist("validation"), fashion_mnist("test")
    chosen = planned(method, seed)
    smaller = cut(model, chosen)
    row = {"method": method, "seed": seed, "macs": round(units_and_costs(model)[1].share(chosen), 4)}
    row |= {"cut": round(accuracy(smaller, validation), 3)}
    tune(
        smaller,
        fashion_mnist("train"),
        validation,
        loss=distill.towards(distill.freeze(model)),
        seed=seed,
        resume=state_file(f"vit-pruned-{method}-{seed}"),
        **TUNING,
    )
    save_cut(smaller, chosen, checkpoint(method, seed))
    row |= {"validation": round(accuracy(smaller, validation), 3), "test": round(accuracy(smaller, test), 3)}
    return [row | {"minutes": round((time.perf_counter() - start) / 60, 1)}]


def state_file(name: str):
    """Where an unfinished run keeps what it has."""
    return files.cache_dir() / "training" / f"{name}-{tables.code_version(__name__, *MODULES['vit_pruned'])}.pt"


def checkpoint(method: str, seed: int):
    """Where a shipped model lies, without an ending."""
    return files.data_dir() / "checkpoints" / f"vit-pruned-{method}-seed{seed}"


def load_pruned(method: str, seed: int = 0) -> nn.Module:
    """One of the shipped models."""
    return load_cut(vit.VisionTransformer, checkpoint(method, seed))


def curve(kind: str, criterion: str, seed: int) -> list[dict]:
    """Validation accuracy without tuning, at 20 pruning rates."""
    model = zoo.load(MODEL)
    scores = score(model, KINDS[kind](model), criterion, fashion_mnist("calibration", SCORED_ON), seed=seed)
    found = rate_curve(model, scores, fashion_mnist("validation", JUDGED))
    row = {"kind": kind, "criterion": criterion, "seed": seed, "a_pr": round(found.a_pr, 3), "top_pr": found.top_pr}
    return [row | {"values": [round(value, 2) for value in found.values]}]


def even_masks(weight: float, seed: int) -> list[dict]:
    """A plan for the biased model, by masks learned without the bias, and what it does on validation images."""
    model, known, validation = zoo.load(BIASED), fashion_mnist("train", EVEN_ON), fashion_mnist("validation")
    units = find_neurons(model)
    costs = mac_costs(model, units, known.images[:1])
    masks = learn_masks(
        model,
        units,
        fairness.paired(known, fairness.brighter(known)),
        costs,
        target=EVEN_TARGET,
        loss=fairness.even_loss(weight),
        seed=seed,
        **LEARNING,
    )
    chosen = plan(masks.scores, target=EVEN_TARGET, costs=costs)
    with masked(model, chosen):
        found = fairness.fairness_of(model, validation, fairness.brighter(validation))
    row = {"weight": weight, "seed": seed, "macs": round(costs.share(chosen), 4)}
    removed = {name: units.tolist() for name, units in chosen.removed.items()}
    return [row | {name: round(value, 4) for name, value in found.items()} | {"removed": removed}]


def even_plans(weight: float) -> list[Plan]:
    """The stored plans against the bias, one per seed."""
    units = tuple(find_neurons(zoo.load(BIASED)))
    return [Plan(units, row["removed"]) for row in tables.where(tables.read("vit_fairness"), weight=weight)]


def jobs() -> dict[str, tuple[Callable, list[tuple]]]:
    """The parts of each table: a function and its arguments."""
    points = [(kind, name, 0) for kind in KINDS for name in CRITERIA if name != "random"]
    points += [("heads", name, 0) for name in OF_HEADS]
    points += [(kind, "random", seed) for kind in KINDS for seed in range(DRAWS)]
    return {
        "vit_pruned": (pruned, [(method, seed) for seed in SEEDS for method in METHODS]),
        "vit_curves": (curve, points),
        "vit_fairness": (even_masks, [(weight, seed) for weight in EVENNESS for seed in range(3)]),
    }


def run_all() -> None:
    """Measure everything and write the tables."""
    for name in MODULES:
        run(name)


def run(name: str) -> list[dict]:
    """Measure one table and write it, two parts at a time."""
    function, parts = jobs()[name]
    files = [f"{BIASED if name == 'vit_fairness' else MODEL}-seed0.safetensors"]
    if name == "vit_pruned":
        files += [f"{checkpoint(*part).name}.safetensors" for part in parts]
    return stored.make(
        name,
        function,
        parts,
        settings=__name__,
        command=COMMAND,
        modules=MODULES[name],
        files=files,
        processes=2,
    )
