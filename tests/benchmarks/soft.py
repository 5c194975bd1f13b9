"""Soft coefficients: the searches against the grid and the baselines, and the speed of the tools around them.

``python -m tests.benchmarks.soft`` measures one training seed live and reads the others from the table ``soft``;
``--quick`` measures one sparsity with a coarse grid.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import time

import joblib
import numpy as np
import torch
import torch_pruning as tp
import torchvision

from experiments import soft as soft_sweep
from experiments.setting import Setting
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from xaiprune import data, zoo
from xaiprune.experiments import tables
from xaiprune.measure import predict
from xaiprune.prune import cut, cut_error, find_units, plan, score
from xaiprune.training import reconstruction_loss
from xaiprune.widgets import CoefficientExplorer

TORCHVISION = ("resnet18", "vgg11_bn", "densenet121", "mobilenet_v3_small", "efficientnet_b0")


def measure(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    if arguments.quick:
        rows = quick_rows()
    else:
        rows = tables.read("soft")
        check_against_live(rows)
    print(searches(rows), end="\n\n")
    figures = search_figures(rows)
    figures += agreement_figures(plans=20 if arguments.quick else 200)
    figures += speed_figures(repeats=5 if arguments.quick else 15)
    return figures if arguments.quick else figures + lesson_figures({"00": 60, "04": 90})


def quick_rows() -> list[dict]:
    """One seed, one sparsity, a grid of four levels, 64 images."""
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        return soft_sweep.measure(0, 0.7, at=Setting(images=64, count=4))


def check_against_live(rows: list[dict]) -> None:
    """Measure seed 0 at the largest sparsity again, its whole grid included, and print it beside the table."""
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        live = soft_sweep.measure(0, 0.85, fresh=True)
    print("seed 0, rho 0.85: measured now, and in the table")
    for row in live:
        [stored] = tables.where(rows, seed=0, rho=0.85, method=row["method"])
        if not row["method"].startswith("random"):
            print(f"  {row['method']:<22} {row['psnr']:7.3f} dB  {stored['psnr']:7.3f} dB")
    print()


def searches(rows: list[dict]) -> str:
    """Mean and spread over training seeds for every method and every sparsity with a grid."""
    rhos = sorted({row["rho"] for row in rows if row["method"] == "grid"})
    methods = dict.fromkeys(row["method"] for row in rows if not row["method"].startswith("random"))
    lines = ["PSNR in dB on validation images, mean and standard deviation over training seeds [evaluations]"]
    lines.append(f"{'method':<22}" + "".join(f"rho {rho:<24}" for rho in rhos))
    for method in methods:
        cells = []
        for rho in rhos:
            some = tables.where(rows, method=method, rho=rho)
            mean, deviation = soft_sweep.spread(rows, method, rho) if some else (np.nan, np.nan)
            spent = round(statistics.mean(row["evaluations"] for row in some)) if some else 0
            cells.append(
                f"{mean:6.2f} +- {deviation:4.2f} [{spent}]".ljust(28) if some else "cannot meet rho".ljust(28)
            )
        lines.append(f"{method:<22}" + "".join(cells).rstrip())
    for rho in rhos:
        draws = [row["psnr"] for row in rows if row["rho"] == rho and row["method"].startswith("random")]
        lines.append(f"random at {rho}: mean {np.mean(draws):.2f}, best of {len(draws)} draws {max(draws):.2f}")
    return "\n".join(lines + baseline_wins(rows))


def baseline_wins(rows: list[dict]) -> list[str]:
    """A line for every training seed and sparsity at which a baseline is above one of the optimisers."""
    lines = []
    for seed, rho in sorted({(row["seed"], row["rho"]) for row in rows}):
        here = tables.where(rows, seed=seed, rho=rho)
        best = max((row for row in here if soft_sweep.is_baseline(row["method"])), key=lambda row: row["psnr"])
        for row in here:
            if row["method"] in ("descend", "relax") and row["psnr"] < best["psnr"]:
                lines.append(
                    f"a baseline wins: seed {seed}, rho {rho}: {best['method']} {best['psnr']:.2f} dB, "
                    f"{row['method']} {row['psnr']:.2f} dB"
                )
    return lines


def search_figures(rows: list[dict]) -> list[Figure]:
    """The searches' figures: the worst over all training seeds, for each sparsity."""
    figures, by = [], ("seed", "rho")
    rivals = {row["method"] for row in rows if soft_sweep.is_baseline(row["method"])}
    for rho in sorted({row["rho"] for row in rows if row["method"] == "grid"}):
        here = tables.where(rows, rho=rho)
        spent = {(row["method"], row["seed"]): row["evaluations"] for row in here}
        seeds = {row["seed"] for row in here}
        for method, aim, share, share_aim in (("descend", 0.0, 1 / 5, 1 / 20), ("relax", None, 1 / 25, None)):
            ahead = min(tables.lead(here, method, ["grid"], by=by, key="psnr"))
            cost = max(spent[method, seed] / spent["grid", seed] for seed in seeds)
            lead = min(tables.lead(here, method, rivals, by=by, key="psnr"))
            figures.append(Figure(f"{method} over grid, rho {rho}", -0.05, ahead, ">=", "dB", aim))
            figures.append(Figure(f"{method} evaluations / grid's, rho {rho}", share, cost, "<=", "", share_aim))
            figures.append(Figure(f"{method} over best baseline, rho {rho}", 0.0, lead, ">=", "dB"))
    return figures


def agreement_figures(plans: int) -> list[Figure]:
    """Largest difference between mask and cut."""
    generator = np.random.default_rng(0)
    model, digits = zoo.load(soft_sweep.MODEL), data.mnist("validation", 8).inputs
    scores = score(model, find_units(model, digits[:1]), "l2")
    worst = max(
        cut_error(model, plan(scores, coefficients={g.name: generator.random() for g in scores.groups}), digits)
        for _ in range(plans)
    )
    figures = [Figure(f"mask against cut, {plans} random plans", 1e-5, worst, "<=")]
    for name in TORCHVISION:
        torch.manual_seed(0)
        network, images = getattr(torchvision.models, name)(), torch.rand(16, 3, 64, 64)
        settle_statistics(network, images)
        chosen = plan(score(network, find_units(network, images[:1]), "l2"), ratio=0.2, scope="uniform")
        worst, signal = cut_error(network, chosen, images), predict(cut(network, chosen), images).std(0).mean().item()
        if signal < 1000 * worst:
            raise RuntimeError(f"the cut {name} answers all images alike, so that its agreement says nothing")
        figures.append(Figure(f"mask against cut, {name}", 1e-5, worst, "<="))
    return figures


def settle_statistics(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Give a random network the statistics of some images: else its signal dies and every difference is zero."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(images)
    network.eval()


def speed_figures(repeats: int) -> list[Figure]:
    """The explorer, units and cut beside torch-pruning, and the import."""
    runs = max(3, repeats // 3)
    words = "xaiprune.find_units, xaiprune.score, xaiprune.plan, xaiprune.cut, xaiprune.zoo"
    return [
        Figure("explorer, 95th percentile", 100, explorer_milliseconds(10 * repeats), "<=", "ms"),
        *units_and_cut_figures(repeats),
        Figure("import xaiprune after torch and torchvision", 0.5, import_seconds(runs, "None"), "<=", "s"),
        Figure("  with the five words and the zoo in use", np.inf, import_seconds(runs, words), "<=", "s"),
    ]


def explorer_milliseconds(moves: int) -> float:
    """95th percentile of what follows a slider: compute, draw, encode."""
    model, validation = zoo.load(soft_sweep.MODEL), data.mnist("validation", soft_sweep.IMAGES)
    units = find_units(model, validation.inputs[:1])
    scores = score(model, units, "fisher", data.mnist("calibration"), loss=reconstruction_loss)
    frontier = [{"method": "descend", "sparsity": rho, "psnr": 20 - 10 * rho} for rho in soft_sweep.CURVE]
    explorer = CoefficientExplorer(model, scores, validation.inputs, frontier)
    generator, sliders = np.random.default_rng(0), list(explorer.controls["coefficients"].controls.values())
    settings = [(sliders[move % len(sliders)], "value", round(generator.random(), 2)) for move in range(moves)]
    return percentile_95(setattr, settings)


def units_and_cut_figures(repeats: int) -> list[Figure]:
    """Units, scores, plan and cut of mobilenet_v2 beside torch-pruning, by the two rankings that both have."""
    figures = []
    for criterion, importance in (
        ("l2", tp.importance.MagnitudeImportance(p=2)),
        ("random", tp.importance.RandomImportance()),
    ):
        ours, theirs = units_and_cut(criterion, importance, repeats)
        name = f"units and cut of mobilenet_v2 by {criterion} / torch-pruning's time"
        figures.append(Figure(name, 1.3, ours / theirs, "<="))
        figures.append(Figure("  ours", np.inf, 1e3 * ours, "<=", "ms"))
        figures.append(Figure("  torch-pruning's", np.inf, 1e3 * theirs, "<=", "ms"))
    return figures


def units_and_cut(criterion: str, importance: tp.importance.Importance, repeats: int) -> tuple[float, float]:
    """Median seconds to find the units of mobilenet_v2 at 224 and cut half of its channels; ours, torch-pruning's."""
    torch.manual_seed(0)
    model, image, times = torchvision.models.mobilenet_v2().eval(), torch.rand(1, 3, 224, 224), ([], [])
    for _ in range(repeats):
        start = time.perf_counter()
        units = find_units(model, image)
        cut(model, plan(score(model, units, criterion), ratio=0.5, scope="uniform"))
        times[0].append(time.perf_counter() - start)
        theirs = copy.deepcopy(model)
        start = time.perf_counter()
        protected = [theirs.classifier[1]]
        tp.pruner.BasePruner(theirs, image, importance, pruning_ratio=0.5, ignored_layers=protected).step()
        times[1].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def import_seconds(repeats: int, use: str) -> float:
    """Median seconds that importing xaiprune, and using some of its names, adds to torch and torchvision."""
    code = f"import time, torch, torchvision; start = time.perf_counter(); import xaiprune; {use}; "
    code += "print(time.perf_counter() - start)"
    return statistics.median(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(repeats))


if __name__ == "__main__":
    main(measure, __doc__)
