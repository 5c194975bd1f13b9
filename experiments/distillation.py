"""Tables of lesson 08: the numbers that began the field, temperatures, teachers, and where they help."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import distill, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split, mnist, mnist_whole
from xaiprune.measure import predict
from xaiprune.training import classification_loss, fit, random_shift

TEACHER = "mnist-1200-1200"
FILES = (f"{TEACHER}-seed0.safetensors",)
#: The student of the first experiment, and how it is taught: with that learning rate of 1e-3 and 3e-3 that made fewer
#: errors on validation images, under a teacher that had not seen them either.
STUDENT, SEEDS, TRAINED, ALPHA = (800, 800), range(5), {"epochs": 40, "progress": False}, 0.9
OPTIONS = {"labels": {"alpha": 0.0, "lr": 1e-3}, "soft targets": {"temperature": 20.0, "alpha": ALPHA, "lr": 3e-3}}
#: Its images: as they are, as published, or copies of them that were moved by up to two pixels.
COPIES: dict[str, dict] = {"as they are": {}, "moved": {"copies": 10, "augment": partial(random_shift, pixels=2)}}
#: What it is given, on which of them, and for which seeds.
GIVEN = {
    ("labels", "as they are"): SEEDS,
    ("soft targets", "as they are"): SEEDS,
    ("soft targets", "moved"): SEEDS,
    ("labels", "moved"): range(3),
}
#: The digit that a student never sees.
OMITTED, OMITTED_SEEDS = 3, range(3)
#: Small students, and the temperatures at which they are taught; 0 stands for labels alone.
SMALL, MANY = (30, 30), range(10)
TEMPERATURES = (0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
QUICKLY = {"epochs": 20, "lr": 3e-3, "progress": False}
#: Teachers of one student: of several widths, and one kind with labels that were smoothed.
TEACHERS = {"30-30": (30, 30), "100-100": (100, 100), "300-300": (300, 300)}
SMOOTHED, WARM = (0.0, 0.1), (1.0, 4.0)
#: Students of several depths and widths under the shipped teacher.
DEPTHS, WIDTHS, GRID_SEEDS = (1, 2, 3), (8, 16, 32, 64), range(3)


def errors(model: nn.Module, split: Split, at: Setting) -> float:
    """How many images are not recognized; in a probe the loss."""
    if not at.whole:
        return at.judge(model, split)
    return int((predict(model, split.inputs).argmax(1) != split.targets).sum())


@functools.cache
def said(whole: bool, copies: str = "as they are", at: Setting = WHOLE) -> distill.Transfer:
    """What the shipped teacher says of the training images: all 60,000, or those of the training split.

    It was refit on all 60,000: what its students do on validation images is not free of what it saw there.
    """
    images = at.split(mnist_whole if whole else mnist, "train")
    return distill.transfer(distill.freeze(zoo.load(TEACHER)), images, **COPIES[copies])


def student_of(train: distill.Transfer, widths: Sequence[int], seed: int, **options) -> nn.Module:
    """A dense student after its last step; its teacher has said all that it says."""
    seed_everything(seed)
    student = zoo.dense(widths).eval()
    distill.distill(distill.freeze(student), student, train, None, seed=seed, **options)
    return student


def how(temperature: float) -> dict:
    """Options for a temperature; 0 stands for labels alone."""
    return {"temperature": temperature, "alpha": ALPHA} if temperature else {"alpha": 0.0}


def digits(method: str, copies: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Errors of the large student on the 10,000 test images; of the teacher too."""
    row, test = {"method": method, "copies": copies, "seed": seed}, at.split(mnist, "test")
    if method == "teacher":
        return [row | {"errors": errors(zoo.load(TEACHER), test, at)}]
    student = student_of(said(True, copies, at), STUDENT, seed, **OPTIONS[method], **at.trained(TRAINED))
    return [row | {"errors": errors(student, test, at)}]


def omitted(seed: int, at: Setting = WHOLE) -> list[dict]:
    """A student that never saw a 3, and what a bias for it, chosen on validation images, brings back."""
    train = said(whole=False, at=at)
    kept = train.targets != OMITTED
    others = distill.Transfer(train.inputs[:, kept], train.targets[kept], train.logits[:, kept])
    student = student_of(others, STUDENT, seed, **OPTIONS["soft targets"], **at.trained(TRAINED))
    validation, test = (at.split(mnist, name) for name in ("validation", "test"))
    bias = best_bias(predict(student, validation.inputs), validation.targets)
    logits = predict(student, test.inputs)
    rows = []
    for name, added in (("as taught", 0.0), ("bias corrected", bias)):
        raised = logits.clone()
        raised[:, OMITTED] += added
        right = raised.argmax(1) == test.targets
        threes = right[test.targets == OMITTED]
        row = {"seed": seed, "step": name, "errors": int((~right).sum()), "threes": int(threes.sum())}
        rows.append(row | {"of": len(threes), "bias": round(added, 3)})
    return rows


def best_bias(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """What the omitted class needs on its logit for the fewest errors; the middle of all that do alike."""
    offsets, wrong = torch.linspace(-5, 20, 501), []
    for offset in offsets:
        raised = logits.clone()
        raised[:, OMITTED] += offset
        wrong.append(int((raised.argmax(1) != labels).sum()))
    best = [offset.item() for offset, count in zip(offsets, wrong) if count == min(wrong)]
    return best[len(best) // 2]


def small(temperature: float, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Errors of a small student taught at a temperature, on validation and test images."""
    student = student_of(said(whole=False, at=at), SMALL, seed, **how(temperature), **at.trained(QUICKLY))
    row = {"temperature": temperature, "seed": seed}
    return [row | {split: errors(student, at.split(mnist, split), at) for split in ("validation", "test")}]


def teachers(name: str, smoothing: float, seed: int, at: Setting = WHOLE) -> list[dict]:
    """A dense teacher, trained on labels that may be smoothed, and its small students at two temperatures."""
    seed_everything(seed)
    teacher, train, test = zoo.dense(TEACHERS[name]).eval(), at.split(mnist, "train"), at.split(mnist, "test")
    loss = partial(smoothed_loss, smoothing=smoothing) if smoothing else classification_loss
    fit(teacher, train, loss, seed=seed, **at.trained(QUICKLY))
    row = {"teacher": name, "smoothing": smoothing, "seed": seed}
    known, rows = distill.transfer(distill.freeze(teacher), train), []
    for temperature in WARM:
        student = student_of(known, SMALL, seed + 100, **how(temperature), **at.trained(QUICKLY))
        found = {"teacher_errors": errors(teacher, test, at), "errors": errors(student, test, at)}
        rows.append(row | {"temperature": temperature} | found)
    return rows


def smoothed_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Cross-entropy against labels of which a share goes to all classes alike (Szegedy et al. 2016, section 7)."""
    return cross_entropy(model(images), labels, label_smoothing=smoothing)


def widths(depth: int, width: int, seed: int, at: Setting = WHOLE) -> list[dict]:
    """A student of some depth and width, by labels and by the shipped teacher."""
    row, train = {"depth": depth, "width": width, "seed": seed}, said(whole=False, at=at)
    for name, temperature in (("labels", 0.0), ("soft targets", 4.0)):
        student = student_of(train, (width,) * depth, seed, **how(temperature), **at.trained(QUICKLY))
        row[name] = errors(student, at.split(mnist, "test"), at)
    return [row]


_GIVEN = [(*given, seed) for given, seeds in GIVEN.items() for seed in seeds]
_KINDS = [("30-30", 0.0), ("100-100", 0.0), *(("300-300", smoothing) for smoothing in SMOOTHED)]
_TABLE = partial(
    Table,
    code=("dense networks", "distillation", "training"),
    checkpoints=FILES,
    at=Setting(images=256, training={"epochs": 3, "batch_size": 64}),
    processes=2,
)
TABLES = [
    _TABLE(
        "distillation_digits",
        digits,
        [("teacher", "turned and moved", 0), *_GIVEN],
        tried=[("teacher", "turned and moved", 0), *((*given, 0) for given in GIVEN)],
    ),
    _TABLE("distillation_omitted", omitted, [(seed,) for seed in OMITTED_SEEDS], tried=[(0,)]),
    _TABLE(
        "distillation_temperature",
        small,
        list(itertools.product(TEMPERATURES, MANY)),
        tried=[(temperature, 0) for temperature in TEMPERATURES],
    ),
    _TABLE(
        "distillation_teachers",
        teachers,
        [(*kind, seed) for kind in _KINDS for seed in SEEDS],
        tried=[(*kind, 0) for kind in _KINDS],
    ),
    _TABLE(
        "distillation_widths",
        widths,
        list(itertools.product(DEPTHS, WIDTHS, GRID_SEEDS)),
        tried=[(DEPTHS[0], WIDTHS[-1], 0), (DEPTHS[-1], WIDTHS[0], 0)],
    ),
]
