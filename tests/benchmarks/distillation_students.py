"""The stored runs behind lesson 08 with MobileNet as the teacher: students of a quarter of its operations.

``stored.make_all`` writes the table ``distillation_students``, and some students of seed 0 as checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import nn

from xaiprune import distill, explain, measure, zoo
from xaiprune.data import Split, fashion_mnist
from xaiprune.explain import SHIFTS
from xaiprune.measure import accuracy, calibration_error, predict
from xaiprune.training import flip_and_shift, flip_shift_and_mix, seed_everything

COMMAND = "python -m tests.benchmarks.distillation --full"
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
MODULES = {
    "distillation_students": (
        "xaiprune.distill",
        "xaiprune.train",
        "xaiprune.explain.drift",
        "xaiprune.measure.calibration_error",
    )
}


@functools.cache
def teacher(name: str = MODEL) -> nn.Module:
    """The network that others learn from."""
    return distill.freeze(zoo.load(name))


@functools.cache
def said(copies: str, evidence: bool = False, name: str = MODEL) -> distill.Transfer:
    """What it says of augmented copies of 10,000 images."""
    return distill.transfer(teacher(name), fashion_mnist("train", IMAGES), evidence=evidence, **COPIES[copies])


@functools.cache
def compared(method: str) -> Callable[[nn.Module], explain.Drift]:
    """Drift from its heatmaps of some test images."""
    return explain.drift_from(teacher(), fashion_mnist("test", COMPARED).inputs, method=method)


def build() -> nn.Module:
    """The student before training."""
    return zoo.mobilenet(width=WIDTH).eval()


def judged(student: nn.Module) -> dict:
    """Accuracy, agreement, calibration and robustness on test images, and how alike the heatmaps are."""
    test, validation = fashion_mnist("test"), fashion_mnist("validation")
    logits, told = predict(student, test.inputs), predict(teacher(), test.inputs)
    fitted = calibration_error.best_temperature(predict(student, validation.inputs), validation.targets)
    row = {"test": round(accuracy(student, test), 3)}
    row["agreement"] = round(100 * (logits.argmax(1) == told.argmax(1)).double().mean().item(), 3)
    for name, values in (("ece", logits), ("ece_tempered", logits / fitted)):
        row[name] = round(calibration_error.expected_calibration_error(values, test.targets), 5)
    row["temperature"] = round(fitted, 3)
    some = test.first(SHIFTED)
    for name, level in LEVELS.items():
        row[name] = round(accuracy(student, Split(SHIFTS[name].images(some.inputs, level), some.targets)), 3)
    for method in ("lrp", "occlusion"):
        found = compared(method)(student)
        row[method] = round(found.rank.mean().item(), 4)
        row[f"{method}_overlap"] = round(found.overlap.mean().item(), 4)
    return row


def student(method: str, seed: int) -> list[dict]:
    """One student, or the teacher itself."""
    if method == "teacher":
        example = fashion_mnist("test", 1).inputs
        share = measure.macs(build(), example) / measure.macs(teacher(), example)
        return [{"method": method, "seed": seed, **judged(teacher()), "student_macs": round(share, 4)}]
    seed_everything(seed)
    model, (options, copies, _) = build(), METHODS[method]
    known = said(copies, evidence=method == "relevance")
    distill.distill(teacher(), model, known, None, seed=seed, **options, **TRAINED)
    row = judged(model)
    if seed == 0 and method in SHIPPED:
        name = f"mobilenet-student-{method.replace(' ', '-')}"
        weights = zoo.save_weights(model, name, seed, dtype=torch.float16)
        facts = {"name": name, "command": COMMAND, "data": "fashion_mnist", "train_images": IMAGES, "seed": seed}
        facts |= {"metric": "accuracy [%]", "test": round(accuracy(model, fashion_mnist("test")), 3)}
        zoo.save_card(model, weights, facts | {"epochs": TRAINED["epochs"]})
    return [{"method": method, "seed": seed, **row}]


def jobs() -> dict[str, tuple[Callable, list[tuple]]]:
    """The parts of each table: a function and its arguments."""
    most = max(count for *_, count in METHODS.values())
    students = [(name, seed) for seed in range(most) for name, (*_, count) in METHODS.items() if seed < count]
    return {"distillation_students": (student, [("teacher", 0), *students])}
