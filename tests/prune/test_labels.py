"""The dependency graph by labels: each operation alone in a small network, right or refused, at two widths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_pruning as tp
import torchvision

from tests.prune.operations import MIXED, RIGHT
from xaiprune.prune.applying.proof import _LAW
from xaiprune.prune.applying.trials import _difference, _redrawn
from xaiprune.prune.finding.units import _find_proven

pytestmark = pytest.mark.filterwarnings("ignore")


def found(build, width):
    """The proof, once more checked with other weights and other subsets; and the layers that hold units."""
    torch.manual_seed(0)
    model, x = build(width)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    proof, _ = _find_proven(model, x)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    inputs = (x.double() if x.is_floating_point() else x,)
    for seed in range(7, 12):
        assert _difference(_redrawn(model, seed).eval(), inputs, proof.groups, seed) <= _LAW
    return proof, {member.module for group in proof.groups for member in group.members}


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("build", RIGHT.values(), ids=RIGHT)
def test_what_moves_units_keeps_them(build, width):
    proof, layers = found(build, width)
    assert "a" in layers
    assert proof.difference <= _LAW
    assert min(proof.movement.values()) > 0


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("build", MIXED.values(), ids=MIXED)
def test_what_mixes_units_is_refused_with_a_reason(build, width):
    proof, layers = found(build, width)
    assert "a" not in layers
    assert any(name.startswith("a") for name in proof.refused)


def theirs(model, x) -> list:
    """torch-pruning's groups but that of the classes: for each unit, where it lies in each layer."""
    graph = tp.DependencyGraph().build_dependency(model, x)
    names, found = {module: name for name, module in model.named_modules()}, []
    for group in graph.get_all_groups(root_module_types=(tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)):
        parts = [
            item for item in group if item.dep.target.module in names and list(item.dep.target.module.parameters())
        ]
        last = names[group[0].dep.target.module] in ("fc", "classifier.1", "classifier.3")
        if not (last and len(parts) == 1):
            made = graph.is_out_channel_pruning_fn
            found.append([(names[p.dep.target.module], made(p.dep.handler), list(p.idxs)) for p in parts])
    return found


def alike(group: list) -> list:
    """A group with its units in the order of its first layer's slices."""
    group = sorted(group)
    order = np.argsort(group[0][2])
    return [(name, made, np.array(index)[order].tolist()) for name, made, index in group]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mnasnet0_5", "mobilenet_v3_small"])
def test_models_of_torchvision_as_torch_pruning_has_them(name):
    model, x = getattr(torchvision.models, name)(weights=None).eval(), torch.rand(1, 3, 64, 64)
    ours = [
        [(member.module, member.role != "in", member.index.ravel().tolist()) for member in group.members]
        for group in _find_proven(model, x)[0].groups
    ]
    assert sorted(map(alike, ours)) == sorted(map(alike, theirs(model, x)))
