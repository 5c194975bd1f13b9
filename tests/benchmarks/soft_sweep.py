"""The sweep behind the table ``soft``: every method, training seed and sparsity."""

from __future__ import annotations

import itertools
import time
from functools import partial

import joblib
import numpy as np

from xaiprune import data, zoo
from xaiprune.core import files
from xaiprune.experiments import tables
from xaiprune.measure import psnr
from xaiprune.prune import cut, find_units, score, soft
from xaiprune.training import reconstruction_loss

NAME, COMMAND = "soft", "python -m tests.benchmarks.soft --full"
MODEL = "mnist-autoencoder"
SEEDS = (0, 1, 2, 3, 4)
RHOS = (0.5, 0.7, 0.85)  # with the grid
CURVE = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)  # all other methods
LEVELS, IMAGES, RANDOM_SEEDS = 6, 256, 20
#: What the rows depend on. Units, plans and cuts are held by property tests and left out.
MODULES = ("xaiprune.prune.soft", "xaiprune.prune.criteria.slices", "xaiprune.measure.metrics")


def stored() -> list[dict]:
    """Rows of the stored table, refused if the code or a checkpoint is another."""
    return tables.read(NAME)


def problem_factory(seed: int, images: int = IMAGES):
    """The model of a training seed, and a function that makes its problem for a sparsity."""
    model = zoo.load(MODEL, seed)
    validation = data.mnist("validation", images).inputs
    units = find_units(model, validation[:1])
    calibration = data.mnist("calibration")
    by = {
        criterion: score(model, units, criterion, calibration, loss=reconstruction_loss)
        for criterion in ("l1", "l2", "taylor", "fisher")
    }
    return model, by, partial(soft.SoftProblem, model, by["fisher"], validation)


def measure(
    seed: int, rho: float, grid_levels: int | None, test: data.Split | None, images: int = IMAGES, fresh: bool = False
) -> list[dict]:
    """One row per method at one sparsity; the grid only where ``grid_levels`` is given.

    The grid's evaluations are kept in the cache, so that an interrupted sweep goes on; ``fresh`` does without.
    """
    model, by, problem_at = problem_factory(seed, images)
    methods = {"descend": soft.descend, "relax": soft.relax}
    methods |= {"descend from uniform": partial(soft.descend, start="uniform")}
    methods |= {"uniform": soft.uniform, "group norms": soft.by_norm, "all or nothing": soft.all_or_nothing}
    methods |= {f"random {n}": partial(soft.at_random, seed=n) for n in range(RANDOM_SEEDS)}
    methods |= {f"global {name}": partial(soft.global_ranking, scores=by[name]) for name in by}
    if grid_levels:
        table = files.cache_dir() / "grids" / f"{MODEL}-{seed}-{rho}-{grid_levels}-{images}.json"
        methods["grid"] = partial(soft.grid_search, levels=grid_levels, table=None if fresh else table)
    rows = []
    for method, run in methods.items():
        problem = problem_at(rho)  # a new one each time, so that nothing is remembered
        result = run(problem)
        if result is None:
            continue
        row = {"seed": seed, "rho": rho, "method": method, "psnr": round(result.value, 4)}
        row |= {"sparsity": round(result.sparsity, 5), "evaluations": result.evaluations}
        row["coefficients"] = [round(alpha, 4) for alpha in result.coefficients.values()]
        if test is not None:
            row["test"] = round(psnr(cut(model, result.plan), test), 4)
        rows.append(row)
    return rows


def run_all() -> list[dict]:
    """Measure everything in two processes of one thread and write the table; an interrupted run keeps its grids."""
    start, cells = time.perf_counter(), list(itertools.product(SEEDS, CURVE))
    tasks = (joblib.delayed(_cell)(seed, rho) for seed, rho in cells)
    rows = []
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        for (seed, rho), some in zip(cells, joblib.Parallel(return_as="generator")(tasks)):
            rows += some
            print(f"seed {seed}, rho {rho}: {len(rows)} rows, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    files = [f"{MODEL}-seed{seed}.safetensors" for seed in SEEDS]
    tables.write(NAME, rows, command=COMMAND, modules=MODULES, checkpoints=files, seconds=seconds)
    return rows


def _cell(seed: int, rho: float) -> list[dict]:
    return measure(seed, rho, LEVELS if rho in RHOS else None, data.mnist("test"))


def is_baseline(method: str) -> bool:
    """Whether a method is neither the grid nor an optimiser."""
    return method not in ("grid", "descend", "relax", "descend from uniform")


def spread(rows: list[dict], method: str, rho: float, key: str = "psnr") -> tuple[float, float]:
    """Mean and standard deviation over training seeds."""
    values = [row[key] for row in rows if row["method"] == method and row["rho"] == rho]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
