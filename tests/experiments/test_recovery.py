"""EfficientNet-Lite0, cut and recovered without labels: what is shipped, and what it was made from."""

from __future__ import annotations

import pytest
import torch

from experiments import recovery
from xaiprune import core, dynamic, zoo
from xaiprune.data import GROUNDS


def test_the_shipped_network_is_that_of_its_card():
    told, path = zoo.card(recovery.PRUNED)["card"], recovery.checkpoint()
    smaller = recovery.load_pruned()
    assert core.sha256(path.with_name(f"{path.name}.safetensors")) == told["sha256"]
    assert sum(parameter.numel() for parameter in smaller.parameters()) == told["parameters"]
    assert not smaller.training


def test_what_lies_before_the_cut_is_the_original():
    original, smaller = zoo.load(recovery.MODEL), recovery.load_pruned()
    pictures = recovery.composites("choosing", 1, 0).make(range(2)).inputs
    with torch.no_grad():
        both = [dynamic.split_at(model, recovery.LAST_KEPT).trunk(pictures) for model in (original, smaller)]
    assert (both[0] - both[1]).abs().max() < 0.05 * both[0].abs().max()  # weights are stored in half precision


def test_what_learns_what_chooses_and_what_judges_share_nothing():
    purposes = ("learning", "choosing", "judging")
    seen = {purpose: recovery.composites(purpose, 1, 0) for purpose in purposes}
    names = {purpose: {thing.name for thing in found.cutouts} for purpose, found in seen.items()}
    assert len(set.union(*names.values())) == sum(map(len, names.values())) == 118 + 176
    for purpose, found in seen.items():
        assert {ground.kept for ground in found.grounds} == {purpose == "judging"}
    assert {row.name for row in GROUNDS.values() if row.kept} == {row.name for row in seen["judging"].grounds}


def test_a_mixed_batch_has_whole_pictures_and_rectangles_of_others():
    features = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 7, 7)
    mixed = recovery.mixed(features, torch.Generator().manual_seed(0))
    assert torch.equal(mixed[::2], features[::2])
    for row in (1, 3, 5):
        assert mixed[row].unique().tolist() in ([row - 1.0], [row - 1.0, float(row)])
    assert torch.equal(mixed, recovery.mixed(features, torch.Generator().manual_seed(0)))


def test_answers_are_compared_and_judged_by_groups():
    original = torch.eye(4).repeat(5, 1) * 9
    found = original.clone()
    found[0] = found[1]
    shown = {"labels": [(0, 2), (1,), (3,), (3,)] * 5, "groups": [0, 1, 2, 3] * 5}
    row = recovery.beside("test", original, found, shown)
    assert row["same, test"] == 95
    assert (row["original, test"], row["accuracy, test"]) == (75, 70)
    assert row["difference, test"] == pytest.approx(-5)
    assert row["from, test"] <= -5 <= row["to, test"] <= 0
