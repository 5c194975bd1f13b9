"""The dependency graph by labels: each operation alone in a small network, right or refused, at two widths."""

from __future__ import annotations

import pytest
import torch
import torchvision

from tests.prune.operations import MIXED, RIGHT
from xaiprune.prune import find_units
from xaiprune.prune.units.proof import LAW, difference, find_proven, redrawn

pytestmark = pytest.mark.filterwarnings("ignore")


def found(build, width):
    """The proof, once more checked with other weights and other subsets; and the layers that hold units."""
    torch.manual_seed(0)
    model, x = build(width)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    proof, _ = find_proven(model, x)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    inputs = (x.double() if x.is_floating_point() else x,)
    for seed in range(7, 12):
        assert difference(redrawn(model, seed).eval(), inputs, proof.groups, seed) <= LAW
    return proof, {member.module for group in proof.groups for member in group.members}


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("build", RIGHT.values(), ids=RIGHT)
def test_what_moves_units_keeps_them(build, width):
    proof, layers = found(build, width)
    assert "a" in layers
    assert proof.difference <= LAW
    assert min(proof.movement.values()) > 0


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("build", MIXED.values(), ids=MIXED)
def test_what_mixes_units_is_refused_with_a_reason(build, width):
    proof, layers = found(build, width)
    assert "a" not in layers
    assert any(name.startswith("a") for name in proof.refused)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "regnet_y_400mf", "mobilenet_v3_small"])
def test_models_of_torchvision_as_torch_pruning_has_them(name):
    model = getattr(torchvision.models, name)(weights=None).eval()
    x = torch.rand(1, 3, 48, 48)
    ours, theirs = find_proven(model, x)[0].groups, find_units(model, x)
    assert sorted(_content(group) for group in ours) == sorted(_content(group) for group in theirs)


def _content(group):
    return sorted((m.module, m.role, str(m.index[np_order(group)].tolist())) for m in group.members)


def np_order(group):
    return group.members[0].index[:, 0].argsort()
