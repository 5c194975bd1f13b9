"""Structured pruning of MobileNet: accuracy, latency, drift, and torch-pruning beside us.

``python -m tests.benchmarks.mobilenet`` measures the shipped models live and reads the tuned runs from the
tables ``mobilenet_*``; ``--quick`` looks at fewer architectures and runtimes.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Iterable

import torch
import torch_pruning as tp
import torchvision
from torch import nn

from experiments import mobilenet as sweep
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from xaiprune import deploy, explain, zoo
from xaiprune.data import Split, fashion_mnist
from xaiprune.experiments import tables
from xaiprune.measure import accuracy, counting
from xaiprune.prune import Plan, cut, cut_error, find_blocks, find_units, mac_costs, plan, recalibrate, score
from xaiprune.widgets import StructureExplorer

MODEL = sweep.MODEL
ARCHITECTURES = (
    *("mobilenet_v2", "mobilenet_v3_large", "resnet50", "densenet121", "efficientnet_b0"),
    *("regnet_y_400mf", "mnasnet1_0", "shufflenet_v2_x1_0", "googlenet", "convnext_tiny"),
)
OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": True}}


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    torch.manual_seed(0)
    figures = checkpoint_figures() + pruned_figures(arguments.quick) + peer_figures() + budget_figures()
    print_criteria()
    figures += architecture_figures(ARCHITECTURES[:3] if arguments.quick else ARCHITECTURES)
    figures += fisher_figures(4 if arguments.quick else 16) + latency_figures(10 if arguments.quick else 40)
    figures += explorer_figures(10 if arguments.quick else 40)
    return figures if arguments.quick else figures + lesson_figures({"05": 100})


def checkpoint_figures() -> list[Figure]:
    """Accuracy of the shipped model on the whole test set."""
    return [Figure(f"{MODEL}: test accuracy", 93.5, accuracy(zoo.load(MODEL), fashion_mnist("test")), ">=", "%")]


def pruned_figures(quick: bool) -> list[Figure]:
    """The shipped pruned models: what they lose on the whole test set, and their latency in every runtime."""
    test, model = fashion_mnist("test"), zoo.load(MODEL)
    models = {"original": model} | {f"seed {seed}": sweep.load_pruned(seed) for seed in sweep.SEEDS}
    right = {name: accuracy(net, test) for name, net in models.items()}
    print("test accuracy:", {name: f"{value:.2f}" for name, value in right.items()})
    print("MACs left:", {name: sweep.share_of_macs(net, model) for name, net in models.items()}, end="\n\n")
    lost = right["original"] - statistics.fmean(right[f"seed {seed}"] for seed in sweep.SEEDS)
    figures = [Figure("pruned: test accuracy lost, mean of 3 seeds", 0.5, lost, "<=", "points")]
    for batch in (1, 64):
        example = fashion_mnist("calibration").inputs[:batch]
        names = ("ONNX Runtime",) if quick else tuple(deploy.available())
        times = {}
        for runtime in names:
            some = dict(list(models.items())[:2]) if runtime == "torch.compile" else models
            times |= deploy.runtime_latencies(some, example, [runtime])
        for (name, runtime), time_taken in times.items():
            print(f"batch {batch:>2}  {name:<9}{runtime:<21}{time_taken}")
        fastest = min(names, key=lambda runtime: times["original", runtime].median)
        whole = times["original", fastest].median
        mean = statistics.fmean(t.median for (name, r), t in times.items() if r == fastest and name != "original")
        saved = 100 * (1 - mean / whole)
        figures.append(Figure(f"pruned: latency saved, batch {batch}, {fastest}", 40, saved, ">=", "%", 60))
    print()
    return figures


def peer_figures() -> list[Figure]:
    """Ours against torch-pruning's criteria as they ship, at equal MACs, from the table."""
    rows = tables.read("mobilenet_peers")
    keys = ("cut, test", "recalibrated, test", "tuned, test")
    print(f"{'half of the MACs, mean of the seeds':<34}{'seeds':>6}{'MACs':>8}" + "".join(f"{key:>20}" for key in keys))
    means = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = tables.where(rows, method=method)
        means[method] = {key: statistics.fmean(row[key] for row in mine) for key in ("macs", *keys)}
        print(f"{method:<34}{len(mine):>6}{means[method]['macs']:>8.3f}" + "".join(
            f"{means[method][key]:>20.2f}" for key in keys
        ))  # fmt: skip
    print()
    figures, theirs = [], [name for name in sweep.PEERS if "mended" not in name]
    ours = max(sweep.OURS, key=lambda name: statistics.fmean(tables.column(rows, "tuned", method=name)))
    for key, when in (("recalibrated, test", "before tuning"), ("tuned, test", "after tuning")):
        ahead = means[ours][key] - max(means[name][key] for name in theirs)
        figures.append(Figure(f"{ours}, {when}: ahead of torch-pruning's best", 0, ahead, ">=", "points"))
    return figures


def budget_figures() -> list[Figure]:
    """The explanation budget at work, from the table: three seeds, 1,000 test images."""
    rows = tables.where(tables.read("mobilenet_budget"), target=sweep.AT)
    found = {}
    for method in sweep.METHODS[1:]:
        mine = tables.where(rows, method=method)
        images = torch.tensor([row["drifts"] for row in mine], dtype=torch.float64).mean(0)
        found[method] = {key: statistics.fmean(row[key] for row in mine) for key in ("macs", "accuracy")}
        found[method]["drift"] = explain.bootstrap(images)
        print(f"{method}: {found[method]}")
    print()
    plain, held = (found[method] for method in sweep.METHODS[1:])
    return [
        Figure("drift with the budget / without", 2 / 3, held["drift"][0] / plain["drift"][0], "<="),
        Figure("gap between the intervals of drift", 0, plain["drift"][1] - held["drift"][2], ">="),
        Figure("accuracy with the budget less without", -0.3, held["accuracy"] - plain["accuracy"], ">=", "points"),
        Figure("MACs with the budget and without, apart", 0.01, abs(held["macs"] - plain["macs"]), "<="),
    ]


def print_criteria() -> None:
    """The table of criteria: accuracy after re-calibration; random has the mean and the best of its draws."""
    rows = tables.read("mobilenet_criteria")
    print(f"{'validation accuracy, re-calibrated':<36}" + "".join(f"{ratio:>14}" for ratio in sweep.RATIOS))
    for name in sweep.CRITERIA:
        cells = []
        for ratio in sweep.RATIOS:
            found = tables.column(rows, "recalibrated", criterion=name, ratio=ratio)
            best = f" ({max(found):.1f})" if len(found) > 1 else ""
            cells.append(f"{statistics.fmean(found):.1f}{best}")
        print(f"{name:<36}" + "".join(f"{cell:>14}" for cell in cells))
    print()


def explorer_figures(moves: int) -> list[Figure]:
    """What follows a slider of the StructureExplorer once it is released."""
    calibration, few = fashion_mnist("calibration", 300), fashion_mnist("validation", 200)
    explorer = StructureExplorer(zoo.load(MODEL), calibration, few, criteria=("taylor",), stops=())
    slow = percentile_95(lambda move: explorer.set(5 * (move % 15), image=move), zip(range(moves)))
    return [Figure("StructureExplorer, 95th percentile after release", 1000, slow, "<=", "ms")]


def architecture_figures(names: tuple[str, ...]) -> list[Figure]:
    """Units, plan and cut at 224 x 224 with random weights: mask against cut, and what is left out."""
    print(f"{'architecture':<20}{'groups':>7}{'units':>7}  {'mask - cut':>10}  parameters left")
    refused, worst = [], 0.0
    for name in names:
        model = getattr(torchvision.models, name)(weights=None, **OPTIONS.get(name, {})).eval()
        images = torch.rand(2, 3, 224, 224)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
                recalibrate(model, torch.rand(8, 3, 224, 224), batch_size=8)  # outputs of size one, not 1e-17
            try:
                units = find_units(model, images[:1])
            except ValueError as error:
                refused.append(name)
                print(f"{name:<20} refused: {error}")
                continue
        chosen = plan(score(model, units, "random"), ratio=0.3)
        apart = cut_error(model, chosen, images)
        left = counting.sizes(cut(model, chosen))["parameters"] / counting.sizes(model)["parameters"]
        touched = {tensor for group in units for member in group.members for tensor in member.axes}
        untouched = _layers(name for name, _ in model.named_parameters()) - _layers(touched)
        ok = left < 1 and min(chosen.kept.values()) >= 1 and not untouched
        worst = max(worst, apart if ok else float("inf"))
        print(f"{name:<20}{len(units):>7}{sum(map(len, units)):>7}  {apart:>10.1e}  {left:.3f}")
    print()
    return [
        Figure(f"{len(names) - len(refused)} architectures: mask against cut, relative", 1e-5, worst, "<="),
        Figure(f"of {len(names)} architectures, refused with a reason", 2, len(refused), "<="),
    ]


def _layers(tensors: Iterable[str]) -> set[str]:
    """Names of the modules that own tensors."""
    return {name.rpartition(".")[0] for name in tensors}


def fisher_figures(count: int) -> list[Figure]:
    """The Fisher of every unit of mobilenet_v2 at 224, against the gradients that torch-pruning's Hessian needs."""
    model = torchvision.models.mobilenet_v2().eval()
    split = Split(torch.rand(count, 3, 224, 224), torch.randint(0, 1000, (count,)))
    units = find_units(model, split.inputs[:1])
    ours, theirs = [], []
    for _ in range(2):
        start = time.perf_counter()
        scores = score(model, units, "fisher", split)
        ours.append(time.perf_counter() - start)
        theirs.append(_hessian_seconds(copy.deepcopy(model), split))
    loop = 0.0
    for image, label in zip(split.inputs.split(1), split.targets.split(1)):
        one = score(model, units, "fisher", Split(image, label))
        loop = {g.name: one[g.name] / count + (loop[g.name] if loop else 0) for g in units}
    apart = max(((scores[g.name] - loop[g.name]).norm() / loop[g.name].norm()).item() for g in units)
    return [
        Figure(f"Fisher of {count} images: torch-pruning's time / ours", 5, min(theirs) / min(ours), ">="),
        Figure("Fisher of all images at once against one by one, relative", 1e-3, apart, "<="),
    ]


def _hessian_seconds(model: nn.Module, split: Split) -> float:
    """What torch-pruning's GroupHessianImportance takes to get its gradients."""
    importance = tp.importance.GroupHessianImportance()
    start = time.perf_counter()
    losses = nn.functional.cross_entropy(model(split.inputs), split.targets, reduction="none")
    importance.zero_grad()
    for loss in losses:
        model.zero_grad()
        loss.backward(retain_graph=True)
        importance.accumulate_grad(model)
    return time.perf_counter() - start


def latency_figures(repeats: int) -> list[Figure]:
    """Latency of untuned cuts in ONNX Runtime: what whole blocks, even widths and odd widths do to it."""
    model, calibration = zoo.load(MODEL), fashion_mnist("calibration")
    units = find_units(model, calibration.inputs[:1]) + find_blocks(model, calibration.inputs[:1])
    costs = mac_costs(model, units, calibration.inputs)
    scores = score(model, units[:-1], "taylor", calibration)
    blocks = plan(score(model, units[-1:], "ablation", calibration), k=5)
    narrow = plan(scores.normalised("rank"), cost_target=0.3, costs=costs, round_to=16)
    plans = {
        "five blocks": blocks,
        "half the MACs, any width": plan(scores, cost_target=0.5, costs=costs, scope="uniform"),
        "half the MACs, multiples of 16": plan(scores.normalised("rank"), cost_target=0.5, costs=costs, round_to=16),
        "the same at 0.3, and five blocks": Plan(tuple(units), {**narrow.removed, **blocks.removed}),
    }
    models = {"original": model} | {name: cut(model, chosen) for name, chosen in plans.items()}
    figures = []
    for batch in (1, 64):
        example = calibration.inputs[:batch]
        times = deploy.runtime_latencies(models, example, ["ONNX Runtime"], repeats=repeats)
        whole = times["original", "ONNX Runtime"].median
        for name in plans:
            saved = 100 * (1 - times[name, "ONNX Runtime"].median / whole)
            figures.append(Figure(f"{name}, batch {batch}: latency saved", float("-inf"), saved, ">=", "%"))
    return figures


if __name__ == "__main__":
    main(measured, __doc__)
