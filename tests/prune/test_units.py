"""Units and groups, on the autoencoder, on torchvision's models, and on models made to be difficult."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from xaiprune.prune import Plan, UnitGroup, cut, cut_error, find_units
from xaiprune.prune.units import block_size
from xaiprune.prune.units.layers import is_depthwise, layer_of


def test_the_autoencoder_has_seven_groups(tiny, digits):
    groups = find_units(tiny, digits[:1])
    assert {group.name: group.size for group in groups} == {
        "encoder.conv1": 4,
        "encoder.conv2": 6,
        "encoder.hidden": 10,
        "latent": 5,
        "decoder.hidden": 10,
        "decoder.expand": 6,
        "decoder.deconv1": 4,
    }


def test_interfaces_are_told_from_groups_inside_a_component(tiny, digits):
    crossing = {group.name: group.components for group in find_units(tiny, digits[:1]) if group.crosses}
    assert crossing == {"encoder.hidden": ("encoder", "latent"), "latent": ("latent", "decoder")}


def test_flattening_and_unflattening_give_49_slices_per_channel(tiny, digits):
    groups = {group.name: group for group in find_units(tiny, digits[:1])}
    reader = groups["encoder.conv2"].members[1]
    assert reader.index.shape == (6, 49)
    assert reader.index[2].tolist() == list(range(98, 147))
    producer = groups["decoder.expand"].members[0]
    assert producer.index[5].tolist() == list(range(245, 294))


def test_a_group_prints_one_line_per_member(tiny, digits):
    group = find_units(tiny, digits[:1])[1]
    assert str(group).splitlines() == [
        "encoder.conv2: 6 units, inside encoder",
        "  encoder.conv2 (Conv2d) produces 1 of its 6 channels per unit",
        "  encoder.hidden (Linear) reads 49 of its 294 features per unit",
    ]
    assert repr(group) == "UnitGroup('encoder.conv2', 6 units, 2 layers)"
    assert len(group) == 6


def test_finding_units_changes_nothing(tiny, digits):
    tiny.train()
    tiny.latent.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    find_units(tiny, digits[:1])
    assert tiny.training
    assert not tiny.latent.weight.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.modules())


def test_the_classes_of_a_classifier_are_no_units():
    model = torchvision.models.resnet18(num_classes=7)
    groups = find_units(model, torch.rand(1, 3, 64, 64))
    assert all(member.module != "fc" or member.role == "in" for group in groups for member in group.members)
    assert sum(group.size for group in groups) == 2880  # 8 inner widths and 4 stages, checked by hand


def test_a_code_that_the_model_also_returns_is_no_unit():
    class WithCode(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.code, self.decode = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(3, 6)

        def forward(self, x):
            z = self.code(torch.relu(self.encode(x)))
            return {"image": self.decode(z), "code": z}

    assert [group.name for group in find_units(WithCode(), torch.rand(1, 6))] == ["encode"]


def test_a_residual_stage_is_one_group():
    groups = {group.name: group for group in find_units(torchvision.models.resnet18(), torch.rand(1, 3, 64, 64))}
    producers = {member.module for member in groups["conv1"].members if member.role == "out"}
    assert producers == {"conv1", "layer1.0.conv2", "layer1.1.conv2"}


def test_a_depthwise_convolution_goes_with_its_neighbours():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    [group] = find_units(model, torch.rand(1, 3, 8, 8))
    assert [member.role for member in group.members] == ["out", "through", "in"]


def test_a_convolution_of_one_channel_is_not_depthwise():
    assert not is_depthwise(nn.Conv2d(1, 1, 3))
    assert not is_depthwise(nn.Conv2d(1, 8, 3))
    assert is_depthwise(nn.Conv2d(8, 8, 3, groups=8))
    assert not is_depthwise(nn.Conv2d(8, 16, 3, groups=8))


def test_the_channels_of_a_normalisation_group_are_one_unit():
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.GroupNorm(4, 12), nn.Conv2d(12, 2, 1))
    [group] = find_units(model, torch.rand(1, 3, 8, 8))
    assert group.size == 4
    assert group.members[0].index.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert block_size(nn.GroupNorm(1, 12)) == 1


def test_concatenated_features_keep_their_offsets():
    class Concat(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.last = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(8, 2)

        def forward(self, x):
            return self.last(torch.cat([self.one(x), self.two(x)], 1))

    groups = {group.name: group for group in find_units(Concat(), torch.rand(2, 4))}
    assert groups["two"].members[-1].index.ravel().tolist() == [3, 4, 5, 6, 7]


def test_ignored_layers_keep_their_units(tiny, digits):
    names = {group.name for group in find_units(tiny, digits[:1], ignore=["latent"])}
    assert "latent" not in names
    assert len(names) == 6
    assert "latent" not in {group.name for group in find_units(tiny, digits[:1], ignore="latent")}
    with pytest.raises(ValueError, match="ignore names layers that the model lacks: latnet"):
        find_units(tiny, digits[:1], ignore=["latnet"])


def test_an_example_of_the_wrong_shape_names_the_layer(tiny):
    with pytest.raises(ValueError, match=r"failed in 'encoder\.conv1'"):
        find_units(tiny, torch.rand(1, 3, 28, 28))


def test_a_model_that_branches_on_values_names_the_module():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 4))
    model.add_module("branch", Branch())
    with pytest.raises(ValueError, match=r"failed in 'branch'.*reads a value"):
        find_units(model, torch.rand(1, 4))


def test_a_layer_that_runs_without_gradients_is_followed():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            with torch.no_grad():
                x = self.one(x)
            return self.two(x)

    [group] = find_units(Detached(), torch.rand(1, 4))
    assert [(member.module, member.role) for member in group.members] == [("one", "out"), ("two", "in")]


def test_a_layer_that_cannot_be_cut_is_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=2), nn.Conv2d(16, 4, 1))
    with pytest.raises(ValueError, match=r"units of '0' cannot go: a grouped convolution .* in '1'.*ignore="):
        find_units(model, torch.rand(1, 3, 8, 8))
    assert find_units(model, torch.rand(1, 3, 8, 8), ignore=["0", "1"]) == []


def test_groups_of_a_convolution_go_as_a_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, groups=4), nn.Conv2d(12, 5, 1)).eval()
    (group,) = find_units(model, torch.rand(1, 3, 8, 8))
    assert len(find_units(copy.deepcopy(model).double(), torch.rand(1, 3, 8, 8).double())[0]) == 4
    assert group.size == 4
    assert group.members[1].index.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    chosen = Plan((group,), {group.name: [0, 2]})
    assert cut_error(model, chosen, torch.rand(2, 3, 8, 8)) <= 1e-6
    assert cut(model, chosen)[1].groups == 2


def test_heads_that_run_in_training_only_are_cut_with_the_rest():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.extra = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            x = self.body(x)
            return (self.head(x), self.extra(x)) if self.training else self.head(x)

    model = Two()
    [group] = find_units(model, torch.rand(1, 4))
    assert [member.module for member in group.members] == ["body", "head", "extra"]
    smaller = cut(model, Plan((group,), {"body": [1, 2]})).train()
    assert [tuple(output.shape) for output in smaller(torch.rand(3, 4))] == [(3, 2), (3, 2)]


def test_units_of_a_head_for_training_alone_stay():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
            self.extra = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))

        def forward(self, x):
            x = self.body(x)
            return (self.head(x), self.extra(x)) if self.training else self.head(x)

    model, data = Two().eval(), torch.rand(8, 4)
    [group] = find_units(model, data[:1])
    assert [member.module for member in group.members] == ["body", "head", "extra.0"]
    assert cut_error(model, Plan((group,), {"body": [1, 2]}), data) <= 1e-6


def test_layers_that_take_no_part_are_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[1].extra = nn.Linear(4, 2)
    with pytest.warns(UserWarning, match="'1.extra' has parameters but no part in the forward pass"):
        assert len(find_units(model, torch.rand(1, 4))) == 1


def test_a_channel_shuffle_is_followed():
    class Shuffle(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            x = self.one(x)
            n, c, h, w = x.shape
            halves = x.chunk(2, dim=1)
            x = torch.cat([halves[0], halves[1] * 2], 1).view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            return self.two(x)

    model = Shuffle()
    [group] = find_units(model, torch.rand(1, 3, 4, 4))
    makes, reads = (member.index.tolist() for member in group.members)  # two groups, as the model has written down
    assert makes == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert reads == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert cut_error(model.eval(), Plan((group,), {"one": [0, 2]}), torch.rand(2, 3, 4, 4)) <= 1e-6


def test_something_else_than_a_module_is_refused():
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got function"):
        find_units(lambda x: x, torch.rand(1, 4))


def test_layers_without_a_row_are_unknown():
    assert layer_of(nn.Bilinear(2, 2, 2)) is None
    assert layer_of(nn.Linear(2, 2))["in"].axes == {"weight": 1}


def test_groups_are_values():
    group = UnitGroup("one", 2, (), "channels")
    with pytest.raises(AttributeError):
        group.size = 3


def test_a_resnext_has_an_attribute_groups_and_is_no_convolution():
    model = torchvision.models.resnext50_32x4d(num_classes=4).eval()
    assert sum(group.size for group in find_units(model, torch.rand(1, 3, 64, 64))) > 0
