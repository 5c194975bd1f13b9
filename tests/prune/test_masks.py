"""Learned masks, pruning rates, and pruning against an attribute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaiprune as xp
from tests.zoo.test_vit import IMAGES, small
from xaiprune import prune
from xaiprune.data import Split
from xaiprune.measure import fairness
from xaiprune.prune import (
    RATIOS,
    Masks,
    RatioCurve,
    Scores,
    ablated,
    entry_masks,
    entry_relevance,
    fair_scores,
    find_heads,
    find_neurons,
    gated_by,
    learn_masks,
    lowest_units,
    mac_costs,
    masked_entries,
    ratio_curve,
)


class OneMatters(nn.Module):
    """Two classes told apart by the sign of one input; two of eight neurons carry it, the others are noise."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.output = nn.Linear(4, 8), nn.Linear(8, 2)
        with torch.no_grad():
            self.hidden.weight[:2] = torch.tensor([[3.0, 0, 0, 0], [-3.0, 0, 0, 0]])
            self.output.weight[:] = 0.05 * torch.randn(2, 8)
            self.output.weight[:, :2] = torch.tensor([[0.0, 3.0], [3.0, 0.0]])

    def forward(self, x):
        return self.output(self.hidden(x).relu())


def task(count: int = 400) -> Split:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return Split(x, (x[:, 0] > 0).long())


@pytest.fixture(scope="module")
def learned():
    model, split = OneMatters().eval(), task()
    units = xp.find_units(model, split.inputs[:1])
    costs = mac_costs(model, units, split.inputs)
    return model, units, costs, learn_masks(model, units, split, costs, cost_target=0.25, epochs=20, progress=False)


def test_masks_open_what_matters_and_meet_the_budget(learned):
    model, units, costs, masks = learned
    gates = masks.gates()["hidden"]
    assert gates.nonzero().flatten().tolist() == [0, 1]
    assert masks.rows[-1]["share"] == pytest.approx(0.25, abs=0.05)
    chosen = xp.plan(masks.scores, cost_target=0.25, costs=costs)
    assert chosen.kept == {"hidden": 2}
    assert xp.measure.accuracy(xp.cut(model, chosen), task(), in_sample=True) >= xp.measure.accuracy(model, task()) - 1
    assert units[0].size == 8
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_the_same_seed_learns_the_same_masks(learned):
    model, units, costs, _ = learned
    once, again = (
        learn_masks(model, units, task(), costs, cost_target=0.5, epochs=1, seed=3, progress=False) for _ in range(2)
    )
    assert torch.equal(once.values["hidden"], again.values["hidden"])


def test_masks_per_class_leak_the_label_and_say_so():
    """A net that knows nothing answers rightly once its mask is chosen by the right answer."""
    blind, split = OneMatters().eval(), task()
    with torch.no_grad():
        blind.hidden.weight.zero_()
        blind.hidden.bias.fill_(1.0)
    units = xp.find_units(blind, split.inputs[:1])
    masks = learn_masks(
        blind,
        units,
        split,
        mac_costs(blind, units, split.inputs),
        cost_target=0.6,
        epochs=30,
        per_class=2,
        progress=False,
    )
    assert masks.per_class
    assert masks.scores["hidden"].shape == (8,)
    with gated_by(blind, units, masks.gates(split.targets)):
        told = xp.measure.accuracy(blind, split)  # all in one batch
    assert told > 95 > xp.measure.accuracy(blind, split)
    with pytest.raises(ValueError, match=r"these masks depend on the label.*use \.scores"):
        masks.gates()
    with pytest.raises(ValueError, match="labels were given, but these masks are the same for all classes"):
        Masks(tuple(units), {"hidden": torch.ones(8)}, {"hidden": 0.5}).gates(split.targets)


def test_bad_requests_for_masks_change_nothing(learned):
    model, units, costs, _ = learned
    with pytest.raises(ValueError, match=r"cost_target must be in \(0, 1\).*got 50"):
        learn_masks(model, units, task(), costs, cost_target=50)
    with pytest.raises(ValueError, match="a group that these costs were not made for"):
        learn_masks(small(), find_heads(small()), Split(IMAGES, torch.tensor([0, 1, 2])), costs, cost_target=0.5)
    with pytest.raises(ValueError, match="training mode"):
        learn_masks(OneMatters(), units, task(), costs, cost_target=0.5)
    with pytest.raises(ValueError, match=r"'hidden.weight' holds single weights"):
        learn_masks(model, prune.find_weights(model), task(), costs, cost_target=0.5)


def test_gates_per_image_act_on_heads_of_their_own():
    model, heads = small(), find_heads(small())
    gates = {group.name: torch.ones(3, group.size) for group in heads}
    gates["blocks.0.attention"][1, 2] = 0
    with gated_by(model, heads, gates):
        mixed = model(IMAGES)
    with ablated(
        model, Scores("any", tuple(heads), {g.name: torch.zeros(3) for g in heads}), {"blocks.0.attention": [2]}
    ):
        closed = model(IMAGES)
    torch.testing.assert_close(mixed[[0, 2]], model(IMAGES)[[0, 2]])
    torch.testing.assert_close(mixed[1], closed[1])
    assert not torch.allclose(mixed[1], model(IMAGES)[1])


def test_switching_off_is_the_mask_of_the_plan_and_may_empty_a_block():
    model, heads = small(), find_heads(small())
    scores = xp.score(model, heads, "l2")
    with ablated(model, scores, {"blocks.1.attention": [0, 2]}):
        closed = model(IMAGES)
    with xp.masked(model, prune.Plan(tuple(heads), {"blocks.1.attention": [0, 2]})):
        torch.testing.assert_close(model(IMAGES), closed)
    with ablated(model, scores, {"blocks.1.attention": [0, 1, 2]}):
        nothing = model(IMAGES)
    with torch.no_grad():
        emptied = small()
        emptied.blocks[1].attention.output.weight.zero_()
    torch.testing.assert_close(nothing, emptied(IMAGES))
    with pytest.raises(ValueError, match=r"gone names unit 3 of 'blocks.0.attention', which has units 0 to 2"):
        ablated(model, scores, {"blocks.0.attention": [3]})
    with pytest.raises(ValueError, match="gone names group 'nobody'"):
        ablated(model, scores, {"nobody": [0]})


def test_the_curve_is_the_metric_at_every_rate():
    model, split = small(), Split(IMAGES, torch.tensor([0, 1, 2]))
    heads = find_heads(model)
    scores = Scores("index", tuple(heads), {group.name: torch.arange(3.0).double() for group in heads})
    assert lowest_units(scores, 0.5) == {"blocks.0.attention": [0, 1], "blocks.1.attention": [0]}
    seen = []

    def metric(model, split):
        seen.append(model(split.inputs))
        return 100.0 - 10 * len(seen)

    found = ratio_curve(model, scores, split, ratios=(0, 0.5), metric=metric)
    assert found == RatioCurve("index", (0, 0.5), (90.0, 80.0))
    with ablated(model, scores, {"blocks.0.attention": [0, 1], "blocks.1.attention": [0]}):
        torch.testing.assert_close(seen[1], model(split.inputs))
    torch.testing.assert_close(seen[0], model(split.inputs))
    for rates in ((), (0.1, 0.2), (0, 0.5, 0.5), (0, 1)):
        with pytest.raises(ValueError, match="ratios must rise from 0 to below 1"):
            ratio_curve(model, scores, split, ratios=rates)


def test_a_pr_and_top_pr():
    assert RATIOS[0] == 0
    assert RATIOS[-1] == 0.95
    assert len(RATIOS) == 20
    found = RatioCurve("any", (0, 0.3, 0.6, 0.9), (80.0, 77.0, 75.0, 76.0))
    assert found.a_pr == 77
    assert found.top_pr == 0.9  # the highest rate, also where the curve has been below
    assert RatioCurve("any", (0, 0.5), (80.0, 75.9)).top_pr == 0


@pytest.mark.parametrize("name", ["attention-entropy", "confidence"])
def test_sharpness_of_heads(name):
    """A head that looks at one token has the highest score, one that looks everywhere alike the lowest."""
    model = small()
    attention = model.blocks[0].attention
    with torch.no_grad():
        attention.query.weight[5:10] = attention.query.bias[5:10] = 0  # head 1: all alike
        attention.query.weight[10:] *= 100  # head 2: sharp
    split = Split(IMAGES, torch.tensor([0, 1, 2]))
    found = xp.score(model, find_heads(model), name, split)["blocks.0.attention"]
    assert found.argmax() == 2
    assert found[1] == pytest.approx({"attention-entropy": 0.0, "confidence": 0.2}[name], abs=1e-6)
    weights = xp.explain.attention_weights(model, IMAGES)["blocks.0.attention.weights"].double()
    rows = (weights * weights.log()).sum(-1) + torch.tensor(5.0).log()
    wanted = {"attention-entropy": rows.mean((0, 2)), "confidence": weights.amax(-1).mean((0, 2))}[name]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(
        ValueError, match=f"'{name}' does not rank channels and neurons, such as 'blocks.0.mlp.0'; take one of l1"
    ):
        xp.score(model, find_neurons(model), name, split)


def test_fairness_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    groups = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    answers = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])
    found = fairness.fairness(answers, labels, groups)
    assert found == {"accuracy": 75.0, "PQD": 0.5, "DPM": 1.0, "EOM": 0.5}
    with pytest.raises(ValueError, match="at least two groups"):
        fairness.fairness(answers, labels, 0 * groups)
    with pytest.raises(ValueError, match="a class without images"):
        fairness.fairness(answers, labels, labels)
    with pytest.raises(ValueError, match="must have one shape"):
        fairness.fairness(answers, labels, groups[:3])


def test_the_attribute_halves_every_class_and_the_bias_thins_its_pairs():
    split = xp.data.fashion_mnist("validation")
    bright = fairness.brighter(split)
    for label in range(10):
        assert bright[split.targets == label].double().mean() == pytest.approx(0.5, abs=0.01)
    few = fairness.thinned(split, pairs=((0, 6),), keep=0.1)
    left = fairness.brighter(split)  # of the whole split
    stays = torch.tensor([(few.inputs == image).flatten(1).all(1).any() for image in split.inputs[:300]])
    rare = ((split.targets == 0) & (left == 0)) | ((split.targets == 6) & (left == 1))
    assert stays[~rare[:300]].all()
    assert stays[rare[:300]].double().mean() < 0.4
    assert torch.equal(fairness.thinned(split, keep=0.1).targets, fairness.thinned(split, keep=0.1).targets)
    with pytest.raises(ValueError, match=r"keep must be in \(0, 1\]"):
        fairness.thinned(split, keep=0)
    assert fairness.fashion_mnist_brightness("calibration").targets.unique().tolist() == [0, 1]
    assert len(fairness.biased_fashion_mnist("test").targets) == 10_000


def test_entries_that_matter_to_the_attribute_alone_go():
    mine = {"a": torch.tensor([[[5.0, 1.0], [2.0, 3.0]]])}
    theirs = {"a": torch.tensor([[[9.0, 1.0], [7.0, 8.0]]])}
    found = entry_masks(mine, theirs, protect=0.5, ratio=0.5)  # 1 and 2 are free; of these 7 goes
    assert found["a"].tolist() == [[[True, True], [False, True]]]
    assert entry_masks(mine, theirs, protect=0.5, ratio=0)["a"].all()
    with pytest.raises(ValueError, match=r"protect must be in \[0, 1\], got 80"):
        entry_masks(mine, theirs, protect=80)
    with pytest.raises(ValueError, match="different attention"):
        entry_masks(mine, {"b": theirs["a"]})


def test_entry_relevance_is_that_of_the_images_one_by_one_and_masks_leave_no_trace():
    model, split = small(), Split(IMAGES, torch.tensor([0, 1, 2]))
    found = entry_relevance(model, split)
    one = [entry_relevance(model, Split(i, n)) for i, n in zip(IMAGES.split(1), split.targets.split(1))]
    for name, value in found.items():
        assert value.shape == (3, 5, 5)
        torch.testing.assert_close(value, sum(part[name] for part in one) / 3, rtol=1e-5, atol=1e-9)
    with pytest.raises(ValueError, match="gives the entries of this model's attention no relevance"):
        entry_relevance(model, split, composite="cp-lrp")
    masks = {name: torch.ones(3, 5, 5, dtype=torch.bool) for name in found}
    masks["blocks.1.attention.weights"][1] = False
    before = model(IMAGES)
    with masked_entries(model, masks):
        closed = model(IMAGES)
    heads = find_heads(model)
    with xp.masked(model, prune.Plan(tuple(heads), {"blocks.1.attention": [1]})):
        torch.testing.assert_close(model(IMAGES), closed)
    assert torch.equal(model(IMAGES), before)
    with pytest.raises(ValueError, match="masks name 'head', which is no softmax"), masked_entries(model, {"head": 1}):
        pass


def test_against_takes_ranks_off_ranks():
    heads = tuple(find_heads(small()))
    names = [group.name for group in heads]
    task_scores = Scores(
        "t", heads, {names[0]: torch.tensor([1.0, 2, 3]).double(), names[1]: torch.tensor([4.0, 5, 6])}
    )
    other = Scores("a", heads, {names[0]: torch.tensor([0.0, 0, 9]), names[1]: torch.tensor([1.0, 2, 3])})
    found = fair_scores(task_scores, other, weight=1.0)
    assert found[names[0]].tolist() == pytest.approx([0, 0, 0.4 - 1])
    assert found[names[1]].tolist() == pytest.approx([0.6 - 0.4, 0.8 - 0.6, 1 - 0.8])
    assert fair_scores(task_scores, other, weight=0)[names[1]].tolist() == pytest.approx([0.6, 0.8, 1])
    with pytest.raises(ValueError, match="different units"):
        fair_scores(task_scores, other.only(names[0]))
