"""Recovery, budgets, and pruning and tuning in turn."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.prune.test_costs import separable
from xaiprune.data import Split
from xaiprune.measure import ACCURACY
from xaiprune.prune import (
    Costs,
    ExplanationBudget,
    Plan,
    Scores,
    cut,
    find_units,
    mac_costs,
    prune_within_budget,
    recalibrate,
    score,
    shrink,
)
from xaiprune.training import classification_loss, fit, tune

#: What the bounds of these tests were measured by.
BY = {"method": "integrated gradients"}


def squares(count: int, seed: int) -> Split:
    """A bright square at the top, in the middle or at the bottom: the class says where."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(count, 1, 6, 6, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    for place in range(3):
        images[labels == place, :, 2 * place : 2 * place + 2, 1:5] += 0.6
    return Split(images, labels)


class Places(nn.Module):
    """The separable net with a head that sees where things are."""

    def __init__(self):
        super().__init__()
        self.body = separable()[:8]
        self.head = nn.Linear(8 * 36, 3)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))


@pytest.fixture(scope="module")
def splits():
    return {"train": squares(512, 0), "validation": squares(200, 1), "calibration": squares(100, 2)}


@pytest.fixture(scope="module")
def model(splits):
    model = Places()
    fit(model, splits["train"], classification_loss, epochs=4, lr=1e-2, batch_size=64, progress=False)
    return model.eval()


def test_recalibration_gives_the_plain_means_over_batches(splits):
    model = separable()
    images = splits["train"].inputs
    state = {name: tensor.clone() for name, tensor in model.named_parameters()}
    assert recalibrate(model, images, batch_size=128) is model
    first = model[0](images)
    assert torch.allclose(model[1].running_mean, first.mean((0, 2, 3)), atol=1e-5)
    parts = torch.stack([model[0](part).var((0, 2, 3)) for part in images.split(128)])
    assert torch.allclose(model[1].running_var, parts.mean(0), rtol=1e-4)
    assert model[1].momentum == 0.1
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.named_parameters())


def test_recalibration_needs_something_to_do(splits):
    with pytest.raises(ValueError, match="no batch normalisation"):
        recalibrate(nn.Linear(2, 2), torch.rand(4, 2))
    with pytest.raises(ValueError, match="inputs is empty"):
        recalibrate(separable(), splits["train"].inputs[:0])


def test_tuning_ends_with_the_best_state(splits):
    model = Places().eval()
    data = (splits["train"], splits["validation"])
    rows = tune(model, *data, epochs=3, lr=1e-2, batch_size=64, progress=False)
    (best,) = [row for row in rows if row["best"]]
    assert best["validation"] == max(row["validation"] for row in rows)
    assert ACCURACY(model, splits["validation"], in_sample=True) == best["validation"]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    spoiled = tune(model, *data, epochs=1, lr=5.0, batch_size=64, progress=False)
    assert spoiled[0]["best"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_an_interrupted_tuning_goes_on_with_its_best_state(splits, tmp_path, interrupted):
    data = (splits["train"], splits["validation"])
    whole, broken = Places().eval(), Places().eval()
    tune(whole, *data, epochs=3, lr=1e-2, batch_size=64, progress=False)
    options = {"epochs": 3, "lr": 1e-2, "batch_size": 64, "progress": False, "resume": tmp_path / "run.pt"}
    with interrupted(20):
        tune(broken, *data, **options)
    tune(broken, *data, **options)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, broken.state_dict()[name])
    assert list(tmp_path.iterdir()) == []


def ranked(model, splits):
    units = find_units(model, splits["validation"].inputs[:1])
    return score(model, units, "taylor", splits["calibration"]), mac_costs(model, units, splits["validation"].inputs)


def test_a_budget_says_what_is_spent(model, splits):
    budget = ExplanationBudget(model, splits["calibration"], max_drift=0.2, max_drop=1.0, **BY)
    spent = budget.spent(model)
    assert spent["drift"] == pytest.approx(0, abs=1e-6)
    assert spent["lost"] == 0
    assert spent["holds"]
    other = budget.spent(Places().eval())
    assert other["drift"] > 0.2
    assert not other["holds"]
    assert repr(budget) == "Budget: drift <= 0.2 and accuracy [%] lost <= 1, on 100 images"


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "give max_drift, max_place or max_drop"),
        ({"max_drift": 2.5}, r"max_drift must be in \(0, 2\)"),
        ({"max_drop": -1.0}, "max_drop must be at least 0"),
    ],
)
def test_a_budget_needs_bounds(model, splits, bounds, message):
    with pytest.raises(ValueError, match=message):
        ExplanationBudget(model, splits["calibration"], **bounds)


def test_a_model_without_any_evidence_has_spent_everything(model, splits):
    dead = Places().eval()
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    spent = ExplanationBudget(model, splits["calibration"], max_drift=0.5, **BY).spent(dead)
    assert spent["drift"] == 1
    assert not spent["holds"]


def test_a_walk_within_a_budget_never_leaves_it(model, splits):
    scores, costs = ranked(model, splits)
    budget = ExplanationBudget(model, splits["calibration"], max_drift=0.1, method="lrp")
    done = prune_within_budget(model, scores, costs, 0.3, budget)
    assert budget.spent(cut(model, done.plan))["holds"]
    closed = [row["closed"] for row in done.rows]
    assert closed[0] == ()
    assert closed[1] == (max(done.prices, key=done.prices.get),)
    assert all(not done.plan.removed.get(name, ()) for name in closed[-1])
    stopped = prune_within_budget(model, scores, costs, 0.3, budget, trade=False)
    assert not stopped.reached
    assert not stopped.prices
    assert budget.spent(cut(model, stopped.plan))["holds"]
    assert 0.3 < costs.share(stopped.plan) < 1
    assert costs.share(done.plan) <= costs.share(stopped.plan)


def test_a_wide_budget_is_the_plain_plan(model, splits):
    scores, costs = ranked(model, splits)
    done = prune_within_budget(
        model, scores, costs, 0.5, ExplanationBudget(model, splits["calibration"], max_drift=1.99, **BY)
    )
    assert done.reached
    assert costs.share(done.plan) <= 0.5
    with pytest.raises(ValueError, match="out of reach"):
        prune_within_budget(
            model, scores, costs, 0.001, ExplanationBudget(model, splits["calibration"], max_drift=1.9, **BY)
        )


def test_a_group_whose_cut_saves_nothing_is_the_dearest(model, splits):
    scores, costs = ranked(model, splits)
    flat = dict.fromkeys(costs.curves, lambda read, made: 1.0)
    last = next(reversed(costs.curves))
    priced = Costs(costs.groups, costs.layers.values(), flat | {last: costs.curves[last]})
    done = prune_within_budget(
        model, scores, priced, 0.5, ExplanationBudget(model, splits["calibration"], max_drift=1e-4, **BY)
    )
    assert math.inf in done.prices.values()
    assert not done.reached


def test_an_error_of_the_judge_is_not_taken_for_the_end_of_the_groups(model, splits):
    scores, costs = ranked(model, splits)
    budget, calls = ExplanationBudget(model, splits["calibration"], max_drift=1e-4, **BY), []

    def breaks_in_the_end(smaller):
        calls.append(smaller)
        if len(calls) > 1 + len(costs.groups):
            raise ValueError("no statistics")
        return smaller

    with pytest.raises(ValueError, match="no statistics"):
        prune_within_budget(model, scores, costs, 0.3, budget, recover=breaks_in_the_end)


def options(splits, **more):
    small = {"cost_target": 0.4, "calibration": splits["calibration"], "steps": 2, "lr": 5e-3, "progress": False}
    return (splits["train"], splits["validation"]), small | more


def test_shrinking_gives_one_plan_for_all_its_steps(model, splits):
    data, more = options(splits)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = shrink(model, *data, **more)
    example = splits["validation"].inputs[:1]
    assert [row["step"] for row in done.rows] == [1, 2]
    assert done.rows[-1]["share"] <= 0.4
    by_plan = cut(model, done.plan)
    assert {n: t.shape for n, t in by_plan.state_dict().items()} == {
        n: t.shape for n, t in done.model.state_dict().items()
    }
    assert mac_costs(model, list(done.plan.groups), example).share(done.plan) <= 0.4
    assert ACCURACY(done.model, splits["validation"], in_sample=True) == done.rows[-1]["tuned"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_shrinking_stops_at_a_budget_and_gives_the_step_before_back(model, splits):
    data, more = options(splits, steps=3, epochs=0)
    done = shrink(model, *data, **more, budget=ExplanationBudget(model, splits["calibration"], max_drift=0.05, **BY))
    assert done.stopped
    assert not done.rows[-1]["holds"]
    assert all(row["holds"] for row in done.rows[:-1])


def test_an_interrupted_shrinking_goes_on(model, splits, tmp_path, interrupted):
    data, more = options(splits)
    whole = shrink(model, *data, **more)
    with interrupted(5):
        shrink(model, *data, **more, resume=tmp_path / "run.pt")
    done = shrink(model, *data, **more, resume=tmp_path / "run.pt")
    assert done.plan == whole.plan
    assert all(torch.equal(t, whole.model.state_dict()[n]) for n, t in done.model.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_plans_follow_each_other():
    model = separable()
    example = torch.rand(1, 1, 6, 6)
    units = find_units(model, example)
    first = Plan(tuple(units), {"0": [1, 3]})
    second = Plan(tuple(find_units(cut(model, first), example)), {"0": [0, 2], "6": [4]})
    both = first.then(second)
    assert {name: list(gone) for name, gone in both.removed.items()} == {"0": [0, 1, 3, 4], "6": [4]}
    images = torch.rand(3, 1, 6, 6)
    assert torch.equal(cut(model, both)(images), cut(cut(model, first), second)(images))
    with pytest.raises(ValueError, match="plan has 12 units in '0', but 10 are left there"):
        first.then(first)


def test_shrinking_trades_before_it_stops(model, splits):
    data, more = options(splits, steps=1, cost_target=0.5)
    tried = []

    def remembered(name):
        def loss(net, images, labels):
            tried.append(name)
            return classification_loss(net, images, labels)

        return loss

    losses = [remembered("first"), remembered("second")]
    wide = shrink(
        model, *data, **more, loss=losses, budget=ExplanationBudget(model, splits["calibration"], max_drift=1.9, **BY)
    )
    assert set(tried) == {"first"}
    assert wide.rows[-1]["loss"] == 0
    tight = shrink(
        model, *data, **more, loss=losses, budget=ExplanationBudget(model, splits["calibration"], max_drift=1e-6, **BY)
    )
    assert set(tried) == {"first", "second"}
    assert tight.stopped
    assert len(tight.plan) == 0
    assert tight.rows[-1]["loss"] == 1


def test_recalibration_that_fails_gives_the_statistics_back(model, splits):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        recalibrate(model, torch.rand(4, 3, 6, 6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_recalibration_weighs_all_images_alike(model, splits):
    images = splits["calibration"].inputs[:41].clone()
    images[40] = 3  # with 40 and 1 image in the batches this one would weigh as much as all others

    def mean(batch_size: int, some: torch.Tensor) -> torch.Tensor:
        found = recalibrate(copy.deepcopy(model), some, batch_size=batch_size)
        return next(module for module in found.modules() if isinstance(module, nn.BatchNorm2d)).running_mean

    whole, uneven = mean(41, images), (mean(40, images[:40]) + mean(1, images[40:])) / 2
    assert (mean(40, images) - whole).norm() < 0.05 * (uneven - whole).norm()


def test_shrinking_skips_a_step_that_is_reached_already_and_models_without_norms(splits):
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3)).eval()
    data, more = options(splits, cost_target=0.5, steps=3, schedule="one-shot", epochs=0)
    done = shrink(model, *data, **more)
    assert [row["share"] <= 0.5 for row in done.rows] == [True] * 3
    assert done.rows[1]["cut"] == done.rows[0]["tuned"]
    assert done.rows[0]["recalibrated"] == done.rows[0]["cut"]


def test_what_comes_of_shrinking_is_never_the_model_itself(model, splits):
    data, more = options(splits, epochs=0)
    done = shrink(model, *data, **more, budget=ExplanationBudget(model, splits["calibration"], max_drift=1e-6, **BY))
    assert done.stopped
    assert done.model is not model
    with pytest.raises(ValueError, match="loss is empty"):
        shrink(model, *data, **more, loss=[])
    with pytest.raises(ValueError, match=r"did you mean 0\.4"):
        shrink(model, *data, **(more | {"cost_target": 40}))


def test_another_run_may_not_go_on_with_an_unfinished_first_step(model, splits, tmp_path, interrupted):
    data, more = options(splits, epochs=2, resume=tmp_path / "run")
    with interrupted(5):
        shrink(model, *data, **more)
    with pytest.raises(ValueError, match="written by a call with another lr"):
        shrink(model, *data, **(more | {"lr": 1e-2}))


def test_a_budget_on_the_loss_alone_follows_the_loss(model, splits, monkeypatch):
    scores, costs = ranked(model, splits)
    budget, calls = ExplanationBudget(model, splits["calibration"], max_drop=0.5, **BY), []

    def never(smaller):  # what is tried later loses less and drifts more
        calls.append(smaller)
        return {"drift": float(len(calls)), "value": 0.0, "lost": -float(len(calls)), "holds": False}

    monkeypatch.setattr(budget, "spent", never)
    done = prune_within_budget(model, scores, costs, 0.9, budget)
    assert not done.reached
    tried = [row for row in done.rows if row["share"] <= 0.9]
    assert len(tried) > 1
    assert done.rows[-1]["closed"] == max((row["closed"] for row in tried), key=len) != ()


def test_the_only_group_that_a_plan_touches_can_be_closed(model, splits):
    scores, costs = ranked(model, splits)
    first = scores.groups[0]
    values = {group.name: scores[group.name] + 100 * (group != first) for group in scores.groups}
    done = prune_within_budget(
        model,
        Scores("mine", scores.groups, values),
        costs,
        0.9,
        ExplanationBudget(model, splits["calibration"], max_drift=1e-6, **BY),
    )
    assert (first.name,) in [row["closed"] for row in done.rows]
