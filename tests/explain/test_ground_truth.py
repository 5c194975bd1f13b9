"""Ground truth: closed forms of the measures, imputation against a dense solve, controls, and the table."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from xaiprune import data, explain
from xaiprune.data import Composites
from xaiprune.explain import (
    CONTROL_METHODS,
    MEASURES,
    METHODS,
    Measure,
    Method,
    asked_share,
    curves,
    ground_reliance,
    imputed,
    judge,
    pointing,
    relevance_mass,
    road,
    two_object_share,
)


@pytest.fixture
def masks():
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 1:4] = True
    return masks


def linear(*weights: torch.Tensor) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights[0].numel(), len(weights), bias=False)).eval()
    model[1].weight.data = torch.stack([weight.flatten().float() for weight in weights])
    return model


@pytest.mark.parametrize("positive", [False, True])
def test_a_map_like_the_mask_has_mass_one_and_an_even_one_the_area(masks, positive):
    assert torch.equal(relevance_mass(masks.float(), masks, positive=positive), torch.ones(3))
    assert torch.allclose(relevance_mass(torch.full((3, 8, 8), 0.3), masks, positive=positive), torch.tensor(12 / 64))
    assert torch.equal(relevance_mass((~masks).float(), masks, positive=positive), torch.zeros(3))


def test_only_evidence_for_the_answer_is_object_mass(masks):
    heatmaps = torch.where(masks, 1.0, -1.0)
    assert torch.equal(relevance_mass(heatmaps, masks, positive=True), torch.ones(3))
    assert torch.allclose(relevance_mass(heatmaps, masks), torch.tensor(12 / 64))
    one = masks[0]  # a mask for all
    assert torch.equal(relevance_mass(heatmaps, one), relevance_mass(heatmaps, masks))


def test_the_pointing_game_counts_the_highest_pixel_and_shares_ties(masks):
    heatmaps = torch.zeros(3, 8, 8)
    heatmaps[0, 3, 2], heatmaps[1, 0, 0], heatmaps[2] = 1, 1, 5
    assert torch.allclose(pointing(heatmaps, masks), torch.tensor([1.0, 0.0, 12 / 64]))
    # the corner is two pixels above the object, and one beside it
    assert pointing(heatmaps, masks, margin=1)[1] == 0
    assert pointing(heatmaps, masks, margin=2)[1] == 1


def test_evidence_for_one_of_two_objects(masks):
    other = masks.flip(2)
    heatmaps = 3 * masks.float() + other + 100 * (~(masks | other))
    assert torch.allclose(asked_share(heatmaps, masks, other), torch.tensor(0.75))
    assert torch.allclose(asked_share(heatmaps, other, masks), torch.tensor(0.25))


def test_a_map_that_does_not_depend_on_the_class_tells_no_objects_apart(masks):
    other, images = masks.flip(2), torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    right = linear(masks[0], other[0])
    targets = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    assert torch.equal(two_object_share(right, images, targets, (masks, other), "gradient x input"), torch.ones(3))
    for name in ("random", "the image itself", "centre", "edges"):
        found = two_object_share(right, images, targets, (masks, other), CONTROL_METHODS[name])
        assert torch.allclose(found, torch.tensor(0.5)), name
    dark = linear(-masks[0].float(), other[0])  # nothing speaks for the first class on either object: half of it each
    found = two_object_share(dark, images, targets, (masks, other), "gradient x input")
    assert torch.allclose(found, torch.tensor(0.75))


def test_ground_reliance_is_zero_where_the_object_alone_decides(masks):
    generator = torch.Generator().manual_seed(0)
    images, others = (torch.rand(3, 1, 8, 8, generator=generator) for _ in range(2))
    others = torch.where(masks[:, None], images, others)
    reads = linear(masks[0] * torch.rand(8, 8, generator=generator), masks[0] * torch.rand(8, 8, generator=generator))
    found = ground_reliance(reads, images, others, masks, method="gradient x input")
    assert not found["answers"].any()
    assert found["evidence"].max() < 1e-6
    top = torch.zeros(8, 8)
    top[0] = 1
    images[:, :, 0], others[:, :, 0] = 0.0, 5.0
    behind = linear(top, masks[0])  # the brighter ground turns the answer
    assert ground_reliance(behind, images, others, masks, method="gradient x input")["answers"].all()


class Squares(nn.Module):
    """Evidence on every pixel depends on the ground: the product of both."""

    def forward(self, images):
        total = images.flatten(1)
        return torch.stack([total.square().sum(1) * total[:, 0], -total.sum(1)], 1)


def test_ground_reliance_sees_evidence_that_moves(masks):
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.1
    others = images.clone()
    others[:, :, 0, 0] = -images[:, :, 0, 0]  # the corner of the ground turns what every pixel means
    found = ground_reliance(Squares().eval(), images, others, masks, torch.zeros(3, dtype=torch.int64), "saliency")
    assert found["evidence"].max() < 1e-6  # the same sizes
    found = ground_reliance(
        Squares().eval(), images, others, masks, torch.zeros(3, dtype=torch.int64), "gradient x input"
    )
    assert torch.allclose(found["evidence"], torch.tensor(2.0))


def test_imputation_solves_the_dense_system():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 7, 9, generator=generator, dtype=torch.float64)
    gone = torch.rand(2, 7, 9, generator=generator) < 0.6
    gone[:, 0, :3] = True  # at the edge and in the corner
    found = imputed(images, gone, noise=0)
    assert torch.equal(found[:, :, ~gone[0]][0], images[:, :, ~gone[0]][0])
    for image, missing, filled in zip(images, gone, found):
        system, known = torch.eye(63, dtype=torch.float64), image.flatten(1).T.clone()
        for row, column in itertools.product(range(7), range(9)):
            if not missing[row, column]:
                continue
            place = row * 9 + column
            system[place, place], known[place] = 0, 0
            for down, across in itertools.product((-1, 0, 1), (-1, 0, 1)):
                if (down or across) and 0 <= row + down < 7 and 0 <= column + across < 9:
                    weight = 1 / 12 if down and across else 1 / 6
                    system[place, place] += weight
                    system[place, (row + down) * 9 + column + across] -= weight
        expected = torch.linalg.solve(system, known)
        assert torch.allclose(filled.flatten(1).T, expected, atol=1e-12)


def test_imputation_keeps_constants_adds_noise_and_survives_that_all_is_gone():
    images = torch.full((1, 3, 8, 8), 0.4)
    gone = torch.zeros(1, 8, 8, dtype=torch.bool)
    gone[:, 2:7, 2:7] = True
    assert torch.allclose(imputed(images, gone, noise=0), images)
    noisy = imputed(images, gone, noise=0.1, seed=3)
    assert torch.equal(noisy, imputed(images, gone, noise=0.1, seed=3))
    assert 0.05 < (noisy - images)[:, :, 2:7, 2:7].std() < 0.15
    assert torch.equal(noisy[..., ~gone[0]], images[..., ~gone[0]])
    ramp = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.allclose(imputed(ramp, torch.ones_like(gone), noise=0), torch.tensor(31.5))
    assert torch.equal(imputed(ramp, torch.zeros_like(gone)), ramp)
    with pytest.raises(ValueError, match=r"gone must be bool of shape \(1, 8, 8\)"):
        imputed(images, gone[:, :4])
    with pytest.raises(ValueError, match="noise must be 0 or more"):
        imputed(images, gone, noise=-1)


def test_road_prefers_the_right_order_and_equals_curves_with_imputed_pixels(masks):
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + masks[:, None]
    model = linear(masks[0].float(), 0.2 * torch.ones(8, 8))
    right, wrong = masks.float(), 1 - masks.float()
    assert (road(model, images, None, right).faithfulness > road(model, images, None, wrong).faithfulness).all()

    def fill(some, gone):
        return imputed(some, gone, noise=0.01, seed=0)

    one, other = (
        road(model, images, None, right, steps=4),
        curves(model, images, None, right, steps=4, baseline=fill, seed=0),
    )
    assert torch.equal(one.deletion, other.deletion)
    assert torch.equal(one.insertion, other.insertion)
    constant = curves(model, images, None, right, steps=4, baseline=0.5)
    filled = curves(model, images, None, right, steps=4, baseline=lambda x, gone: x.masked_fill(gone[:, None], 0.5))
    assert torch.equal(constant.deletion, filled.deletion)


def test_controls_are_what_they_say():
    images = torch.zeros(2, 3, 9, 9)
    images[:, :, :, 5:] = -2.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(243, 4)).eval()
    made = {name: control(model, images, torch.tensor([0, 1])) for name, control in CONTROL_METHODS.items()}
    lit = ["random among lit pixels"]
    assert list(made) == ["random", "the image itself", *lit, "centre", "edges", "re-initialised network"]
    assert torch.equal(made[lit[0]] >= 1, images[:, 0] != 0)
    assert all(heatmaps.shape == (2, 9, 9) and heatmaps.isfinite().all() for heatmaps in made.values())
    assert torch.equal(made["the image itself"], images[:, 0].abs())
    assert torch.equal(made["edges"][0, 4], torch.tensor([0.0, 0, 0, 0, 8, 8, 0, 0, 0]))
    assert made["centre"][0].flatten().argmax() == 40
    assert torch.equal(made["random"], CONTROL_METHODS["random"](model, images))
    untrained = METHODS["gradient x input"](explain.reinitialised(model), images, torch.tensor([0, 1]))
    assert torch.equal(made["re-initialised network"], untrained)


def composites(masks: torch.Tensor) -> Composites:
    inputs = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    told = {"labels": ((0,),) * 3, "objects": ("one", "one", "two"), "grounds": ("plain",) * 3}
    told["shown"] = torch.ones(3, dtype=torch.bool)
    return Composites(inputs, torch.zeros(3, dtype=torch.int64), masks=masks, groups=torch.tensor([0, 0, 1]), **told)


def test_the_table_has_rows_for_methods_and_controls_with_intervals_over_groups(masks):
    some, model = composites(masks), linear(masks[0], 0.1 * torch.ones(8, 8))
    own = Method("own", lambda model, images, targets=None: masks.float())
    size = Measure("largest", lambda model, images, targets, masks, heatmaps: heatmaps.flatten(1).amax(1))
    found = judge(model, some, ["gradient x input", own], measures=["object mass", "pointing game", size])
    left = [name for name in CONTROL_METHODS if name != "random among lit pixels"]  # no pixel is black
    assert list(found.values) == ["gradient x input", "own", *left]
    assert "missing: random among lit pixels: every pixel differs from 0" in repr(found)
    assert found.interval("own", "object mass") == (1, 1, 1)
    assert found.interval("own", "largest") == (1, 1, 1)
    assert found.apart("own", "object mass")
    assert not found.apart("own", "largest")
    rows = {row["method"]: row for row in found.rows()}
    assert rows["random"]["control"]
    assert not rows["own"]["control"]
    values = found.values["random"]["object mass"]
    expected = explain.bootstrap(values, groups=some.groups)
    assert [rows["random"][f"object mass{end}"] for end in ("", "_low", "_high")] == list(expected)
    assert "re-initialised network" in repr(found)


def test_the_table_takes_pairs_and_maps_that_say_nothing(masks):
    some = composites(masks)
    other = Composites(some.inputs, torch.ones(3, dtype=torch.int64), **(some.__dict__ | {"masks": masks.flip(2)}))
    model = linear(masks[0], masks[0].flip(1))
    nothing = Method("nothing", lambda model, images, targets=None: -torch.ones(3, 8, 8))
    found = judge(model, some, ["gradient x input", nothing], pairs=(some, other), controls=["random"])
    assert found.interval("gradient x input", "two objects") == (1, 1, 1)
    assert found.interval("nothing", "two objects")[0] == pytest.approx(0.5)
    assert found.interval("nothing", "object mass")[0] == pytest.approx(12 / 64)


def test_slow_measures_are_those_of_curves(masks):
    some, model = composites(masks), linear(masks[0], 0.1 * torch.ones(8, 8))
    given = model, *some, masks, masks.float()
    assert torch.equal(MEASURES["faithfulness"](*given), curves(*given[:3], masks.float(), steps=10).faithfulness)
    assert torch.equal(MEASURES["ROAD"](*given), road(*given[:3], masks.float(), steps=5).faithfulness)


def test_bad_masks_are_named(masks):
    heatmaps, empty, full = torch.rand(3, 8, 8), masks.clone(), masks.clone()
    empty[1], full[2] = False, True
    for measure in (relevance_mass, pointing, lambda maps, mask: asked_share(maps, mask, masks.flip(2))):
        with pytest.raises(ValueError, match=r"mask must fit heatmaps: shape \(3, 8, 8\) or \(8, 8\), got \(3, 4, 8\)"):
            measure(heatmaps, masks[:, :4])
        with pytest.raises(ValueError, match="mask of image 1 has no pixel"):
            measure(heatmaps, empty)
        with pytest.raises(ValueError, match="mask of image 2 covers the whole picture"):
            measure(heatmaps, full)
        with pytest.raises(TypeError, match=r"mask must be a bool tensor, got torch.float32"):
            measure(heatmaps, masks.float())
        with pytest.raises(ValueError, match="heatmaps hold NaN or infinity"):
            measure(heatmaps / 0, masks)
    with pytest.raises(ValueError, match="mask and other overlap"):
        asked_share(heatmaps, masks, masks)
    with pytest.raises(ValueError, match="heatmap 0 has nothing positive"):
        relevance_mass(-heatmaps, masks, positive=True)
    with pytest.raises(ValueError, match="margin must be a whole number of at least 0"):
        pointing(heatmaps, masks, margin=-1)


def test_other_pictures_are_refused_as_other_grounds(masks):
    model, images = linear(torch.ones(8, 8), torch.zeros(8, 8)), torch.rand(3, 1, 8, 8)
    with pytest.raises(ValueError, match="others must have the shape of images"):
        ground_reliance(model, images, images[:2], masks)
    with pytest.raises(ValueError, match="others must show the same objects in the same places"):
        ground_reliance(model, images, images + 1, masks)


def test_unknown_rows_of_the_table_are_named(masks):
    model = linear(torch.ones(8, 8), torch.zeros(8, 8))
    for wrong, message in (
        ({"methods": ["lpr"]}, "methods must be one of .* got 'lpr'"),
        ({"controls": ["middle"]}, "controls must be one of random, the image itself, random among lit pixels, centre"),
        ({"measures": ["mass"]}, "measures must be one of object mass, pointing game, faithfulness, ROAD"),
    ):
        with pytest.raises(ValueError, match=message):
            judge(model, composites(masks), **wrong)


def test_the_grounds_of_scenes_keep_the_object_in_its_place():
    scenes = data.scenes("test", each=1, grounds=["grass"], size=0.6)
    one, other = (scenes.on(name).make(range(2)) for name in ("grass", "gravel"))
    same = (one.inputs == other.inputs).all(1)[one.masks].double().mean()
    assert torch.equal(one.masks, other.masks)
    assert same > 0.9
