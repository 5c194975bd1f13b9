"""The table ``distillation_students`` of lesson 08: students of a quarter of MobileNet's operations.

Some students of seed 0 are kept as checkpoints.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import distill, explain, measure, zoo
from xaiprune.core import seed_everything
from xaiprune.data import fashion_mnist
from xaiprune.explain import SHIFTS
from xaiprune.measure import calibration_error, predict
from xaiprune.training import flip_and_shift, flip_shift_and_mix

MODEL = "mobilenet-fashion-mnist"
FILES = (f"{MODEL}-seed0.safetensors",)
#: Width of the student, for a quarter of the teacher's operations; its images.
WIDTH, IMAGES = 0.4, 10_000
#: Copies of them: mirrored and moved; and with every second one blended, where no label is read.
COPIES: dict[str, dict] = {
    "plain": {"copies": 5, "augment": flip_and_shift},
    "blended": {"copies": 10, "augment": flip_shift_and_mix},
}
TRAINED = {"epochs": 36, "lr": 1e-2, "batch_size": 64, "temperature": 2.0, "progress": False}
LAYERS = ("features.3", "features.6", "features.13")
#: What students are asked for, on which copies, and for how many seeds.
METHODS: dict[str, tuple[dict, str, int]] = {
    "labels": ({"alpha": 0.0}, "plain", 5),
    "soft targets, plain": ({}, "plain", 2),
    "decoupled, plain": ({"loss": "decoupled"}, "plain", 2),
    "correlation, plain": ({"loss": "correlation"}, "plain", 2),
    "soft targets": ({"alpha": 1.0}, "blended", 5),
    "hints": ({"loss": {"soft targets": 1.0, "hints": 1.0}, "layers": LAYERS, "alpha": 1.0}, "blended", 2),
    "attention": ({"loss": {"soft targets": 1.0, "attention": 5.0}, "layers": LAYERS, "alpha": 1.0}, "blended", 2),
    "relevance": ({"loss": {"soft targets": 1.0, "relevance": 1.0}, "alpha": 1.0}, "blended", 3),
}
SHIPPED = ("labels", "soft targets", "relevance")
#: Test images on which heatmaps are compared, and those with noise or turned.
COMPARED, SHIFTED, LEVELS = 500, 2000, {"noise": 0.1, "rotation": 20.0}
#: What the rows depend on, those of ``distillation_both`` too.
CODE = ("calibration error", "distillation", "drift", "training")


@functools.cache
def teacher(name: str = MODEL, at: Setting = WHOLE) -> nn.Module:
    """The network that others learn from."""
    return distill.freeze(at.network(zoo.load(name)))


@functools.cache
def said(copies: str, evidence: bool = False, name: str = MODEL, at: Setting = WHOLE) -> distill.Transfer:
    """What it says of augmented copies of 10,000 images."""
    images = at.split(fashion_mnist, "train", IMAGES)
    return distill.transfer(teacher(name, at), images, evidence=evidence, **COPIES[copies])


@functools.cache
def compared(method: str, at: Setting) -> Callable[[nn.Module], explain.Drift]:
    """Drift from its heatmaps of some test images."""
    return explain.drift_from(teacher(at=at), fashion_mnist("test", at.few(COMPARED)).inputs, method=method)


def build(at: Setting = WHOLE) -> nn.Module:
    """The student before training."""
    if at.whole:
        return zoo.mobilenet(width=WIDTH).eval()
    # An untrained one would hardly answer to its input.
    return dataclasses.replace(at, blocks=2).network(zoo.load(MODEL))


def judged(student: nn.Module, at: Setting = WHOLE) -> dict:
    """Accuracy, agreement, calibration and robustness on test images, and how alike the heatmaps are."""
    test, validation = (at.split(fashion_mnist, name) for name in ("test", "validation"))
    logits, told = predict(student, test.inputs), predict(teacher(at=at), test.inputs)
    fitted = calibration_error.best_temperature(predict(student, validation.inputs), validation.targets)
    row = {"test": at.judge(student, test)}
    row["agreement"] = round(100 * (logits.argmax(1) == told.argmax(1)).double().mean().item(), 3)
    for name, values in (("ece", logits), ("ece_tempered", logits / fitted)):
        row[name] = round(calibration_error.expected_calibration_error(values, test.targets), 5)
    row["temperature"] = round(fitted, 3)
    some = test.first(min(SHIFTED, len(test.targets)))
    for name, level in LEVELS.items():
        row[name] = at.judge(student, some.replaced(inputs=SHIFTS[name].images(some.inputs, level)))
    for method in ("lrp", "occlusion"):
        found = compared(method, at)(student)
        row[method] = round(1 - found.values.mean().item(), 4)
        row[f"{method}_overlap"] = round(1 - found.top.mean().item(), 4)
    return row


def trained(options: dict, at: Setting) -> dict:
    """Options of a training; in a probe, whose networks are short, another layer is read."""
    layers = {"layers": ("features.2",)} if "layers" in options and not at.whole else {}
    return {**options, **at.trained(TRAINED), **layers}


def student(method: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """One student, or the teacher itself."""
    if method == "teacher":
        example = fashion_mnist("test", 1).inputs
        share = measure.macs(build(at), example) / measure.macs(teacher(at=at), example)
        return [{"method": method, "seed": seed, **judged(teacher(at=at), at), "student_macs": round(share, 4)}]
    seed_everything(seed)
    model, (options, copies, _) = build(at), METHODS[method]
    known = said(copies, evidence=method == "relevance", at=at)
    distill.distill(teacher(at=at), model, known, None, seed=seed, **trained(options, at))
    row = judged(model, at)
    if at.whole and seed == 0 and method in SHIPPED:
        name = f"mobilenet-student-{method.replace(' ', '-')}"
        weights = zoo.save_weights(model, name, seed, dtype=torch.float16)
        facts = {"name": name, "command": TABLES[0].command, "data": "fashion_mnist", "train_images": IMAGES}
        facts |= {"seed": seed, "metric": "accuracy [%]", "test": row["test"]}
        zoo.save_card(model, weights, facts | {"epochs": TRAINED["epochs"]})
    return [{"method": method, "seed": seed, **row}]


_SEEDS = range(max(count for *_, count in METHODS.values()))
TABLES = [
    Table(
        "distillation_students",
        student,
        [("teacher", 0), *((name, seed) for seed in _SEEDS for name, (*_, count) in METHODS.items() if seed < count)],
        code=CODE,
        checkpoints=FILES,
        tried=[(name, 0) for name in ("teacher", *METHODS)],
        at=Setting(images=48, count=4, blocks=3, training={"epochs": 1, "batch_size": 24, "lr": 1e-3}),
        tolerance=0.06,
        processes=2,
    )
]
