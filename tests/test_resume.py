"""Runs that can be resumed: the same call goes on to the same end, another one is refused by the argument's name."""

from __future__ import annotations

import copy
import inspect
from dataclasses import fields

import pytest
import torch
from torch import nn

from xaiprune import distill, prune, training
from xaiprune.core import Checkpoint, fingerprint
from xaiprune.data import Split
from xaiprune.measure import ACCURACY, Metric
from xaiprune.training import TrainOptions, classification_loss

X = torch.randn(96, 1, 6, 6, generator=torch.Generator().manual_seed(0))
DATA, OTHER = Split(X, (X.mean((1, 2, 3)) > 0).long()), Split(X.flip(0), (X.mean((1, 2, 3)) > 0).long())
#: Two epochs of three batches.
SMALL = {"epochs": 2, "batch_size": 32, "progress": False}


def network(width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 6, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 2)).eval()


def other_loss(model, images, labels):
    return 2 * classification_loss(model, images, labels)


def halves(images, generator):
    return images / 2


def sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr)


def constant(optimizer, lr, steps):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def accuracy_again(model, split):
    return ACCURACY.function(model, split)


LIKEWISE = Metric("accuracy [%]", accuracy_again)
OPTIONS = {
    "epochs": 3,
    "lr": 2e-3,
    "batch_size": 16,
    "optimizer": sgd,
    "lr_schedule": constant,
    "augment": halves,
    "seed": 1,
}


def own_criterion(scale: float) -> prune.Criterion:
    def places(evidence):
        return {group.name: scale * torch.arange(group.size) for group in evidence.groups}

    return prune.Criterion("mine", {"channels": places, "weights": places})


def squared(student, teacher):
    return (student - teacher).square().mean()


class Run:
    """A resumable function with arguments to call it by, and another value for each of them."""

    def __init__(self, function, given, others, batches):
        self.function, self.given, self.others, self.batches = function, given, others | OPTIONS, batches

    def __call__(self, **changes):
        given = copy.deepcopy({name: value() if name == "model" else value for name, value in self.given.items()})
        if "student" in given:
            given["student"] = given["student"]()
        result = self.function(**(given | SMALL | changes))
        trained = given.get("student", given.get("model"))
        model = getattr(result, "model", trained)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    @property
    def arguments(self) -> set[str]:
        names = set(inspect.signature(self.function).parameters) - {"options", "changes"}
        return names | {field.name for field in fields(TrainOptions)} - {"resume", "progress"}


BOTH = {"model": network, "train": DATA, "validation": DATA}
WIDER = {"model": lambda: network(5), "train": OTHER, "validation": OTHER, "loss": other_loss, "metric": LIKEWISE}
TEACHER, SECOND = distill.freeze(network(5)), distill.freeze(network(6))
RUNS = {
    "fit": Run(
        training.fit,
        {"model": network, "train": DATA, "loss": classification_loss},
        {"model": lambda: network(5), "train": OTHER, "loss": other_loss, "validate": lambda model: 0.0},
        4,
    ),
    "tune": Run(training.tune, BOTH, WIDER, 4),
    "prune_and_tune": Run(
        prune.prune_and_tune,
        BOTH | {"ratio": 0.5, "steps": 2, "criterion": own_criterion(1)},
        WIDER
        | {"ratio": 0.6, "steps": 3, "schedule": "linear", "last_epochs": 1, "criterion": own_criterion(2)}
        | {"scope": "uniform", "tolerance": 50.0},
        7,
    ),
    "shrink": Run(
        prune.shrink,
        BOTH | {"cost_target": 0.6, "calibration": DATA, "steps": 2, "criterion": own_criterion(1)},
        WIDER
        | {"cost_target": 0.5, "calibration": OTHER, "steps": 3, "schedule": "gradual", "criterion": own_criterion(2)}
        | {"rescale": lambda scores, costs: scores.normalised("rank"), "min_units": 2, "round_to": 2, "last_epochs": 1}
        | {"units": lambda model, example: prune.find_units(model, example)[:1], "score_loss": other_loss}
        | {"costs": lambda model, units, example: prune.mac_costs(model, units, example)}
        | {"budget": prune.ExplanationBudget(network(), DATA, max_drop=90.0, method="gradient x input")},
        7,
    ),
    "distill": Run(
        distill.distill,
        {"teacher": TEACHER, "student": network, "train": DATA, "validation": DATA},
        {"teacher": SECOND, "student": lambda: network(5), "train": OTHER, "validation": OTHER, "metric": LIKEWISE}
        | {"loss": squared, "temperature": 2.0, "alpha": 0.5, "layers": ["0"]},
        4,
    ),
}
CASES = [(name, argument) for name, run in RUNS.items() for argument in sorted(run.arguments)]


@pytest.mark.parametrize("name", RUNS)
def test_every_argument_has_another_value_here(name):
    """So that a new argument without a place in the identity is seen."""
    assert set(RUNS[name].others) == RUNS[name].arguments


@pytest.mark.parametrize("name", RUNS)
def test_the_same_call_goes_on_to_the_same_end(name, tmp_path, interrupted):
    run = RUNS[name]
    whole = run()
    with interrupted(run.batches):
        run(resume=tmp_path / "run")
    assert list(tmp_path.iterdir())
    again = run(resume=tmp_path / "run")
    assert all(torch.equal(tensor, again[key]) for key, tensor in whole.items())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_another_call_is_refused_by_the_arguments_name(name, argument, tmp_path, interrupted):
    run = RUNS[name]
    changed = {argument: run.others[argument]}
    if argument in ("model", "student"):
        changed = {argument: run.others[argument]()}
    if argument == "layers":  # they are for losses of features alone
        changed |= {"loss": "hints"}
    with interrupted(run.batches):
        run(resume=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words = {"student": "model", "teacher": "loss", "layers": "loss|model", "alpha": "loss", "temperature": "loss"}
    with pytest.raises(ValueError, match=rf"written by a call with another ({words.get(argument, argument)}) .*resume"):
        run(resume=tmp_path / "run", **changed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, "nothing is lost"


def test_a_state_of_an_earlier_form_says_what_to_do(tmp_path):
    torch.save({"model": {}, "history": []}, tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"holds no state of this version .*delete it, or give resume another file name"
    ):
        RUNS["fit"](resume=tmp_path / "run")


def test_without_a_path_nothing_is_kept():
    kept = Checkpoint(None, {"model": object()})
    kept.save(rows=[1])
    assert kept.part("step") is None
    kept.finish()


def made(number):
    return lambda x: x + number


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (1.0, 1.0, 2.0),
        ("a", "a", "b"),
        (torch.ones(3), torch.ones(3), torch.zeros(3)),
        (torch.ones(3), torch.ones(3), torch.ones(3, dtype=torch.float64)),
        (torch.ones(4), torch.ones(4), torch.ones(2, 2)),
        (DATA, Split(*DATA), OTHER),
        (network(), network(), network(5)),
        (made(1), made(1), made(2)),
        (own_criterion(1), own_criterion(1), own_criterion(2)),
        ([1, (2, 3)], [1, (2, 3)], [1, (2, 4)]),
        ({"a": 1}, {"a": 1}, {"b": 1}),
        (distill.distillation_loss(TEACHER), distill.distillation_loss(TEACHER), distill.distillation_loss(SECOND)),
        (
            distill.distillation_loss(TEACHER),
            distill.distillation_loss(TEACHER),
            distill.distillation_loss(TEACHER, alpha=0.5),
        ),
        (LIKEWISE, Metric("accuracy [%]", accuracy_again), ACCURACY),
        (torch.Generator(), torch.Generator(), 1),
    ],
)
def test_equal_values_have_equal_fingerprints(one, same, other):
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert " at 0x" not in fingerprint(one)
