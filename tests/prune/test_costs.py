"""Costs from a plan alone, targets that meet them, and runtimes."""

import math

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchvision.models import MobileNetV2

from xaiprune import deploy, measure, zoo
from xaiprune.prune import (
    Costs,
    Layer,
    Plan,
    Scores,
    cut,
    find_blocks,
    find_units,
    latency_costs,
    load_cut,
    mac_costs,
    plan,
    save_cut,
    score,
)
from xaiprune.prune.costs import latency


def separable(width: int = 12) -> nn.Module:
    """Convolutions of all kinds, with batch normalisation."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
        nn.Conv2d(width, 8, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", range(5))
def test_macs_are_those_of_the_cut_model(seed):
    torch.manual_seed(0)
    model, example = zoo.mobilenet().eval(), torch.rand(1, 1, 28, 28)
    units = find_units(model, example) + find_blocks(model, example)
    costs = mac_costs(model, units, example)
    assert costs.total == measure.macs(model, example)
    chosen = plan(score(model, units, "random", seed=seed), ratio=0.1 + 0.15 * seed)
    assert costs.of(chosen) == pytest.approx(measure.macs(cut(model, chosen), example), rel=1e-12)
    assert costs.share(chosen) == pytest.approx(costs.of(chosen) / costs.total)


def test_a_narrow_mobilenet_is_torchvisions_but_for_the_stem():
    example = torch.rand(1, 1, 28, 28)
    narrow, theirs = zoo.mobilenet(width=0.4).eval(), MobileNetV2(num_classes=10, width_mult=0.4)
    shapes, others = ({name: tensor.shape for name, tensor in net.state_dict().items()} for net in (narrow, theirs))
    assert [name for name in shapes if shapes[name] != others[name]] == ["features.0.0.weight"]
    assert narrow(example).shape == (1, 10)
    assert measure.macs(narrow, example) / measure.macs(zoo.mobilenet().eval(), example) == pytest.approx(
        0.25, abs=0.005
    )


def test_costs_and_widths_per_layer_know_which_block_went():
    model, example = zoo.mobilenet().eval(), torch.rand(1, 1, 28, 28)
    units = find_units(model, example) + find_blocks(model, example)
    costs = mac_costs(model, units, example)
    chosen = Plan(tuple(units), {"blocks": [0], "features.2.conv.0.0": range(40)})
    assert sum(costs.by_layer().values()) == costs.total
    assert sum(costs.by_layer(chosen).values()) == pytest.approx(costs.of(chosen))
    rows = {row["layer"]: row for row in costs.widths(chosen)}
    assert rows["features.2.conv.0.0"] == {"layer": "features.2.conv.0.0", "makes": 96, "kept": 56, "gone": False}
    assert rows["features.2.conv.1.0"]["kept"] == 56
    assert rows["features.3.conv.2"]["gone"]


def test_a_cut_mobilenet_is_exported_and_loads_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    model, example = zoo.mobilenet().eval(), torch.rand(2, 1, 28, 28)
    units = find_units(model, example) + find_blocks(model, example)
    chosen = plan(score(model, units, "random"), k=4568, round_to=2)
    smaller = cut(model, chosen)
    save_cut(smaller, chosen, tmp_path / "small")
    with torch.no_grad():
        assert torch.equal(load_cut(zoo.mobilenet, tmp_path / "small")(example), smaller(example))
        exported = torch.export.export(smaller, (example,)).module()
        assert torch.allclose(exported(example), smaller(example), atol=1e-5)
        assert torch.allclose(deploy.prepare(smaller, example)(example), smaller(example), atol=1e-5)


def test_a_target_takes_as_few_units_as_it_needs(images):
    model = separable()
    units = find_units(model, images[:1])
    costs, scores = mac_costs(model, units, images), score(model, units, "random")
    chosen = plan(scores, cost_target=0.6, costs=costs)
    assert costs.share(chosen) <= 0.6
    order = sorted((scores[g.name][u].item(), g.name, u) for g in units for u in chosen.removed.get(g.name, ()))
    *_, (_, name, last) = order
    fewer = {n: [u for u in us if (n, u) != (name, last)] for n, us in chosen.removed.items()}
    assert costs.share(Plan(chosen.groups, fewer)) > 0.6
    rounded = plan(scores, cost_target=0.6, costs=costs, round_to=4, scope="uniform")
    assert all(kept % 4 == 0 for kept in rounded.kept.values())


def test_a_target_out_of_reach_names_the_nearest(images):
    model = separable()
    units = find_units(model, images[:1])
    costs, scores = mac_costs(model, units, images), score(model, units, "l2")
    with pytest.raises(ValueError, match=r"cost_target 0\.01 is out of reach: .* at least 0\.\d+ of the cost is left"):
        plan(scores, cost_target=0.01, costs=costs)
    with pytest.raises(ValueError, match=r"did you mean 0\.4\?"):
        plan(scores, cost_target=40.0, costs=costs)
    with pytest.raises(ValueError, match="round_to = 9 is larger than group '6' of 8 units"):
        plan(scores, cost_target=0.4, costs=costs, round_to=9)
    with pytest.raises(ValueError, match="cost_target and costs go together"):
        plan(scores, cost_target=0.4)
    with pytest.raises(ValueError, match="costs were made without group"):
        plan(scores, cost_target=0.5, costs=mac_costs(model, units[:1], images))


@pytest.fixture
def a_microsecond_per_weight(monkeypatch):
    """Every node takes as many microseconds as its layer has weights, whatever else this machine does."""

    def times(content, example, repeats):
        weights = sum(math.prod(tensor.dims) for tensor in onnx.load_from_string(content).graph.initializer)
        return [(name, kind, float(weights)) for name, kind, _ in deploy.node_times(content, example, 1)]

    monkeypatch.setattr(latency, "node_times", times)


def test_latency_rises_with_the_width_and_a_unit_costs_something(a_microsecond_per_weight):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 4, 1)).eval()
    example = torch.rand(8, 1, 24, 24)
    units = find_units(model, example)
    costs = latency_costs(model, units, example, repeats=10)
    half = Plan(tuple(units), {group.name: range(group.size // 2) for group in units})
    layers = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert costs.total == sum(parameter.numel() for layer in layers for parameter in layer.parameters())
    assert 0 < costs.of(half) < costs.total
    assert all((each > 0).all() for each in costs.per_unit().values())
    assert "us in 3 layers" in repr(costs)


def test_scores_per_cost_and_normalised(images):
    units = find_units(separable(), images[:1])
    first, second = units
    scores = Scores(
        "mine", tuple(units), {first.name: torch.arange(1.0, 13.0).double(), second.name: torch.ones(8).double()}
    )
    costs = {first.name: np.full(12, 2.0), second.name: np.full(8, 0.5)}
    assert scores.per(costs)[first.name].tolist() == (torch.arange(1.0, 13.0) / 2).tolist()
    assert scores.per(costs, "us").criterion == "mine per us"
    assert scores.normalised("mean")[first.name].mean() == pytest.approx(1)
    assert scores.normalised("max")[first.name].max() == 1
    assert scores.normalised("rank")[first.name].tolist() == (torch.arange(12).double() / 12).tolist()
    with pytest.raises(ValueError, match="how must be one of mean, max, norm, sum, rank, got 'median'"):
        scores.normalised("median")
    with pytest.raises(ValueError, match="costs must be positive, got 0"):
        scores.per(costs | {first.name: np.zeros(12)})
    with pytest.raises(ValueError, match=f"costs lack group '{second.name}'"):
        scores.per({first.name: np.ones(12)})
    with pytest.raises(ValueError, match="partly negative"):
        scores.reversed().per(costs)


def test_a_block_costs_what_its_layers_cost():
    model, example = zoo.mobilenet().eval(), torch.rand(1, 1, 28, 28)
    (group,) = find_blocks(model, example)
    costs = mac_costs(model, [group], example)
    saved = costs.total - costs.of({"blocks": [3]})
    assert costs.per_unit()["blocks"][3] == saved
    assert saved == measure.macs(model, example) - measure.macs(cut(model, Plan((group,), {"blocks": [3]})), example)


def test_costs_take_any_curve(images):
    units = find_units(separable(), images[:1])
    layers = [Layer("0", 1, 12, False, 0, (1, 6, 6))]
    costs = Costs(units, layers, {"0": lambda reads, makes: reads + makes**2}, fixed=5.0, measured_in="fees")
    assert costs.total == 5 + 1 + 144
    assert costs.of({units[0].name: [0, 1]}) == 5 + 1 + 100


@pytest.mark.parametrize("runtime", ["eager", "eager, channels last", "torch.compile", "ONNX Runtime"])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_runtime_computes_the_model(runtime, batch):
    if runtime not in deploy.available():
        pytest.skip(deploy.missing()[runtime])
    model = separable()
    example = torch.rand(batch, 1, 6, 6)
    with torch.no_grad():
        found = deploy.prepare(model, example, runtime)(example)
        assert torch.allclose(found, model(example), atol=1e-5)


def test_a_frozen_model_answers_as_it_was(images):
    model = separable()
    frozen, before = deploy.Frozen(model, images), model(images).detach()
    assert not frozen.training
    assert torch.allclose(frozen(images), before, atol=1e-5)
    nn.init.zeros_(next(model.parameters()))
    assert torch.allclose(frozen(images[:3]), before[:3], atol=1e-5)
    assert not list(frozen.parameters())


def test_runtimes_are_timed_in_turn(images):
    model = separable()
    found = deploy.runtime_latencies({"a": model}, images, ["eager"], repeats=3)
    assert found["a", "eager"].taken == 3
    with pytest.raises(ValueError, match="model 'a' is in training mode"):
        deploy.runtime_latencies({"a": separable().train()}, images)


def test_the_profile_names_every_convolution(images):
    nodes = deploy.node_times(deploy.onnx_bytes(separable(), images), images, repeats=3)
    assert sum(kind == "Conv" for _, kind, _ in nodes) == 3
    assert all(time >= 0 for *_, time in nodes)


@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 0)])
def test_the_mean_of_an_image_is_one_operation(images, size, count):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(size), nn.Flatten(), nn.Linear(4 * size**2, 3))
    content = deploy.onnx_bytes(model.eval(), images)
    kinds = [kind for _, kind, _ in deploy.node_times(content, images, repeats=3)]
    assert kinds.count("GlobalAveragePool") == count
    assert torch.allclose(deploy.runnable(content)(images), model(images), atol=1e-6)


class Twice(nn.Module):
    """One convolution that runs twice, one that is transposed, and a product that is no layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.head = nn.Conv2d(2, 3, 1)

    def forward(self, images):
        found = self.head(self.up(self.conv(self.conv(images.expand(-1, 4, -1, -1)))))
        return found @ found.transpose(2, 3)


def test_macs_count_layers_that_run_twice_transposed_ones_and_what_is_no_layer(images):
    model = Twice().eval()
    costs = mac_costs(model, find_units(model, images[:1]), images)
    assert costs.total == measure.macs(model, images[:1])
    assert costs.by_layer() == {"conv": 2 * 4 * 4 * 9 * 36, "up": 4 * 2 * 4 * 36, "head": 2 * 3 * 144}
    assert costs.fixed == 3 * 12**3


def test_costs_refuse_groups_that_they_do_not_know_and_models_in_training(images):
    model = separable()
    units = find_units(model, images[:1])
    costs = mac_costs(model, units[:1], images)
    with pytest.raises(ValueError, match=f"units of '{units[1].name}', a group that these costs"):
        costs.share({units[1].name: [0]})
    assert costs.share({units[1].name: []}) == 1
    with pytest.raises(ValueError, match=r"model.eval\(\)"):
        mac_costs(separable().train(), units, images)
    with pytest.raises(ValueError, match=r"model.eval\(\)"):
        deploy.Frozen(separable().train(), images)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(8, 8, 3, padding="same"), nn.ConvTranspose2d(8, 8, 2, stride=2), nn.Conv2d(8, 8, 3, padding="valid")],
)
def test_every_kind_of_layer_can_be_timed(layer, a_microsecond_per_weight):
    model = nn.Sequential(nn.Conv2d(1, 8, 3), layer, nn.Conv2d(8, 2, 1)).eval()
    example = torch.rand(2, 1, 9, 9)
    costs = latency_costs(model, find_units(model, example[:1]), example, repeats=2)
    assert costs.by_layer()["1"] == layer.weight.numel() + len(layer.bias)
