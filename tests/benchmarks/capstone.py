"""All together: dynamic networks, orders, a whole recipe, a sweep on Dask, and the minutes of the course.

``python -m tests.benchmarks.capstone`` times what runs and reads the rest from the tables ``dynamic``, ``orders``
and ``recipe``; ``--quick`` leaves out Dask and the lessons.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time

import torch

from experiments import capstone as recipes
from experiments import dynamic as routes
from tests.benchmarks.report import Figure, main
from xaiprune import dynamic, measure, pipeline, prune, zoo
from xaiprune.core import files
from xaiprune.course import runner
from xaiprune.data import fashion_mnist, mnist
from xaiprune.deploy import Frozen
from xaiprune.experiments import on_dask, sweep, tables
from xaiprune.measure import accuracy
from xaiprune.prune.soft import SoftProblem, combinations

#: Seconds that the sweep takes on one worker, at least.
LONG = 60


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    torch.manual_seed(0)
    figures = dynamic_figures() + speed_figures(60 if arguments.quick else 400)
    print_orders()
    figures += recipe_figures(20 if arguments.quick else 100)
    return figures if arguments.quick else figures + dask_figures() + course_figures()


def dynamic_figures() -> list[Figure]:
    """Dynamic networks beside static ones of the same mean operations; three seeds, one where tails see all images."""
    rows, mean = tables.read("dynamic"), {}
    columns = ("macs", "worst", "left", "test", "drift")
    print(f"{'network':<42}", *(f"{column:>8}" for column in columns))
    for method in routes.METHODS:
        mine = tables.where(rows, method=method)
        mean[method] = {column: statistics.fmean(row[column] for row in mine) for column in columns}
        print(f"{method:<42}", *(f"{mean[method][column]:>8.3f}" for column in columns))
    print()
    whole, figures = accuracy(zoo.load(routes.MODEL), fashion_mnist("test")), []
    image = fashion_mnist("test", 1).inputs
    began = measure.macs(routes.pruned.load_pruned(0), image) / measure.macs(zoo.load(routes.MODEL), image)
    for method in (*TOLD, routes.COSTLY):
        ours, static = mean[method], mean[routes.BESIDE[method]]
        figures += [
            Figure(f"{method}: points below the unpruned network", 0.5, whole - ours["test"], "<=", "points"),
            Figure("mean operations over the static network's", 1.0, ours["macs"] / static["macs"], "<="),
            Figure("points above the static network", 0.0, ours["test"] - static["test"], ">=", "points"),
            Figure("worst way's operations over those of the pruned network", 1.1, ours["worst"] / began, "<="),
            Figure("worst way's operations over the static network's", 1.1, ours["worst"] / static["macs"], "<="),
        ]
    return figures


#: The dynamic networks whose figures are told.
TOLD = ("exits", "exits, tail of 0.8", "exits, tail of 0.7", "exits, larger mean", "exits, tails by class")


def speed_figures(repeats: int) -> list[Figure]:
    """Times of its ways, one image in ONNX Runtime, beside the unpruned network and static ones; tails not tuned."""
    test = fashion_mnist("test")
    others = {"unpruned": zoo.load(routes.MODEL), "pruned": routes.pruned.load_pruned(0)}
    figures, compared = [], {"unpruned": "unpruned network", "pruned": "pruned network that it was made of"}
    compared["static"] = "static one of its mean operations"
    for method in TOLD:
        way = routes.METHODS[method]
        model, others["static"] = routes.routed(way, 0), routes.smaller(0, way.mean)
        ways, times = dynamic.route_latencies(model, test.inputs, others, repeats=repeats)
        print(method)
        for name, took in times.items():
            print(f"  {name:<24}{took.median:7.3f} ms")
        print(f"  {'mean':<24}{ways['mean']:7.3f} ms\n  {'worst':<24}{ways['worst']:7.3f} ms\n")
        saved = 1 - ways["mean"] / times["unpruned"].median
        figures.append(Figure(f"{method}: mean latency saved of the unpruned network's", 0.3, saved, ">="))
        for name, words in compared.items():
            over = ways["worst"] / times[name].median
            figures.append(Figure(f"worst way over the {words}", 1.1, over, "<=", "times"))
    return figures


def print_orders() -> None:
    """The same steps in several orders, at one size."""
    rows = tables.read("orders")
    for name in dict.fromkeys(row["order"] for row in rows):
        mine = tables.where(rows, order=name)
        counts = [row["test"] for row in mine]
        drift = statistics.fmean(row["drift"] for row in mine)
        spread = f"({min(counts)} to {max(counts)})"
        print(f"{name:<42}{statistics.fmean(counts):6.2f} % {spread}, drift {drift:.3f}, {mine[0]['megabytes']} MB")
    print()


def recipe_figures(repeats: int) -> list[Figure]:
    """MobileNet before and after the whole recipe."""
    for row in tables.read("recipe"):
        print(f"{row['step']:<75}", *(f"{key} {row[key]:.3f}" for key in ("size", "latency", "accuracy", "drift")))
    print()
    model, test = zoo.load(recipes.MODEL), fashion_mnist("test")
    image = test.inputs[:1]
    small = pipeline.load_stage(model, files.data_dir() / "checkpoints" / recipes.STAGE, image).model
    whole = Frozen(model, image)
    times = measure.latencies({"whole": whole, "small": small}, image, repeats=repeats, runtime="ONNX Runtime")
    lost = accuracy(model, test) - accuracy(small, test)
    drift = tables.read("recipe")[-1]["drift"]
    return [
        Figure("recipe: times smaller file", 8, len(whole.content) / len(small.content), ">=", "times"),
        Figure("times lower latency, batch 1", 3, times["whole"].median / times["small"].median, ">=", "times"),
        Figure("points lost, 10,000 test images", 1, lost, "<=", "points"),
        Figure("drift (1 less median rank correlation)", recipes.BUDGET.drift, drift, "<="),
    ]


def dask_figures() -> list[Figure]:
    """A sweep over cuts of the autoencoder, on one worker and on two, each with one thread.

    joblib runs what goes to a single worker in this process, so that no messages slow it down. A problem remembers its
    cuts, and is sent to workers with what it remembers: every run gets a new one. It travels with every chunk, images
    and all, so that chunks are of two seconds.
    """
    model, images = zoo.load("mnist-autoencoder"), mnist("validation", 1000).inputs
    scores = prune.score(model, prune.find_units(model, images[:1]), "l2")
    new = functools.partial(SoftProblem, model, scores, images, 0.5, 0.05)
    keys = [tuple(map(int, row)) for row in combinations(new(), 8)]
    seconds, found, threads = {}, {}, torch.get_num_threads()

    def run(workers: int, some: list[tuple]) -> float:
        with on_dask(workers=workers):
            start = time.perf_counter()
            found[workers] = sweep(new().value, some, identity={}, chunk=40, progress=False)
            return time.perf_counter() - start

    torch.set_num_threads(1)
    try:
        keys = keys[: int(1.3 * LONG / (run(1, keys[:40]) / 40))]
        for workers in (1, 2):
            seconds[workers] = run(workers, keys)
    finally:
        torch.set_num_threads(threads)
    print(f"{len(keys)} cuts: {seconds[1]:.0f} s in one process, {seconds[2]:.0f} s on two Dask workers")
    same = float(found[1] == found[2])
    return [
        Figure("Dask: seconds in one process", LONG, seconds[1], ">=", "s"),
        Figure("Dask: two workers over one process", 1.6, seconds[1] / seconds[2], ">=", "times"),
        Figure("identical numbers", 1, same, ">="),
    ]


def course_figures() -> list[Figure]:
    """Minutes of all lessons, each in a kernel of its own."""
    took = {path.name[:2]: runner.execute(path).seconds for path in runner.lessons()}
    figures = [Figure(f"lesson {name}", 90, took[name], "<=", "s") for name in ("09", "10") if name in took]
    return [*figures, Figure("all lessons", 15, sum(took.values()) / 60, "<=", "minutes")]


if __name__ == "__main__":
    main(measured, __doc__.splitlines()[0])
