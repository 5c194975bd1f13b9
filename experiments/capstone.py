"""Tables of lesson 10: orders of operations, and MobileNet through a whole recipe.

``recipe`` writes its last stage as ``data/checkpoints/mobilenet-recipe``, too.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time

import torch
from torch import nn

from experiments.recovery import four_bits
from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import quantize, zoo
from xaiprune.core import files
from xaiprune.data import Split, fashion_mnist
from xaiprune.measure import ACCURACY
from xaiprune.pipeline import (
    Budget,
    Distill,
    OutOfBudgetError,
    Prune,
    Quantize,
    Round,
    Stage,
    Step,
    Tune,
    Work,
    compress,
    save_stage,
)
from xaiprune.pipeline.store import KERNELS, WEIGHTS
from xaiprune.training import TrainOptions

MODEL, SEEDS = "mobilenet-fashion-mnist", (0, 1, 2)
FILES = (f"{MODEL}-seed0.safetensors",)
#: What the rows of each table depend on.
CODE = {"orders": ("distillation", "recipe steps", "recovery", "training")}
CODE["recipe"] = (*CODE["orders"], "drift", "integer kernels", "latency", "runtimes")
#: Images that the orders are tried on, so that an order takes minutes; and those whose heatmaps are compared.
IMAGES, EXPLAINED = 10_000, 40
#: Every order leaves half of every layer's channels in numbers of 4 bits, and has three epochs in all.
CUT, FEW = Prune(ratio=0.5, scope="uniform"), Round(4)
HALFWAY = Prune(ratio=0.3, scope="uniform")


@dataclasses.dataclass(frozen=True, repr=False)
class Renew(Step):
    """New weights in the place of those that are left: a student of the same widths, that nothing was cut for."""

    def apply(self, stage: Stage, work: Work) -> Stage:
        """The stage with new weights."""
        torch.manual_seed(work.seed)
        for module in stage.model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return stage


@dataclasses.dataclass(frozen=True, repr=False)
class Aware(Distill):
    """Training in which the weights are rounded whenever they are read; those that it leaves lie on their grids."""

    def train(self, model: nn.Module, work: Work, options: TrainOptions) -> None:
        """Train a model in place."""
        with four_bits(quantize.quantized_layers(model).values()):
            super().train(model, work, options)


def taught(epochs: int, step: type[Tune] = Distill) -> Tune:
    """Training as all orders have it."""
    return step(epochs=epochs, lr=2e-3, augment="flip and shift")


#: All but the first two train for three epochs, behind the cut: before it the original would be its own teacher.
ORDERS: dict[str, tuple[Step, ...]] = {
    "prune, quantize": (CUT, FEW),
    "quantize, prune": (FEW, CUT),
    "prune, distil, quantize": (CUT, taught(3), FEW),
    "prune, tune on labels, quantize": (CUT, taught(3, Tune), FEW),
    "prune, distil, prune, distil, quantize": (HALFWAY, taught(1), Prune(ratio=2 / 7, scope="uniform"), taught(2), FEW),
    "prune, distil while quantizing": (CUT, taught(3, Aware), FEW),
    "new weights, distil, quantize": (CUT, Renew(), taught(3), FEW),
}
#: Those that draw nothing are run once.
ONCE = ("prune, quantize", "quantize, prune")

#: The whole recipe for MobileNet: blocks, then widths, the original's answers after each, integers.
TAUGHT = {"lr": 3e-3, "augment": "flip and shift", "temperature": 2.0}
RECIPE = (
    Prune(k=9, units="blocks", criterion="ablation", ranks=False),
    Distill(epochs=2, **TAUGHT),
    Prune(cost_target=0.4, round_to=16),
    Distill(epochs=13, **TAUGHT),
    Quantize(first_in_float=1),
)
BUDGET = Budget(size=1 / 8, latency=1 / 3, accuracy=1.0, drift=0.3)
STAGE = "mobilenet-recipe"


def splits(at: Setting, count: int | None = None) -> dict[str, Split]:
    """What recipes work with."""
    counts = {"train": count, "validation": None, "calibration": None}
    return {name: at.split(fashion_mnist, name, some) for name, some in counts.items()}


def options(at: Setting, seed: int, repeats: int) -> dict:
    """How recipes are run."""
    found = {"metric": at.metric, "explained": at.few(EXPLAINED), "seed": seed, "repeats": at.few(repeats)}
    return found | {"progress": False}


def shortened(steps: tuple[Step, ...], at: Setting) -> tuple[Step, ...]:
    """Steps whose numbers are those of a setting."""
    return tuple(
        dataclasses.replace(step, **{name: value for name, value in at.training.items() if getattr(step, name, None)})
        for step in steps
    )


def order(name: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """One order of operations."""
    start, model = time.perf_counter(), at.network(zoo.load(MODEL))
    folder = unfinished(f"orders-seed{seed}", CODE["orders"])  # orders that begin alike share what they begin with
    steps = shortened(ORDERS[name], at)
    done = compress(model, splits(at, IMAGES), steps, folder=folder, **options(at, seed, repeats=1))
    parameters = sum(p.numel() for p in done.model.parameters())
    row = {"order": name, "seed": seed, "parameters": parameters, "megabytes": round(parameters * FEW.bits / 8e6, 4)}
    row |= {key: round(done.spent[key], 4) for key in ("accuracy", "drift")}
    row |= {"test": at.judge(done.model, at.split(fashion_mnist, "test"))}
    return [row | {"minutes": round((time.perf_counter() - start) / 60, 1)}]


def recipe(seed: int, at: Setting = WHOLE) -> list[dict]:
    """MobileNet through the whole recipe; a row per step."""
    start, model = time.perf_counter(), at.network(zoo.load(MODEL))
    folder, steps = unfinished(STAGE, CODE["recipe"]), shortened(RECIPE if at.whole else RECIPE[-3:], at)
    try:
        done = compress(model, splits(at), steps, BUDGET, folder=folder, **options(at, seed, repeats=40))
    except OutOfBudgetError as error:
        done = error.nearest
    place, test = at.checkpoints / STAGE, at.split(fashion_mnist, "test")
    save_stage(done.stage, place)
    rows = [{key: value if key == "step" else round(value, 4) for key, value in row.items()} for row in done.rows]
    rows[-1] |= {"test": at.judge(done.model, test), "original": at.judge(model, test)}
    minutes = round((time.perf_counter() - start) / 60, 1)
    facts = {"name": STAGE, "command": TABLES[-1].command, "of": MODEL, "steps": list(map(repr, RECIPE))}
    facts |= {"data": "fashion_mnist", "seed": seed, "metric": ACCURACY.name, "test": rows[-1]["test"]}
    facts |= {"minutes": minutes, "kernels_sha256": files.sha256(place / KERNELS)}
    zoo.save_card(done.model.made_from, place / WEIGHTS, facts)
    return [row | {"seed": seed, "over": json.dumps(done.over), "minutes": minutes} for row in rows]


TABLES = [
    Table(
        "orders",
        order,
        [(name, seed) for seed, name in itertools.product(SEEDS, ORDERS) if seed == 0 or name not in ONCE],
        code=CODE["orders"],
        checkpoints=FILES,
        tried=[("prune, tune on labels, quantize", 0)],
        at=Setting(images=48, count=3, blocks=2, training={"epochs": 1, "batch_size": 24}),
        tolerance=0.01,
        processes=2,
    ),
    Table(
        "recipe",
        recipe,
        [(0,)],
        code=CODE["recipe"],
        checkpoints=FILES,
        tried=[(0,)],
        at=Setting(images=48, count=8, blocks=2, training={"epochs": 1, "batch_size": 12}),
        tolerance=0.03,
        processes=2,
    ),
]
