"""Relevance-guided pruning of a Vision Transformer: books, faithfulness, rankings, cuts, fairness, and their times.

``python -m tests.benchmarks.vit`` measures the shipped models live and reads the tuned runs and the rankings from the
tables ``vit_*``; ``--quick`` looks at fewer images and runtimes.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from contextlib import nullcontext

import torch
import torchvision
from torch import nn

import xaiprune as xp
from experiments import vit as sweep
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from xaiprune import deploy, explain, measure, zoo
from xaiprune.data import Split, fashion_mnist
from xaiprune.experiments import tables
from xaiprune.explain.relevance import propagate
from xaiprune.measure import accuracy, fairness
from xaiprune.prune import (
    cut_error,
    entry_masks,
    entry_relevance,
    fair_scores,
    find_heads,
    masked,
    masked_entries,
    plan,
    score,
)
from xaiprune.widgets import HeadExplorer

MODEL = sweep.MODEL
METHODS = ("attnlrp", "attnlrp gamma", "cp-lrp", "cp-lrp gamma", "gradient x input", "rollout", "chefer approximated")


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    torch.manual_seed(0)
    few = arguments.quick
    figures = checkpoint_figures() + ledger_figures(50 if few else 500) + faithful_figures(50 if few else 300)
    print_rankings()
    figures += pruned_figures(few) + fairness_figures() + large_figures(2 if few else 5)
    figures += explorer_figures(10 if few else 40)
    return figures if few else figures + lesson_figures({"06": 100})


def checkpoint_figures() -> list[Figure]:
    """Accuracy of the shipped model on the whole test set."""
    return [Figure(f"{MODEL}: test accuracy", 91, accuracy(zoo.load(MODEL), fashion_mnist("test")), ">=", "%")]


def ledger_figures(count: int) -> list[Figure]:
    """Whether the books close, and what each row of them holds."""
    model, some = zoo.load(MODEL), fashion_mnist("test", count)
    figures = []
    for name in ("attnlrp", "cp-lrp"):
        errors, sums, output = [], {}, 0.0
        for images, labels in zip(some.inputs.split(100), some.targets.split(100)):
            _, ledger = propagate(model, images, labels, composite=name)
            errors.append(ledger.error.max().item())
            output += ledger.output.sum().item()
            for row, values in ledger.sums().items():
                sums[row] = sums.get(row, 0.0) + values.sum().item()
        shares = {row: round(100 * value / output, 1) for row, value in sums.items()}
        print(f"{name}, per cent of the explained output: {shares}")
        figures.append(Figure(f"{name}: what the books miss, worst of {count} images", 1e-3, max(errors), "<="))
    print()
    return figures


def faithful_figures(count: int) -> list[Figure]:
    """Deletion and insertion beside the controls; the lower ends of leads at the resolution of patches."""
    model, some = zoo.load(MODEL), fashion_mnist("test", count)
    found = explain.faithfulness(model, some.inputs, None, METHODS, measures=("faithfulness", "ROAD"))
    print(found, end="\n\n")
    leads = {name: found.lead("attnlrp, 7 x 7", name, "faithfulness") for name in ("rollout", "random, 7 x 7")}
    return [Figure(f"AttnLRP, 7 x 7, ahead of {name}, low end", 0, low, ">=") for name, (_, low, _) in leads.items()]


def print_rankings() -> None:
    """The table of A_PR and Top-PR; random has its mean and the range of its draws."""
    rows = tables.read("vit_curves")
    for kind in sweep.KINDS:
        found = {}
        for name in dict.fromkeys(row["criterion"] for row in tables.where(rows, kind=kind)):
            areas, tops = (tables.column(rows, key, kind=kind, criterion=name) for key in ("a_pr", "top_pr"))
            spread = f" ({min(areas):.1f} to {max(areas):.1f})" if len(areas) > 1 else ""
            found[name] = (statistics.fmean(areas), statistics.fmean(tops), spread)
        print(f"{kind:<24}{'A_PR':>6}{'Top-PR':>8}")
        for name, (area, top, spread) in sorted(found.items(), key=lambda item: -item[1][0]):
            print(f"  {name:<22}{area:6.1f}{top:8.2f}{spread}")
    print()


def pruned_figures(quick: bool) -> list[Figure]:
    """The shipped pruned models: what they lose on the whole test set, and their latency in every float runtime."""
    test, model = fashion_mnist("test"), zoo.load(MODEL)
    models = {"original": model} | {
        f"{method} {seed}": sweep.load_pruned(method, seed) for method in sweep.METHODS for seed in sweep.SEEDS
    }
    right = {name: accuracy(net, test) for name, net in models.items()}
    work = {name: measure.macs(net, test.inputs[:1]) for name, net in models.items()}
    print("test accuracy:", {name: f"{value:.2f}" for name, value in right.items()})
    print("minutes of each run:", [row["minutes"] for row in tables.read("vit_pruned")])
    figures = []
    for method in sweep.METHODS:
        mine = [f"{method} {seed}" for seed in sweep.SEEDS]
        lost = right["original"] - statistics.fmean(right[name] for name in mine)
        left = max(work[name] for name in mine) / work["original"]
        figures.append(Figure(f"by {method}: test accuracy lost", 1, lost, "<=", "points"))
        figures.append(Figure(f"by {method}: MACs left", 0.52, left, "<="))
    timed = {name: models[name] for name in ("original", "masks 0", "relevance 0")}
    for batch, asked in ((1, 20), (64, 35)):
        names = ("ONNX Runtime",) if quick else tuple(deploy.available())
        example, repeats = fashion_mnist("calibration").inputs[:batch], 200 if batch == 1 else 40
        times = deploy.runtime_latencies(timed, example, names, repeats=repeats)
        for (name, runtime), taken in times.items():
            print(f"batch {batch:>2}  {name:<13}{runtime:<21}{taken}")
        fastest = min(names, key=lambda runtime: times["original", runtime].median)
        for name in list(timed)[1:]:
            saved = 100 * (1 - times[name, fastest].median / times["original", fastest].median)
            figures.append(Figure(f"{name}: latency saved, batch {batch}, {fastest}", asked, saved, ">=", "%"))
    print()
    return figures


def fairness_figures() -> list[Figure]:
    """The planted bias: what pruning does to the gap 1 - EOM, on the whole test set."""
    test, some = fashion_mnist("test"), fashion_mnist("calibration", 500)
    bright, model, attribute = fairness.brighter(test), zoo.load(sweep.BIASED), zoo.load("vit-brightness")
    split = Split(some.inputs, fairness.brighter(some))
    entries = entry_masks(entry_relevance(model, some), entry_relevance(attribute, split))
    heads = fair_scores(
        score(model, find_heads(model), "attnlrp", some), score(attribute, find_heads(model), "attnlrp", split)
    )
    tried = {"original": [nullcontext()], "entries, XTranPrune's rule": [masked_entries(model, entries)]}
    tried |= {f"{k} heads against the attribute": [masked(model, plan(heads, k=k))] for k in (1, 2, 3)}
    for weight in sweep.EVENNESS:
        tried[f"masks, evenness {weight:g}"] = [masked(model, chosen) for chosen in sweep.even_plans(weight)]
    found = {}
    for name, contexts in tried.items():
        rows = []
        for context in contexts:
            with context:
                rows.append(fairness.fairness_of(model, test, bright))
        found[name] = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        print(f"{name:<34}" + "  ".join(f"{key} {value:.3f}" for key, value in found[name].items()))
    print()
    before, after = found["original"], found[f"masks, evenness {sweep.EVENNESS[-1]:g}"]
    gap, lost = (1 - after["EOM"]) / (1 - before["EOM"]), before["accuracy"] - after["accuracy"]
    return [
        Figure("against the bias, mean of 3 seeds: gap 1 - EOM, after / before", 0.5, gap, "<="),
        Figure("against the bias, mean of 3 seeds: accuracy lost", 1, lost, "<=", "points"),
    ]


def large_figures(repeats: int) -> list[Figure]:
    """vit_b_16 converted, cut, explained; and timm's vit_tiny, if it is installed."""
    theirs, images = torchvision.models.vit_b_16().eval(), torch.rand(8, 3, 224, 224)
    nn.init.normal_(theirs.heads.head.weight, std=0.1)  # torchvision starts it at zero
    ours = zoo.from_torchvision(theirs)
    with torch.no_grad():
        wanted = theirs(images[:2])
        apart = (ours(images[:2]) - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    units = xp.find_units(ours, images[:1])
    cut = cut_error(ours, xp.plan(xp.score(ours, units, "random"), ratio=0.3), images[:1])
    figures = [
        Figure("vit_b_16 converted: outputs, relative", 1e-5, apart.item(), "<="),
        Figure("vit_b_16 converted: mask against cut, relative", 1e-5, cut, "<="),
    ]
    if importlib.util.find_spec("timm"):
        import timm

        tiny = zoo.from_timm(timm.create_model("vit_tiny_patch16_224").eval())
        chosen = xp.plan(xp.score(tiny, xp.find_units(tiny, images[:1]), "random"), ratio=0.3)
        apart = cut_error(tiny, chosen, images[:2])
        figures.append(Figure("timm's vit_tiny: mask against cut, relative", 1e-5, apart, "<="))
    else:
        print("timm is not installed: its vit_tiny was not converted\n")
    plain, ruled = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        _backward(theirs, images)
        plain.append(time.perf_counter() - start)
        start = time.perf_counter()
        propagate(ours, images, torch.zeros(8, dtype=torch.long), composite="attnlrp")
        ruled.append(time.perf_counter() - start)
    ratio = statistics.median(ruled) / statistics.median(plain)
    return [*figures, Figure("AttnLRP of 8 images over forward and backward, vit_b_16", 3, ratio, "<=")]


def _backward(model: nn.Module, images: torch.Tensor) -> None:
    """One forward and one backward pass, with the gradients of all parameters."""
    model.zero_grad()
    model(images)[:, 0].sum().backward()


def explorer_figures(moves: int) -> list[Figure]:
    """What follows a slider or a click of the HeadExplorer."""
    calibration, few = fashion_mnist("calibration", 300), fashion_mnist("validation", 200)
    explorer = HeadExplorer(zoo.load(MODEL), calibration, few, criteria=("attnlrp",), stops=())
    settings = ((24 - move % 20, 1536 - 48 * (move % 30), "attnlrp", move) for move in range(moves))
    slow = percentile_95(explorer.set, settings)
    return [Figure("HeadExplorer, 95th percentile after release", 1000, slow, "<=", "ms")]


if __name__ == "__main__":
    main(measured, __doc__)
