"""Units are scored for models of any inputs and outputs, and nothing of the model or the data changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import xaiprune as xp
from tests.cases.nets import net
from xaiprune.data import Split
from xaiprune.prune import find_units, find_weights, score
from xaiprune.training import TrainOptions, fit, regression_loss, tune

CRITERIA = ("activation", "variance", "gradient", "taylor", "fisher", "relevance", "integrated gradients", "shapley")
WEIGHTS = ("gradient", "taylor", "fisher", "relevance", "obd")
Y = torch.arange(10) % 3


def drawn(*shape) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


IDS = torch.randint(0, 20, (10, 7), generator=torch.Generator().manual_seed(0))


def text() -> nn.Module:
    torch.manual_seed(0)
    return net(lambda m, i: m.c(m.b(m.a(i)).relu().mean(1)), nn.Embedding(20, 8), nn.Linear(8, 12), nn.Linear(12, 3))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_tokens_are_scored_as_their_embeddings_are(criterion, frozen):
    model = text().requires_grad_(not frozen)
    behind = net(lambda m, e: m.c(m.b(e).relu().mean(1)), nn.Identity(), model.b, model.c)
    units = [group for group in find_units(model, IDS[:1]) if group.name == "b"]
    found = score(model, units, criterion, (IDS, Y))["b"]
    wanted = score(behind, find_units(behind, torch.zeros(1, 7, 8)), criterion, (model.a(IDS).detach(), Y))["b"]
    assert torch.allclose(found, wanted, rtol=1e-5)
    assert found.abs().max() > 0
    assert all(parameter.requires_grad != frozen for parameter in model.parameters())


@pytest.mark.parametrize("criterion", WEIGHTS)
def test_weights_behind_tokens_are_scored(criterion):
    model = text()
    found = score(model, find_weights(model), criterion, (IDS, Y))
    assert torch.isfinite(found["b.weight"]).all()
    assert found["b.weight"].any()


def single(flat: bool) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)
    return net(lambda m, x: m.a(x).flatten() if flat else m.a(x), nn.Sequential(*layers))


def double(one: nn.Module) -> nn.Module:
    """The same model with two logits, of which the first is 0."""
    head = nn.Linear(8, 2)
    head.weight.data = torch.cat([torch.zeros(1, 8), one.a[2].weight.data])
    head.bias.data = torch.cat([torch.zeros(1), one.a[2].bias.data])
    return net(lambda m, x: m.a(x), nn.Sequential(one.a[0], one.a[1], head))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("criterion", ["taylor", "fisher", "gradient", "shapley", "activation", "integrated gradients"])
def test_one_logit_is_scored_as_two_are(criterion, flat):
    x, y = drawn(10, 6), torch.arange(10) % 2
    one = single(flat)
    two = double(one)
    of = {"of": "loss"} if criterion == "integrated gradients" else {}
    pairs = [score(model, find_units(model, x[:1]), criterion, (x, y), **of)["a.0"] for model in (one, two)]
    assert torch.allclose(*pairs, rtol=1e-4, atol=1e-7)
    assert pairs[0].any()


@pytest.mark.parametrize("criterion", ["taylor", "relevance", "integrated gradients", "shapley"])
def test_the_logit_of_one_is_for_one_label_and_against_the_other(criterion):
    x, y, model = drawn(10, 6), torch.arange(10) % 2, single(False)
    found = score(model, find_units(model, x[:1]), criterion, (x, y), of="logit")["a.0"]
    assert torch.isfinite(found).all()
    assert found.any()
    with pytest.raises((ValueError, TypeError), match="targets"):
        score(model, find_units(model, x[:1]), criterion, (x, drawn(10)), of="logit")


def test_regression_is_scored_trained_and_measured_by_name():
    x, y = drawn(64, 6), drawn(64, 6).sum(1)
    model = single(False)
    units = find_units(model, x[:1])
    by_name, by_hand = (
        score(model, units, "taylor", (x, y), loss=loss)["a.0"] for loss in ("regression", regression_loss)
    )
    assert torch.equal(by_name, by_hand)
    with pytest.raises(TypeError, match="regression_loss"):
        score(model, units, "taylor", (x, y))
    before = xp.measure.MSE(model, (x, y))
    usual = {"epochs": 5, "batch_size": 16, "lr": 0.02, "progress": False}
    rows = tune(model, (x, y[:, None]), (x, y), loss="regression", metric="mean squared error", **usual)
    assert min(row["validation"] for row in rows) == xp.measure.MSE(model, (x, y), in_sample=True) < before


class Two(nn.Module):
    """A table and a sequence, and answers in a dictionary."""

    def __init__(self, named: bool):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(5, 6), nn.Linear(6, 3)
        self.named = named
        self.eval()

    def forward(self, table, sequence):
        answer = self.c((self.a(table.mul_(1)) + self.b(sequence).mean(1)).relu())
        return {"logits": answer, "table": table} if self.named else answer


@pytest.mark.parametrize("criterion", CRITERIA)
def test_several_inputs_and_outputs_by_name(criterion):
    table, sequence = drawn(10, 4), drawn(10, 7, 5)
    plain, named = Two(False), Two(True)
    units = [group for group in find_units(plain, (table[:1], sequence[:1])) if group.name in ("a", "b")]
    data = Split({"sequence": sequence, "table": table}, Y)
    given = [part.clone() for part in data.inputs.values()]
    wanted = score(plain, units, criterion, ((table, sequence), Y))
    found = score(named, units, criterion, data, output="logits")
    for name in wanted.values:
        assert torch.allclose(found[name], wanted[name], rtol=1e-5)
        assert found[name].any()
    assert all(torch.equal(*pair) for pair in zip(given, data.inputs.values()))
    assert not named._forward_hooks
    if criterion not in ("activation", "variance", "relevance"):  # which refuses to read what changed in place
        with pytest.raises(ValueError, match="model gives no tensor but a dict with 'logits'"):
            score(named, units, criterion, data)


FORMS = {
    "tensors": lambda inputs, y: (inputs, y),
    "loader": lambda inputs, y: torch.utils.data.DataLoader(
        [({"table": a, "sequence": b}, label) for a, b, label in zip(inputs["table"], inputs["sequence"], y)], 5
    ),
    "batches": lambda inputs, y: [
        ({k: v[rows] for k, v in inputs.items()}, y[rows]) for rows in torch.arange(10).split(5)
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_several_inputs_are_trained_on(form):
    inputs = {"table": drawn(10, 4), "sequence": drawn(10, 7, 5)}
    model, plain = Two(True), Two(False)
    data = FORMS[form](inputs, Y)
    usual = {"epochs": 3, "batch_size": 5, "lr": 0.05, "progress": False}
    rows = fit(model, data, "classification", output="logits", **usual)
    assert rows[-1]["loss"] < rows[0]["loss"]
    if form == "tensors":
        fit(plain, data, "classification", **usual)
        assert torch.equal(plain.c.weight, model.c.weight)
    with pytest.raises(ValueError, match="model gives no tensor but a dict"):
        fit(model, data, "classification", **usual)
    found = xp.measure.accuracy(model, data, output="logits")
    assert found == xp.measure.accuracy(model, (inputs, Y), output=lambda given: given["logits"])
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_heads_that_run_only_in_training_are_picked_by_a_function():
    class Aux(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return (self.a(x), self.b(x)) if self.training else self.a(x)

    data, model = (drawn(10, 4), Y), Aux().eval()
    usual = {"epochs": 1, "batch_size": 5, "progress": False}
    with pytest.raises(ValueError, match="say by output="):
        fit(model, data, "classification", **usual)
    with pytest.raises(
        ValueError, match=r"output=lambda found: found if isinstance\(found, torch\.Tensor\) else found\[0\]"
    ):
        tune(model, data, data, output=0, **usual)
    tune(model, data, data, output=lambda found: found if isinstance(found, torch.Tensor) else found[0], **usual)


def test_another_output_is_another_training(tmp_path):
    data, model = (drawn(10, 4), Y), net(lambda m, x: (m.a(x), m.b(x)), nn.Linear(4, 3), nn.Linear(4, 3))

    def second(model, epochs=[]):  # noqa: B006
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return 0.0

    options = TrainOptions(epochs=2, batch_size=5, progress=False, resume=tmp_path / "state.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, "classification", options, output=0, validate=second)
    with pytest.raises(ValueError, match="output"):
        fit(model, data, "classification", options, output=1, validate=second)


def test_scoring_leaves_a_model_that_counts_its_calls_as_it_was():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.c(self.b(self.a(x)).relu())

    model, data = Counting().eval(), (drawn(10, 4), Y)
    units = find_units(model, data[0][:1])
    before = copy.deepcopy(model.state_dict())
    for criterion in CRITERIA:
        score(model, units, criterion, data)
        xp.measure.accuracy(model, data)
    with pytest.raises(ValueError, match="targets cannot be meant"):
        score(model, units, "taylor", (data[0], Y[:, None]))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.b.train()
    with pytest.raises(ValueError, match="model has a part in training mode, 'b'"):
        xp.curvature.fisher_diagonal(model, data, xp.training.classification_loss)
