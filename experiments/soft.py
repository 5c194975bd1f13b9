"""The table ``soft`` of lesson 04: every way to find soft coefficients, at every training seed and sparsity."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import data, zoo
from xaiprune.measure import psnr
from xaiprune.prune import cut, find_units, score, soft
from xaiprune.training import reconstruction_loss

MODEL = "mnist-autoencoder"
SEEDS = (0, 1, 2, 3, 4)
RHOS = (0.5, 0.7, 0.85)  # with the grid
CURVE = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)  # all other methods
LEVELS, IMAGES, RANDOM_SEEDS = 6, 256, 20
#: What the rows depend on. Units, plans and cuts are held by property tests and left out.
CODE = ("criteria of slices", "metrics", "soft coefficients")


def problem_factory(seed: int, at: Setting = WHOLE):
    """The model of a training seed, and a function that makes its problem for a sparsity."""
    model = zoo.load(MODEL, seed)
    validation = at.split(data.mnist, "validation", IMAGES).inputs
    units = find_units(model, validation[:1])
    calibration = at.split(data.mnist, "calibration")
    by = {
        criterion: score(model, units, criterion, calibration, loss=reconstruction_loss)
        for criterion in ("l1", "l2", "taylor", "fisher")
    }
    return model, by, partial(soft.SoftProblem, model, by["fisher"], validation)


def measure(seed: int, rho: float, *, fresh: bool = False, at: Setting = WHOLE) -> list[dict]:
    """One row per method at one sparsity; the grid only at some of them.

    The grid's evaluations are kept in the cache, so that an interrupted sweep goes on; ``fresh`` does without.
    """
    model, by, problem_at = problem_factory(seed, at)
    test = at.split(data.mnist, "test")
    methods = {"descend": soft.descend, "relax": soft.relax}
    methods |= {"descend from uniform": partial(soft.descend, start="uniform")}
    methods |= {"uniform": soft.uniform, "group norms": soft.by_norm, "all or nothing": soft.all_or_nothing}
    methods |= {f"random {n}": partial(soft.at_random, seed=n) for n in range(at.few(RANDOM_SEEDS))}
    methods |= {f"global {name}": partial(soft.global_ranking, scores=by[name]) for name in by}
    if rho in RHOS:
        table = None if fresh else unfinished(f"grid-{seed}-{rho}.json", CODE)
        methods["grid"] = partial(soft.grid_search, levels=at.few(LEVELS), table=table, progress=False)
    rows = []
    for method, run in methods.items():
        problem = problem_at(rho)  # a new one each time, so that nothing is remembered
        result = run(problem)
        if result is None:
            continue
        row = {"seed": seed, "rho": rho, "method": method, "psnr": round(result.value, 4)}
        row |= {"sparsity": round(result.sparsity, 5), "evaluations": result.evaluations}
        row["coefficients"] = [round(alpha, 4) for alpha in result.coefficients.values()]
        row["test"] = round(psnr(cut(model, result.plan), test), 4)
        rows.append(row)
    return rows


def is_baseline(method: str) -> bool:
    """Whether a method is neither the grid nor an optimiser."""
    return method not in ("grid", "descend", "relax", "descend from uniform")


def spread(rows: list[dict], method: str, rho: float, key: str = "psnr") -> tuple[float, float]:
    """Mean and standard deviation over training seeds."""
    values = [row[key] for row in rows if row["method"] == method and row["rho"] == rho]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


TABLES = [
    Table(
        "soft",
        measure,
        list(itertools.product(SEEDS, CURVE)),
        code=CODE,
        checkpoints=tuple(f"{MODEL}-seed{seed}.safetensors" for seed in SEEDS),
        tried=[(0, 0.5)],
        at=Setting(images=8, count=2),
        tolerance=0.01,
        processes=2,
    )
]
