"""A network that nobody here trained, on photographs: what a cut, recovered without labels and in 8 bits, still does.

``python -m tests.benchmarks.real`` runs the stored network on 2,360 composites of the 118 labelled things, on the two
grounds that took part in nothing; ``--quick`` on a tenth of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from experiments import recovery
from tests.benchmarks.report import Figure, main
from xaiprune import deploy, zoo
from xaiprune.measure import latencies

#: What is only printed is asked for nothing.
NOTHING = float("-inf")


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    return recovery_figures(arguments.quick)


def recovery_figures(quick: bool) -> list[Figure]:
    """File, latency and answers of the pruned and recovered network in 8 bits, beside those of the original."""
    original, smaller = zoo.load(recovery.MODEL), recovery.load_pruned()
    example = torch.zeros(1, 3, 224, 224)
    files = {"original": deploy.onnx_bytes(original, example), "int8": recovery.int8(smaller)}
    files["float"] = deploy.onnx_bytes(smaller, example)
    runs = {name: deploy.runnable(content) for name, content in files.items()}
    purpose, each, seed = recovery.ASKED["test"]
    things = recovery.composites(purpose, 2 if quick else each, seed)
    times = latencies(runs, things.make([0]).inputs, repeats=40 if quick else 200, runtime="ONNX Runtime")
    print("\n".join(f"{name:<10}{len(files[name]) / 1e6:6.2f} MB  {taken}" for name, taken in times.items()))
    seen = recovery.seen(_together(runs), things)
    found = dict(zip(runs, seen["outputs"].unbind(1)))
    rows = {name: recovery.beside("test", found["original"], logits, seen) for name, logits in found.items()}
    print("\n".join(f"{name:<10}{row}" for name, row in rows.items()))
    row, saved = rows["int8"], 100 * (1 - times["int8"].median / times["original"].median)
    return [
        Figure("pruned, recovered, int8: file", 3.5, len(files["int8"]) / 1e6, "<=", "MB", 2.5),
        Figure("pruned, recovered, int8: latency saved, one picture", 50, saved, ">=", "%", 65),
        Figure("original: top-1, held-out things and grounds", NOTHING, row["original, test"], ">=", "%"),
        Figure("pruned, recovered, int8: top-1", NOTHING, row["accuracy, test"], ">=", "%"),
        Figure("the same: difference to the original", NOTHING, row["difference, test"], ">=", "points"),
        Figure("the same: lower end of its 95 % interval", -5, row["from, test"], ">=", "points", -2),
        Figure("pruned, recovered, int8: same answers", 85, row["same, test"], ">=", "%", 92),
    ]


def _together(runs: dict[str, Callable]) -> Callable[[torch.Tensor], torch.Tensor]:
    """All networks on each batch, so that composites are made once."""
    return lambda pictures: torch.stack([run(pictures) for run in runs.values()], dim=1)


if __name__ == "__main__":
    main(measured, __doc__.splitlines()[0])
