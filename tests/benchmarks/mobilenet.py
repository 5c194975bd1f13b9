"""Structured pruning of MobileNet: what is measured so far, side by side with torch-pruning.

``python -m tests.benchmarks.mobilenet`` prints the figures; ``--quick`` looks at fewer architectures.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Iterable

import torch
import torch_pruning as tp
import torchvision
from torch import nn

from xaiprune import measure, runtimes, zoo
from xaiprune.data import Split, fashion_mnist
from xaiprune.metrics import accuracy
from xaiprune.prune import (
    Plan,
    cut,
    difference,
    find_blocks,
    find_units,
    mac_costs,
    plan,
    recalibrate,
    score,
)

from .report import Figure, main

MODEL = "mobilenet-fashion-mnist"
ARCHITECTURES = (
    *("mobilenet_v2", "mobilenet_v3_large", "resnet50", "densenet121", "efficientnet_b0"),
    *("regnet_y_400mf", "mnasnet1_0", "shufflenet_v2_x1_0", "googlenet", "convnext_tiny"),
)
OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": True}}


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    torch.manual_seed(0)
    figures = checkpoint_figures() + architecture_figures(ARCHITECTURES[:3] if arguments.quick else ARCHITECTURES)
    return figures + fisher_figures(4 if arguments.quick else 16) + latency_figures(10 if arguments.quick else 40)


def checkpoint_figures() -> list[Figure]:
    """Accuracy of the shipped model on the whole test set."""
    return [Figure(f"{MODEL}: test accuracy", 93.5, accuracy(zoo.load(MODEL), fashion_mnist("test")), ">=", "%")]


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
        apart = difference(model, chosen, images)
        left = measure.sizes(cut(model, chosen))["parameters"] / measure.sizes(model)["parameters"]
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
    units = find_units(model, split.images[:1])
    ours, theirs = [], []
    for _ in range(2):
        start = time.perf_counter()
        scores = score(model, units, "fisher", split)
        ours.append(time.perf_counter() - start)
        theirs.append(_hessian_seconds(copy.deepcopy(model), split))
    loop = 0.0
    for image, label in zip(split.images.split(1), split.labels.split(1)):
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
    losses = nn.functional.cross_entropy(model(split.images), split.labels, reduction="none")
    importance.zero_grad()
    for loss in losses:
        model.zero_grad()
        loss.backward(retain_graph=True)
        importance.accumulate_grad(model)
    return time.perf_counter() - start


def latency_figures(repeats: int) -> list[Figure]:
    """Latency of untuned cuts in ONNX Runtime: what whole blocks, even widths and odd widths do to it."""
    model, calibration = zoo.load(MODEL), fashion_mnist("calibration")
    units = find_units(model, calibration.images[:1]) + find_blocks(model, calibration.images[:1])
    costs = mac_costs(model, units, calibration.images)
    scores = score(model, units[:-1], "taylor", calibration)
    blocks = plan(score(model, units[-1:], "ablation", calibration), k=5)
    narrow = plan(scores.normalised("rank"), target=0.3, costs=costs, round_to=16)
    plans = {
        "five blocks": blocks,
        "half the MACs, any width": plan(scores, target=0.5, costs=costs, scope="uniform"),
        "half the MACs, multiples of 16": plan(scores.normalised("rank"), target=0.5, costs=costs, round_to=16),
        "five blocks, 0.3 of the MACs": Plan(tuple(units), {**narrow.removed, **blocks.removed}),
    }
    models = {"original": model} | {name: cut(model, chosen) for name, chosen in plans.items()}
    figures = []
    for batch in (1, 64):
        example = calibration.images[:batch]
        times = runtimes.runtime_latencies(models, example, {"ONNX Runtime": runtimes.onnxruntime}, repeats=repeats)
        whole = times["original", "ONNX Runtime"].median
        for name in plans:
            saved = 100 * (1 - times[name, "ONNX Runtime"].median / whole)
            figures.append(Figure(f"{name}, batch {batch}: latency saved", float("-inf"), saved, ">=", "%"))
    return figures


if __name__ == "__main__":
    main(measured, __doc__)
