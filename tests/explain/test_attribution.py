"""Criteria that explain, what they need, and the authors' criteria of the toy experiment."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from xaiprune import data, zoo
from xaiprune.data import Split, samples
from xaiprune.explain.relevance import Composite, Where, epsilon, z_plus
from xaiprune.prune import (
    YEOM,
    Criterion,
    Evidence,
    contrast_scores,
    find_units,
    find_weights,
    gated_by,
    masked,
    overlaps,
    plan,
    reference_draws,
    score,
    unit_scores,
)
from xaiprune.prune.scoring.criteria import attribution
from xaiprune.training import classification_loss, reconstruction_loss


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def few():
    torch.manual_seed(1)
    return Split(torch.rand(7, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0]))


def evidence(model, units, split):
    return Evidence(model, tuple(units), split, classification_loss, 0)


def without(model, layer, unit):
    """The net with one neuron of a layer switched off where it is read."""
    changed = copy.deepcopy(model)
    changed[int(layer) + 2].weight.data[:, unit] = 0
    return changed


def test_relevance_is_the_mean_size_of_each_neurons_share(net, few):
    """By hand for the last hidden layer: epsilon, so a neuron's relevance is its contribution to the logit."""
    scores = score(net, find_units(net, few.inputs[:1]), "relevance", few)
    hidden = net[:5](few.inputs).detach()
    logits, weight = net[5](hidden).detach(), net[5].weight.detach()
    rows = torch.arange(7)
    z = logits[rows, few.targets]
    found = hidden * weight[few.targets] * (z / (z + 1e-6 * z.sign()))[:, None]
    expected = found.abs().mean(0)
    assert torch.allclose(scores["3"], expected / expected.sum(), atol=1e-10)
    assert all(values.sum() == pytest.approx(1) for values in scores.values.values())


def test_gradient_is_the_derivative_of_the_loss(net, few):
    scores = score(net, find_units(net, few.inputs[:1]), "gradient", few)
    hidden = net[:5](few.inputs).detach().requires_grad_()
    loss = nn.functional.cross_entropy(net[5](hidden), few.targets, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert torch.allclose(scores["3"], gradient.abs().mean(0), atol=1e-10)


def test_integrated_gradients_of_a_group_add_up_to_what_it_adds(net, few):
    units = find_units(net, few.inputs[:1])
    found = attribution.gate_integrals(evidence(net, units, few))
    rows = torch.arange(7)
    whole = net(few.inputs)[rows, few.targets]
    for group in units:
        with gated_by(net, [group], {group.name: torch.zeros(group.size)}):
            rest = net(few.inputs)[rows, few.targets]
        assert torch.allclose(found[group.name].sum(1), (whole - rest).detach(), atol=0.02)
    assert torch.allclose(found["3"].sum(1), (whole - net[5].bias[few.targets]).detach(), atol=1e-10)


def test_shapley_estimates_the_exact_values(net, few, monkeypatch):
    """All 120 orders of the five neurons of the last hidden layer."""
    [group] = [group for group in find_units(net, few.inputs[:1]) if group.name == "3"]

    def loss(members):
        gates = torch.tensor([float(unit in members) for unit in range(5)])
        with gated_by(net, [group], {group.name: gates}), torch.no_grad():
            return classification_loss(net, *few).item()

    exact = np.zeros(5)
    for order in itertools.permutations(range(5)):
        for place, unit in enumerate(order):
            exact[unit] += (loss(order[:place]) - loss(order[: place + 1])) / 120
    monkeypatch.setattr(attribution, "ORDERS", 400)
    found = score(net, [group], "shapley", few)["3"].numpy()
    assert found.sum() == pytest.approx(loss(()) - loss(range(5)))
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


class Shared(nn.Module):
    """Two layers read the same tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.left, self.right = nn.Linear(16, 4), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, images):
        hidden = self.first(images.flatten(1)).relu()
        return self.left(hidden) + self.right(hidden)


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "gradient", "relevance"])
def test_a_tensor_that_two_layers_read_counts_once_for_each(criterion, few):
    """The same network written with one layer gives the same scores."""
    torch.manual_seed(0)
    model = Shared().double().eval()
    merged = nn.Sequential(nn.Flatten(), copy.deepcopy(model.first), nn.ReLU(), nn.Linear(4, 3)).double().eval()
    merged[3].weight.data = (model.left.weight + model.right.weight).detach()
    merged[3].bias.data = (model.left.bias + model.right.bias).detach()
    [one], [other] = (
        score(each, find_units(each, few.inputs[:1]), criterion, few).values.values() for each in (model, merged)
    )
    assert torch.allclose(one, other, atol=1e-9 if criterion != "relevance" else 1e-4)


@pytest.mark.parametrize("criterion", ["relevance", "gradient"])
def test_single_weights_have_them_too(criterion, net, few):
    scores = score(net, find_weights(net), criterion, few)
    assert {name: len(values) for name, values in scores.values.items()} == {
        "1.weight": 96,
        "3.weight": 30,
        "5.weight": 15,
    }
    assert all(values.min() >= 0 and values.max() > 0 for values in scores.values.values())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_a_frozen_model_stays_frozen(net, few):
    net.requires_grad_(False)
    score(net, find_weights(net), "relevance", few)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_criteria_work_on_channels():
    model, split = zoo.load("lenet-5"), data.mnist("calibration", 50)
    units = find_units(model, split.inputs[:1])
    for name in ("relevance", "gradient", "integrated gradients", "magnitude", "taylor", "activation", "random"):
        scores = score(model, units, name, split)
        assert all(torch.isfinite(values).all() for values in scores.values.values())


def test_a_criterion_of_your_own_needs_no_registration(net, few):
    mine = Criterion("mine", {"channels": lambda evidence: {g.name: torch.arange(g.size) for g in evidence.groups}})
    assert score(net, find_units(net, few.inputs[:1]), mine).criterion == "mine"


def test_relevance_refuses_what_has_no_classes(digits):
    model = zoo.load("mnist-autoencoder")
    units, split = find_units(model, digits[:1]), Split(digits, torch.zeros(len(digits), dtype=torch.long))
    with pytest.raises(ValueError, match="take taylor or fisher with a loss instead"):
        score(model, units, "relevance", split, loss=reconstruction_loss)
    with pytest.raises(ValueError, match="'shapley' does not rank single weights"):
        score(model, find_weights(model), "shapley", split)


def test_the_authors_criteria_follow_their_formulas():
    """Layer by layer with plain matrix products: positive weights, no bias, signed inputs, as in the authors' code."""
    torch.manual_seed(0)
    model, points = zoo.toy_mlp(30).double().eval(), samples.toy("moons", 20, 3)
    points = Split(points.inputs.double(), points.targets)
    units, values, outputs = find_units(model, points.inputs[:1]), points.inputs, []
    for layer in model:
        values = layer(values)
        if isinstance(layer, nn.Linear):
            values.retain_grad()
            outputs.append(values)
    nn.functional.cross_entropy(values, points.targets).backward()
    relevance = nn.functional.one_hot(points.targets, 2) * values.detach()
    inputs = [outputs[0].relu(), outputs[1].relu(), outputs[2]]
    layers, by_relevance = (model.hidden2, model.hidden3, model.output), []
    for layer, x in reversed(list(zip(layers, inputs))):
        positive = layer.weight.detach().clamp(min=0)
        relevance = x.detach() * ((relevance / (x.detach() @ positive.T)) @ positive)
        by_relevance.insert(0, relevance.sum(0))
    found = {name: list(score(model, units, YEOM[name], points).values.values()) for name in YEOM}
    for place, value in enumerate(outputs[:3]):
        weight = (model.hidden1, model.hidden2, model.hidden3)[place].weight.detach().abs().sum(1)
        gradient, product = value.grad.sum(0).abs(), (value * value.grad).sum(0).detach().abs()
        assert torch.allclose(found["weight"][place], weight / weight.sum())
        assert torch.allclose(found["gradient"][place], gradient / gradient.norm(), atol=1e-9)
        assert torch.allclose(found["taylor"][place], product / product.norm(), atol=1e-9)
        signed = by_relevance[place]
        assert torch.allclose(found["lrp"][place], signed / signed.sum(), atol=1e-9)
        assert torch.allclose(found["lrp, sizes"][place], signed.abs() / signed.abs().sum(), atol=1e-9)


def test_reference_draws_and_overlaps(net, few):
    units = find_units(net, few.inputs[:1])

    def sample(size, draw):
        return samples.balanced(few, size, draw)

    rows = reference_draws(
        net, units, ("magnitude", "taylor"), sample, lambda model: 1.0, sizes=(1, 2), draws=3, k=4, progress=False
    )
    assert [(row["criterion"], row["per_class"]) for row in rows] == [
        *itertools.product(("magnitude", "taylor"), (1, 2))
    ]
    assert rows[0]["overlap"] == rows[0]["least"] == 1
    assert len(rows[2]["values"]) == 3
    one, other = (plan(score(net, units, name), k=4) for name in ("magnitude", "random"))
    same = {(n, u) for n, gone in one.removed.items() for u in gone.tolist()}
    shared = same & {(n, u) for n, gone in other.removed.items() for u in gone.tolist()}
    assert overlaps([one, other]).tolist() == [len(shared) / 4]
    with pytest.raises(ValueError, match="draws must be a whole number of at least 2"):
        reference_draws(net, units, ("taylor",), sample, lambda model: 1.0, draws=1, k=4)
    with pytest.raises(ValueError, match="sizes must be a whole number of at least 1"):
        reference_draws(net, units, ("taylor",), sample, lambda model: 1.0, sizes=(0,), k=4)


def test_carriers_of_something_go_first(net, few):
    """A neuron that alone reads the first pixel, and adds it to the first class."""
    net[1].weight.data[:, 0] = 0
    net[1].weight.data[2, 0] = 5
    units = find_units(net, few.inputs[:1])
    present = few.inputs.clone()
    present[:, 0, 0, 0] = 1
    absent = few.inputs.clone()
    absent[:, 0, 0, 0] = 0
    found = contrast_scores(net, units, Split(present, few.targets), Split(absent, few.targets), "activation")
    assert found["1"].argmin() == 2
    with masked(net, plan(found.only("1"), k=1)):
        assert torch.allclose(net(present), net(absent))


def test_layers_are_counted_anew_for_every_batch():
    """A composite by depth must not change when the images come in several batches."""
    composite = Composite("by depth", ((Where(depth=(0, 0.5)), z_plus()), (Where(), epsilon())))
    model, split = zoo.load("lenet-5"), data.mnist("calibration", 300)
    units, mine = find_units(model, split.inputs[:1]), Criterion("mine", {"channels": attribution.relevance(composite)})
    whole = score(model, units, mine, split)
    parts = [Split(*(values[rows] for values in split)) for rows in (slice(0, 256), slice(256, 300))]
    first, second = (score(model, units, mine, part) for part in parts)
    mixed = (256 * first["fc2"] + 44 * second["fc2"]) / 300
    assert torch.allclose(whole["fc2"], mixed, atol=2e-3)


def test_unit_scores_are_one_row(net, few):
    units = find_units(net, few.inputs[:1])
    assert unit_scores(net, units)(few).shape == (11,)


@pytest.fixture
def pictures(digits):
    """An autoencoder, its units, and images that are their own answer."""
    model = zoo.load("mnist-autoencoder")
    return model, find_units(model, digits[:1]), Split(digits, torch.zeros(len(digits), dtype=torch.long))


def test_the_loss_is_handed_on_so_that_an_autoencoder_has_scores_too(pictures):
    model, units, split = pictures
    straight = score(model, units, "taylor", split, loss=reconstruction_loss)
    row = unit_scores(model, units, "taylor", loss=reconstruction_loss)(split)
    assert torch.equal(row, torch.cat(list(straight.values.values())))
    darker = Split(split.inputs / 2, split.targets)
    gains = contrast_scores(model, units, split, darker, "taylor", loss=reconstruction_loss)
    other = score(model, units, "taylor", darker, loss=reconstruction_loss)
    assert all(torch.equal(gains[name], other[name] - straight[name]) for name in straight.values)
    options = {"sizes": (4,), "draws": 2, "k": 3, "progress": False, "loss": reconstruction_loss}
    sample = lambda size, draw: split.first(size + draw)  # noqa: E731
    [taken] = reference_draws(model, units, "taylor", sample, lambda smaller: 0.0, **options)
    plans = [plan(score(model, units, "taylor", sample(4, draw), loss=reconstruction_loss), k=3) for draw in (0, 1)]
    assert taken["overlap"] == overlaps(plans).item()


def test_the_seed_is_handed_on_to_a_criterion_that_draws(net, few):
    units = find_units(net, few.inputs[:1])
    rows = [unit_scores(net, units, "random", seed=seed)(few) for seed in (0, 0, 1)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    one = contrast_scores(net, units, few, few, "shapley", seed=1)
    assert all(not values.any() for values in one.values.values())  # the same draws for both


def test_criteria_of_ones_own_go_wherever_a_name_goes(net, few):
    mine = Criterion("mine", {"channels": lambda evidence: {g.name: torch.arange(g.size) for g in evidence.groups}})
    units = find_units(net, few.inputs[:1])
    assert unit_scores(net, units, mine)(few).tolist() == [*range(6), *range(5)]
    assert contrast_scores(net, units, few, few, mine).criterion == "carriers by mine"
    options = {"sizes": (1,), "draws": 2, "k": 2, "progress": False}
    sample = lambda size, draw: samples.balanced(few, size, draw)  # noqa: E731
    ways = ((mine, ["mine"]), (["l2", mine], ["l2", "mine"]), ({"ours": mine, "size": "l2"}, ["ours", "size"]))
    for criteria, names in ways:
        rows = reference_draws(net, units, criteria, sample, lambda model: 0.0, **options)
        assert [row["criterion"] for row in rows] == names
    with pytest.raises(ValueError, match=r"criteria must be one of l1, .*, got 'tayler'; did you mean 'taylor'\?$"):
        reference_draws(net, units, ["tayler"], sample, lambda model: 0.0, **options)
    with pytest.raises(
        TypeError, match="criterion must be the name of a criterion or a criterion itself, got function"
    ):
        score(net, units, lambda evidence: {})
