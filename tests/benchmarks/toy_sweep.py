"""The sweep behind the table ``toy``: the toy experiment of Yeom et al. 2021, with five nets on each data set."""

from __future__ import annotations

import itertools
import time

import joblib
from torch import nn

from xaiprune import zoo
from xaiprune.data import samples
from xaiprune.experiments import tables
from xaiprune.measure import accuracy
from xaiprune.prune import CRITERIA, YEOM, find_units, reference_draws
from xaiprune.training import classification_loss, fit, seed_everything

COMMAND = "python -m tests.benchmarks.explanations --full"
SETS, SEEDS, DRAWS, PER_CLASS = ("moons", "circles"), (0, 1, 2, 3, 4), 50, 10
#: The authors' four by the names of their paper, and five of the kit.
KIT = ("gradient", "taylor", "fisher", "relevance", "integrated gradients")
ROWS = {**YEOM, **{f"{name}, this kit": CRITERIA[name] for name in KIT}}
MODULES = (
    *(f"xaiprune.prune.criteria.{name}" for name in ("attribution", "reading", "slices", "yeom")),
    *("xaiprune.explain.relevance", "xaiprune.prune.gates", "xaiprune.prune.reference"),
    *("xaiprune.train", "xaiprune.zoo.mlp"),
)
#: Adam and one cycle in place of the authors' 10,000 epochs of gradient descent: the same training accuracy in seconds.
TRAINING = {"epochs": 30, "lr": 1e-3, "batch_size": 100}


def net(name: str, seed: int) -> nn.Module:
    """A trained network; 2,000 points, as the authors' data files have them."""
    seed_everything(seed)
    model = zoo.toy_mlp()
    fit(model, samples.toy(name), classification_loss, seed=seed, progress=False, **TRAINING)
    return model.eval()


def rows_of(name: str, seed: int, sizes: tuple[int, ...], draws: int = DRAWS, criteria=None) -> list[dict]:
    """Training accuracy after 1,000 of the 3,000 hidden neurons are gone, for fresh reference samples in every draw."""
    model, points = net(name, seed), samples.toy(name)
    units = find_units(model, points.inputs[:1])
    found = reference_draws(
        model,
        units,
        ROWS if criteria is None else criteria,
        lambda size, draw: samples.toy(name, 2 * size, draw),
        lambda model: round(accuracy(model, points), 3),
        sizes=sizes,
        draws=draws,
        progress=False,
        k=1000,
    )
    about = {"data": name, "net": seed, "unpruned": round(accuracy(model, points), 3)}
    return [about | row for row in found]


def stored() -> list[dict]:
    """Rows of the stored table, refused if the code is another."""
    return tables.read("toy")


def run_all() -> list[dict]:
    """Measure everything in two processes of one thread and write the table."""
    jobs = [joblib.delayed(rows_of)(name, seed, (PER_CLASS,)) for name, seed in itertools.product(SETS, SEEDS)]
    jobs += [joblib.delayed(rows_of)(name, 0, (size,)) for name in SETS for size in (1, 2, 5, 50)]
    start, rows = time.perf_counter(), []
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        for some in joblib.Parallel(return_as="generator")(jobs):
            rows += some
            print(f"{some[0]['data']}, net {some[0]['net']}: {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    tables.write("toy", rows, command=COMMAND, modules=MODULES, checkpoints=(), seconds=seconds)
    return rows
