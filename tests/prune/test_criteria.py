"""Every criterion against a brute-force reference in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xaiprune.data import Split
from xaiprune.dynamic import set_scores
from xaiprune.graph import reading
from xaiprune.prune import CRITERIA, Criterion, find_units, plan, score
from xaiprune.prune.loops.schedules import _with_gone_first
from xaiprune.prune.scoring.criteria import attribution
from xaiprune.training import reconstruction_loss


@pytest.fixture
def exact(tiny, digits):
    """The tiny autoencoder and images in float64, with its units."""
    tiny, digits = tiny.double(), digits.double()
    return tiny, Split(digits, torch.zeros(len(digits), dtype=torch.long)), find_units(tiny, digits[:1])


def gate_derivatives(model, units, image):
    """d loss / d gate for each unit by central differences: scale what reads the unit, a little up and down."""
    found = {}
    for group in units:
        found[group.name] = torch.zeros(group.size, dtype=torch.float64)
        for unit in range(group.size):
            losses = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                scaled = copy.deepcopy(model)
                parameters = dict(scaled.named_parameters())
                for member in group.members:
                    if member.role == "in":
                        for name, axis in member.axes.items():
                            index = torch.tensor(member.index[unit])
                            data = parameters[name].data
                            data.index_copy_(axis, index, data.index_select(axis, index) * factor)
                with torch.no_grad():
                    losses.append(nn.functional.mse_loss(scaled(image), image).item())
            found[group.name][unit] = (losses[0] - losses[1]) / 2e-5
    return found


@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_data_criteria_equal_finite_differences_of_gates_per_image(exact, criterion):
    model, split, units = exact
    split = Split(split.inputs[:3], split.targets[:3])
    each = [gate_derivatives(model, units, image[None]) for image in split.inputs]
    scores = score(model, units, criterion, split, loss=reconstruction_loss)
    for group in units:
        stacked = torch.stack([derivatives[group.name] for derivatives in each])
        expected = stacked.abs().mean(0) if criterion == "taylor" else stacked.square().mean(0) / 2
        assert torch.allclose(scores[group.name], expected, rtol=1e-3, atol=1e-11)


def relu_net(bias: bool) -> nn.Module:
    layers = (nn.Conv2d(1, 4, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, bias=bias), nn.ReLU())
    head = (nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5, 16, bias=bias), nn.ReLU(), nn.Linear(16, 3, bias=bias))
    return nn.Sequential(*layers, *head).double().eval()


@pytest.mark.parametrize("bias", [False, True])
def test_relevance_by_the_epsilon_rule_is_taylor_of_the_logit_on_a_relu_net(bias):
    torch.manual_seed(0)
    model, inputs = relu_net(bias), torch.randn(12, 1, 10, 10, dtype=torch.float64)
    split, units = Split(inputs, torch.arange(12) % 3), find_units(model, inputs[:1])
    epsilon = Criterion("epsilon", {"channels": attribution.relevance("epsilon 0")}, reads="gradients", of="logit")
    relevance, taylor = score(model, units, epsilon, split), score(model, units, "taylor", split, of="logit")
    loss = score(model, units, "taylor", split)
    for group in units:
        assert torch.allclose(relevance[group.name], taylor[group.name] / taylor[group.name].sum(), rtol=1e-9)
    assert not torch.allclose(relevance["0"], loss["0"] / loss["0"].sum(), rtol=1e-2)


@pytest.mark.parametrize("criterion", ["gradient", "taylor", "fisher", "integrated gradients", "shapley"])
def test_of_the_logit_a_criterion_takes_minus_the_labels_logit_for_the_loss(criterion):
    torch.manual_seed(0)
    model, inputs = relu_net(True), torch.randn(6, 1, 10, 10, dtype=torch.float64)
    split, units = Split(inputs, torch.arange(6) % 3), find_units(model, inputs[:1])

    def minus_logit(model, inputs, targets):
        return -model(inputs).gather(1, targets[:, None]).mean()

    of_logit = score(model, units, criterion, split, of="logit")
    by_hand = score(model, units, criterion, split, of="loss", loss=minus_logit)
    assert (of_logit.of, by_hand.of) == ("logit", "loss")
    assert all(torch.allclose(of_logit[group.name], by_hand[group.name]) for group in units)
    row = CRITERIA[criterion].explaining("logit")
    assert all(torch.equal(of_logit[name], values) for name, values in score(model, units, row, split).values.items())


def test_scores_say_what_they_explain(tiny, digits):
    split, units = Split(digits, torch.zeros(16, dtype=torch.long)), find_units(tiny, digits[:1])
    scores = score(tiny, units, "taylor", split, loss=reconstruction_loss)
    for some in (scores, scores.reversed(), scores.normalised("rank"), scores.only("latent")):
        assert some.of == "loss"
        assert " of the loss:" in repr(some)
    assert score(tiny, units, "l1").of is None
    assert CRITERIA["relevance"].explaining("logit").name == "relevance"
    model = relu_net(True)
    units = find_units(model, digits[:1, :, :10, :10].double())
    scores = score(model, units, "taylor", Split(digits[:, :, :10, :10].double(), split.targets), of="logit")
    assert repr(scores).startswith("Scores by taylor of the logit:")


@pytest.mark.parametrize(
    ("criterion", "options", "message"),
    [
        ("relevance", {"of": "loss"}, "of='loss': criterion 'relevance' explains the logit. Leave of out, or take one"),
        ("l1", {"of": "logit"}, "criterion 'l1' explains neither the loss nor the logit.*take one of gradient, taylor"),
        ("taylor", {"of": "answer"}, "of must be one of loss, logit"),
        ("taylor", {"of": "logit", "loss": reconstruction_loss}, "loss has no part in of='logit'"),
        ("taylor", {"of": "logit"}, "explains a class's logit, but the model's outputs have shape"),
    ],
)
def test_a_quantity_that_a_criterion_cannot_take_is_refused(tiny, digits, criterion, options, message):
    split = Split(digits, torch.zeros(16, dtype=torch.long))
    with pytest.raises(ValueError, match=message):
        score(tiny, find_units(tiny, digits[:1]), criterion, split, **options)


def test_scores_do_not_depend_on_the_batch_size(exact, monkeypatch):
    from xaiprune.prune.applying import gates

    model, split, units = exact
    whole = score(model, units, "fisher", split, loss=reconstruction_loss)
    monkeypatch.setattr(gates, "_BATCH", 5)
    parts = score(model, units, "fisher", split, loss=reconstruction_loss)
    assert all(torch.allclose(whole[group.name], parts[group.name], rtol=1e-9) for group in units)


def test_photographs_go_through_in_smaller_batches():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model, sizes = model.append(nn.Linear(4, 2)).eval(), []
    for side in (24, 224):
        split = Split(torch.zeros(30, 3, side, side), torch.zeros(30, dtype=torch.long))
        units = find_units(model, split.inputs[:1])
        with reading(model, ["0"], lambda name, inputs, output: sizes.append(len(output))):
            score(model, units, "taylor", split)
    assert sizes == [30, 13, 13, 4]


def test_norms_are_of_everything_that_goes_with_the_unit(exact):
    model, _, units = exact
    unit = 2
    produced = [model.encoder.conv2.weight[unit].flatten(), model.encoder.conv2.bias[unit : unit + 1]]
    everything = torch.cat([*produced, model.encoder.hidden.weight[:, 49 * unit : 49 * (unit + 1)].flatten()])
    assert torch.isclose(score(model, units, "l1")["encoder.conv2"][unit], everything.abs().sum())
    assert torch.isclose(score(model, units, "l2")["encoder.conv2"][unit], everything.norm())


def test_activation_is_the_mean_size_of_what_is_read(exact):
    model, split, units = exact
    read = model.encoder[:2](split.inputs)
    expected = read.abs().sum((2, 3)).mean(0)
    assert torch.allclose(score(model, units, "activation", split)["encoder.conv1"], expected)


def test_random_scores_repeat_with_their_seed(tiny, digits):
    units = find_units(tiny, digits[:1])
    one, same, other = (score(tiny, units, "random", seed=seed)["latent"] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_criterion_is_added_with_one_line(tiny, digits, monkeypatch):
    function = lambda evidence: {g.name: torch.arange(g.size) for g in evidence.groups}  # noqa: E731
    monkeypatch.setitem(CRITERIA, "index", Criterion("index", {"channels": function}))
    assert score(tiny, find_units(tiny, digits[:1]), "index")["latent"].tolist() == [0, 1, 2, 3, 4]


def test_a_layer_that_is_used_twice_is_summed_over_its_uses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.one(x)
            return self.out(self.two(self.two(x)))

    torch.manual_seed(0)
    model, x = Twice().double().eval().requires_grad_(False), torch.rand(5, 3, dtype=torch.float64)
    units = find_units(model, x)
    name = next(group.name for group in units if any(m.module == "two" and m.role == "in" for m in group.members))
    h = model.one(x)
    expected = h.abs() + model.two(h).abs() + (model.two(model.two(h)).abs() if name == "one" else 0)
    got = score(model, units, "activation", Split(x, torch.zeros(5)))[name]
    assert torch.allclose(got, expected.mean(0))


def test_scoring_changes_nothing(tiny, digits):
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    split = Split(digits, torch.zeros(16, dtype=torch.long))
    score(tiny, find_units(tiny, digits[:1]), "fisher", split, loss=reconstruction_loss)
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny.parameters())
    assert not any(module._forward_pre_hooks for module in tiny.modules())


@pytest.mark.parametrize(
    ("criterion", "split", "message"),
    [
        ("size", None, "criterion must be one of l1, l2"),
        ("fisher", None, "criterion 'fisher' needs data"),
        ("fisher", Split(torch.zeros(0, 1, 28, 28), torch.zeros(0)), "criterion 'fisher' needs data"),
    ],
)
def test_bad_requests_are_refused(tiny, digits, criterion, split, message):
    with pytest.raises(ValueError, match=message):
        score(tiny, find_units(tiny, digits[:1]), criterion, split)


def test_a_model_in_training_mode_is_refused(tiny, digits):
    units = find_units(tiny, digits[:1])
    with pytest.raises(ValueError, match=r"model is in training mode; call model\.eval\(\)"):
        score(tiny.train(), units, "l2")


def test_units_that_are_none_are_refused(tiny):
    with pytest.raises(ValueError, match="units must be a non-empty list of UnitGroup"):
        score(tiny, [], "l2")


def test_scores_that_are_made_of_scores_say_what_they_explain():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    units, split = find_units(model, torch.zeros(1, 1, 2, 2)), Split(torch.rand(6, 1, 2, 2), torch.arange(6) % 2)
    scores = score(model, units, "taylor", split, of="logit")
    gone = plan(scores, k=1)
    made = (scores.reversed(), scores.normalised("rank"), _with_gone_first(scores, gone), set_scores([scores], (0,)))
    assert {one.of for one in made} == {"logit"}
