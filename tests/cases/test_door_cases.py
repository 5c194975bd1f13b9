"""Doors that other tools leave: wrapped models, masks of torch, single weights of any layer, curvature of any layer."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import xaiprune as xp
from tests.cases.nets import images, net
from xaiprune import curvature, prune
from xaiprune.training import classification_loss

pytestmark = pytest.mark.filterwarnings("ignore")

WRAPPED = {
    "plain": lambda model: model,
    "DataParallel": lambda model: nn.DataParallel(model).eval(),
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")).eval(),
}


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 5)]
    return nn.Sequential(*layers).eval()


def plan_of(model: nn.Module) -> xp.prune.Plan:
    return xp.plan(xp.score(model, xp.find_units(model, images(1, 3, 8, 8)), "l1"), ratio=0.4, scope="uniform")


@pytest.mark.parametrize("to", WRAPPED)
@pytest.mark.parametrize("made", WRAPPED)
def test_plans_and_states_go_from_a_wrapped_model_to_another(made, to, tmp_path):
    """The prefixes module. and _orig_mod."""
    x, wanted = images(4, 3, 8, 8), xp.cut(small(), plan_of(small()))(images(4, 3, 8, 8))
    plan, model = plan_of(WRAPPED[made](small())), WRAPPED[to](small())
    assert torch.equal(xp.cut(model, plan)(x), wanted)
    assert prune.cut_error(model, plan, x) < 1e-5
    prune.save_cut(xp.cut(WRAPPED[made](small()), plan), plan, tmp_path / "cut")
    assert torch.equal(prune.load_cut(lambda: WRAPPED[to](small()), tmp_path / "cut")(x), wanted)
    weights = xp.plan(xp.score(small(), prune.find_weights(small()), "l1"), ratio=0.5)
    masked = prune.write_masks(WRAPPED[to](small()), weights)
    assert torch.equal(masked(x), xp.cut(small(), weights)(x))
    assert prune.read_masks(masked) == weights


def test_a_plan_for_a_masked_model_says_how_to_make_it_plain():
    model = small()
    torch_prune.l1_unstructured(model[0], "weight", 0.4)
    model(images(1, 3, 8, 8))
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=r"torch\.nn\.utils\.prune.* Read the masks with .*prune\.remove"):
        xp.cut(model, plan_of(small()))
    with pytest.raises(ValueError, match=r"'0\.weight' has a mask of torch\.nn\.utils\.prune already"):
        prune.write_masks(model, prune.read_masks(model))
    assert torch.equal(model[0].weight, before)


def test_masks_of_weights_with_channels_last():
    model = small().to(memory_format=torch.channels_last)
    plan = xp.plan(xp.score(model, prune.find_weights(model), "l1"), ratio=0.5)
    assert prune.read_masks(prune.write_masks(model, plan)) == plan


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_single_weights_of_recurrent_layers(kind):
    """pytorch#33618: scored, masked and cut like others, by every matrix of every layer and direction."""

    def forward(m, x):
        return m.b(m.a(x)[0][:, -1])

    model = net(forward, kind(6, 8, num_layers=2, bidirectional=True, batch_first=True), nn.Linear(16, 3))
    x, units = images(5, 7, 6), prune.find_weights(model)
    assert [unit.name for unit in units][:2] == ["a.weight_ih_l0", "a.weight_hh_l0"]
    assert len(units) == 9
    data = xp.data.Split(x, torch.arange(5) % 3)
    for criterion in ("l1", "taylor", "fisher"):
        plan = xp.plan(xp.score(model, units, criterion, *[data] * (criterion != "l1")), ratio=0.5)
        assert prune.cut_error(model, plan, x) <= 1e-5
    assert prune.read_masks(prune.write_masks(copy.deepcopy(model), plan)) == plan
    assert [unit.name for unit in prune.find_weights(nn.GRUCell(3, 4))] == ["weight_ih", "weight_hh"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nn.utils.weight_norm, "remove_weight_norm"),
        (nn.utils.spectral_norm, "remove_spectral_norm"),
        (nn.utils.parametrizations.weight_norm, "remove_parametrizations"),
        (lambda layer: torch_prune.l1_unstructured(layer, "weight", 0.5), r"prune\.remove"),
    ],
)
def test_weights_that_are_computed_are_not_left_out(change, words):
    with pytest.raises(ValueError, match=f"'1' .*{words}"):
        prune.find_weights(nn.Sequential(nn.Linear(4, 4), change(nn.Linear(4, 3))))


class Spare(nn.Module):
    """With a layer whose output nothing reads, a parameter that is not used, one beside layers, and a keyword."""

    def __init__(self):
        super().__init__()
        self.a, self.u, self.b = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.scale, self.spare = nn.Parameter(torch.ones(8)), nn.Parameter(torch.ones(3))

    def forward(self, x):
        hidden = self.a(input=x).tanh()
        self.u(hidden)
        return self.b(hidden * self.scale)


@pytest.fixture
def data() -> xp.data.Split:
    return xp.data.Split(images(20, 6) - 0.5, torch.arange(20) % 3)


def one_by_one(model: nn.Module, data: xp.data.Split) -> dict[str, torch.Tensor]:
    found = {name: torch.zeros_like(own, dtype=torch.float64) for name, own in model.named_parameters()}
    for x, y in zip(*data):
        own = copy.deepcopy(model).requires_grad_(True)
        each = torch.autograd.grad(classification_loss(own, x[None], y[None]), own.parameters(), materialize_grads=True)
        for name, gradient in zip(found, each):
            found[name] += gradient.double() ** 2 / len(data.inputs)
    return found


@pytest.mark.parametrize("frozen", ["none", "some", "all"])
def test_frozen_and_unused_layers_in_curvature(frozen, data):
    torch.manual_seed(0)
    model = Spare().eval()
    wanted, curved = one_by_one(model, data), curvature.hessian_diagonal(model, data, classification_loss, probes=3)
    assert not any(curved[name].any() for name in ("u.weight", "spare"))
    {"none": nn.ModuleList(), "some": model.a, "all": model}[frozen].requires_grad_(False)
    flags = [own.requires_grad for own in model.parameters()]
    found = curvature.fisher_diagonal(model, data, classification_loss)
    assert all((found[name] - value).abs().max() < 1e-7 for name, value in wanted.items())
    again = curvature.hessian_diagonal(model, data, classification_loss, probes=3)
    assert all(torch.allclose(again[name], value) for name, value in curved.items())
    assert curvature.gauss_newton_diagonal(model, data)["a.weight"].any()
    assert [own.requires_grad for own in model.parameters()] == flags
    assert all(own.grad is None for own in model.parameters())
    through = curvature.fisher_diagonal(nn.DataParallel(model).eval(), data, classification_loss)
    assert all(torch.equal(through[f"module.{name}"], value) for name, value in found.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_of_small_gradients_in_half_precision(dtype, data):
    torch.manual_seed(0)
    model = Spare().eval()
    with torch.no_grad():
        model.b.weight *= 1e-3  # gradients of about 1e-5, whose squares are 0 in float16
    wanted = one_by_one(model, data)["a.weight"]
    narrow = xp.data.Split(data.inputs.to(dtype), data.targets)
    found = curvature.fisher_diagonal(model.to(dtype), narrow, classification_loss)["a.weight"]
    assert ((found - wanted).abs().max() / wanted.max()) < 0.05


def test_curvature_of_tokens_with_everything_frozen():
    model = net(lambda m, ids: m.b(m.a(ids)).mean(1), nn.Embedding(9, 6), nn.Linear(6, 3))
    data = xp.data.Split(torch.arange(40).reshape(10, 4) % 9, torch.arange(10) % 3)
    wanted = one_by_one(model, data)
    found = curvature.fisher_diagonal(model.requires_grad_(False), data, classification_loss)
    assert all((found[name] - value).abs().max() < 1e-7 for name, value in wanted.items())


def test_the_page_runs():
    text = (Path(__file__).parents[2] / "docs" / "doors.md").read_text()
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)), {})
