"""Weights and curvature: pruning with and without tuning, estimates against exact values, and the speed of the tools.

``python -m tests.benchmarks.weights`` measures one training seed in one shot and the estimates live, and reads the rest
from the tables ``one_shot`` and ``tuned``; ``--quick`` measures two methods and fewer loops.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn

from experiments import weights as sweep
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from xaiprune import curvature, data, prune, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split
from xaiprune.experiments import tables
from xaiprune.measure import accuracy, latencies
from xaiprune.prune import (
    Plan,
    break_even,
    csr_latency,
    cut,
    find_weights,
    masked,
    plan,
    scan,
    score,
    semi_structured_support,
    sparse_latency,
)
from xaiprune.training import classification_loss, fit
from xaiprune.widgets import CurvatureExplorer, ThresholdExplorer


def measure(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    rows = [row for name in ("one_shot", "tuned") for row in tables.read(name)]
    if not arguments.quick:
        check_against_live(rows)
    print(one_shot_table(rows), end="\n\n")
    print(ledger(), end="\n\n")
    figures = zoo_figures() + pruning_figures(rows) + estimate_figures()
    figures += speed_figures(loops=200 if arguments.quick else 2000, moves=30 if arguments.quick else 150)
    return figures if arguments.quick else figures + lesson_figures({"01": 90, "03": 60})


def check_against_live(rows: list[dict]) -> None:
    """Measure the one-shot rows of training seed 0 again and print them beside the table."""
    print("seed 0, one shot, test accuracy at 0.9: measured now, and in the table")
    for row in tables.where(sweep.one_shot(0), ratio=0.9):
        [stored] = tables.column(rows, "test", seed=0, method=row["method"], ratio=0.9)
        print(f"  {row['method']:<28} {row['test']:6.2f} %  {stored:6.2f} %")
    print()


def one_shot_table(rows: list[dict]) -> str:
    """Mean and 95 % interval over training seeds, for every method and every ratio."""
    lines = ["one shot: test accuracy in %, mean over 5 training seeds and its 95 % interval"]
    lines.append(f"{'method':<28}" + "".join(f"ratio {ratio:<18}" for ratio in sweep.RATIOS))
    for method in dict.fromkeys(row["method"] for row in rows):
        if method == "unpruned" or method.startswith("tuned"):
            continue
        cells = []
        for ratio in sweep.RATIOS:
            mean, low, high = tables.interval(tables.column(rows, "test", method=method, ratio=ratio))
            cells.append(f"{mean:5.1f} [{low:5.1f}, {high:5.1f}]".ljust(24))
        lines.append(f"{method:<28}" + "".join(cells).rstrip())
    for row in rows:
        if row["method"].startswith("tuned"):
            lines.append(f"{row['method']}, seed {row['seed']}: {row['test']:.2f} % at {row['ratio']}")
    return "\n".join(lines)


def zoo_figures() -> list[Figure]:
    """The classifiers on the whole test set; of the five LeNet-300-100 the worst."""
    test = data.mnist("test")
    worst = min(accuracy(zoo.load(sweep.MODEL, seed), test) for seed in sweep.SEEDS)
    return [
        Figure("LeNet-300-100, worst of 5 seeds", 98.2, worst, ">=", "%"),
        Figure("LeNet-5", 99.0, accuracy(zoo.load("lenet-5"), test), ">=", "%"),
    ]


def pruning_figures(rows: list[dict]) -> list[Figure]:
    """What 95 % cost with tuning, and OBS against magnitude without."""
    before = {row["seed"]: row["test"] for row in tables.where(rows, method="unpruned")}
    drops = [before[row["seed"]] - row["test"] for row in tables.where(rows, method="tuned l1")]
    gone = min(tables.column(rows, "ratio", method="tuned l1"))
    figures = [
        Figure("share of the weights gone, tuned", 0.95, gone, ">="),
        Figure("  points lost, mean of 5 nets", 0.3, statistics.fmean(drops), "<=", "points"),
        Figure("  points lost, worst of 5 nets", np.inf, max(drops), "<=", "points"),
    ]
    for ratio in (0.9, 0.95):
        low = {
            m: tables.interval(tables.column(rows, "test", method=m, ratio=ratio))
            for m in ("obs", "l1", "obd", "fisher")
        }
        figures.append(
            Figure(f"OBS over magnitude at {ratio}, one shot", 0, low["obs"][0] - low["l1"][0], ">=", "points")
        )
        figures.append(Figure("  gap between their 95 % intervals", 0, low["obs"][1] - low["l1"][2], ">=", "points"))
        figures.append(Figure("  OBD over magnitude", -np.inf, low["obd"][0] - low["l1"][0], ">=", "points"))
        figures.append(Figure("  Fisher over magnitude", -np.inf, low["fisher"][0] - low["l1"][0], ">=", "points"))
    return figures


def small_net() -> tuple[nn.Module, Split]:
    """A net of 970 parameters on digits of 7 x 7 pixels, and the images of its loss; all in double precision."""
    seed_everything(0)
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 16), nn.Tanh(), nn.Linear(16, 10))
    fit(model, data.mnist("train", 10_000), classification_loss, epochs=5, lr=1e-2, progress=False)
    calibration = data.mnist("calibration")
    return model.double().eval(), Split(calibration.inputs.double(), calibration.targets)


def hessian_by_func(model: nn.Module, split: Split) -> torch.Tensor:
    """The exact Hessian by torch.func, independent of the kit's products."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def value(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        tensors = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, tensors, (split.inputs,)), split.targets)

    return torch.func.hessian(value)(flat)


def estimate_figures() -> list[Figure]:
    """Hutchinson against the exact Hessian, OBS against linear algebra, the Fisher against a loop."""
    model, split = small_net()
    exact = hessian_by_func(model, split)
    trace = exact.trace().item()
    estimate = curvature.hessian_trace(model, split, classification_loss)
    parts = curvature.hessian_diagonal(model, split, classification_loss, probes=2000)
    error = torch.cat([part.flatten() for part in parts.values()]) - exact.diagonal()
    runs = np.array(estimate.samples[:4000]).reshape(-1, 100)
    stops = [curvature.by_relative_change(run) or 100 for run in runs]
    close = np.mean([abs(run[:stop].mean() / trace - 1) < 0.02 for run, stop in zip(runs, stops)])
    print(
        f"Hutchinson stops after {estimate.probes} probes at a standard error of 0.5 %; the usual rule after ", end=""
    )
    print(f"{np.median(stops):.0f} (median of {len(runs)} runs), within 2 % in {close:.0%} of them\n")
    return [
        Figure("Hutchinson's trace, relative error", 0.02, abs(estimate.value / trace - 1), "<="),
        Figure("Hutchinson's diagonal at 2,000 probes", 0.1, (error.norm() / exact.diagonal().norm()).item(), "<="),
        Figure("OBS against the closed form on a quadratic", 1e-6, surgery_error(), "<="),
        Figure("Fisher against the sum over images, batches of 7 and 256", 1e-6, fisher_error(model, split), "<="),
    ]


def surgery_error() -> float:
    """Largest difference between OBS's weights and the minimum of a random quadratic, over 20 sets that go."""
    generator, worst = np.random.default_rng(0), 0.0
    for _ in range(20):
        roots = generator.standard_normal((12, 30))
        hessian = torch.tensor(roots @ roots.T / 30 + 0.01 * np.eye(12))
        model = nn.Sequential(nn.Linear(12, 1, bias=False)).double().eval()
        [group] = find_weights(model)
        gone = generator.choice(12, 5, replace=False)
        inverse = prune.InverseFisher({group.name: hessian.inverse()[None]}, 0.0, 1)
        moved = prune.surgery(model, Plan((group,), {group.name: gone}), inverse)[0].weight.detach()[0]
        weight, stays = model[0].weight.detach()[0], np.setdiff1d(np.arange(12), gone)
        best = torch.zeros(12, dtype=torch.float64)
        best[stays] = torch.linalg.solve(hessian[stays][:, stays], hessian[stays] @ weight)
        worst = max(worst, (moved - best).abs().max().item())
    return worst


def fisher_error(model: nn.Module, split: Split) -> float:
    """Largest relative error of the Fisher's diagonal against a loop over images, over parameters and batch sizes."""
    some, parameters = Split(split.inputs[:100], split.targets[:100]), dict(model.named_parameters())
    loop = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for image, label in zip(*some):
        value = classification_loss(model, image[None], label[None])
        for name, gradient in zip(loop, torch.autograd.grad(value, list(parameters.values()))):
            loop[name] += gradient.square() / 100
    errors = []
    for batch_size in (7, 256):
        found = curvature.fisher_diagonal(model, some, classification_loss, batch_size=batch_size)
        errors += [((found[name] - loop[name]).norm() / loop[name].norm()).item() for name in loop]
    return max(errors)


def speed_figures(loops: int, moves: int) -> list[Figure]:
    """The explorers, the scan, and the Fisher beside a loop, all in this run."""
    ours, theirs = fisher_seconds(loops)
    return [
        Figure("ThresholdExplorer, 95th percentile", 100, threshold_milliseconds(moves), "<=", "ms"),
        Figure("CurvatureExplorer, 95th percentile", 100, curvature_milliseconds(moves // 3), "<=", "ms"),
        Figure("scan of LeNet-5, 8 ratios, all layers, 2,000 images", 5, scan_seconds(), "<=", "s"),
        Figure(f"loop over {loops} images / Fisher of LeNet-300-100", 30, theirs / ours, ">="),
        Figure("  ours", np.inf, 1e3 * ours, "<=", "ms"),
        Figure("  the loop", np.inf, 1e3 * theirs, "<=", "ms"),
    ]


def fisher_seconds(images: int) -> tuple[float, float]:
    """Seconds for the Fisher's diagonal: ours (median of 5), and a loop over images."""
    model, split = zoo.load(sweep.MODEL), data.mnist("train", images)
    parameters, times = list(model.parameters()), []
    curvature.fisher_diagonal(model, split, classification_loss)
    for _ in range(5):
        start = time.perf_counter()
        curvature.fisher_diagonal(model, split, classification_loss)
        times.append(time.perf_counter() - start)
    start, total = time.perf_counter(), [torch.zeros_like(parameter) for parameter in parameters]
    for image, label in zip(*split):
        value = classification_loss(model, image[None], label[None])
        for part, gradient in zip(total, torch.autograd.grad(value, parameters)):
            part += gradient.square()
    return statistics.median(times), time.perf_counter() - start


def threshold_milliseconds(moves: int) -> float:
    """95th percentile of what follows the threshold, with 1,000 images and the sensitivity curves."""
    model, split = zoo.load(sweep.MODEL), data.mnist("validation", 1000)
    rows = scan(model, score(model, find_weights(model), "l1"), split, progress=False)
    explorer = ThresholdExplorer(model, split, rows)
    slider = explorer.controls["threshold"]
    places = np.random.default_rng(0).random(moves) * slider.max
    return percentile_95(setattr, [(slider, "value", place) for place in places.tolist()])


def curvature_milliseconds(moves: int) -> float:
    """95th percentile of what follows a choice of weights, on the small net with 1,000 images."""
    model, split = small_net()
    model, split = model.float(), Split(split.inputs.float(), split.targets)
    diagonal = curvature.hessian_diagonal(model, split, classification_loss, probes=30)
    explorer = CurvatureExplorer(model, split, diagonal, "2.weight")
    places = np.random.default_rng(0).permutation(784)[:moves].tolist()
    return percentile_95(setattr, [(explorer.controls["first"], "value", place) for place in places])


def scan_seconds() -> float:
    """Seconds of one sensitivity scan."""
    model, split = zoo.load("lenet-5"), data.mnist("validation", 2000)
    scores = score(model, find_weights(model), "l1")
    start = time.perf_counter()
    scan(model, scores, split, progress=False)
    return time.perf_counter() - start


def ledger() -> str:
    """What zeros are worth on this machine."""
    model, images = zoo.load(sweep.MODEL), data.mnist("validation", 64).inputs
    lines = ["zeros on this machine: LeNet-300-100, batch 64, median ms"]
    for ratio in (0.5, 0.9, 0.99):
        pruned = cut(model, plan(score(model, find_weights(model), "l1"), ratio=ratio))
        dense = latencies({"dense": pruned}, images)["dense"].median
        lines.append(f"  {ratio}: dense {dense:.3f}, CSR {csr_latency(pruned, images):.3f}")
    for batch in (1, 64):
        lines.append(
            f"  break-even of one layer of 784 to 300, batch {batch}: {break_even(sparse_latency(batch=batch))}"
        )
    pruned = plan(score(model, find_weights(model), "l1"), pattern=(2, 4))
    with masked(model, pruned):
        lines.append(f"  2:4 by magnitude: {accuracy(model, data.mnist('validation')):.2f} % on validation")
    return "\n".join([*lines, f"  {semi_structured_support()}"])


if __name__ == "__main__":
    main(measure, __doc__)
