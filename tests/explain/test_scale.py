"""Drift's scale: likenesses, harmless kinds of change, noise, chance, and the place between."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from xaiprune import data, prune, zoo
from xaiprune.data import Split
from xaiprune.explain import (
    HARMLESS,
    IMAGE,
    LIKENESSES,
    METHODS,
    RULER,
    Harmless,
    Likeness,
    Method,
    Noise,
    Scale,
    coarse_occlusion,
    curves,
    drift,
    drift_columns,
    drift_from,
    drift_place,
    drift_scale,
    heatmap_drift,
    reinitialised,
)

QUICK = {"method": "gradient x input"}


@pytest.fixture(scope="module")
def lenet():
    return zoo.load("lenet-5")


@pytest.fixture(scope="module")
def images():
    return data.mnist("validation", 40).inputs


@pytest.fixture(scope="module")
def compared(lenet, images):
    return drift_from(lenet, images, **QUICK)


def by_hand(values: list, kept: list, blanks: list, **others) -> Scale:
    """A scale of one kind, from numbers."""
    noise = Noise("own", torch.tensor(values, dtype=torch.float64), torch.tensor(kept))
    return Scale("own", "own", (noise,), torch.tensor(blanks, dtype=torch.float64), **others)


def normed() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return nn.Sequential(*layers).eval()


# Likenesses


@pytest.mark.parametrize("name", LIKENESSES)
def test_equal_maps_are_alike_and_their_opposites_are_not(name, lenet, images):
    maps = torch.randn(len(images), 28, 28)
    asked = (lenet, images, lenet(images).argmax(1))
    assert LIKENESSES[name](maps, maps, *asked) == pytest.approx(torch.ones(len(images)))
    values, silent = heatmap_drift(maps, maps.clone(), "one", name, asked)
    assert not values.any()
    assert not silent.any()
    other = torch.randn(len(images), 28, 28)
    assert heatmap_drift(maps, other, "one", name, asked)[0].mean() > 0.1 or name == "insertion"


@pytest.mark.parametrize("name", LIKENESSES)
def test_a_map_without_evidence_drifts_by_1(name, lenet, images):
    maps = torch.randn(len(images), 28, 28)
    found = maps.clone()
    found[3] = 0
    values, silent = heatmap_drift(maps, found, "one", name, (lenet, images, lenet(images).argmax(1)))
    assert silent.nonzero().tolist() == [[3]]
    assert values.tolist() == [float(place == 3) for place in range(len(images))]


def test_regions_and_informative_pixels_are_spearmans_correlation_of_them():
    one, other = torch.randn(2, 5, 14, 14, dtype=torch.float64)
    pooled = [values.view(5, 7, 2, 7, 2).mean((2, 4)) for values in (one, other)]
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(*pooled)]
    assert LIKENESSES["regions"](one, other).numpy() == pytest.approx(np.array(expected))
    for row, (a, b) in enumerate(zip(one.flatten(1), other.flatten(1))):
        largest = a.abs() >= a.abs().quantile(0.75)
        assert largest.sum() == 49
        found = LIKENESSES["informative pixels"](one, other)[row]
        assert found == pytest.approx(spearmanr(a[largest], b[largest]).statistic)


def test_cosine_and_mass_have_closed_forms():
    one, other = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[1.0, -1.0]]])
    assert LIKENESSES["cosine"](one, other).item() == pytest.approx(2 / np.sqrt(20))
    assert LIKENESSES["mass"](one, other).item() == pytest.approx(0.5 + 0.25)


def test_insertion_is_what_the_originals_answer_loses(lenet, images):
    one, other = torch.randn(2, len(images), 28, 28)
    answers = lenet(images).argmax(1)
    areas = [curves(lenet, images, answers, maps, steps=10).areas[1] for maps in (one, other)]
    found = heatmap_drift(one, other, "one", "insertion", (lenet, images, answers))[0]
    assert torch.allclose(found, (areas[0] - areas[1]).double())


def test_a_likeness_of_ones_own_is_a_ruler_with_a_scale(lenet, images):
    signs = Likeness("signs", lambda one, other: (one.sign() == other.sign()).double().mean((1, 2)))
    found = drift(lenet, reinitialised(lenet, 50), images, likeness=signs, **QUICK)
    assert found.likeness == "signs"
    assert found.place == pytest.approx(1, abs=0.2)
    assert 0 < found.scale.noise[0] < found.scale.chance[0] < 1


# The default method


def test_coarse_occlusion_is_what_each_part_adds_to_the_images_mean():
    """For a linear model in closed form; the parts of 5 x 7 pixels differ by one in their sides."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 7, 3, bias=False)).eval()
    images, targets = torch.rand(4, 2, 5, 7), torch.tensor([0, 1, 2, 0])
    found = coarse_occlusion(linear, images, targets, parts=2, batch_size=3)
    weights = linear[1].weight.view(3, 2, 5, 7)[targets]
    lost = (weights * (images - images.mean((2, 3), keepdim=True))).sum(1).detach()
    for rows in (slice(0, 3), slice(3, 5)):
        for columns in (slice(0, 4), slice(4, 7)):
            expected = lost[:, rows, columns].sum((1, 2))[:, None, None].expand_as(found[:, rows, columns])
            assert torch.allclose(found[:, rows, columns], expected, atol=1e-6)
    with pytest.raises(ValueError, match="parts must be"):
        coarse_occlusion(linear, images, parts=0)
    assert torch.equal(
        coarse_occlusion(linear, images, targets, parts=9), coarse_occlusion(linear, images, targets, parts=5)
    )


# Harmless kinds


def test_noise_is_a_share_of_each_tensors_spread(lenet, images):
    for name, share in (("0.1 % noise on the weights", 0.001), ("1 % noise on the weights", 0.01)):
        one, other = (HARMLESS[name].change(copy.deepcopy(lenet), images, seed) for seed in (0, 1))
        for key, value in lenet.state_dict().items():
            if value.numel() > 1000:
                assert (one.state_dict()[key] - value).std() / value.std() == pytest.approx(share, rel=0.1)
                assert not torch.equal(one.state_dict()[key], other.state_dict()[key])


def test_eight_bits_are_255_steps_of_each_channel(lenet, images):
    rounded = HARMLESS["8-bit weights per channel"].change(copy.deepcopy(lenet), images, 0)
    for (name, new), old in zip(rounded.named_parameters(), lenet.parameters()):
        if old.ndim == 1:
            assert torch.equal(new, old)
            continue
        for mine, was in zip(new.detach().flatten(1), old.detach().flatten(1)):
            step = was.abs().max() / 127
            assert (mine / step - (mine / step).round()).abs().max() < 1e-4, name
            assert (mine - was).abs().max() <= step / 2 * 1.001
            assert (mine / step).abs().max() == pytest.approx(127)


def test_batch_statistics_are_those_of_half_of_the_images():
    model, images = normed(), torch.rand(20, 1, 8, 8)
    kind = HARMLESS["batch statistics estimated anew"]
    assert kind.fits(model, images)
    assert not kind.fits(model, images[:3])
    assert not kind.fits(nn.Linear(2, 2), images)
    found = kind.change(copy.deepcopy(model), images, 3)
    half = torch.randperm(20, generator=torch.Generator().manual_seed(3))[:10]
    seen = model[0](images[half]).double().transpose(0, 1).flatten(1)
    assert torch.allclose(found[1].running_mean.double(), seen.mean(1), atol=1e-6)
    assert torch.allclose(found[1].running_var.double(), seen.var(1), atol=1e-6)
    assert not any(module.training for module in found.modules())


def test_measuring_a_scale_changes_nothing(images):
    model, images = normed(), images[:8, :, 10:18, 10:18]
    before = copy.deepcopy(model.state_dict())
    drawn = torch.random.get_rng_state()
    drift_scale(model, images, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_the_default_ruler_is_the_measured_one_and_a_method_alone_goes_by_rank(lenet, images):
    given = drift(lenet, reinitialised(lenet, 50), images)
    named = drift(lenet, reinitialised(lenet, 50), images, method="coarse occlusion", likeness="cosine")
    assert (given.method, given.likeness) == RULER == (named.method, named.likeness)
    assert torch.equal(given.values, named.values)
    assert given.place == pytest.approx(1, abs=0.2)
    assert drift(lenet, lenet, images, method="coarse occlusion").likeness == "rank correlation"


def test_a_kind_of_ones_own_is_tried_and_one_that_turns_answers_is_left_out(lenet, images):
    def wild(model, images, seed):
        return reinitialised(model, seed + 99)

    def warm(model, images, seed):
        return model

    kinds = (Harmless("wild", wild, seeds=2), Harmless("nothing", warm, seeds=1))
    scale = drift_scale(lenet, images, kinds=kinds, **QUICK)
    assert [kind.left_out for kind in scale.kinds] == [True, False]
    assert scale.kinds[0].values.shape == (2, len(images))
    assert scale.noise == (0, 0, 0)
    assert scale.place(scale.blanks.mean(0))[0] == pytest.approx(1)
    assert f"left out: wild, which turns {scale.kinds[0].turned:.1%} of the answers" in repr(scale)
    none = drift_scale(lenet, images, kinds=kinds[:1], **QUICK)
    assert none.loudest is none.noise is none.place(torch.ones(3)) is None
    assert none.blind
    assert "so there is no place" in repr(none)
    with pytest.raises(ValueError, match=r"kinds must be one of 0\.1 % noise"):
        drift_scale(lenet, images, kinds=["harmless"])


# The place


def test_noise_is_the_largest_mean_over_pictures_whose_answer_is_kept():
    kept = [[True] * 100, [True] * 99 + [False]]
    values = [[0.1] * 100, [0.2] * 99 + [50.0]]  # what a turned answer drifts by counts for nothing
    scale = by_hand(values, kept, [[0.9] * 100, [1.1] * 100])
    quiet = Noise("quiet", torch.zeros(1, 100).double(), torch.ones(1, 100, dtype=torch.bool))
    scale = Scale("own", "own", (quiet, *scale.kinds), scale.blanks)
    mean = (10 + 19.8) / 199
    assert scale.loudest.name == "own"
    assert scale.loudest.turned == pytest.approx(0.005)
    assert scale.noise[0] == pytest.approx(mean)
    assert scale.chance == pytest.approx((1, 1, 1))
    assert scale.place_of(mean) == pytest.approx(0)
    assert scale.place_of(1) == pytest.approx(1)
    assert scale.place_of(0) == pytest.approx(-mean / (1 - mean))
    assert scale.place_of(3) > 2  # not clipped


def test_the_interval_is_that_of_images_drawn_together():
    """A brute force over the same draws; and where all three move alike from image to image, it has no width."""
    generator = torch.Generator().manual_seed(0)
    factor = 1 + torch.rand(30, generator=generator).double()
    kept = torch.ones(1, 30, dtype=torch.bool)
    scale = Scale("own", "own", (Noise("own", 0.1 * factor[None], kept),), factor[None])
    place, low, high = scale.place(0.4 * factor)
    assert place == pytest.approx(low) == pytest.approx(high) == pytest.approx(1 / 3)
    values = torch.rand(30, generator=generator).double()
    place, low, high = scale.place(values)
    rows = np.random.default_rng(0).integers(0, 30, (1000, 30))
    means = [(values[row].mean() - 0.1 * factor[row].mean()) / (0.9 * factor[row].mean()) for row in map(list, rows)]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert low < place < high
    other = scale.place(torch.rand(500, generator=generator).double())  # of other images: drawn apart
    assert other[2] - other[1] < high - low


def test_a_model_is_placed_between_itself_and_nothing(compared, lenet):
    same, blank = compared(lenet), compared(reinitialised(lenet, 70))
    noise, chance = same.scale.noise[0], same.scale.chance[0]
    assert same.place == pytest.approx(-noise / (chance - noise))
    assert same.interval[0] <= same.place <= same.interval[1] < 0
    assert blank.place == pytest.approx(1, abs=0.1)
    assert blank.scale is same.scale  # measured once
    louder = copy.deepcopy(lenet)
    last = [module for module in louder.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.data *= 2
    last.bias.data *= 2
    assert compared(louder).place == pytest.approx(same.place)
    for kind in HARMLESS.values():
        if kind.fits(lenet, compared.images):
            fresh = compared(kind.change(copy.deepcopy(lenet), compared.images, 50))
            assert fresh.place < 0.05, kind.name


def test_dead_networks_have_chances_place(compared, lenet):
    dead = copy.deepcopy(lenet)
    for values in dead.parameters():
        values.data.zero_()
    assert drift_place(compared, dead) == compared.scale.place_of(1.0) == pytest.approx(1, abs=0.1)


def test_a_drift_is_never_printed_without_its_scale(compared, lenet, images):
    text = repr(compared(reinitialised(lenet, 1)))
    for row in ("drift", "noise", "chance", "another class", "place"):
        assert f"\n  {row}" in text
    assert compared.scale.loudest.name in text
    picture = repr(drift(lenet, reinitialised(lenet), images, method=IMAGE))
    assert "blind: the intervals of noise and chance overlap" in picture
    assert "\n  place" not in picture
    hidden = copy.deepcopy(lenet)
    nn.utils.parametrizations.weight_norm(next(m for m in hidden.modules() if isinstance(m, nn.Linear)))
    hidden.eval()
    assert "no place: layer" in repr(drift(hidden, hidden, images[:5], **QUICK))


def test_a_ruler_that_sees_only_the_image_is_blind(lenet, images):
    found = drift(lenet, reinitialised(lenet), images, method=IMAGE)
    assert found.scale.blind
    assert found.place is None
    assert found.interval is None
    columns = drift_columns(lenet, images, method=IMAGE)
    [(column, place)] = [pair for pair in columns.items() if pair[0].title.startswith("place")]
    assert column.format(place(lenet)) == "blind"


def test_a_models_heatmaps_are_made_once_for_all_columns_and_anew_when_it_was_changed(lenet, images):
    asked = []

    def method(model, some, targets):
        asked.append(model)
        return METHODS["gradient x input"](model, some, targets)

    model, columns = copy.deepcopy(lenet), drift_columns(lenet, images, method=Method("counted", method), place=False)
    drifted, changed, _ = columns.values()
    asked.clear()
    assert [drifted(model), changed(model)] == [0, 0]
    assert asked == [model]
    with torch.no_grad():
        next(model.parameters()).mul_(-1)
    assert drifted(model) > 0
    assert asked == [model, model]


def test_a_scale_can_be_handed_around(compared, lenet, images):
    others = data.mnist("validation", 80).inputs[40:]
    given = drift(lenet, lenet, others, scale=compared.scale, **QUICK)
    assert given.scale is compared.scale
    columns = drift_columns(lenet, others, scale=compared.scale, **QUICK)
    [place] = [place for column, place in columns.items() if column.title.startswith("place")]
    assert place(lenet) == given.place
    with pytest.raises(ValueError, match="scale must be of the same method and likeness"):
        drift(lenet, lenet, others, scale=compared.scale, method="saliency")
    with pytest.raises(ValueError, match="likeness must be one of rank correlation"):
        drift(lenet, lenet, others, likeness="rank")


def test_at_most_fifty_images_make_the_scale(lenet):
    images = data.mnist("validation", 120).inputs
    found = drift_from(lenet, images, **QUICK)(lenet)
    assert found.scale.blanks.shape == (5, 50)
    assert found.place < 0


def test_wanted_outputs_have_a_scale_without_another_class():
    model, images = zoo.load("mnist-autoencoder"), data.mnist("validation", 20).inputs
    scale = drift_scale(model, images, images, **QUICK)
    assert scale.other_class is None
    assert not scale.blind


# Budgets


def test_a_budget_bounds_the_place(lenet, images):
    split = Split(images, lenet(images).argmax(1))
    budget = prune.ExplanationBudget(lenet, split, max_place=0.0, method="gradient x input")
    assert budget.bound == "place"
    assert "place <= 0" in repr(budget)
    same, blank = budget.spent(lenet), budget.spent(reinitialised(lenet, 9))
    assert same["holds"]
    assert same["place"] < 0
    assert not blank["holds"]
    assert blank["place"] == pytest.approx(1, abs=0.15)
    with pytest.raises(ValueError, match="blind"):
        prune.ExplanationBudget(lenet, split, max_place=0.5, method=IMAGE)
    with pytest.raises(ValueError, match="max_place must be from 0, noise, to 1, chance, got 7"):
        prune.ExplanationBudget(lenet, split, max_place=7)
