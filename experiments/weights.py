"""The tables ``one_shot`` and ``tuned`` of lesson 03: pruning without and with tuning, for five nets."""

from __future__ import annotations

import itertools

from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import data, zoo
from xaiprune.prune import find_weights, masked, plan, prune_and_tune, score
from xaiprune.prune.scoring import obd_obs
from xaiprune.training import classification_loss, random_shift

MODEL = "lenet-300-100"
SEEDS = (0, 1, 2, 3, 4)
RATIOS = (0.5, 0.8, 0.9, 0.95)
#: Methods that only mask, by their criterion; OBS also moves the weights that stay.
MASKING = ("l1", "taylor", "fisher", "obd", "random")
#: How the weights are pruned and tuned in turn: chosen on the validation split of training seed 0.
TUNING = {"ratio": 0.95, "schedule": "gradual", "steps": 10, "epochs": 3, "last_epochs": 60, "lr": 3e-3}


def one_shot(seed: int, methods: tuple[str, ...] | None = None, at: Setting = WHOLE) -> list[dict]:
    """Accuracy without any tuning: one row per method and ratio; evidence from the 1,000 calibration images."""
    model = zoo.load(MODEL, seed)
    units, calibration = find_weights(model), at.split(data.mnist, "calibration")
    splits = {name: at.split(data.mnist, name) for name in ("validation", "test")}
    rows = [{"seed": seed, "method": "unpruned", "ratio": 0.0, **_judged(model, splits, at)}]
    for method in methods or (*MASKING, "reversed l1"):
        scores = score(model, units, method.removeprefix("reversed "), calibration)
        scores = scores.reversed() if method.startswith("reversed") else scores
        for ratio in at.some(RATIOS):
            with masked(model, plan(scores, ratio=ratio)):
                rows.append({"seed": seed, "method": method, "ratio": ratio, **_judged(model, splits, at)})
    if methods is None or "obs" in methods:
        rows += _surgeon(model, units, calibration, splits, seed, at)
    return rows


def _judged(model: nn.Module, splits: dict[str, data.Split], at: Setting) -> dict[str, float]:
    return {name: at.judge(model, split) for name, split in splits.items()}


def _surgeon(model, units, calibration, splits, seed: int, at: Setting) -> list[dict]:
    """OBS with the weights judged in turn and all at once, and the same update after a choice by magnitude."""
    names = [group.name for group in units]
    inverse = obd_obs.inverse_fisher(model, calibration, classification_loss, names=names)
    magnitude = score(model, units, "l1")
    rankings = {"obs": obd_obs.obs_in_turn(model, inverse), "obs, all at once": obd_obs.obs(model, inverse)}
    rankings = {name: {n: v.flatten() for n, v in values.items()} for name, values in rankings.items()}
    rankings["l1, then the others answer"] = magnitude.values
    rows = []
    for (method, values), ratio in itertools.product(rankings.items(), at.some(RATIOS)):
        moved = obd_obs.surgery(model, plan(type(magnitude)(method, tuple(units), values), ratio=ratio), inverse)
        rows.append({"seed": seed, "method": method, "ratio": ratio, **_judged(moved, splits, at)})
    return rows


def tuned(seed: int, criterion: str, at: Setting = WHOLE) -> list[dict]:
    """Accuracy with tuning after every step, as ``TUNING`` says; one row, of the last step."""
    model, settings = zoo.load(MODEL, seed), at.trained(TUNING)
    result = prune_and_tune(
        model,
        at.split(data.mnist, "train"),
        at.split(data.mnist, "validation"),
        criterion=criterion,
        augment=random_shift,
        metric=at.metric,
        seed=seed,
        progress=False,
        resume=unfinished(f"tuned-{seed}-{criterion}.pt", CODE),
        **settings,
    )
    last = result.rows[-1]
    row = {"seed": seed, "method": f"tuned {criterion}", "ratio": round(last["ratio"], 4)}
    row |= {"validation": round(last["after"], 3), "test": at.judge(model, at.split(data.mnist, "test"))}
    return [row | {"steps": result.rows}]


CODE = ("criteria of weights", "pruning schedules", "training")
FILES = tuple(f"{MODEL}-seed{seed}.safetensors" for seed in SEEDS)
TABLES = [
    Table(
        "one_shot",
        one_shot,
        [(seed,) for seed in SEEDS],
        code=("Hessian", "OBD and OBS", "criteria of weights", "per-sample gradients"),
        checkpoints=FILES,
        tried=[(0,)],
        at=Setting(images=16, count=1),
        tolerance=0.01,
        processes=2,
    ),
    Table(
        "tuned",
        tuned,
        [*((seed, "l1") for seed in SEEDS), (0, "random")],
        code=CODE,
        checkpoints=FILES,
        tried=[(0, "l1"), (0, "random")],
        at=Setting(images=512, training={"steps": 3, "epochs": 1, "last_epochs": 1}),
        tolerance=0.01,
        processes=2,
    ),
]
