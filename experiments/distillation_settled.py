"""Tables that settle headlines of lesson 08: temperatures without labels, cooling, and losses as in their papers.

A student of MobileNet takes 20 to 35 minutes on one core, too long for many seeds of many losses. The table
``distillation_losses`` has two small CNNs under a larger one instead, on Fashion-MNIST too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from experiments import distillation as digits
from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import distill, zoo
from xaiprune.core import save_atomically, seed_everything
from xaiprune.data import fashion_mnist, mnist
from xaiprune.distill import Loss, Transfer
from xaiprune.explain import SHIFTS
from xaiprune.measure import calibration_error, predict
from xaiprune.training import classification_loss, fit, flip_and_shift, random_shift

#: Temperatures for students that hear no label, each for some seeds of ``distillation_temperature``.
TEMPERATURES, SEEDS = (1.0, 2.0, 3.0, 4.0, 8.0, 20.0), range(5)
#: As in the lesson's live cell: what is asked of students of two layers of 64 units on 10,000 digits.
LIVE: dict[str, dict] = {
    "labels": {"alpha": 0.0},
    "T = 4": {"temperature": 4.0},
    "T cools": {"temperature": lambda done: 8 - 7 * done},
}
LIVE_SEEDS = range(10)
#: Channels and hidden units of the CNN that teaches and of those that learn, and how they are trained.
TEACHER, STUDENTS = ((16, 32), (120, 84)), {"small": ((3, 6), (24, 16)), "LeNet-5": ((6, 16), (120, 84))}
TAUGHT, TRAINED = {"epochs": 5, "lr": 3e-3}, {"epochs": 10, "lr": 1e-2, "batch_size": 64}
#: Images of students, clothes and digits, and the layers of hints.
IMAGES, KNOWN, LAYERS = 6000, 10_000, ("pool1", "pool2")
#: Test images with noise, turned, or moved by up to so many pixels.
SHIFTED, LEVELS, PIXELS = 2000, {"noise": 0.1, "rotation": 20.0}, 4
CODE = ("calibration error", "distillation", "training")


class Warmed:
    """A loss whose weight rises from 0 to 1 over the first calls."""

    def __init__(self, loss: Callable, calls: float):
        self.loss, self.calls, self.done = loss, calls, 0

    def __call__(self, *pair: torch.Tensor, **given) -> torch.Tensor:
        self.done += 1
        return min(self.done / self.calls, 1.0) * self.loss(*pair, **given)


def decoupled(steps: int) -> Loss:
    """As its paper trains it on CIFAR-100: the weight rises over the first twelfth, 20 of 240 epochs."""
    return Loss(Warmed(distill.decoupled, steps / 12), "logits", ("labels", "temperature"))


def correlation(steps: int) -> Loss:
    """As its paper trains it: both parts weigh 2 beside cross-entropy at 1."""
    return Loss(partial(distill.correlation, inter=2.0, intra=2.0), "logits", ("temperature",))


#: What a CNN is asked for, given the number of steps. The two losses "as published" have cross-entropy at
#: weight 1 and T = 4: with alpha 0.5 both parts are halved, which Adam does not see. "As before" are alpha and T of
#: ``distillation_students``. Soft targets have alpha 0.9 and T = 4 as in the comparison of Zhao et al.
METHODS: dict[str, Callable[[int], dict]] = {
    "labels": lambda steps: {"alpha": 0.0},
    "soft targets": lambda steps: {},
    "soft targets, no labels": lambda steps: {"alpha": 1.0},
    "decoupled, as published": lambda steps: {"loss": decoupled(steps), "alpha": 0.5},
    "decoupled, as before": lambda steps: {"loss": "decoupled", "temperature": 2.0},
    "correlation, as published": lambda steps: {"loss": correlation(steps), "alpha": 0.5},
    "correlation, as before": lambda steps: {"loss": "correlation", "temperature": 2.0},
    "labels and hints": lambda steps: {"loss": "hints", "layers": LAYERS, "alpha": 0.5},
    "soft targets and hints": lambda steps: {"loss": {"soft targets": 1.0, "hints": 1.0}, "layers": LAYERS},
    "soft targets and attention": lambda steps: {"loss": {"soft targets": 1.0, "attention": 5.0}, "layers": LAYERS},
}


def unlabelled(temperature: float, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Errors of a small student that hears its teacher alone, on validation and test images."""
    options = {"temperature": temperature, "alpha": 1.0, **at.trained(digits.QUICKLY)}
    student = digits.student_of(digits.said(whole=False, at=at), digits.SMALL, seed, **options)
    row = {"temperature": temperature, "seed": seed}
    return [row | {split: digits.errors(student, at.split(mnist, split), at) for split in ("validation", "test")}]


@functools.cache
def told(at: Setting) -> Transfer:
    """What the shipped teacher says of 10,000 digits."""
    return distill.transfer(distill.freeze(zoo.load(digits.TEACHER)), at.split(mnist, "train", KNOWN))


def cooling(seed: int, at: Setting = WHOLE) -> list[dict]:
    """The students of the lesson's live cell, on all test images."""
    rows = []
    for name, how in LIVE.items():
        student = digits.student_of(told(at), (64, 64), seed, **how, **at.trained(digits.QUICKLY))
        rows.append({"method": name, "seed": seed, "test": at.judge(student, at.split(mnist, "test"))})
    return rows


@functools.cache
def teacher(at: Setting) -> nn.Module:
    """The larger CNN, trained once on all training images."""
    seed_everything(0)
    model, path = zoo.lenet_5(channels=TEACHER[0], hidden=TEACHER[1]).eval(), unfinished("small-teacher.pt", CODE)
    if path.exists():
        model.load_state_dict(torch.load(path))
    else:
        train = at.split(fashion_mnist, "train")
        fit(model, train, classification_loss, augment=flip_and_shift, progress=False, **at.trained(TAUGHT))
        save_atomically(path, lambda temporary: torch.save(model.state_dict(), temporary))
    return distill.freeze(model)


@functools.cache
def said(at: Setting) -> Transfer:
    """What it says of five mirrored and moved copies of 6,000 images."""
    return distill.transfer(teacher(at), at.split(fashion_mnist, "train", IMAGES), copies=5, augment=flip_and_shift)


def losses(method: str, seed: int, size: str = "small", at: Setting = WHOLE) -> list[dict]:
    """One student, or the teacher."""
    row = {"student": size, "method": method, "seed": seed}
    if method == "teacher":
        return [row | judged(teacher(at), at)]
    options, count = at.trained(TRAINED), said(at).inputs.shape[1]
    seed_everything(seed)
    channels, hidden = STUDENTS[size]
    student = zoo.lenet_5(channels=channels, hidden=hidden).eval()
    how = METHODS[method](options["epochs"] * (count // options["batch_size"]))
    distill.distill(teacher(at), student, said(at), None, seed=seed, progress=False, **how, **options)
    return [row | judged(student, at)]


def judged(model: nn.Module, at: Setting) -> dict:
    """Accuracy, agreement with the teacher, calibration error and robustness."""
    test, validation = (at.split(fashion_mnist, name) for name in ("test", "validation"))
    logits, wanted = predict(model, test.inputs), predict(teacher(at), test.inputs)
    row = {"validation": at.judge(model, validation), "test": at.judge(model, test)}
    row["agreement"] = round(100 * (logits.argmax(1) == wanted.argmax(1)).double().mean().item(), 3)
    row["ece"] = round(calibration_error.expected_calibration_error(logits, test.targets), 5)
    some = test.first(min(SHIFTED, len(test.targets)))
    shifted = {name: SHIFTS[name].images(some.inputs, level) for name, level in LEVELS.items()}
    shifted["moved"] = random_shift(some.inputs, torch.Generator().manual_seed(0), PIXELS)
    return row | {name: at.judge(model, some.replaced(inputs=images)) for name, images in shifted.items()}


_DIGITS = partial(
    Table,
    code=("dense networks", "distillation", "training"),
    checkpoints=digits.FILES,
    at=Setting(images=256, training={"epochs": 3, "batch_size": 64}),
    processes=2,
)
TABLES = [
    _DIGITS(
        "distillation_unlabelled",
        unlabelled,
        list(itertools.product(TEMPERATURES, SEEDS)),
        tried=[(1.0, 0), (20.0, 0)],
    ),
    _DIGITS("distillation_cooling", cooling, [(seed,) for seed in LIVE_SEEDS], tried=[(0,)]),
    Table(
        "distillation_losses",
        losses,
        [
            ("teacher", 0),
            *((method, seed) for seed, method in itertools.product(SEEDS, METHODS)),
            *((method, seed, "LeNet-5") for seed, method in itertools.product(SEEDS, METHODS)),
        ],
        code=CODE,
        tried=[(method, 0) for method in ("teacher", *METHODS)],
        at=Setting(images=64, training={"epochs": 4, "batch_size": 16}),
        processes=2,
    ),
]
