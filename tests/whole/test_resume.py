"""Every function that can be resumed: it goes on where it was, and refuses another value of any of its arguments."""

from __future__ import annotations

import dataclasses
import inspect
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset, default_collate

from xaiprune import distill, dynamic
from xaiprune.core import Checkpoint, checkpoint, fingerprint
from xaiprune.data import Split
from xaiprune.measure import ACCURACY, Metric
from xaiprune.prune import (
    Criterion,
    Cutting,
    ExplanationBudget,
    find_units,
    learn_masks,
    mac_costs,
    prune_and_tune,
    shrink,
)
from xaiprune.training import TrainOptions, classification_loss, fit, tune

CLASSES = 3
#: What leaves the result as it is.
NO_MATTER = {"options", "changes", "resume", "progress"}


def network(seed: int = 0, width: int = 6) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 5, 3), nn.ReLU(), nn.Dropout(0.2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(80, CLASSES)).eval()


def pictures(seed: int, count: int = 24) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 8, 8, generator=generator)
    return TensorDataset(images, torch.randint(0, CLASSES, (count,), generator=generator))


def doubled(model, images, labels):
    return 2 * classification_loss(model, images, labels)


def steep(t: float, ratio: float) -> float:
    return ratio * t**2


def darker(images, generator):
    return images * torch.rand(len(images), 1, 1, 1, generator=generator)


def at_rest(model) -> float:
    return 1.0


def constant(optimizer, lr, steps):
    return torch.optim.lr_scheduler.ConstantLR(optimizer)


def own(scale: float) -> Criterion:
    """A criterion that ranks by place."""

    def places(evidence):
        return {group.name: scale * torch.arange(group.size) + 1.0 for group in evidence.groups}

    return Criterion("own", {"channels": places, "weights": places})


OWN = own(1)
CARELESS = Metric("share right", lambda model, split: ACCURACY(model, split) / 100)
#: Another value for each option of training.
OPTIONS = {
    "epochs": 5,
    "lr": 2e-2,
    "batch_size": 6,
    "drop_last": False,
    "optimizer": torch.optim.SGD,
    "lr_schedule": constant,
    "augment": darker,
    "collate": lambda items: default_collate(items),
    "seed": 1,
    "output": lambda found: found,
    "class_axis": -1,
}
SPLITS = {"train": pictures(1), "validation": pictures(2), "calibration": pictures(3)}
LEARN = {"epochs": 4, "lr": 1e-2, "batch_size": 8, "progress": False}


def units() -> list:
    return find_units(network(), SPLITS["train"][:1][0])


def costs(model: nn.Module):
    return mac_costs(model, units(), SPLITS["train"][:1][0])


def teacher(seed: int = 5) -> nn.Module:
    return distill.freeze(network(seed))


def shrunk(**arguments):
    done = shrink(**arguments)
    return done.model, done.rows


def taught(*arguments, **options):
    return distill.distillation_loss(*arguments, **options)


def in_place(function, changed: str = "model"):
    """A function that changes a model, so that it gives the model back with what it returns."""

    def call(**arguments):
        done = function(**arguments)
        return arguments[changed], done

    return call


#: By name: the function, how to call it, its usual arguments (made anew for each call), and another value for each.
CASES = {
    "fit": (
        fit,
        in_place(fit),
        lambda: {"model": network(), "train": SPLITS["train"], "loss": classification_loss, **LEARN},
        {"model": network(1), "train": pictures(4), "loss": doubled, "validate": at_rest},
    ),
    "tune": (
        tune,
        in_place(tune),
        lambda: {"model": network(), "train": SPLITS["train"], "validation": SPLITS["validation"], **LEARN},
        {"model": network(1), "train": pictures(4), "validation": pictures(4), "loss": doubled, "metric": CARELESS},
    ),
    "distill": (
        distill.distill,
        in_place(distill.distill, "student"),
        lambda: {
            "teacher": teacher(),
            "student": network(width=4),
            "train": SPLITS["train"],
            "validation": SPLITS["validation"],
            "loss": {"hints": 1.0, "relevance": 1.0},
            "layers": ["0"],
            **LEARN,
        },
        {
            "teacher": teacher(6),
            "student": network(1, width=4),
            "train": distill.transfer(teacher(), pictures(1), evidence=True),
            "validation": None,
            "loss": {"hints": 1.0, "relevance": 2.0},
            "temperature": 2.0,
            "alpha": 0.5,
            "layers": ["2"],
            "metric": CARELESS,
        },
    ),
    "prune_and_tune": (
        prune_and_tune,
        in_place(prune_and_tune),
        lambda: {
            "model": network(),
            "train": SPLITS["train"],
            "validation": SPLITS["validation"],
            "ratio": 0.6,
            "steps": 4,
            "criterion": OWN,
            **LEARN,
        },
        {
            "model": network(1),
            "train": pictures(4),
            "validation": pictures(4),
            "ratio": 0.5,
            "schedule": steep,
            "steps": 3,
            "last_epochs": 2,
            "criterion": own(2),
            "scope": "uniform",
            "loss": doubled,
            "metric": CARELESS,
            "tolerance": 200.0,
        },
    ),
    "shrink": (
        shrink,
        shrunk,
        lambda: {"model": network(), **SPLITS, "cost_target": 0.6, "steps": 2, "criterion": OWN, **LEARN},
        {
            "model": network(1),
            "train": pictures(4),
            "validation": pictures(4),
            "calibration": pictures(4),
            "cost_target": 0.5,
            "steps": 3,
            "schedule": steep,
            "criterion": "l1",
            "cutting": Cutting(rescale=lambda scores, costs: scores.normalised("rank")),
            "last_epochs": 1,
            "loss": doubled,
            "metric": CARELESS,
            "budget": ExplanationBudget(network(), SPLITS["validation"], max_drop=100.0, method="saliency"),
        },
    ),
    "learn_masks": (
        learn_masks,
        lambda **arguments: (None, learn_masks(**arguments)),
        lambda: {
            "model": network(),
            "units": units(),
            "train": SPLITS["train"],
            "costs": costs(network()),
            "cost_target": 0.5,
            **LEARN,
        },
        {
            "model": network(1),
            "units": units()[:1],
            "train": pictures(4),
            "costs": mac_costs(network(), units()[:1], SPLITS["train"][:1][0]),
            "cost_target": 0.6,
            "sparsity": 0.1,
            "smoothness": 0.1,
            "penalty": 10.0,
            "per_class": CLASSES,
            "loss": doubled,
            "drop_last": True,
        },
    ),
    "fit_branch": (
        dynamic.fit_branch,
        lambda **arguments: (dynamic.fit_branch(**arguments), None),
        lambda: {"trunk": network()[:2], "train": SPLITS["train"], "classes": CLASSES, "width": 4, **LEARN},
        {"trunk": network(1)[:2], "train": pictures(4), "classes": CLASSES + 1, "width": 5},
    ),
}


def arguments_of(function) -> list[str]:
    """The names of all that changes a function's result."""
    options = [field.name for field in dataclasses.fields(TrainOptions)]
    return [name for name in (*inspect.signature(function).parameters, *options) if name not in NO_MATTER]


def interrupt(monkeypatch, call, **arguments) -> None:
    """Stop a call just after its second state was written."""
    real, writes = checkpoint.save_atomically, []

    def stopping(path, write):
        real(path, write)
        writes.append(path)
        if len(writes) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_atomically", stopping)
        with pytest.raises(KeyboardInterrupt):
            call(**arguments)


def same(one, other) -> bool:
    """Whether two calls gave the same, but for the seconds that they took."""
    for rows in (one[1], other[1]):
        rows = getattr(rows, "rows", rows)
        for row in rows if isinstance(rows, list) else ():
            row.pop("seconds", None)
    return fingerprint(one) == fingerprint(other)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """By name the folder with what an interrupted call has left."""
    folders = {name: tmp_path_factory.mktemp(name) for name in CASES}
    for name, (_, call, usual, _) in CASES.items():
        interrupt(pytest.MonkeyPatch(), call, **usual(), resume=folders[name] / "run")
    return folders


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_an_interrupted_call_ends_as_one_that_was_not(case, tmp_path, monkeypatch):
    _, call, usual, _ = case
    whole, arguments = call(**usual()), usual() | {"resume": tmp_path / "run"}
    interrupt(monkeypatch, call, **arguments)
    assert list(tmp_path.iterdir())
    again = call(**arguments)  # the same objects, as in a notebook
    assert same(whole, again)
    assert not list(tmp_path.iterdir())


def test_another_process_goes_on_with_models_that_are_made_anew(case, tmp_path, monkeypatch):
    _, call, usual, _ = case
    interrupt(monkeypatch, call, **usual(), resume=tmp_path / "run")
    assert same(call(**usual()), call(**usual(), resume=tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "argument"), [(name, one) for name, row in CASES.items() for one in arguments_of(row[0])]
)
def test_another_value_of_any_argument_is_refused_by_its_name(name, argument, stopped, tmp_path):
    _, call, usual, others = CASES[name]
    files = {tmp_path / path.name: path.read_bytes() for path in stopped[name].iterdir()}
    for path, content in files.items():
        path.write_bytes(content)
    other = (OPTIONS | others)[argument]  # a new argument needs another value here
    with pytest.raises(ValueError, match=f"written by a call with another {argument}\\b"):
        call(**usual() | {argument: other, "resume": tmp_path / "run"})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_state_of_the_old_form_is_refused_with_what_to_do(case, tmp_path):
    _, call, usual, _ = case
    torch.save({"model": {}, "history": []}, tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds no state of this version .*; delete it, or give resume another file"):
        call(**usual(), resume=tmp_path / "run")


def test_a_model_goes_back_to_what_was_saved_when_its_training_is_interrupted(tmp_path, monkeypatch):
    calls = []

    def breaking(model, images, labels):
        calls.append(1)
        if len(calls) == 5:  # in the second epoch
            raise KeyboardInterrupt
        return classification_loss(model, images, labels)

    model, once = network(), network()
    with pytest.raises(KeyboardInterrupt):
        fit(model, SPLITS["train"], breaking, **LEARN, resume=tmp_path / "run")
    kept = torch.load(tmp_path / "run", weights_only=True)["weights"]["model"]
    assert not model.training
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    assert not all(torch.equal(tensor, kept[name]) for name, tensor in once.state_dict().items())


def test_data_of_every_form_is_known_again(tmp_path, monkeypatch):
    """A loader too, whose sampler and generator have addresses of their own."""
    loader = partial(torch.utils.data.DataLoader, batch_size=8, shuffle=True)
    for data, other in (
        (tuple(SPLITS["train"].tensors), tuple(pictures(4).tensors)),
        (Split(*SPLITS["train"].tensors), Split(*pictures(4).tensors)),
        (list(loader(SPLITS["train"])), list(loader(pictures(4)))),
    ):
        assert_known(tmp_path, monkeypatch, data, data, other)
    assert_known(tmp_path, monkeypatch, loader(SPLITS["train"]), loader(SPLITS["train"]), loader(pictures(4)))
    count = len(SPLITS["train"])
    even, uneven = (
        torch.utils.data.DataLoader(
            SPLITS["train"],
            batch_size=8,
            sampler=torch.utils.data.WeightedRandomSampler(weights, count, generator=torch.Generator()),
        )
        for weights in (torch.ones(count), torch.arange(1.0, count + 1))
    )
    assert_known(tmp_path, monkeypatch, even, even, uneven)  # another distribution over the same data


def assert_known(tmp_path, monkeypatch, data, again, other) -> None:
    usual = {"loss": classification_loss, **LEARN, "resume": tmp_path / "run"}
    interrupt(monkeypatch, fit, model=network(), train=data, **usual)
    with pytest.raises(ValueError, match="another train"):
        fit(network(), other, **usual)
    model, whole = network(), network()
    fit(model, again, **usual)
    fit(whole, data, **usual | {"resume": None})
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in model.state_dict().items())


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
        (Split(*SPLITS["train"].tensors), Split(*SPLITS["train"].tensors), Split(*pictures(4).tensors)),
        (network(), network(), network(width=5)),
        (made(1), made(1), made(2)),
        (own(1), own(1), own(2)),
        ([1, (2, 3)], [1, (2, 3)], [1, (2, 4)]),
        ({"a": 1}, {"a": 1}, {"b": 1}),
        (
            taught(teacher()),
            taught(teacher()),
            taught(teacher(6)),
        ),
        (
            taught(teacher()),
            taught(teacher()),
            taught(teacher(), alpha=0.5),
        ),
        (
            taught(teacher()),
            taught(teacher()),
            taught(teacher(), temperature=2.0),
        ),
        (CARELESS, dataclasses.replace(CARELESS), ACCURACY),
        (torch.Generator(), torch.Generator(), torch.Generator().manual_seed(1)),
        (torch.float16, torch.float16, torch.float32),
        (slice(1, 2), slice(1, 2), slice(1, 3)),
    ],
)
def test_equal_values_have_equal_fingerprints(one, same, other):
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert " at 0x" not in fingerprint(one)


@pytest.mark.parametrize("function", [fit, tune])
def test_a_resumed_student_has_the_same_patches_hidden(function, tmp_path, interrupted):
    """The objective is made anew, as in another process: what it hides depends on the step alone."""

    def call(model, **more):
        given = {"train": SPLITS["train"], "loss": taught(teacher(), {"relevance": 1.0, "soft targets": 1.0}), **LEARN}
        given |= {} if function is fit else {"validation": SPLITS["validation"]}
        function(model, **given, **more)
        return model.state_dict()

    whole, broken = call(network()), network()
    with interrupted(8):  # in the third epoch of three batches
        call(broken, resume=tmp_path / "run")
    again = call(broken, resume=tmp_path / "run")
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
