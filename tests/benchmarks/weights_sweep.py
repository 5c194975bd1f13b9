"""The sweeps behind the tables ``one_shot`` and ``tuned``: pruning without and with tuning, for five nets."""

from __future__ import annotations

import itertools
import time

import joblib

from xaiprune import data, zoo
from xaiprune.core import files
from xaiprune.experiments import tables
from xaiprune.measure import accuracy
from xaiprune.prune import find_weights, masked, plan, prune_and_tune, score
from xaiprune.prune.scoring import obd_obs
from xaiprune.training import classification_loss, random_shift

COMMAND = "python -m tests.benchmarks.weights --full"
MODEL = "lenet-300-100"
SEEDS = (0, 1, 2, 3, 4)
RATIOS = (0.5, 0.8, 0.9, 0.95)
#: Methods that only mask, by their criterion; OBS also moves the weights that stay.
MASKING = ("l1", "taylor", "fisher", "obd", "random")
#: What the rows of each table depend on.
MODULES = {
    "one_shot": (
        *(f"xaiprune.prune.curvature.{name}" for name in ("hessian", "per_sample", "saliency")),
        "xaiprune.prune.criteria.weights",
    ),
    "tuned": ("xaiprune.prune.criteria.weights", "xaiprune.prune.schedules", "xaiprune.train"),
}
#: How the weights are pruned and tuned in turn: chosen on the validation split of training seed 0.
TUNING = {"final": 0.95, "schedule": "gradual", "steps": 10, "epochs": 3, "last_epochs": 60, "lr": 3e-3}


def stored() -> list[dict]:
    """Rows of both stored tables, refused if the code or a checkpoint is another."""
    return [row for name in MODULES for row in tables.read(name)]


def one_shot(seed: int, methods: tuple[str, ...] | None = None) -> list[dict]:
    """Accuracy without any tuning: one row per method and ratio; evidence from the 1,000 calibration images."""
    model = zoo.load(MODEL, seed)
    units, calibration = find_weights(model), data.mnist("calibration")
    splits = {name: data.mnist(name) for name in ("validation", "test")}
    rows = [{"seed": seed, "method": "unpruned", "ratio": 0.0, **{n: accuracy(model, s) for n, s in splits.items()}}]
    for method in methods or (*MASKING, "reversed l1"):
        scores = score(model, units, method.removeprefix("reversed "), calibration)
        scores = scores.reversed() if method.startswith("reversed") else scores
        for ratio in RATIOS:
            with masked(model, plan(scores, ratio=ratio)):
                found = {name: accuracy(model, split) for name, split in splits.items()}
            rows.append({"seed": seed, "method": method, "ratio": ratio, **found})
    if methods is None or "obs" in methods:
        rows += _surgeon(model, units, calibration, splits, seed)
    return [row | {name: round(row[name], 3) for name in splits} for row in rows]


def _surgeon(model, units, calibration, splits, seed: int) -> list[dict]:
    """OBS with the weights judged in turn and all at once, and the same update after a choice by magnitude."""
    names = [group.name for group in units]
    inverse = obd_obs.inverse_fisher(model, calibration, classification_loss, names=names)
    magnitude = score(model, units, "l1")
    rankings = {"obs": obd_obs.obs_in_turn(model, inverse), "obs, all at once": obd_obs.obs(model, inverse)}
    rankings = {name: {n: v.flatten() for n, v in values.items()} for name, values in rankings.items()}
    rankings["l1, then the others answer"] = magnitude.values
    rows = []
    for (method, values), ratio in itertools.product(rankings.items(), RATIOS):
        moved = obd_obs.surgery(model, plan(type(magnitude)(method, tuple(units), values), ratio=ratio), inverse)
        found = {name: accuracy(moved, split) for name, split in splits.items()}
        rows.append({"seed": seed, "method": method, "ratio": ratio, **found})
    return rows


def tuned(seed: int, criterion: str, **options) -> list[dict]:
    """Accuracy with tuning after every step, as ``TUNING`` says; one row, of the last step."""
    model = zoo.load(MODEL, seed)
    settings = TUNING | options
    result = prune_and_tune(
        model,
        data.mnist("train"),
        data.mnist("validation"),
        criterion=criterion,
        augment=random_shift,
        seed=seed,
        progress=False,
        resume=files.cache_dir() / "training" / f"tuned-{seed}-{criterion}-{settings['steps']}-{settings['epochs']}.pt",
        **settings,
    )
    test = accuracy(model, data.mnist("test"))
    ratio = result.rows[-1]["ratio"]
    row = {"seed": seed, "method": f"tuned {criterion}", "ratio": round(ratio, 4)}
    return [row | {"validation": round(result.rows[-1]["after"], 3), "test": round(test, 3), "steps": result.rows}]


def run_all() -> list[dict]:
    """Measure everything in two processes of one thread and write both tables."""
    jobs = {
        "one_shot": [joblib.delayed(one_shot)(seed) for seed in SEEDS],
        "tuned": [joblib.delayed(tuned)(seed, "l1") for seed in SEEDS] + [joblib.delayed(tuned)(0, "random")],
    }
    return [row for name, tasks in jobs.items() for row in run(name, tasks)]


def run(name: str, tasks: list) -> list[dict]:
    """Measure one table and write it."""
    start, rows = time.perf_counter(), []
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        for some in joblib.Parallel(return_as="generator")(tasks):
            rows += some
            print(f"{some[0]['method']}, seed {some[0]['seed']}: {time.perf_counter() - start:.0f} s", flush=True)
    files = [f"{MODEL}-seed{seed}.safetensors" for seed in SEEDS]
    seconds = time.perf_counter() - start
    tables.write(name, rows, command=COMMAND, modules=MODULES[name], checkpoints=files, seconds=seconds)
    return rows
