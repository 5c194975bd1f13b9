"""Recipes: steps, budgets, what is kept, what is found again after a kill, and the search over them."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from optuna.trial import FixedTrial
from torch import nn

from xaiprune import data, explain, pipeline, prune, quantize, zoo
from xaiprune.core import checkpoint, files, seed_everything
from xaiprune.deploy import Frozen, onnx_bytes
from xaiprune.measure import metrics
from xaiprune.measure.memory import onnx_activation_bytes
from xaiprune.pipeline import (
    Budget,
    Distill,
    OutOfBudgetError,
    Prune,
    Quantize,
    Round,
    Tune,
    choices,
    compress,
    orders,
    search,
    store,
)
from xaiprune.pipeline.store import Store, room
from xaiprune.training import losses, tune

RECIPE = (Prune(cost_target=0.5), Tune(epochs=2), Quantize(images=60))
QUICK = {"repeats": 3, "explained": 4, "progress": False}


def splits(count: int = 256) -> dict[str, data.Split]:
    """A few digits."""
    sizes = {"train": count, "validation": 100, "calibration": 60}
    return {name: data.mnist(name, size) for name, size in sizes.items()}


def network() -> nn.Module:
    """Convolutions with batch normalisation, hardly trained: quick, and with everything that a step touches."""
    seed_everything(0)
    layers = (
        nn.Conv2d(1, 8, 5, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2),
        nn.BatchNorm2d(12),
        nn.ReLU(),
    )
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(108, 10)).eval()
    tune(model, *list(splits(512).values())[:2], epochs=3, lr=1e-2, progress=False)
    return model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network()


def test_a_recipe_is_its_steps_by_hand(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = compress(model, splits(), RECIPE, folder=tmp_path, **QUICK)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    train, validation, calibration = splits().values()
    units = prune.find_units(model, calibration.inputs[:1])
    scores = prune.score(model, units, "taylor", calibration).normalised("rank")
    plan = prune.plan(scores, cost_target=0.5, costs=prune.mac_costs(model, units, calibration.inputs[:1]))
    small = prune.recalibrate(prune.cut(model, plan), calibration.inputs)
    tune(small, train, validation, epochs=2, progress=False)
    assert done.stage.changes == (plan,)
    kernels = quantize.int8_bytes(small, calibration.inputs, quantize.INT8)
    by_hand = Frozen(small, calibration.inputs[:1], kernels)
    assert torch.equal(done.model(validation.inputs), by_hand(validation.inputs))
    assert [card.name for card in done.cards] == ["original", "1. Prune", "2. Tune", "3. Quantize"]
    assert done.cards[-1]["metric"] == metrics.accuracy(by_hand, validation, in_sample=True)
    assert done.spent["size"] == len(kernels) / len(onnx_bytes(model, validation.inputs[:1]))
    assert done.spent["accuracy"] == pytest.approx(done.cards[0]["metric"] - done.cards[-1]["metric"])
    assert done.cards[0]["drift of heatmaps"] == 0
    assert 0 < done.spent["drift"] < 1
    assert "1. Prune" in str(done.compare())


def test_distilling_and_rounding_by_hand(model, tmp_path):
    steps = (Distill(epochs=1, temperature=2.0, augment="shift"), Round(bits=4), Prune(k=3, criterion="l2"))
    done = compress(model, splits(), steps, folder=tmp_path, **QUICK)
    for layer in quantize.quantized_layers(done.model).values():
        for row in layer.weight.flatten(1):
            values = row[row != 0].abs()
            if len(values):
                grid = values / values.min()
                finest = min((grid * n - (grid * n).round()).abs().max() for n in range(1, 8))
                assert finest < 1e-3, "weights are whole multiples of one step"
                assert len(values.unique()) <= 7
    assert not any(isinstance(module, nn.BatchNorm2d) for module in done.model.modules())
    assert done.stage.changes[0] == "fold"
    again = compress(model, splits(), steps, folder=tmp_path, **QUICK)
    assert torch.equal(again.model(splits()["validation"].inputs), done.model(splits()["validation"].inputs))


def test_a_criterion_of_ones_own_prunes_in_a_recipe_and_is_told_by_what_it_computes(model, tmp_path):
    def by(sign):
        rule = lambda evidence: {g.name: sign * torch.arange(g.size) for g in evidence.groups}  # noqa: E731
        return Prune(k=3, criterion=prune.Criterion("place", {"channels": rule}), ranks=False)

    first, last = (compress(model, splits(), [by(sign)], folder=tmp_path, **QUICK).stage.changes[0] for sign in (1, -1))
    assert first != last  # not taken for the stage that the other left in the folder
    assert repr(by(1)) == repr(by(1))


def test_a_stage_can_be_taken_elsewhere(model, tmp_path):
    done = compress(model, splits(), [Prune(ratio=0.5, scope="uniform"), *RECIPE[2:]], folder=tmp_path / "a", **QUICK)
    images = splits()["validation"].inputs
    pipeline.save_stage(done.stage, tmp_path / "b")
    again = pipeline.load_stage(network(), tmp_path / "b", images[:1])
    assert isinstance(again.model, Frozen)
    assert torch.equal(again.model(images), done.model(images))
    widths = [layer.weight.shape[0] for layer in again.model.made_from if isinstance(layer, nn.Conv2d)]
    assert widths == [4, 6], "half of each"
    with pytest.raises(FileNotFoundError, match="holds no stage"):
        pipeline.load_stage(model, tmp_path / "c", images[:1])


def test_a_stage_takes_the_place_of_another_one_whole(model, tmp_path):
    images = splits()["validation"].inputs
    integer, cut = (compress(model, splits(), some, folder=tmp_path / "a", **QUICK) for some in (RECIPE, RECIPE[:1]))
    pipeline.save_stage(integer.stage, tmp_path / "b")
    pipeline.save_stage(cut.stage, tmp_path / "b")
    again = pipeline.load_stage(model, tmp_path / "b", images[:1])
    assert not isinstance(again.model, Frozen)
    assert torch.equal(again.model(images), cut.model(images))
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["changes.json", "weights.safetensors"]


def test_a_stage_that_cannot_be_written_leaves_the_one_before(model, tmp_path, monkeypatch):
    images = splits()["validation"].inputs
    integer, cut = (compress(model, splits(), some, folder=tmp_path / "a", **QUICK) for some in (RECIPE, RECIPE[:1]))
    pipeline.save_stage(integer.stage, tmp_path / "b")

    def full(path, write):
        if path.name == "changes.json":
            raise OSError(28, "No space left on device")
        files.save_atomically(path, write)

    monkeypatch.setattr(store, "save_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        pipeline.save_stage(cut.stage, tmp_path / "b")
    again = pipeline.load_stage(model, tmp_path / "b", images[:1])
    assert torch.equal(again.model(images), integer.model(images))


def test_stages_belong_to_an_architecture_a_loss_and_versions(model, tmp_path, monkeypatch):
    def place(original, **identity):
        return Store(tmp_path, original, splits(), identity).place(RECIPE)

    other = nn.Sequential(*(nn.Tanh() if isinstance(layer, nn.ReLU) else layer for layer in model))
    assert place(model) == place(network())
    assert place(other) != place(model)
    assert place(model, loss=lambda model, images, labels: 1) == place(model, loss=lambda model, images, labels: 1)
    assert place(model, loss=lambda model, images, labels: 1) != place(model, loss=lambda model, images, labels: 2)
    compress(model, splits(), RECIPE[:1], folder=tmp_path, **QUICK)
    monkeypatch.setattr(pipeline.run, "version", lambda name: "0.0")
    compress(model, splits(), RECIPE[:1], folder=tmp_path, **QUICK)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_timed_otherwise_is_timed_again(model, tmp_path, monkeypatch):
    taken, real = [], pipeline.run.scorecards
    monkeypatch.setattr(pipeline.run, "scorecards", lambda *_, **how: taken.append(how["repeats"]) or real(*_, **how))
    first = compress(model, splits(), RECIPE[:1], folder=tmp_path, **QUICK)
    again = compress(model, splits(), RECIPE[:1], folder=tmp_path, **QUICK | {"repeats": 4})
    assert (first.facts["repeats"], again.facts["repeats"]) == (3, 4)
    compress(model, splits(), RECIPE[:1], folder=tmp_path, **QUICK | {"repeats": 4})
    assert taken == [3, 4]
    assert again.rows[0]["size"] == first.rows[0]["size"]
    assert again.facts["threads"] == torch.get_num_threads()


def test_what_is_kept_is_not_done_again(model, tmp_path, monkeypatch):
    first = compress(model, splits(), RECIPE, folder=tmp_path, **QUICK)
    for step in (Prune, Tune, Quantize):
        monkeypatch.setattr(step, "apply", lambda *arguments: pytest.fail("done again"))
    monkeypatch.setattr(pipeline.run, "scorecards", lambda *a, **k: pytest.fail("measured again"))
    again = compress(model, splits(), RECIPE, folder=tmp_path, **QUICK)
    assert again.rows == first.rows
    assert torch.equal(again.model(splits()["validation"].inputs), first.model(splits()["validation"].inputs))
    monkeypatch.undo()
    assert (
        compress(model, splits(), [*RECIPE[:2], Round(4)], folder=tmp_path, **QUICK).cards[2].values
        == first.cards[2].values
    )
    other = compress(model, splits(), RECIPE[:1], folder=tmp_path, seed=1, **QUICK)
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("1-prune")]) == 2
    assert other.facts["seed"] == 1


CHILD = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.pipeline import test_pipeline as t
from xaiprune.core import checkpoint
from xaiprune.pipeline import store

at, folder = int(sys.argv[1]), Path(sys.argv[2])
writes = 0

def deadly(function):
    def wrapped(*arguments, **options):
        global writes
        writes += not str(arguments[0]).endswith(".best")
        if writes == at:
            os._exit(9)
        return function(*arguments, **options)
    return wrapped

for module in (store, checkpoint):
    module.save_atomically = deadly(module.save_atomically)
done = t.compress(t.network(), t.splits(), t.RECIPE, folder=folder, **t.QUICK)
torch.save(done.model(t.splits()["validation"].inputs), folder / "answers.pt")
print("writes", writes)
"""


def child(code: str, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_killed_at_each_step_it_goes_on_and_ends_alike(tmp_path):
    whole = child(CHILD, 0, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "killed"
    for at in (2, 5, 5):  # while the first step is saved, while the second trains, while the third is saved
        assert child(CHILD, at, folder).returncode == 9
    kept = sorted(path.name[:6] for path in folder.iterdir() if (path / "card.json").exists())
    assert kept == ["1-prun", "2-tune"]
    ended = child(CHILD, 0, folder)
    assert ended.returncode == 0, ended.stderr
    first, second = (torch.load(tmp_path / name / "answers.pt", weights_only=True) for name in ("whole", "killed"))
    assert torch.equal(first, second)


class Stopped(BaseException):
    """What stops a run, and nobody catches."""


def test_stopped_at_any_write_it_ends_alike(model, tmp_path, monkeypatch):
    writes, at = 0, 0

    def deadly(path, write):
        nonlocal writes
        writes += 1
        if writes == at:
            raise Stopped
        files.save_atomically(path, write)

    measure, measured = pipeline.run._Judge.measure, {}

    def once(judge, name, stage):
        measured[name] = measured.get(name) or measure(judge, name, stage)
        return measured[name]

    monkeypatch.setattr(pipeline.run._Judge, "measure", once)
    for module in (store, checkpoint):
        monkeypatch.setattr(module, "save_atomically", deadly)
    images = splits()["validation"].inputs
    answers = compress(model, splits(), RECIPE, folder=tmp_path / "whole", **QUICK).model(images)
    total = writes
    assert total >= 11, "three stages of two or three files, their cards, and a training's state"
    for at in range(1, total + 1):
        writes, folder = 0, tmp_path / str(at)
        with pytest.raises(Stopped):
            compress(model, splits(), RECIPE, folder=folder, **QUICK)
        again = compress(model, splits(), RECIPE, folder=folder, **QUICK)
        assert writes <= total + 5, "no more than the stage in which it was stopped is done again"
        assert torch.equal(again.model(images), answers), f"stopped at write {at}"


FULL = """
import resource, sys
from pathlib import Path
from tests.pipeline import test_pipeline as t
model, folder = t.network(), Path(sys.argv[1])
t.compress(model, t.splits(), t.RECIPE[:1], folder=folder, **t.QUICK)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    t.compress(model, t.splits(), t.RECIPE, folder=folder, **t.QUICK)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept = sorted(path.name for path in folder.rglob("*") if path.is_file())
print(kept)
print(t.compress(model, t.splits(), t.RECIPE, folder=folder, **t.QUICK).spent["size"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
@pytest.mark.parametrize("limit", [100, 9_000], ids=["at once", "while it trains"])
def test_a_full_disk_says_so_and_what_was_kept_stays(tmp_path, limit):
    ended = child(FULL, tmp_path, limit)
    assert ended.returncode == 0, ended.stderr
    words, kept, size = ended.stdout.strip().split("\n")
    assert "could not be written" in words
    assert "make room there and call again" in words
    assert "2-tune" in words
    assert kept.count("changes.json") == 1
    assert ".part" not in kept
    assert 0 < float(size) < 1


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="something else"), room(tmp_path):
        raise RuntimeError("something else")


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "steps is empty"),
        ([Quantize(), Prune(cost_target=0.5)], r"step 2, Prune\(cost_target=0.5\), cannot follow Quantize\(\)"),
        ([Round(bits=4), Tune(epochs=1)], "which leaves rounded weights"),
        ([Round(), Prune(k=1), Distill(epochs=1)], r"cannot follow Round\(\)"),
        ([Quantize(), Quantize()], "integer kernels"),
    ],
)
def test_an_impossible_order_is_refused_before_anything_runs(model, tmp_path, steps, words):
    with pytest.raises(ValueError, match=words):
        compress(model, splits(), steps, folder=tmp_path / "none", **QUICK)
    assert not (tmp_path / "none").exists()


def test_what_is_no_step_is_named(model, tmp_path):
    for wrong in (Prune, "prune", None):
        with pytest.raises(TypeError, match="step 1 must be a step"):
            compress(model, splits(), [wrong], folder=tmp_path, **QUICK)

    class Mine(pipeline.Step):
        pass

    with pytest.raises(TypeError, match="step 1 must be a dataclass, so that its repr tells it; Mine is none"):
        compress(model, splits(), [Mine()], folder=tmp_path, **QUICK)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Prune(), "exactly one of cost_target, ratio and k"),
        (lambda: Prune(cost_target=0.5, k=3), "exactly one"),
        (lambda: Prune(cost_target=40), r"cost_target must be in \(0, 1\), got 40; did you mean 0.4"),
        (lambda: Prune(cost_target=0.5, criterion="size"), "criterion must be one of"),
        (lambda: Prune(cost_target=0.5, units="weights"), "units must be one of channels"),
        (lambda: Prune(cost_target=0.5, costs="time"), "costs must be one of macs, latency"),
        (lambda: Prune(cost_target=0.5, scope="layer"), "scope must be one of global, uniform"),
        (lambda: Tune(epochs=0), "epochs must be a whole number of at least 1, got 0"),
        (lambda: Tune(epochs=1, lr=0), "lr must be larger than 0"),
        (lambda: Tune(epochs=1, augment="mirror"), "augment must be one of shift"),
        (lambda: Distill(epochs=1, loss="hints"), "loss must read no features"),
        (lambda: Round(bits=1), "bits"),
        (lambda: Quantize(calibrator="max"), "calibrator must be one of"),
        (lambda: Quantize(images=0), "images must be a whole number"),
        (lambda: Budget(latency=0), r"latency must be in \(0, 1\]"),
        (lambda: Budget(size=8), "a share of the original's, got 8"),
        (lambda: Budget(accuracy=-1), "accuracy must be at least 0"),
        (lambda: Budget(drift=2), r"drift must be in \[0, 2\)"),
        (lambda: Budget(place=2), "place must be from 0, noise, to 1, chance"),
        (lambda: Budget(drift=0, latency=0.5), "contradict each other"),
    ],
)
def test_bad_steps_and_budgets_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("steps", "budget", "words"),
    [
        ([Tune(epochs=1)], Budget(latency=0.5), r"latency=0.5 cannot be reached by Tune\(epochs=1\): none of them"),
        ([Quantize()], Budget(size=0.1), r"size=0.1 cannot be reached by Quantize\(\): they leave 0.25"),
        ([Round(bits=2)], Budget(size=0.5), "none of them makes it smaller"),
    ],
)
def test_a_budget_that_no_strength_can_meet_is_refused_before_anything_runs(model, tmp_path, steps, budget, words):
    with pytest.raises(ValueError, match=words):
        compress(model, splits(), steps, budget, folder=tmp_path / "none", **QUICK)
    assert not (tmp_path / "none").exists()


def test_a_budget_that_does_not_hold_says_what_binds_and_what_was_reached(model, tmp_path):
    with pytest.raises(OutOfBudgetError, match=r"the budget does not hold: size is 0.[0-9]+, allowed 0.01") as caught:
        compress(model, splits(), RECIPE, Budget(size=0.01, drift=1.9), folder=tmp_path, **QUICK)
    nearest = caught.value.nearest
    assert list(nearest.over) == ["size"]
    assert nearest.over["size"] == pytest.approx(nearest.spent["size"] - 0.01)
    assert isinstance(nearest.model, Frozen)


def test_the_bound_that_is_broken_most_comes_first():
    over = Budget(latency=0.5, size=0.1, accuracy=1.0).over({"latency": 0.6, "size": 0.3, "accuracy": 0.5})
    assert list(over) == ["size", "latency"]
    assert over["size"] == pytest.approx(0.2)
    assert Budget(drift=0.2).over({"drift": float("nan")})


def test_a_missing_split_and_training_mode_are_named(model, tmp_path):
    with pytest.raises(ValueError, match="data lacks 'validation'"):
        compress(model, {"train": splits()["train"]}, RECIPE, folder=tmp_path, **QUICK)
    with pytest.raises(ValueError, match="model is in training mode"):
        compress(zoo.dense((8,)).train(), splits(), RECIPE, folder=tmp_path, **QUICK)


@pytest.mark.parametrize("method", ["lrp", "saliency"])
def test_heatmaps_that_integer_kernels_cannot_have_are_refused_before_anything_runs(model, tmp_path, method):
    with pytest.raises(ValueError, match=rf"answers only \(occlusion, coarse occlusion, shapley\), got '{method}'"):
        compress(model, splits(), RECIPE, folder=tmp_path / "new", **QUICK, method=method)
    assert not (tmp_path / "new").exists()


def test_a_stage_tells_the_data_and_the_settings_apart(model, tmp_path):
    def place(**changes) -> str:
        given = {"original": model, "data": splits(), "identity": {"seed": 0}} | changes
        return Store(tmp_path, **given).place(RECIPE[:1]).name

    assert place() == place()
    moved = splits() | {"calibration": data.mnist("calibration", 61)}
    others = {place(), place(data=moved), place(identity={"seed": 1}), place(original=zoo.dense((8,)))}
    assert len(others) == 4


def test_orders_are_those_that_can_be_carried_out():
    found = orders(Prune(cost_target=0.5), Round(bits=4), Quantize())
    assert found == [
        (Prune(cost_target=0.5), Round(bits=4), Quantize()),
        (Round(bits=4), Prune(cost_target=0.5), Quantize()),
    ]
    assert len(orders(Tune(epochs=1), Tune(epochs=1))) == 1


def space(trial):
    target = trial.suggest_float("target", 0.3, 0.9)
    choices = orders(Prune(cost_target=target, criterion="l2"), Round(bits=trial.suggest_int("bits", 2, 8)))
    return choices[trial.suggest_int("order", 0, len(choices) - 1)]


def test_a_search_finds_the_front_and_what_holds(model, tmp_path):
    found = search(model, splits(), space, Budget(size=0.9), folder=tmp_path, trials=6, **QUICK)
    assert len(found.rows) == 6
    names = ("accuracy", "latency", "size")
    for row in found.rows:
        better = [o for o in found.rows if all(o[n] <= row[n] for n in names) and any(o[n] < row[n] for n in names)]
        assert row["front"] == (not better)
    holding = [row for row in found.rows if row["size"] <= 0.9]
    assert [row["steps"] for row in found.rows if not row["over"]] == [row["steps"] for row in holding]
    assert found.best.spent["accuracy"] == min(row["accuracy"] for row in holding)
    assert f"{len(holding)} of 6 recipes hold Budget(size=0.9)" in found.why
    with pytest.raises(OutOfBudgetError, match=r"none of 6 recipes holds .*broken is size in 6"):
        search(model, splits(), space, Budget(size=0.001), folder=tmp_path, trials=6, **QUICK)


def test_an_interrupted_search_goes_on(model, tmp_path):
    whole = search(model, splits(), space, folder=tmp_path / "a", trials=3, **QUICK)
    calls = []

    def counted(trial):
        calls.append(1)
        if len(calls) == 2:
            trial.suggest_float("target", 0.3, 0.9)
            raise KeyboardInterrupt
        return space(trial)

    with pytest.raises(KeyboardInterrupt):
        search(model, splits(), counted, folder=tmp_path / "b", trials=3, **QUICK)
    again = search(model, splits(), counted, folder=tmp_path / "b", trials=3, **QUICK)
    assert len(again.rows) == 3
    assert len(calls) in (4, 5), (
        "one before, the interrupted one, two after it; the best one is drawn again if it was the first"
    )
    assert [row["steps"] for row in again.rows] == [row["steps"] for row in whole.rows]


def test_a_recipe_that_cannot_be_carried_out_is_a_trial_and_no_end(model, tmp_path):
    space = choices([Prune(k=10**6), Prune(cost_target=0.5)])
    found = search(model, splits(), space, folder=tmp_path, trials=6, **QUICK)
    assert {row["steps"] for row in found.rows} == {"[Prune(cost_target=0.5)]"}
    assert 0 < len(found.rows) < 6
    assert f"{6 - len(found.rows)} could not be carried out, the first: [Prune(k=1000000)]: " in found.why
    again = search(model, splits(), space, folder=tmp_path, trials=6, **QUICK)
    assert again.rows == found.rows
    with pytest.raises(ValueError, match=r"none of 2 recipes could be carried out; the first: \[Prune\(k=1000000\)\]"):
        search(model, splits(), choices([Prune(k=10**6)]), folder=tmp_path, trials=2, **QUICK)


def test_a_space_of_choices_can_be_tried_whole(model, tmp_path, monkeypatch):
    some = choices([Prune(cost_target=0.5), Prune(cost_target=0.8)], [None, Round()])
    drawn = search(model, splits(), some, folder=tmp_path, trials=1, **QUICK)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Round, "apply", stopped)
        with pytest.raises(KeyboardInterrupt):
            search(model, splits(), some, folder=tmp_path, trials=None, **QUICK)
    found = search(model, splits(), some, folder=tmp_path, trials=None, **QUICK)
    assert found.rows[0] == drawn.rows[0] | {"front": found.rows[0]["front"]}, "an earlier draw is one of them"
    tried = [row["steps"] for row in found.rows]
    assert len(tried) == len(set(tried)) == 4
    assert search(model, splits(), some, folder=tmp_path, trials=None, **QUICK).rows == found.rows
    with pytest.raises(ValueError, match=r"trials must be a number .* None is for all of choices"):
        search(model, splits(), space, folder=tmp_path, trials=None, **QUICK)


def test_a_search_knows_its_space(model, tmp_path):
    first = search(model, splits(), choices([Prune(cost_target=0.5)]), folder=tmp_path, trials=1, **QUICK)
    other = search(model, splits(), choices([Prune(cost_target=0.8)]), folder=tmp_path, trials=1, **QUICK)
    assert [found.rows[0]["steps"] for found in (first, other)] == [
        "[Prune(cost_target=0.5)]",
        "[Prune(cost_target=0.8)]",
    ]
    search(model, splits(), lambda trial: [Prune(cost_target=0.5)], folder=tmp_path, trials=1, **QUICK)
    with pytest.raises(
        ValueError, match=r"holds trials of another space: \[Prune\(cost_target=0.5\)\]. Give another folder"
    ):
        search(model, splits(), lambda trial: [Prune(cost_target=0.8)], folder=tmp_path, trials=1, **QUICK)


def test_a_space_is_one_of_some_steps_at_each_place(model, tmp_path):
    cuts, tuned = [Prune(cost_target=0.5), Prune(cost_target=0.8)], Tune(epochs=1)
    drawn = {"place 1": 1, "place 2": 0}
    assert choices(cuts, [None, tuned])(FixedTrial(drawn)) == [cuts[1]]
    assert choices(cuts, [None, tuned])(FixedTrial(drawn | {"place 2": 1})) == [cuts[1], tuned]
    found = search(model, splits(), choices(cuts, [None, Round()]), folder=tmp_path, trials=3, **QUICK)
    allowed = {repr(list(steps)) for cut in cuts for steps in ([cut], [cut, Round()])}
    assert {row["steps"] for row in found.rows} <= allowed
    for places, words in (
        ((), "places must be at least one"),
        ((cuts, []), "each with at least one choice"),
        (([None], [None, tuned]), "a recipe needs a step"),
        (([Round(4), None], cuts, [tuned]), r"step 2, Tune\(epochs=1\), cannot follow Round\(bits=4\)"),
    ):
        with pytest.raises(ValueError, match=words):
            choices(*places)
    with pytest.raises(TypeError, match=r"a choice must be a step such as Tune\(epochs=1\), or None, got 'prune'"):
        choices(["prune"])


def test_a_search_says_what_is_wrong(model, tmp_path):
    with pytest.raises(ValueError, match="trials must be at least 1"):
        search(model, splits(), space, folder=tmp_path, trials=0)
    with pytest.raises(ValueError, match=r"objectives and prefer must be of latency, .*got 'speed'"):
        search(model, splits(), space, folder=tmp_path, objectives=("speed",))
    for given, options, words in (
        (splits(), {"method": "saliency"}, "method must be one that needs answers only"),
        ({"train": splits()["train"]}, {}, "data lacks 'validation'"),
    ):
        with pytest.raises(ValueError, match=words):
            search(model, given, space, folder=tmp_path, **options)
    assert not list(tmp_path.iterdir()), "nothing is tried, and nothing counts as tried"


def test_a_budget_bounds_the_place_of_the_drift(model, tmp_path):
    options = {**QUICK, "explained": 20, "folder": tmp_path}
    plain = compress(model, splits(), RECIPE[:1], **options)
    assert "place" not in plain.spent
    done = compress(model, splits(), RECIPE[:1], Budget(place=1.0), **options)  # the stage is kept, its card is not
    assert done.cards[0][pipeline.PLACE.title] < 0
    assert done.cards[0][pipeline.PLACE.title] < done.spent["place"] <= 1
    assert pipeline.PLACE.title in str(done.compare())
    with pytest.raises(OutOfBudgetError, match="place is"):
        compress(model, splits(), RECIPE[:1], Budget(place=0.0), **options)
    blank = dataclasses.replace(explain.IMAGE, answers_only=True)
    with pytest.raises(ValueError, match=r"place=0\.5 needs heatmaps that tell noise from chance"):
        compress(model, splits(), RECIPE[:1], Budget(place=0.5), **options, method=blank)


def test_the_report_stands_alone(model, tmp_path):
    done = compress(model, splits(), RECIPE, Budget(size=0.9, drift=1.9), folder=tmp_path, **QUICK)
    given = {**splits(), "test": data.mnist("test", 100)}
    text = pipeline.report(done, given, tmp_path / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "http" not in text.replace("html", "")
    for step in RECIPE:
        assert repr(step) in text
    for words in (
        "The budget holds",
        done.facts["sha256"]["train"],
        "3. Quantize",
        torch.__version__.partition("+")[0],
    ):
        assert words in text
    assert f"{metrics.accuracy(model, given['test']):.2f} and" in text
    namespace = {**vars(pipeline), "model": model, "data": splits()}
    code = text.partition("<pre>")[2].partition("</pre>")[0].replace("&#x27;", "'")
    again = eval(code, namespace)
    assert again.rows == done.rows, "the lines on the page make it again"


def test_the_report_names_a_metric_and_a_loss_of_ones_own(model, tmp_path):
    errors = metrics.Metric("errors [%]", wrong, -1)
    options = {"metric": errors, "loss": twice, "folder": tmp_path, **QUICK}
    text = pipeline.report(compress(model, splits(), RECIPE[:1], **options), splits(), tmp_path / "r.html").read_text()
    assert (
        "# metric: errors [%] by tests.pipeline.test_pipeline.wrong\n# loss: tests.pipeline.test_pipeline.twice\n"
        in text
    )
    assert ", metric=metric, loss=loss, folder=" in text


def wrong(model, split) -> float:
    return 100 - metrics.accuracy(model, split)


def twice(model, images, labels):
    return 2 * losses.classification_loss(model, images, labels)


def test_what_is_out_of_budget_passes_between_processes(model, tmp_path):
    with pytest.raises(OutOfBudgetError) as broken:
        compress(model, splits(), RECIPE, Budget(size=0.01), folder=tmp_path, **QUICK)
    again = pickle.loads(pickle.dumps(broken.value))
    assert isinstance(again, OutOfBudgetError)
    assert (str(again), again.nearest) == (str(broken.value), None)
    assert str(tmp_path) in str(again)


def test_a_bound_of_zero_does_not_outweigh_the_others():
    budget = Budget(accuracy=0, size=0.1)
    assert list(budget.over({"accuracy": 0.5, "size": 1.0})) == ["size", "accuracy"]
    assert budget.excess({"accuracy": 0.5, "size": 0.11}) == pytest.approx(0.5)
    assert budget.excess({"accuracy": 0.4, "size": 1.0}) == pytest.approx(9)
    assert budget.excess({"accuracy": -1, "size": 0.1}) == 0


def test_a_class_can_enter_at_once(model, tmp_path):
    done = compress(model, splits(), RECIPE[:1], Budget(size=0.9), folder=tmp_path, **QUICK)
    names = [f"pupil {number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: pipeline.submit(name, done, tmp_path / "board.json"), names))
    assert {row["name"] for row in json.loads((tmp_path / "board.json").read_text())} == set(names)


def test_a_leaderboard_puts_those_first_that_hold_the_budget(model, tmp_path):
    path, options = tmp_path / "board.json", {"folder": tmp_path, **QUICK}
    budget = Budget(size=0.85, accuracy=100.0)
    recipes = {"integers": [Quantize(images=60)], "both": [Prune(cost_target=0.5), Quantize(images=60)]}
    for name, steps in recipes.items():
        rows = pipeline.submit(name, compress(model, splits(), steps, budget, **options), path)
    assert [row["name"] for row in rows] == ["both", "integers"]
    assert rows == json.loads(path.read_text())
    with pytest.raises(OutOfBudgetError) as broken:
        compress(model, splits(), [Prune(k=1)], budget, **options)
    rows = pipeline.submit("integers", broken.value.nearest, path)
    assert [(row["name"], row["over"]) for row in rows] == [("both", []), ("integers", ["size"])]
    with pytest.raises(ValueError, match="by must be one of latency, size"):
        pipeline.submit("me", broken.value.nearest, path, by="speed")
    other = compress(model, splits(), recipes["integers"], **options)
    with pytest.raises(ValueError, match="is a leaderboard for"):
        pipeline.submit("me", other, path)
    assert rows == json.loads(path.read_text()), "nothing is lost"


def test_bytes_of_activations_in_an_onnx_file():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            return x + self.second(x)

    image = torch.rand(1, 1, 8, 8)
    model, plane = Residual().eval(), 8 * 8 * 4
    assert onnx_activation_bytes(onnx_bytes(model, image)) == 3 * 4 * plane, "x, the second's output, and their sum"
    chain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)).eval()
    assert onnx_activation_bytes(onnx_bytes(chain, image)) == (4 + 2) * plane
    kernels = quantize.int8_bytes(chain, torch.rand(8, 1, 8, 8))
    assert onnx_activation_bytes(kernels) == (4 + 2) * plane // 4, "a byte each in between"


def test_a_card_is_json(model, tmp_path):
    compress(model, splits(), RECIPE[:1], folder=tmp_path, **QUICK)
    [path] = tmp_path.rglob("card.json")
    cards = json.loads(path.read_text())["cards"]
    assert [card["name"] for card in cards] == ["original", "1. Prune"]
