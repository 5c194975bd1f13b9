"""A network that nobody here trained, on photographs: what a cut, recovered without labels and in 8 bits, still does.

``python -m tests.benchmarks.real`` runs the stored network on the composites of its fold, whose things and grounds took
part in nothing, ``--quick`` on a quarter of them; the accuracy of all five folds is that of the table ``recovery``.
"""

from __future__ import annotations

import argparse

import torch

from experiments import recovery
from experiments.setting import WHOLE, Setting
from tests.benchmarks.report import Figure, main
from xaiprune import deploy
from xaiprune.experiments import tables
from xaiprune.measure import latencies

#: What is only printed is asked for nothing.
NOTHING = float("-inf")


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    return recovery_figures(arguments.quick)


def recovery_figures(quick: bool) -> list[Figure]:
    """File, latency and answers of the pruned and recovered network in 8 bits, beside those of the original."""
    original, smaller = recovery.original(), recovery.load_pruned()
    files = {"original": deploy.onnx_bytes(original, recovery.EXAMPLE), "int8": recovery.int8(smaller)}
    files["float"] = deploy.onnx_bytes(smaller, recovery.EXAMPLE)
    runs = {name: deploy.runnable(content) for name, content in files.items()}
    at = Setting(images=120) if quick else WHOLE
    shown = recovery.looked_at(lambda pictures: torch.stack([run(pictures) for run in runs.values()], 1), "test", 0, at)
    outputs = dict(zip(runs, shown["outputs"].unbind(1)))
    for name, found in outputs.items():
        told = recovery.figures(recovery.by_thing(shown | {"original": outputs["original"]}, found))
        print(f"{name:<10}{len(files[name]) / 1e6:6.2f} MB  fold 0: {told}")
    times = latencies(runs, recovery.EXAMPLE, repeats=40 if quick else 200, runtime="ONNX Runtime")
    print("\n".join(f"{name:<10}{taken}" for name, taken in times.items()))
    saved = 100 * (1 - times["int8"].median / times["original"].median)
    [row] = tables.where(
        tables.read("recovery"), **dict(zip(recovery.KINDS, recovery.SHIPPED)), step="int8", fold="all"
    )
    return [
        Figure("pruned, recovered, int8: file", 3.5, len(files["int8"]) / 1e6, "<=", "MB", 2.5),
        Figure("pruned, recovered, int8: latency saved, one picture", 50, saved, ">=", "%", 65),
        Figure("original: top-1, held-out things and grounds, five folds", NOTHING, row["original, test"], ">=", "%"),
        Figure("pruned, recovered, int8: top-1", NOTHING, row["accuracy, test"], ">=", "%"),
        Figure("the same: difference to the original", NOTHING, row["difference, test"], ">=", "points"),
        Figure("the same: lower end of its 95 % interval", -5, row["from, test"], ">=", "points", -2),
        Figure("pruned, recovered, int8: same answers", 85, row["same, test"], ">=", "%", 92),
    ]


if __name__ == "__main__":
    main(measured, __doc__.splitlines()[0])
