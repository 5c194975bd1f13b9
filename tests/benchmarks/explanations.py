"""Explanations: completeness, conservation, agreement with zennit and its speed, the toy experiment, the wrong reason.

``python -m tests.benchmarks.explanations`` measures all but the toy experiment live, and reads that from the
table ``toy``, one net of which it measures again.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from experiments import toy as sweep
from tests.benchmarks import lrp_process
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from xaiprune import data, explain, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split
from xaiprune.experiments import tables
from xaiprune.explain import relevance
from xaiprune.measure import accuracy
from xaiprune.prune import contrast_scores, cut, find_units, plan
from xaiprune.prune.scoring.criteria import yeom
from xaiprune.training import classification_loss, fit
from xaiprune.widgets import HeatmapExplorer, NoiseExplorer

#: What Yeom et al. 2021 logged: training accuracy after pruning, in per cent, on moons and circles.
PUBLISHED = {"weight": (99.60, 97.10), "gradient": (91.27, 83.89), "taylor": (91.33, 90.47), "lrp": (99.85, 99.99)}
PUBLISHED["lrp, sizes"] = PUBLISHED["lrp"]
COMPOSITE = "epsilon-plus"


def measure(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    warnings.simplefilter("ignore")
    rows = tables.read("toy")
    print(toy_table(rows), end="\n\n")
    check_against_live(rows, draws=5 if arguments.quick else sweep.DRAWS)
    figures = completeness_figures(200 if arguments.quick else 1000) + conservation_figures()
    figures += zennit_figures(runs=3 if arguments.quick else 6) + toy_figures(rows) + wrong_reason_figures()
    figures += explorer_figures(moves=20 if arguments.quick else 120)
    return figures if arguments.quick else figures + lesson_figures({"02": 100})


def completeness_figures(images: int) -> list[Figure]:
    """Integrated Gradients with 50 steps on the shipped CNN."""
    model, split = zoo.load("lenet-5"), data.mnist("test", images)
    gaps = explain.completeness(model, *split, explain.integrated_gradients(model, *split, steps=50))
    return [
        Figure(f"IG, 50 steps: completeness error, p95 of {images} images", 1.0, 100 * gaps.quantile(0.95), "<=", "%")
    ]


def torchvision_model(name: str) -> nn.Module:
    """A model of torchvision: random weights, statistics of random images, affine parameters that are not trivial."""
    from torchvision import models

    torch.manual_seed(0)
    model = getattr(models, name)(weights=None).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        model(torch.rand(16, 3, 64, 64))
    return model.eval()


def conservation_figures() -> list[Figure]:
    """Without biases nothing is lost; with them the ledger knows where it went."""
    model, split = zoo.load("lenet-5"), data.mnist("test", 200)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    worst = 0.0
    for composite in ("epsilon 0", "gamma 0.25", "z-plus", COMPOSITE):
        _, ledger = relevance.propagate(model, split.inputs, model(split.inputs).argmax(1), composite=composite)
        worst = max(worst, ((ledger.inputs - ledger.output).abs() / ledger.output.abs()).max().item())
    figures = [Figure("LRP without biases: conservation error, worst of 4 composites", 1e-4, worst, "<=")]
    for name, kind in itertools.product(("resnet18", "densenet121", "mobilenet_v2"), (torch.float32, torch.float64)):
        model, images = torchvision_model(name).to(kind), torch.rand(4, 3, 64, 64).to(kind)
        _, ledger = relevance.propagate(model, images, model(images).argmax(1), composite=COMPOSITE)
        error = ((ledger.output - ledger.inputs - ledger.bias).abs() / ledger.output.abs()).max().item()
        text = f"{name}, {COMPOSITE}, {str(kind)[6:]}: pixels + biases against the output"
        figures.append(Figure(text, 1e-3, error, "<="))
    return figures


def folded(model: nn.Module) -> nn.Module:
    """A copy with batch normalisation folded into the convolutions before it, and no operation in place."""
    model = copy.deepcopy(model)
    for parent in model.modules():
        for (one, first), (other, second) in itertools.pairwise(parent.named_children()):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(parent, one, fuse_conv_bn_eval(first, second))
                setattr(parent, other, nn.Identity())
        if hasattr(parent, "inplace"):
            parent.inplace = False
    return model


def zennit_figures(runs: int) -> list[Figure]:
    """Agreement with zennit rule by rule, then time and memory beside it in alternating processes."""
    figures = agreement_figures(("vgg11", "resnet18")) + agreement_figures(("resnet18",), bias="zero")
    seconds, memory = race(lrp_process.RUNS, runs)
    return figures + [
        Figure(
            "mobilenet_v2, 16 x 224 x 224: zennit's time / ours", 1.5, seconds["zennit"] / seconds["ours"], ">=", aim=2
        ),
        Figure("  ours", np.inf, seconds["ours"], "<=", "s"),
        Figure("  zennit's EpsilonPlusFlat", np.inf, seconds["zennit"], "<=", "s"),
        Figure("  our peak memory / zennit's", 1.2, memory["ours"] / memory["zennit"], "<="),
        *bias_figures(seconds, memory),
    ]


def agreement_figures(models: tuple[str, ...], bias: str = "absorb") -> list[Figure]:
    """How far heatmaps are from zennit's, as a share of their size; biases as zennit has them, or left out of sums."""
    from zennit import layer, rules, types
    from zennit.composites import LayerMapComposite
    from zennit.torchvision import ResNetCanonizer

    small, options = (1e-9, {}) if bias == "absorb" else (1e-6, {"zero_params": "bias"})
    pairs = {
        "epsilon": (rules.Epsilon(1e-6, **options), relevance.epsilon(1e-6)),
        "z-plus": (rules.ZPlus(small, **options), relevance.z_plus()),
        "gamma": (rules.Gamma(0.25, small, **options), relevance.gamma(0.25)),
    }
    figures, told = [], "" if bias == "absorb" else ", biases left out"
    for name, (rule, (theirs, ours)) in itertools.product(models, pairs.items()):
        model, images = torchvision_model(name).double(), torch.rand(2, 3, 64, 64).double()
        targets = model(images).argmax(1)
        rows = [(types.Activation, rules.Pass()), (types.AvgPool, rules.Norm(1e-9))]
        rows += [(layer.Sum, rules.Norm(1e-9)), (types.Linear, theirs)]
        with LayerMapComposite(rows, canonizers=[ResNetCanonizer()]).context(folded(model)) as hooked:
            pixels = images.clone().requires_grad_()
            output = hooked(pixels)
            start = nn.functional.one_hot(targets, 1000) * output.detach()
            (expected,) = torch.autograd.grad(output, pixels, grad_outputs=start)
        found, _ = relevance.propagate(model, images, targets, composite=relevance.uniform(ours).with_bias(bias))
        error = ((found - expected).norm() / expected.norm()).item()
        figures.append(Figure(f"{rule}{told} on {name} against zennit 0.5.1", 1e-4, error, "<="))
    return figures


def race(which: Iterable[str], runs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds and peak memory [MiB] of what ``lrp_process`` runs, in alternating processes."""
    found: dict[str, list[dict]] = {one: [] for one in which}
    for _, one in itertools.product(range(2), found):
        command = [sys.executable, "-m", "tests.benchmarks.lrp_process", one, str(runs)]
        found[one].append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
    seconds = {one: statistics.median(s for part in parts for s in part["seconds"]) for one, parts in found.items()}
    return seconds, {one: max(part["mib"] for part in parts) for one, parts in found.items()}


def bias_figures(seconds: dict[str, float], memory: dict[str, float]) -> list[Figure]:
    """Biases left out or redistributed, beside zennit that leaves them out."""
    figures = []
    for told, one in (("left out", "ours zero"), ("redistributed, zennit's left out", "ours redistribute")):
        ratio = seconds["zennit zero"] / seconds[one]
        figures.append(Figure(f"  biases {told}: zennit's time / ours", 1.5, ratio, ">=", aim=2))
        figures.append(Figure("    our peak memory / zennit's", 1.2, memory[one] / memory["zennit zero"], "<="))
    return figures


def toy_table(rows: list[dict]) -> str:
    """Training accuracy after pruning at 10 samples per class, and for net 0 at the other sizes."""
    lines = ["1,000 of 3,000 neurons gone: training accuracy in %, mean of 5 nets and its 95 % interval, 50 draws each"]
    for points in sweep.SETS:
        head = f"{points:<34}{'published':>10}{'ours':>9}  {'interval':<18}overlap"
        lines.append(f"{head}  net 0: 1, 2, 5, 10, 50 samples per class")
        for name in sweep.ROWS:
            mine = tables.where(rows, data=points, criterion=name, per_class=sweep.PER_CLASS)
            mean, low, high = tables.interval([statistics.fmean(row["values"]) for row in mine])
            theirs = f"{PUBLISHED[name][sweep.SETS.index(points)]:.2f}" if name in PUBLISHED else ""
            first = sorted(tables.where(rows, data=points, criterion=name, net=0), key=lambda row: row["per_class"])
            sizes = ", ".join(f"{statistics.fmean(row['values']):.1f}" for row in first)
            overlap = statistics.fmean(row["overlap"] for row in mine)
            lines.append(
                f"  {name:<32}{theirs:>10}{mean:>9.2f}  {f'[{low:.2f}, {high:.2f}]':<18}{overlap:<9.3f}{sizes}"
            )
    return "\n".join(lines)


def check_against_live(rows: list[dict], draws: int) -> None:
    """Measure LRP and Taylor of one net again and print them beside the table."""
    criteria = {name: yeom.YEOM[name] for name in ("lrp", "taylor")}
    print(f"moons, net 0, {draws} draws of 10 per class: measured now, and in the table")
    for row in sweep.rows_of("moons", 0, sweep.PER_CLASS, draws, criteria):
        [stored] = tables.where(rows, data="moons", net=0, criterion=row["criterion"], per_class=sweep.PER_CLASS)
        means = (statistics.fmean(values[:draws]) for values in (row["values"], stored["values"]))
        print(f"  {row['criterion']:<8}" + "".join(f"{value:8.2f} %" for value in means))
    print()


def toy_figures(rows: list[dict]) -> list[Figure]:
    """LRP against the published value, against Taylor and gradient, and against itself."""
    figures = []
    for place, points in enumerate(sweep.SETS):
        chosen = tables.where(rows, data=points, per_class=sweep.PER_CLASS)
        means = {
            name: tables.interval(
                [statistics.fmean(values) for values in tables.column(chosen, "values", criterion=name)]
            )
            for name in PUBLISHED
        }
        rivals = max(means["taylor"][2], means["gradient"][2])
        for name in ("lrp", "lrp, sizes"):
            off, ahead = abs(means[name][0] - PUBLISHED[name][place]), means[name][1] - rivals
            least = min(tables.column(chosen, "overlap", criterion=name))
            figures.append(Figure(f"toy, {points}, {name}: off the published value", 0.5, off, "<=", "points"))
            figures.append(Figure("  gap from its interval to Taylor's and gradient's", 0, ahead, ">=", "points"))
            figures.append(Figure("  overlap of its draws, worst of 5 nets", 0.95, least, ">="))
    return figures


def wrong_reason_figures() -> list[Figure]:
    """A LeNet-5 that reads a tag, repaired by re-training on decoupled data, and by pruning alone."""
    tag, plain, test = explain.tag_mask(), data.mnist("train", 12_000), data.mnist("test", 5_000)
    training = explain.tag_class(plain, 8, "own")
    misled = trained(training)
    suspect = explain.relevance_mass(explain.lrp(misled, *training, batch_size=500), tag) > 0.1
    retrained = trained(explain.decorrelate(training, suspect, tag))
    calibration = data.mnist("calibration")
    others = Split(*(part[calibration.targets != 8] for part in calibration))
    absent = Split(others.inputs, torch.full_like(others.targets, 8))
    present = absent._replace(inputs=explain.add_tag(others.inputs, torch.ones(len(others.targets), dtype=torch.bool)))
    units = find_units(misled, test.inputs[:1])
    pruned = cut(misled, plan(contrast_scores(misled, units, present, absent), k=4))
    eights = Split(*(part[test.targets == 8][:200] for part in explain.tag_class(test, 8, "own")))
    rows = []
    for model in (misled, retrained, pruned):
        row = {name: accuracy(model, explain.tag_class(test, 8, where)) for name, where in explain.TESTS.items()}
        rows.append(row | {"mass": explain.relevance_mass(explain.lrp(model, *eights), tag).mean().item()})
    was, now, less = rows
    swapped = "tag on the others"
    return [
        Figure(
            "wrong reason, re-trained: relevance mass off the tag", 80, 100 * (1 - now["mass"] / was["mass"]), ">=", "%"
        ),
        Figure("  swapped accuracy gained", 30, now[swapped] - was[swapped], ">=", "points"),
        Figure("  clean accuracy lost", 0.5, was["no tag"] - now["no tag"], "<=", "points"),
        Figure("4 units pruned alone: mass off the tag", -np.inf, 100 * (1 - less["mass"] / was["mass"]), ">=", "%"),
        Figure("  swapped accuracy gained", -np.inf, less[swapped] - was[swapped], ">=", "points"),
        Figure("  clean accuracy lost", np.inf, was["no tag"] - less["no tag"], "<=", "points"),
    ]


def trained(split: Split) -> nn.Module:
    """LeNet-5 after three epochs."""
    seed_everything(0)
    model = zoo.lenet_5()
    fit(model, split, classification_loss, epochs=3, lr=3e-3, progress=False)
    return model.eval()


def explorer_figures(moves: int) -> list[Figure]:
    """What follows the sliders: 95th percentiles."""
    model, split = zoo.load("lenet-5"), data.mnist("validation", 20)
    draw = np.random.default_rng(0)
    heat, noise = HeatmapExplorer(model, split, methods=("lrp", *explain.METHODS)), NoiseExplorer(model, split)
    rules, methods = (
        ("epsilon", "gamma", "alpha-beta", "z-plus"),
        ("lrp", "lrp", "lrp", "integrated gradients", "saliency"),
    )
    settings = [(int(draw.integers(20)), draw.choice(methods), draw.choice(rules), draw.random()) for _ in range(moves)]
    noises = [(int(draw.integers(20)), int(draw.integers(61)), int(draw.integers(1, 65))) for _ in range(moves)]
    return [
        Figure("HeatmapExplorer, 95th percentile", 100, percentile_95(heat.set, settings), "<=", "ms"),
        Figure("NoiseExplorer, 95th percentile", 100, percentile_95(noise.set, noises), "<=", "ms"),
    ]


if __name__ == "__main__":
    main(measure, __doc__)
