"""EfficientNet-Lite0, cut and recovered without labels: what is shipped, and what it was made from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments import recovery
from xaiprune import core, data, zoo


def test_the_shipped_network_is_that_of_its_card():
    told, path = zoo.card(recovery.PRUNED)["card"], recovery.checkpoint()
    smaller = recovery.load_pruned()
    assert core.sha256(path.with_name(f"{path.name}.safetensors")) == told["sha256"]
    assert sum(parameter.numel() for parameter in smaller.parameters()) == told["parameters"]
    assert told["fold"].startswith("0:")
    assert not smaller.training


def test_what_lies_before_the_cut_is_the_original():
    original, smaller = zoo.load(recovery.MODEL), recovery.load_pruned()
    pictures = recovery.composites("validation", 0).make(range(2)).inputs
    with torch.no_grad():
        both = [recovery.halves(model).trunk(pictures) for model in (original, smaller)]
    assert (both[0] - both[1]).abs().max() < 0.05 * both[0].abs().max()  # weights are stored in half precision


def test_weights_of_the_last_layers_lie_on_grids_of_four_bits():
    layer = torch.nn.Conv2d(8, 4, 1)
    model = torch.nn.Sequential()
    model.add_module("head", layer)
    exact = layer.weight.detach().clone()
    with recovery.four_bits(model):
        layer.weight.sum().backward()
        assert layer.parametrizations.weight.original.grad.unique().tolist() == [1]
    assert not torch.equal(layer.weight, exact)
    layers = recovery.quantize.quantized_layers(recovery.load_pruned())
    for weight in (layer.weight, *(layers[name].weight for name in recovery.narrow(recovery.load_pruned()))):
        rows = weight.detach().flatten(1)
        steps = 7 * rows / rows.abs().amax(1, keepdim=True)
        assert (steps - steps.round()).abs().max() < 0.02  # weights are stored in half precision


def test_pieces_of_things_are_grounds():
    things = recovery.composites("unlabelled", 0).cutouts
    drawn = [recovery.piece(things, np.random.RandomState(seed)) for seed in (1, 1, 2)]
    assert drawn[0].shape == (224, 224, 3)
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


@pytest.mark.parametrize("fold", range(data.cutouts.FOLDS))
def test_what_a_fold_learns_chooses_and_judges_shares_nothing(fold):
    shown = {split: recovery.composites(split, fold) for split in ("train", "unlabelled", "validation", "test")}
    names = {split: {thing.name for thing in found.cutouts} for split, found in shown.items()}
    assert len(set.union(*names.values())) == sum(map(len, names.values())) == 118 + 176
    groups = {split: {thing.group for thing in found.cutouts} for split, found in shown.items()}
    assert groups["test"].isdisjoint(groups["train"] | groups["validation"])
    for split, found in shown.items():
        assert {ground.kept for ground in found.grounds} == {split == "test"}


def test_a_share_of_the_parameters_is_left():
    pictures = data.Split(torch.rand(4, 192, 7, 7), torch.rand(4, 1000))
    chosen = recovery.planned("random", 0.7, pictures)
    smaller = recovery.cut(recovery.original(), chosen)
    left = sum(parameter.numel() for parameter in smaller.parameters()) / 4_652_008
    assert 0.69 < left < 0.705
    assert recovery.planned("none", 0.7, pictures).removed == {}


def test_answers_are_judged_by_groups_and_folds_are_put_together():
    original = torch.eye(4).repeat(5, 1) * 9
    found = original.clone()
    found[0] = found[1]
    shown = {"original": original, "objects": list("abcd") * 5, "labels": [(0, 2), (1,), (3,), (3,)] * 5}
    things = recovery.by_thing(shown | {"groups": [7, 7, 8, 9] * 5}, found)
    assert [row[:4] for row in things] == [[7, 1, 0.8, 0.8], [7, 1, 1, 1], [8, 0, 0, 1], [9, 1, 1, 1]]
    row = recovery.figures(things)
    assert (row["same"], row["original"], row["accuracy"], row["difference"]) == (95, 75, 70, -5)
    assert row["from"] <= -5 <= row["to"] <= 0
    part = {"criterion": "taylor", "left": 0.5, "by": "others", "bits": 4, "epochs": 1, "step": "cut"}
    folds = [part | {"fold": fold, "things": things[fold::2]} for fold in range(2)]
    *rows, pooled = recovery.together([*folds, part | {"step": "int8", "things": things}])
    assert len(rows) == 3
    assert not any("things" in row for row in rows)
    assert (pooled["folds"], pooled["same, test"], pooled["from, test"]) == (2, 95, row["from"])
