"""A network that nobody here trained, on photographs: what its explanations tell, and what a cut of it still does.

``python -m tests.benchmarks.real`` compares the network with a second implementation and relevance with zennit, and
runs the stored cut on the composites of its fold, whose things and grounds took part in nothing; ``--quick`` on a
quarter of them. Figures of drift, of ground truth and of all folds, which take an hour, are those of stored tables.
"""

from __future__ import annotations

import argparse

import torch
from safetensors.torch import load_file

from experiments import ground_truth, recovery, resolution
from experiments.setting import WHOLE, Setting
from tests.benchmarks import explanations
from tests.benchmarks.report import Figure, main
from tests.zoo import test_efficientnet
from xaiprune import data, deploy, zoo
from xaiprune.core import data_dir
from xaiprune.experiments import tables
from xaiprune.explain import RULER, bootstrap
from xaiprune.explain.relevance import COMPOSITES, propagate
from xaiprune.measure import latencies

#: What is only printed is asked for nothing.
NOTHING = float("-inf")


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    figures = architecture_figures() + drift_figures() + place_figures() + truth_figures()
    return figures + relevance_figures(3 if arguments.quick else 6) + recovery_figures(arguments.quick)


def architecture_figures() -> list[Figure]:
    """The network against the tests' second implementation of the published one, in float64 on fixed inputs."""
    model, prepare = zoo.load(recovery.MODEL), zoo.preprocessing(recovery.MODEL)
    state = load_file(data_dir() / "checkpoints" / f"{recovery.MODEL}-seed0.safetensors")
    state = {name: tensor.double() for name, tensor in state.items()}
    inputs = [test_efficientnet.noise(), data.objects("test", 4, preprocessing=prepare).inputs]
    figures = []
    with torch.no_grad():
        exact = [test_efficientnet.oracle(state, images.double()) for images in inputs]
        for kind, asked in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            found = [model.to(kind)(images.to(kind)) for images in inputs]
            error = max((one - expected).abs().max().item() for one, expected in zip(found, exact))
            told = f"{recovery.MODEL}, {str(kind)[6:]}: largest difference to a second implementation"
            figures.append(Figure(told, asked, error, "<="))
    return figures


def drift_figures() -> list[Figure]:
    """How well the default ruler tells networks apart, beside logits: stored tables, rows of the report."""
    figures, rows = [], []
    for name in ("drift_resolution", "drift_photographs"):
        rows += tables.where(tables.read(name), stage="report")
    for task, network in resolution.CHOSEN_BY:
        mine = [row for row in rows if (row["task"], row["network"]) == (task, network)]
        mine = [row for row in mine if row.get("against", "") in ("", "harmless kinds", "free grounds")]
        own = tables.where(mine, method=RULER[0], likeness=RULER[1])
        logits = [row["sets"] for row in tables.where(mine, method="logits")]
        told = f"stored: {network}, {task}"
        if not own:
            figures.append(Figure(f"{told}: AUC of drift, not measured yet", 0.95, float("nan"), ">="))
            continue
        [own] = own
        figures.append(Figure(f"{told}: AUC of drift, sets of 50", 0.95, own["sets"], ">=", aim=0.99))
        figures.append(Figure("  lower end of its interval over networks", NOTHING, own["sets_from"], ">="))
        figures.append(Figure("  single pictures", NOTHING, own["single"], ">="))
        figures.append(Figure("  distance of logits, sets of 50: the better of two", NOTHING, max(logits), ">="))
        if not task.startswith("Taylor"):
            figures.append(Figure("  drift less distance of logits", 1e-4, own["sets"] - max(logits), ">="))
        elif max(logits) >= own["sets"]:
            print(f"{told}: drift adds nothing to the distance of the logits.")
    return figures


def place_figures() -> list[Figure]:
    """Where known changes lie on the scale, on pictures and seeds that set neither noise nor chance: a stored table."""
    figures = []
    for network in ("efficientnet-lite0", "mobilenet-fashion-mnist"):
        rows = tables.where(tables.read("drift_places"), network=network)
        ruined = [row for row in rows if row["change"].startswith("magnitude") and row["kept"] < 0.05]
        [int8] = tables.where(rows, change="int8 weights and activations")
        harmless = [row["place_kept"] for row in rows if row["change"].endswith(("on the weights", "per channel"))]
        if ruined:
            told = f"stored: {network}, {len(ruined)} magnitude cuts that keep under 5 %: smallest place"
            figures.append(Figure(told, 0.8, min(row["place"] for row in ruined), ">="))
        else:
            print(f"{network}: each magnitude cut keeps 5 % of the answers or more.")
        figures.append(Figure(f"stored: {network}, int8, same answers: place", 0.1, int8["place_kept"], "<="))
        figures.append(Figure(f"stored: {network}, harmless changes, fresh seeds: place", 0.1, max(harmless), "<="))
    return figures


def relevance_figures(runs: int) -> list[Figure]:
    """Relevance with biases handed on: beside zennit, where it has the rule, and its books."""
    prepare = zoo.preprocessing(recovery.MODEL)
    model, images = zoo.load(recovery.MODEL), data.objects("test", 4, preprocessing=prepare).inputs
    handed = COMPOSITES["epsilon-plus"].with_bias("redistribute")
    with torch.no_grad():
        answers = model(images).argmax(1)
    _, ledger = propagate(model, images, answers, composite=handed)
    arrived = (ledger.inputs / ledger.output).min().item()
    seconds, memory = explanations.race(("zennit zero", "ours zero", "ours redistribute"), runs)
    return [
        *explanations.agreement_figures(("vgg11", "resnet18"), bias="zero"),
        Figure(f"{handed.name} on {recovery.MODEL}: error of the books", 1e-4, ledger.error.max().item(), "<="),
        Figure("  part of the logit that arrives at the pixels", 0.99, arrived, ">="),
        *explanations.bias_figures(seconds, memory),
    ]


def truth_figures() -> list[Figure]:
    """Evidence beside the exact mask: a stored table, with intervals over groups of things."""
    judged, figures = ground_truth.found(tables.read("ground_truth")), []
    books, handed = (COMPOSITES["epsilon-plus"].with_bias(bias).name for bias in ("absorb", "redistribute"))
    for measure in ("faithfulness", "ROAD", "object mass"):
        one, other = (judged.values[name][measure] for name in (handed, books))
        apart, low, high = bootstrap(one - other, groups=judged.groups[measure])
        told = f"stored: {measure}, biases handed on less books"
        figures.append(Figure(f"{told}: upper end of the interval", 0, high, ">="))
        figures.append(Figure(f"  the difference, from {low:.3f}", NOTHING, apart, ">="))
    for name in ("integrated gradients", RULER[0]):
        value, low, _ = judged.interval(name, "object mass")
        best = max(judged.controls, key=lambda control: judged.interval(control, "object mass")[0])
        figures.append(Figure(f"stored: {name}, object mass", NOTHING, value, ">=", aim=0.85))
        ahead = low - judged.interval(best, "object mass")[2]
        figures.append(Figure(f"  its lower end less the upper one of {best}", 0, ahead, ">="))
        low = judged.interval(name, "two objects")[1]
        figures.append(Figure("  two objects: lower end of the share on the one asked for", 0.5, low, ">="))
    return figures


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
    saved, known = [], torch.get_num_threads()
    for threads in (known, 1):
        torch.set_num_threads(threads)
        runs = {name: deploy.runnable(content) for name, content in files.items()}
        times = latencies(runs, recovery.EXAMPLE, repeats=100 if quick else 400, runtime="ONNX Runtime")
        print("\n".join(f"{name:<10}{taken}" for name, taken in times.items()))
        saved.append(100 * (1 - times["int8"].median / times["original"].median))
    torch.set_num_threads(known)
    [row] = tables.where(
        tables.read("recovery"), **dict(zip(recovery.KINDS, recovery.SHIPPED)), step="int8", fold="all"
    )
    return [
        Figure("pruned, recovered, int8: file", 3.5, len(files["int8"]) / 1e6, "<=", "MB", 2.5),
        Figure(f"pruned, recovered, int8: latency saved, one picture, {known} threads", 50, saved[0], ">=", "%", 65),
        Figure("  the same with one thread", NOTHING, saved[1], ">=", "%"),
        Figure("original: top-1, held-out things and grounds, five folds", NOTHING, row["original, test"], ">=", "%"),
        Figure("pruned, recovered, int8: top-1", NOTHING, row["accuracy, test"], ">=", "%"),
        Figure("the same: difference to the original", NOTHING, row["difference, test"], ">=", "points"),
        Figure("the same: lower end of its 95 % interval", -5, row["from, test"], ">=", "points", -2),
        Figure("pruned, recovered, int8: same answers", 85, row["same, test"], ">=", "%", 92),
    ]


if __name__ == "__main__":
    main(measured, __doc__.splitlines()[0])
