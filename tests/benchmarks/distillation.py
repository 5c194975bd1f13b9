"""Distillation: the numbers that began the field, temperatures, students of MobileNet, and what a cached teacher costs.

``python -m tests.benchmarks.distillation`` times what runs and reads the rest from the tables ``distillation_*``;
``--quick`` times with fewer repeats.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from experiments import distillation as sweep
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from xaiprune import distill, zoo
from xaiprune.data import MNIST_CLASSES, mnist
from xaiprune.experiments import tables
from xaiprune.training import classification_loss, fit
from xaiprune.widgets import TemperatureExplorer

#: Of Hinton, Vinyals and Dean 2015, section 3: errors of the teacher, the student alone and the distilled student.
PUBLISHED = {"teacher": 67, "labels": 146, "soft targets": 74}


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    torch.manual_seed(0)
    quick = arguments.quick
    figures = digit_figures() + omitted_figures() + factor_figures()
    print_temperatures()
    print_teachers()
    figures += student_figures()
    print_losses()
    print_elsewhere()
    figures += cache_figures(1 if quick else 5) + explorer_figures(10 if quick else 60)
    return figures if quick else figures + lesson_figures({"08": 90})


def digit_figures() -> list[Figure]:
    """Errors of teacher, student alone and distilled student, beside the published ones.

    The gap of the figures is that of labels on images as they are; moved images narrow it without a teacher, which the
    line below the table says.
    """
    rows = tables.read("distillation_digits")
    mean = {}
    for method, copies in dict.fromkeys((row["method"], row["copies"]) for row in rows):
        counts = tables.column(rows, "errors", method=method, copies=copies)
        mean[method, copies] = statistics.fmean(counts)
        published = f"published {PUBLISHED[method]}" if copies != "moved" else ""
        print(f"{method:<14}{copies:<18}{mean[method, copies]:6.1f} ({min(counts)} to {max(counts)}) {published}")
    own, alone = mean["teacher", "turned and moved"], mean["labels", "as they are"]
    seeds = tables.column(rows, "seed", method="labels", copies="moved")
    counts = [
        row["errors"] for row in tables.where(rows, method="soft targets", copies="moved") if row["seed"] in seeds
    ]
    narrow = mean["labels", "moved"] - own
    share = (mean["labels", "moved"] - statistics.fmean(counts)) / narrow
    print(
        f"beside labels on the same moved images, {len(seeds)} seeds: {share:.0%} of their gap of {narrow:.1f} errors\n"
    )
    figures = [Figure("teacher 1200-1200, errors on 10,000 test images", 75, own, "<=", aim=67)]
    for copies in sweep.COPIES:
        closed = (alone - mean["soft targets", copies]) / (alone - own)
        name = f"student 800-800, T = 20, images {copies}: gap of labels on unmoved images closed, 5 seeds"
        figures.append(Figure(name, 0.9, closed, ">=", aim=0.91))
    return figures


def omitted_figures() -> list[Figure]:
    """Test 3s that a student recognizes which never saw one, before and after a bias chosen on validation images."""
    rows = tables.read("distillation_omitted")
    for row in rows:
        print(
            f"seed {row['seed']}, {row['step']:<16}{row['threes']:>5} of {row['of']} 3s, {row['errors']} errors in all"
        )
    print()
    shares = [row["threes"] / row["of"] for row in tables.where(rows, step="bias corrected")]
    name = "3s right without ever having seen one, mean of 3 seeds"
    return [Figure(name, 0.98, statistics.fmean(shares), ">=", aim=0.986)]


def factor_figures() -> list[Figure]:
    """How near the soft term's gradient is to its limit, for students before and after training."""
    test = mnist("test", 2000)
    with torch.no_grad():
        told = zoo.load(sweep.TEACHER)(test.inputs)
        spread = told.std(1).mean().item()
        given = {"an untrained student": zoo.dense(sweep.SMALL)(test.inputs)}
        given["LeNet-300-100"] = zoo.load("lenet-300-100")(test.inputs)
    print(f"standard deviation of the teacher's logits: {spread:.1f}")
    figures = []
    for name, logits in given.items():
        for temperature in (1.0, 2.0, 4.0, 8.0, 5 * spread):
            share = distill.size_against_limit(logits, told, temperature).mean().item()
            print(f"{name:<22}T = {temperature:5.1f}: gradient of the soft term {share:.2f} of its limit")
        figures.append(Figure(f"{name}, T = 5 standard deviations: off the limit by", 0.1, abs(share - 1), "<="))
    print()
    return figures


def print_temperatures() -> None:
    """Errors of small students over temperatures."""
    rows = tables.read("distillation_temperature")
    for temperature in sweep.TEMPERATURES:
        counts = [row["test"] for row in tables.where(rows, temperature=temperature)]
        name = f"T = {temperature:g}" if temperature else "labels alone"
        print(f"30-30, {name:<14}{statistics.fmean(counts):6.1f} errors ({min(counts)} to {max(counts)}), 10 seeds")
    rows = tables.read("distillation_unlabelled")
    for temperature in dict.fromkeys(row["temperature"] for row in rows):
        counts = tables.column(rows, "test", temperature=temperature)
        print(f"without labels, T = {temperature:<5g}{statistics.fmean(counts):6.1f} errors, {len(counts)} seeds")
    rows = tables.read("distillation_cooling")
    for method in dict.fromkeys(row["method"] for row in rows):
        values = tables.column(rows, "test", method=method)
        print(f"64-64, 10,000 images, {method:<8}{statistics.fmean(values):6.2f} % right, {len(values)} seeds")
    print()


def print_teachers() -> None:
    """What teachers of several kinds make of the same student, and students of several sizes of one teacher."""
    rows = tables.read("distillation_teachers")
    for kind, smoothing in dict.fromkeys((row["teacher"], row["smoothing"]) for row in rows):
        mine = tables.where(rows, teacher=kind, smoothing=smoothing)
        own = statistics.fmean(row["teacher_errors"] for row in mine)
        by_temperature = {t: statistics.fmean(tables.column(mine, "errors", temperature=t)) for t in sweep.WARM}
        taught = ", ".join(f"{value:.1f} at T = {t:g}" for t, value in by_temperature.items())
        print(f"teacher {kind:<8} smoothed {smoothing:g}: {own:6.1f} errors; its students {taught}")
    for depth, width in dict.fromkeys((row["depth"], row["width"]) for row in tables.read("distillation_widths")):
        mine = tables.where(tables.read("distillation_widths"), depth=depth, width=width)
        alone, taught = (statistics.fmean(row[name] for row in mine) for name in ("labels", "soft targets"))
        print(f"student of {depth} layers, width {width:>2}: {alone:6.1f} errors alone, {taught:6.1f} distilled")
    print()


def student_figures() -> list[Figure]:
    """Students at a quarter of MobileNet's operations: gap closed, and heatmaps compared with the teacher's."""
    rows = tables.read("distillation_students") + tables.read("distillation_both")
    [teacher] = tables.where(rows, method="teacher")
    methods = list(dict.fromkeys(row["method"] for row in rows if row is not teacher))
    columns = ("test", "agreement", "ece", "noise", "rotation", "lrp", "occlusion")
    print(f"{'method':<22}", *(f"{column:>11}" for column in columns))
    mean = {}
    for method in ("teacher", *methods):
        mine = tables.where(rows, method=method)
        mean[method] = {column: statistics.fmean(row[column] for row in mine) for column in columns}
        print(f"{method:<22}", *(f"{mean[method][column]:>11.3f}" for column in columns))
    print()
    alone, taught = (tables.column(rows, "test", method=method) for method in ("labels", "soft targets"))
    gap = teacher["test"] - statistics.fmean(alone)
    closed, low, _ = tables.interval((b - a) / gap for a, b in zip(alone, taught))
    best = max(mean[method]["test"] for method in methods)
    others = [mean[method] for method in methods if "relevance" not in method]
    alike = []
    for method in (method for method in methods if "relevance" in method):
        for maps, words in (("lrp", "LRP's heatmaps"), ("occlusion", "occlusion's")):
            ahead = mean[method][maps] - max(row[maps] for row in others)
            alike.append(Figure(f"{method}: rank correlation of {words} above all without relevance", 0, ahead, ">="))
        short = best - mean[method]["test"]
        alike.append(Figure(f"{method}: points below the most accurate", 0.3, short, "<=", "points"))
    return [
        Figure("student: share of the teacher's MACs", 0.26, teacher["student_macs"], "<="),
        Figure("soft targets: share of the gap closed, 5 seeds", 1 / 3, closed, ">="),
        Figure("low end of its interval", 0, low, ">="),
        *alike,
    ]


def print_losses() -> None:
    """Two small CNNs under a larger one: losses as published, hints with and without soft targets, robustness."""
    rows = tables.read("distillation_losses")
    columns = ("test", "agreement", "ece", "noise", "rotation", "moved")
    for student in dict.fromkeys(row["student"] for row in rows):
        mine = tables.where(rows, student=student)
        print(f"{student:<28}", *(f"{column:>10}" for column in columns))
        for method in dict.fromkeys(row["method"] for row in mine):
            values = (statistics.fmean(tables.column(mine, column, method=method)) for column in columns)
            print(f"{method:<28}", *(f"{value:>10.3f}" for value in values))
    print()


def print_elsewhere() -> None:
    """After pruning, in few bits, and from a CNN to a transformer."""
    rows = tables.read("distillation_elsewhere")
    for what, how in dict.fromkeys((row["what"], row["how"]) for row in rows):
        mine = tables.where(rows, what=what, how=how)
        before, after = (statistics.fmean(row[key] for row in mine) for key in ("before", "test"))
        print(f"{what:<26}{how:<21}{before:6.2f} -> {after:6.2f} %, {len(mine)} seeds")
    print()


def cache_figures(repeats: int) -> list[Figure]:
    """An epoch with a teacher whose answers are known, over one on labels alone; both by turns."""
    train = mnist("train", 20_000)
    teacher = distill.freeze(zoo.load(sweep.TEACHER))
    known, ratios = distill.transfer(teacher, train), []
    options = {"epochs": 1, "lr": 1e-3, "progress": False}
    for _ in range(repeats + 1):
        start = time.perf_counter()
        fit(zoo.dense(sweep.STUDENT), train, classification_loss, **options)
        middle = time.perf_counter()
        distill.distill(teacher, zoo.dense(sweep.STUDENT).eval(), known, None, **options)
        ratios.append((time.perf_counter() - middle) / (middle - start))
    ratio = statistics.median(ratios[1:])
    return [Figure("an epoch with cached answers over one on labels alone", 1.1, ratio, "<=", "times")]


def explorer_figures(moves: int) -> list[Figure]:
    """How quickly the explorer follows."""
    test, generator = mnist("validation", 60), torch.Generator().manual_seed(0)
    explorer = TemperatureExplorer(zoo.load(sweep.TEACHER), zoo.load("lenet-300-100"), test, MNIST_CLASSES)
    stops = explorer.controls["temperature"].options
    settings = [(stops[torch.randint(len(stops), (), generator=generator)], 0.9, n % 60) for n in range(moves)]
    value = percentile_95(explorer.set, settings)
    return [Figure("TemperatureExplorer, 95th percentile", 1000, value, "<=", "ms")]


if __name__ == "__main__":
    main(measured, __doc__.splitlines()[0])
