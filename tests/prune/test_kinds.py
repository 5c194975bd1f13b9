"""Kinds of units: one file makes a new one, and everything asks the kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from tests import ROOT
from xaiprune import data, prune, zoo
from xaiprune.data import Split, words
from xaiprune.graph import changing
from xaiprune.measure import ACCURACY
from xaiprune.prune import CRITERIA, KINDS, Criterion, Plan, UnitGroup, UnitKind, gated_by, plan, score
from xaiprune.prune.units import Blocks
from xaiprune.training import classification_loss

CHECKPOINTS = ROOT / "data" / "checkpoints"
#: Of shipped plans: the network that they cut, the kinds of its units, and the shape of an image.
SHIPPED = {
    "efficientnet": ("efficientnet-lite0", {"channels"}, (3, 224, 224)),
    "mobilenet": ("mobilenet-fashion-mnist", {"channels", "blocks"}, (1, 28, 28)),
    "vit": ("vit-fashion-mnist", {"channels", "heads"}, (1, 28, 28)),
}


# A kind of one's own, whole: what stands between these two lines is one file.


class Branches(Blocks):
    """Networks side by side whose outputs are added up: a unit is one of them, and without it nothing is added.

    Weights and costs are those of the branch, as with blocks.
    """

    name, words = "branches", "parallel branches"

    def replaced(self, model, groups, function):
        """What a gate multiplies is what a branch gives."""

        def give(name):
            return lambda output: function(name, output)

        return changing(model, gives={name: give(name) for group in groups for name in group.blocks})

    def described(self, group):
        return [f"{branch} can be left out of the sum" for branch in group.blocks]

    def mask(self, model, group, units):
        return changing(model, gives={group.blocks[unit]: torch.zeros_like for unit in units})

    def cut(self, smaller, group, units):
        for unit in units:
            smaller.set_submodule(group.blocks[unit], Nothing())


class Nothing(nn.Module):
    """Adds nothing to a sum."""

    def forward(self, x):
        return 0.0


def find_branches(model) -> list[UnitGroup]:
    names = tuple(f"branches.{place}" for place in range(len(model.branches)))
    return [UnitGroup("branches", len(names), (), Branches(), blocks=names)]


# ---------------------------------------------------------------------------------------------------------------------


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        body = [nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)) for width in (4, 5, 8)]
        self.branches = nn.ModuleList(body)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


@pytest.fixture
def own(monkeypatch):
    """A kind of one's own, its model, its group, and data."""
    monkeypatch.setitem(KINDS, "branches", Branches())
    torch.manual_seed(0)
    model = Sum().double().eval()
    return model, find_branches(model), Split(torch.randn(30, 6).double(), torch.arange(30) % 3)


def test_a_kind_of_ones_own_is_one_file_and_is_scored_by_the_shipped_criteria(own):
    model, units, split = own
    assert "branches.0 can be left out of the sum" in str(units[0])
    for name in ("l1", "l2", "activation", "taylor", "fisher", "ablation", "random"):
        values = score(model, units, name, split)["branches"]
        assert values.shape == (3,)
        assert len(set(values.tolist())) == 3
    gates, slopes = [torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(3)], []
    for x, label in zip(*split):
        outputs = sum(gate * branch(x[None]) for gate, branch in zip(gates, model.branches))
        slopes.append(torch.stack(torch.autograd.grad(nn.functional.cross_entropy(outputs, label[None]), gates)))
    slopes = torch.stack(slopes)
    assert torch.allclose(score(model, units, "taylor", split)["branches"], slopes.abs().mean(0))
    assert torch.allclose(score(model, units, "fisher", split)["branches"], slopes.square().mean(0) / 2)


def test_a_kind_of_ones_own_is_planned_masked_cut_and_saved(own, tmp_path):
    model, units, split = own
    chosen = plan(score(model, units, "ablation", split), k=2, round_to=1)
    [stays] = set(range(3)) - set(chosen.removed["branches"].tolist())
    before = model(split.inputs)
    assert prune.cut_error(model, chosen, split.inputs) == 0
    with prune.masked(model, chosen):
        assert torch.equal(model(split.inputs), model.branches[stays](split.inputs))
    assert torch.equal(model(split.inputs), before)
    smaller = prune.cut(model, chosen)
    prune.save_cut(smaller, chosen, tmp_path / "small")
    loaded = prune.load_cut(lambda: Sum().double().eval(), tmp_path / "small")
    assert torch.equal(loaded(split.inputs), smaller(split.inputs))
    assert Plan.load(tmp_path / "small.json") == chosen
    with pytest.raises(ValueError, match="smaller is not the cut of this plan"):
        prune.save_cut(model, chosen, tmp_path / "other")


def test_a_kind_of_ones_own_has_costs_gates_and_rates(own):
    model, units, split = own
    costs = prune.mac_costs(model.float(), units, split.inputs.float())
    assert costs.per_unit()["branches"].tolist() == [36, 45, 72]
    assert costs.of({"branches": [0, 2]}) == 45
    model.double()
    with gated_by(model, units, {"branches": torch.tensor([0.0, 0.5, 0.0])}):
        halved = model(split.inputs)
    assert torch.allclose(halved, model.branches[1](split.inputs) / 2)
    each = torch.eye(3)[torch.arange(30) % 3]
    with gated_by(model, units, {"branches": each}):
        mixed = model(split.inputs)
    assert torch.allclose(mixed[1], model.branches[1](split.inputs[1]))
    curve = prune.ratio_curve(model, score(model, units, "l2"), split, ratios=(0, 0.4), metric=ACCURACY)
    assert len(curve.values) == 2


def test_what_a_kind_of_ones_own_cannot_do_is_refused_with_its_words(own):
    model, units, split = own
    with pytest.raises(
        ValueError, match="'relevance' does not rank parallel branches, such as 'branches'; take one of l1"
    ):
        score(model, units, "relevance", split)
    with pytest.raises(ValueError, match="groups hold parallel branches, such as 'branches': how many of them go does"):
        prune.ParameterCount(model, units)
    chosen = plan(score(model, units, "l1"), k=1)
    message = r"plan holds parallel branches \('branches'\): cut the model"
    with pytest.raises(ValueError, match=message), prune.keep_zeros(model, chosen):
        pass
    with pytest.raises(ValueError, match=r"plan removes parallel branches, such as 'branches'; .* cut the model"):
        prune.write_masks(model, chosen)
    with pytest.raises(ValueError, match="pattern is for single weights; 'branches' holds parallel branches"):
        plan(score(model, units, "l1"), pattern=(2, 4))
    with pytest.raises(ValueError, match="'branches' holds parallel branches"):
        prune.learn_masks(model, units, split, None, cost_target=0.5)


def test_a_saved_plan_of_a_kind_that_is_not_known_says_so(own, monkeypatch):
    model, units, _ = own
    text = plan(score(model, units, "l1"), k=1).to_json()
    monkeypatch.delitem(KINDS, "branches")
    with pytest.raises(ValueError, match=r"kind must be one of .*, got 'branches'"):
        Plan.from_json(text)


class Bare(UnitKind):
    """Nothing but words."""

    name, words = "bare", "bare units"


def test_a_kind_with_nothing_but_words_can_be_planned_and_is_ranked_by_chance_alone():
    model, group = nn.Linear(2, 4).eval(), UnitGroup("bare", 4, (), Bare())
    assert len(plan(score(model, [group], "random"), k=3)) == 3
    with pytest.raises(ValueError, match=r"'l1' does not rank bare units, such as 'bare'; take one of random\."):
        score(model, [group], "l1")
    message = "units that a gate can close, and 'bare' holds bare units"
    with pytest.raises(ValueError, match=message), gated_by(model, [group], {"bare": torch.ones(4)}):
        pass


def test_a_group_says_its_kind_when_it_is_made():
    assert UnitGroup("a", 2, (), "heads").kind is KINDS["heads"]
    with pytest.raises(TypeError, match="kind"):
        UnitGroup("a", 2, ())
    with pytest.raises(ValueError, match=r"kind must be one of .*, got 'chanels'; did you mean 'channels'\?$"):
        UnitGroup("a", 2, (), "chanels")
    with pytest.raises(TypeError, match="kind must be the name of a kind of units or a kind of units itself, got int"):
        UnitGroup("a", 2, (), 3)


@pytest.fixture(scope="module")
def every():
    """Kind to a model with units of it, and images with labels."""
    mnist, clothes = data.mnist("calibration", 20), data.fashion_mnist("calibration", 20)
    lenet, mobilenet = zoo.load("lenet-5"), zoo.load("mobilenet-fashion-mnist")
    transformer, lstm = zoo.load("vit-fashion-mnist"), zoo.load("words-lstm")
    return {
        "channels": (lenet, prune.find_units(lenet, mnist.inputs[:1]), mnist),
        "heads": (transformer, prune.find_heads(transformer), clothes),
        "weights": (lenet, prune.find_weights(lenet, ["conv1", "fc3"]), mnist),
        "blocks": (mobilenet, prune.find_blocks(mobilenet, clothes.inputs[:1]), clothes),
        "memory": (lstm, prune.find_memory(lstm), words.words("calibration", 20)),
    }


@pytest.mark.parametrize("kind", ["channels", "heads", "weights", "blocks", "memory"])
def test_every_criterion_ranks_a_kind_or_refuses_it_with_its_words(kind, every):
    model, units, split = every[kind]
    assert {group.kind for group in units} == {KINDS[kind]}
    ranking = [name for name, criterion in CRITERIA.items() if criterion.ranks(KINDS[kind])]
    for name in set(CRITERIA) - {"shapley", "bn-scale"}:  # the one is slow, the other needs a batch normalisation
        if name in ranking:
            scores = score(model, units[:2], name, split)
            assert all(len(scores[group.name]) == group.size for group in units[:2])
        else:
            with pytest.raises(ValueError, match=f"'{name}' does not rank {KINDS[kind].words}, such as") as error:
                score(model, units, name, split)
            assert f"take one of {', '.join(ranking)}." in str(error.value)


@pytest.mark.parametrize("kind", ["channels", "heads", "weights", "blocks", "memory"])
def test_a_plan_that_was_saved_before_plans_said_their_kind_is_the_same_plan(kind, every):
    model, units, _ = every[kind]
    chosen = plan(score(model, units, "random"), k=2)
    content = json.loads(chosen.to_json())
    assert [group.pop("kind") for group in content["groups"]] == [kind] * len(units)
    assert Plan.from_json(json.dumps(content)) == chosen


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.glob("*-pruned-*.json")), ids=lambda path: path.stem)
def test_every_shipped_plan_is_read_and_gives_its_shipped_cut(path):
    content, chosen = json.loads(path.read_text()), Plan.load(path)
    assert {name: units.tolist() for name, units in chosen.removed.items()} == content["removed"]
    name, kinds, shape = SHIPPED[path.stem.partition("-")[0]]
    assert {group.kind.name for group in chosen.groups} == kinds
    assert Plan.from_json(chosen.to_json()) == chosen
    assert prune.load_cut(lambda: zoo.load(name), path.with_suffix("")).training is False
    assert prune.cut_error(zoo.load(name), chosen, torch.rand(2, *shape)) <= 1e-4


def test_the_shipped_recipe_is_read():
    changes = json.loads((CHECKPOINTS / "mobilenet-recipe" / "changes.json").read_text())
    model = zoo.load("mobilenet-fashion-mnist")
    plans = [Plan.from_json(change) for change in changes if change.startswith("{")]
    assert [sorted({group.kind.name for group in chosen.groups}) for chosen in plans] == [["blocks"], ["channels"]]
    for chosen in plans:
        assert prune.cut_error(model, chosen, torch.rand(2, 1, 28, 28)) <= 1e-4
        model = prune.cut(model, chosen)


def test_gates_on_blocks_close_and_weaken_what_they_add(every):
    model, [group], split = every["blocks"]
    gates = torch.ones(group.size)
    gates[[2, 5]] = 0
    with torch.no_grad():
        with gated_by(model, [group], {"blocks": gates}):
            closed = model(split.inputs)
        with prune.masked(model, Plan((group,), {"blocks": [2, 5]})):
            assert torch.allclose(model(split.inputs), closed, atol=1e-4)
        assert not torch.allclose(model(split.inputs), closed, atol=1e-2)


@pytest.mark.parametrize("kind", ["weights", "memory"])
def test_units_that_no_gate_can_close_are_refused_and_not_left_open(kind, every):
    model, units, split = every[kind]
    scores = score(model, units, "l1")
    with pytest.raises(ValueError, match=f"holds {KINDS[kind].words}: mask a plan of them"):
        prune.ratio_curve(model, scores, split, ratios=(0, 0.5))


def test_chance_ranks_blocks_the_same_with_channels_beside_them(every):
    model, blocks, split = every["blocks"]
    channels = prune.find_units(model, split.inputs[:1])
    together = score(model, channels + blocks, "random", seed=4)
    assert torch.equal(together["blocks"], score(model, blocks, "random", seed=4)["blocks"])
    first = channels[0].name
    assert torch.equal(together[first], score(model, channels, "random", seed=4)[first])


def test_a_criterion_of_ones_own_is_a_line_for_one_kind_and_one_for_any(every):
    model, channels, _ = every["channels"]
    by_place = lambda evidence: {group.name: torch.arange(group.size) for group in evidence.groups}  # noqa: E731
    mine = Criterion("mine", {"channels": by_place})
    assert score(model, channels, mine)["fc1"].tolist() == list(range(channels[2].size))
    transformer, heads, _ = every["heads"]
    assert score(transformer, heads, mine)[heads[0].name].tolist() == list(range(heads[0].size))  # heads are channels
    with pytest.raises(ValueError, match="'mine' does not rank single weights"):
        score(model, prune.find_weights(model), mine)
    whole = Criterion(
        "whole", {prune.ANY: by_place, "heads": lambda evidence: {heads[0].name: torch.ones(heads[0].size)}}
    )
    assert score(model, prune.find_weights(model, ["conv1"]), whole)["conv1.weight"][7] == 7
    assert score(transformer, heads[:1], whole)[heads[0].name].sum() == heads[0].size


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rules": {"chanels": len}}, ValueError, r"rules must be one of .*, got 'chanels'; did you mean 'channels'\?"),
        ({"rules": len}, TypeError, "rules must map kinds of units to functions, such as {'channels': function}"),
        ({"rules": {"heads": len}, "reads": "images"}, ValueError, "reads must be one of weights, data, gradients"),
    ],
)
def test_a_criterion_that_makes_no_sense_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Criterion("mine", **arguments)


def test_a_criterion_is_told_by_what_it_computes():
    def one(factor):
        return lambda evidence: {group.name: factor * torch.ones(group.size) for group in evidence.groups}

    same, other = (repr(Criterion("mine", {"channels": one(factor)})) for factor in (2, 3))
    assert same == repr(Criterion("mine", {"channels": one(2)}))
    assert same != other
    assert {CRITERIA["l1"]: 1}[CRITERIA["l1"]] == 1  # a key, as its name is


def test_costs_of_blocks_are_their_own_layers_and_of_channels_an_equal_share(every):
    model, blocks, split = every["blocks"]
    costs = prune.mac_costs(model, blocks + prune.find_units(model, split.inputs[:1]), split.inputs[:1])
    each = costs.per_unit()
    for unit, cost in enumerate(each["blocks"]):
        assert cost == pytest.approx(costs.total - costs.of({"blocks": [unit]}))
    assert all(np.ptp(values) == 0 for name, values in each.items() if name != "blocks")


def test_a_model_with_a_part_in_training_mode_is_not_scored(every):
    model, units, split = every["channels"]
    model.fc1.train()
    try:
        with pytest.raises(ValueError, match=r"model has a part in training mode, 'fc1'; call model\.eval\(\) first"):
            score(model, units, "taylor", split, loss=classification_loss)
    finally:
        model.eval()


def test_a_block_that_gets_its_input_by_keyword_is_passed_over_too():
    class Block(nn.Module):
        def forward(self, *, x):
            return x + 1

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Block(), Block()

        def forward(self, x):
            return self.second(x=self.first(x=x))

    model, x = Body().eval(), torch.rand(2, 3)
    with changing(model, does={"first": lambda given, output: given}):
        assert torch.equal(model(x), x + 1)
    assert torch.equal(model(x), x + 2)
