"""Heatmaps, their drift, their faithfulness, the sanity gate, planted artefacts and shifted inputs."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from xaiprune import data, prune, widgets, zoo
from xaiprune.data import Split
from xaiprune.explain import (
    METHODS,
    RULER,
    Method,
    add_tag,
    bootstrap,
    class_means,
    completeness,
    curves,
    drift,
    drift_columns,
    drift_from,
    drift_value,
    gate,
    gradient_x_input,
    heatmap_drift,
    heatmaps,
    integrated_gradients,
    occlusion,
    rank_correlation,
    reinitialised,
    relevance_mass,
    saliency,
    sample_weights,
    shapley,
    smoothgrad,
    spot_share,
    tag_class,
    tag_mask,
    top_overlap,
    watch,
)
from xaiprune.measure import ACCURACY, PSNR, scorecards
from xaiprune.widgets.evidence import compared


@pytest.fixture(scope="module")
def lenet():
    return zoo.load("lenet-5")


@pytest.fixture(scope="module")
def some():
    return data.mnist("validation", 40)


class Linear(nn.Module):
    """A linear model of two-channel images, whose explanations are known."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 2, 6, 6))

    def forward(self, images):
        return (images[:, None] * self.weight).sum((2, 3, 4))


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.attention])
def test_every_method_gives_one_finite_map_per_image_whatever_the_batches(lenet, some, name):
    found = heatmaps(lenet, *some, name)
    assert found.shape == (40, 28, 28)
    assert torch.isfinite(found).all()
    assert not found.requires_grad
    if name not in ("smoothgrad", "shapley"):  # these draw anew for every batch
        assert torch.allclose(heatmaps(lenet, *some, name, batch_size=7), found, atol=1e-4)
    assert torch.equal(heatmaps(lenet, *some, name), found)
    if not METHODS[name].signed:
        assert found.min() >= 0


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.attention])
def test_no_method_leaves_a_trace(lenet, some, name):
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in lenet.state_dict().items()}
    images = some.inputs[:4].clone()
    heatmaps(lenet, images, some.targets[:4], name)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, some.inputs[:4])
    assert not images.requires_grad
    assert all(torch.equal(state[k], v) for k, v in lenet.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in lenet.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lenet.modules())


def test_methods_agree_with_the_closed_form_of_a_linear_model():
    model, images, targets = Linear().eval(), torch.rand(5, 2, 6, 6), torch.tensor([0, 1, 2, 0, 1])
    weights = model.weight.detach()[targets]
    products = (images * weights).sum(1)
    assert torch.allclose(saliency(model, images, targets), weights.abs().amax(1))
    assert torch.allclose(gradient_x_input(model, images, targets), products)
    assert torch.allclose(integrated_gradients(model, images, targets, steps=3), products, atol=1e-6)
    assert torch.allclose(smoothgrad(model, images, targets, samples=3), weights.abs().amax(1), atol=1e-6)
    covered = products.unfold(1, 2, 2).unfold(2, 2, 2).sum((3, 4))
    spread = covered.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.allclose(occlusion(model, images, targets, window=2, stride=2), spread, atol=1e-5)
    assert torch.allclose(shapley(model, images, targets, patch=2, samples=2), spread / 4, atol=1e-5)


def test_shapley_converges_to_the_exact_values(lenet, some):
    """All 24 orders of the four quarters of an image."""
    images, targets = some.inputs[:3], some.targets[:3]
    quarters = torch.zeros(4, 28, 28, dtype=torch.bool)
    for number, (row, column) in enumerate(itertools.product((0, 14), repeat=2)):
        quarters[number, row : row + 14, column : column + 14] = True

    def value(members):
        mask = quarters[list(members)].any(0) if members else torch.zeros(28, 28, dtype=torch.bool)
        with torch.no_grad():
            return lenet(images * mask).gather(1, targets[:, None])[:, 0]

    exact = torch.zeros(3, 4)
    for order in itertools.permutations(range(4)):
        for place, player in enumerate(order):
            exact[:, player] += (value(order[: place + 1]) - value(order[:place])) / 24
    found = shapley(lenet, images, targets, patch=14, samples=800)
    summed = torch.stack([(found * quarter).sum((1, 2)) for quarter in quarters], dim=1)
    assert (summed - exact).norm() < 0.05 * exact.norm()
    assert completeness(lenet, images, targets, found).max() < 1e-4


def test_integrated_gradients_are_complete(lenet, some):
    coarse, fine = (integrated_gradients(lenet, *some, steps=steps) for steps in (5, 100))
    errors = [completeness(lenet, *some, maps) for maps in (coarse, fine)]
    assert errors[1].quantile(0.95) < 0.01 < errors[0].quantile(0.95)
    shifted = integrated_gradients(lenet, *some, baseline=0.5, steps=100)
    assert completeness(lenet, *some, shifted, baseline=0.5).quantile(0.95) < 0.02


def test_no_pass_is_larger_than_the_bound(some):
    sizes = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = zoo.load("lenet-5")

        def forward(self, images):
            sizes.append(len(images))
            return self.inner(images)

    model = Watching().eval()
    for method in (saliency, gradient_x_input, smoothgrad, integrated_gradients, occlusion, shapley):
        sizes.clear()
        method(model, *some, batch_size=60)
        assert max(sizes) <= 60, method.__name__


def test_an_autoencoder_is_explained_by_its_error(digits):
    model = zoo.load("mnist-autoencoder")
    wanted = model(digits).detach()
    pixels = digits.clone().requires_grad_()
    error = -(model(pixels) - digits).square().flatten(1).mean(1)
    (gradient,) = torch.autograd.grad(error.sum(), pixels)
    assert torch.allclose(saliency(model, digits, digits), gradient.abs()[:, 0], atol=1e-8)
    with pytest.raises(ValueError, match="targets must be given"):
        saliency(model, digits)
    with pytest.raises(ValueError, match="targets are classes, but"):
        saliency(model, digits, torch.zeros(len(digits), dtype=torch.long))
    with pytest.raises(ValueError, match="targets, wanted outputs, must have shape"):
        saliency(model, digits, wanted[:1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, t: saliency(m, x, t + 10), "targets must be from 0 to 9, got 1"),
        (lambda m, x, t: saliency(m, x, t[:3]), r"targets must have shape \(40,\)"),
        (lambda m, x, t: saliency(m, x, [3] * 40), "targets must be a tensor"),
        (lambda m, x, t: saliency(m, x, t > 4), "targets must be classes as int64"),
        (lambda m, x, t: gate(m, x[:5], t[:5]), "images must be at least 10"),
        (lambda m, x, t: saliency(m, x[0], t), "add the batch axis"),
        (lambda m, x, t: saliency(m, x[:0], t[:0]), "images is empty"),
        (lambda m, x, t: saliency(m, (x * 255).byte(), t), "images must be a float tensor"),
        (lambda m, x, t: saliency("lenet-5", x, t), "model must be an nn.Module"),
        (lambda m, x, t: smoothgrad(m, x, t, noise_level=-1), "noise_level must be 0 or more, a share"),
        (lambda m, x, t: smoothgrad(m, x, t, samples=0), "samples must be a whole number from 1"),
        (lambda m, x, t: integrated_gradients(m, x, t, steps=0), "steps must be a whole number from 1"),
        (lambda m, x, t: occlusion(m, x, t, window=40), "window must be from 1 to 28"),
        (lambda m, x, t: occlusion(m, x, t, window=3, stride=4), "stride must be from 1 to the window's 3"),
        (lambda m, x, t: shapley(m, x, t, patch=0), "patch must be from 1 to 28"),
        (lambda m, x, t: shapley(m, x, t, samples=0), "samples must be a whole number"),
        (lambda m, x, t: heatmaps(m, x, t, "gradcam"), "method must be one of saliency"),
        (lambda m, x, t: completeness(m, x, t, torch.zeros(3, 28, 28)), "heatmaps must be one per image"),
        (lambda m, x, t: curves(m, x, t, torch.zeros(40, 14, 14)), r"heatmaps must have shape \(40, 28, 28\)"),
        (lambda m, x, t: curves(m, x, t, torch.full((40, 28, 28), math.nan)), "heatmaps hold NaN"),
        (lambda m, x, t: curves(m, x, t, torch.zeros(40, 28, 28), steps=0), "steps must be from 1 to the 784"),
        (lambda m, x, t: watch(m, Split(x, t), "blur", [1]), "shift must be one of rotation, noise"),
    ],
)
def test_bad_requests_are_named(lenet, some, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(lenet, *some)


def test_training_mode_is_refused(some):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 10))
    with pytest.raises(ValueError, match="model is in training mode"):
        saliency(model, *some)


def test_rank_correlation_is_spearmans_with_ties():
    one = torch.randint(0, 5, (6, 7, 7)).double()
    other = one + torch.randint(0, 5, (6, 7, 7))
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one.numpy(), other.numpy())]
    assert np.allclose(rank_correlation(one, other), expected)
    assert torch.allclose(rank_correlation(one, 3 * one - 1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(rank_correlation(one, -one), -torch.ones(6, dtype=torch.float64))


def test_rank_correlation_of_a_constant_map_is_an_error_and_not_nan():
    one = torch.rand(3, 5, 5)
    other = one.clone()
    other[1] = 0.5
    with pytest.raises(ValueError, match=r"other is constant for image 1: .* rank correlation is undefined"):
        rank_correlation(one, other)
    with pytest.raises(ValueError, match="one holds NaN or infinity"):
        rank_correlation(one / 0, other)
    with pytest.raises(ValueError, match="must have the same shape"):
        rank_correlation(one, other[:2])


def test_top_overlap_counts_shared_pixels():
    one, other = torch.zeros(1, 2, 5), torch.zeros(1, 2, 5)
    one[0, 0, :4] = torch.tensor([4.0, 3, 2, 1])
    other[0, 0, 2:] = torch.tensor([4.0, 3, 2])
    assert top_overlap(one, other, share=0.2).item() == 0
    assert top_overlap(one, other, share=0.3).item() == pytest.approx(1 / 3)
    assert top_overlap(one, one, share=0.4).item() == 1
    # pixels that tie at the cut do not count: four against three, two of them shared; and no evidence shares nothing
    assert top_overlap(one, other, share=0.9).item() == pytest.approx(2 / 4)
    assert top_overlap(0 * one, other).item() == 0
    assert top_overlap(0 * one, 0 * one).item() == 1  # neither has a highest pixel
    torch.manual_seed(0)
    drawn = [torch.rand(50, 20, 20) for _ in range(2)]
    assert top_overlap(*drawn).mean().item() == pytest.approx(0.1, abs=0.02)
    assert top_overlap(*drawn, share=1.0).min().item() == 1
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got 10"):
        top_overlap(one, other, share=10)


def test_the_bootstrap_interval_covers_as_often_as_it_says():
    generator, hits = torch.Generator().manual_seed(0), 0
    for seed in range(300):
        _, low, high = bootstrap(torch.randn(60, generator=generator), seed=seed, draws=300)
        hits += low <= 0 <= high
    assert 0.90 < hits / 300 < 0.99


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_groups_are_drawn_as_a_whole(statistic):
    """Against a loop that puts the drawn groups' values into one list."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(7, (41,), generator=generator) * 3 - 5  # of unequal sizes
    values = torch.rand(41, generator=generator).double()
    found = bootstrap(values, draws=200, seed=3, statistic=statistic, groups=groups)
    drawn, names = np.random.default_rng(3), groups.unique()
    of = {"mean": np.mean, "median": lambda row: sorted(row)[len(row) // 2]}[statistic]
    again = []
    for row in drawn.integers(0, len(names), (200, len(names))):
        again.append(of([value for place in row for value in values[groups == names[place]].tolist()]))
    assert found == pytest.approx((of(values.tolist()), *np.quantile(again, [0.025, 0.975])))


def test_images_of_one_thing_make_a_wide_interval():
    """Ten copies of each of 40 values: as wide as of the 40 alone, and much wider than without groups."""
    values = torch.randn(40, generator=torch.Generator().manual_seed(0))
    copies = values.repeat_interleave(10)
    alone, grouped, blind = (
        high - low
        for _, low, high in (bootstrap(values), bootstrap(copies, groups=torch.arange(400) // 10), bootstrap(copies))
    )
    assert grouped == pytest.approx(alone, rel=1e-9)
    assert blind < 0.4 * alone
    with pytest.raises(ValueError, match="groups must have one number for each of 400 values, got 40"):
        bootstrap(copies, groups=torch.arange(40))


def test_drift_is_nought_for_equal_models_in_every_function(lenet, some):
    """One statistic, one implementation: the table, the column, both budgets and what an explorer says agree."""
    other = reinitialised(lenet)
    split = Split(some.inputs, some.targets)
    budget = prune.ExplanationBudget(lenet, split, max_drift=1.0)
    for model in (lenet, other):
        expected = drift(lenet, model, some.inputs).value
        assert drift_value(drift_from(lenet, some.inputs), model) == expected
        assert next(iter(drift_columns(lenet, some.inputs).values()))(model) == expected
        assert budget.spent(model)["drift"] == expected
        assert (expected == 0) == (model is lenet)
        first, answer = some.inputs[:1], lenet(some.inputs[:1]).argmax(1)
        one, _ = heatmap_drift(heatmaps(lenet, first, answer), heatmaps(model, first, answer), "the original's")
        assert compared(lenet, model, first, "integrated gradients")[1] == one.item()


def test_no_default_needs_the_patented_method(monkeypatch, lenet, some):
    """With propagation taken away, everything that names no method still runs."""

    def refuse(*args, **options):
        raise AssertionError("layer-wise relevance propagation runs only where it is named")

    monkeypatch.setattr(sys.modules["xaiprune.explain.relevance.lrp"], "modified_gradients", refuse)
    with pytest.raises(AssertionError, match="only where it is named"):
        heatmaps(lenet, *some, "lrp")
    split, units = Split(*some), prune.find_units(lenet, some.inputs[:1])
    heatmaps(lenet, *some)
    drift_columns(lenet, *some)
    gate(lenet, *some)
    watch(lenet, split, "rotation", [0])
    prune.ExplanationBudget(lenet, split, max_drift=1.0).spent(lenet)
    prune.unit_scores(lenet, units)(split)
    prune.contrast_scores(lenet, units, split, split)
    for kind in widgets.EXPLORERS:
        if kind in (widgets.TemperatureExplorer, widgets.CalibrationExplorer):
            kind.example()
    widgets.HeatmapExplorer(lenet, split)


def test_drift_is_none_from_a_model_to_itself_and_grows_with_noise(lenet, some):
    same = drift(lenet, lenet, some.inputs)
    assert same.value == 0
    assert not same.values.any()
    assert not same.top.any()
    found = []
    for size in (0.02, 0.1, 0.3):
        noisy = zoo.load("lenet-5")
        generator = torch.Generator().manual_seed(0)
        for parameter in noisy.parameters():
            parameter.data += size * parameter.std() * torch.randn(parameter.shape, generator=generator)
        found.append(drift(lenet, noisy, some.inputs).value)
    assert 0 < found[0] < found[1] < found[2]


def test_drift_breaks_down_by_class(lenet, some):
    other = reinitialised(lenet)
    found = drift(lenet, other, *some)
    rows = found.rows()
    assert [row["class"] for row in rows] == [*(str(c) for c in sorted(set(some.targets.tolist()))), "all"]
    assert sum(row["images"] for row in rows[:-1]) == rows[-1]["images"] == 40
    assert all(row["drift_low"] <= row["drift"] <= row["drift_high"] for row in rows)
    assert rows[-1]["drift"] == pytest.approx(found.value)
    assert "drift ↓" in repr(found)
    mine = drift(lenet, other, *some, classes=some.targets % 2)
    assert [row["class"] for row in mine.rows()] == ["0", "1", "all"]


def test_a_dead_model_is_said_to_be_so(lenet, some):
    dead = zoo.load("lenet-5")
    dead.fc3.weight.data.zero_()
    with pytest.raises(ValueError, match="does the model still answer to its input"):
        drift(lenet, dead, some.inputs, method="saliency")


def test_images_without_evidence_left_are_counted(lenet, some):
    """A model that still answers, but not to the images of one class."""

    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.bright = zoo.load("lenet-5"), some.inputs[3].sum()

        def forward(self, images):
            heard = (images.sum((1, 2, 3), keepdim=True) - self.bright).abs() > 1e-3
            return self.inner(images * heard)

    found = drift(lenet, Deaf().eval(), *some, method="saliency")
    assert found.silent.nonzero().flatten().tolist() == [3]
    assert found.values[3] == found.top[3] == 1
    assert found.values[[0, 1, 2]].max() == 0
    assert "1 of 40 images have a constant heatmap" in repr(found)


def test_curves_take_the_pixels_in_order(some):
    """A model that counts bright pixels of the upper half: deletion and insertion follow by hand."""

    class Counting(nn.Module):
        def forward(self, images):
            upper = images[:, 0, :14].sum((1, 2))
            return torch.stack([upper, torch.zeros_like(upper)], 1)

    model, images = Counting().eval(), torch.full((2, 1, 28, 28), 0.01)
    heat = torch.zeros(2, 28, 28)
    heat[:, :14] = 1
    found = curves(model, images, torch.zeros(2, dtype=torch.long), heat, steps=4)
    full = 1 / (1 + math.exp(-0.01 * 14 * 28))
    half = 1 / (1 + math.exp(-0.01 * 7 * 28))
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.deletion[0].tolist() == pytest.approx([full, half, 0.5, 0.5, 0.5], abs=1e-5)
    assert found.insertion[0].tolist() == pytest.approx([0.5, half, full, full, full], abs=1e-5)
    deletion, insertion = found.areas
    assert found.faithfulness.tolist() == pytest.approx((insertion - deletion).tolist())


@pytest.mark.parametrize("batch_size", [3, 7, 1000])
@pytest.mark.parametrize("wanted", [False, True])
def test_curves_of_many_images_are_those_of_a_loop_over_steps(lenet, some, batch_size, wanted):
    images = some.inputs[:5]
    with torch.no_grad():
        outputs = lenet(images)
    targets = outputs + 0.5 if wanted else some.targets[:5]
    heat = torch.rand(5, 28, 28, generator=torch.Generator().manual_seed(0))  # no ties
    found = curves(lenet, images, targets, heat, steps=6, batch_size=batch_size)
    order = heat.flatten(1).argsort(1, descending=True)
    for step, count in enumerate(torch.linspace(0, 784, 7).round().long()):
        top = torch.zeros(5, 784).scatter(1, order[:, :count], 1.0).view(5, 1, 28, 28)
        for kept, curve in ((1 - top, found.deletion), (top, found.insertion)):
            with torch.no_grad():
                answers = lenet(images * kept)
            value = -(answers - targets).square().mean(1) if wanted else answers.softmax(1)[torch.arange(5), targets]
            torch.testing.assert_close(curve[:, step], value, rtol=1e-4, atol=1e-5)


def test_an_empty_map_is_a_random_order_and_does_not_win(lenet, some):
    empty = torch.zeros(40, 28, 28)
    scores = [curves(lenet, *some, empty, seed=seed).faithfulness.mean().item() for seed in range(3)]
    good = curves(lenet, *some, heatmaps(lenet, *some)).faithfulness.mean().item()
    assert max(map(abs, scores)) < 0.15
    assert good > 0.5
    assert curves(lenet, *some, empty + 3).faithfulness.mean().item() == pytest.approx(scores[0])


@pytest.mark.parametrize(
    ("name", "images", "passes"),
    [
        ("lenet-300-100", data.mnist, True),
        ("mobilenet-fashion-mnist", data.fashion_mnist, False),
        ("vit-fashion-mnist", data.fashion_mnist, False),
    ],
)
def test_where_the_default_ruler_passes_the_gate(name, images, passes):
    """As ``docs/drift.md`` says: it tells networks apart, and its heatmaps are not everywhere ones to show."""
    found = gate(zoo.load(name), *images("validation", 40), [RULER[0]])
    assert found[RULER[0]].passes == passes


def test_the_gate_passes_methods_and_stops_a_picture_of_the_picture(lenet, some):
    picture = Method("the image itself", lambda model, images, targets: images[:, 0])
    found = gate(lenet, *some, ["lrp", "gradient x input", picture])
    assert found["lrp"].passes
    assert found["gradient x input"].passes
    assert not found["the image itself"].passes
    assert found["the image itself"].leads["re-initialised model"] == (0, 0, 0)
    assert found["the image itself"].likeness == pytest.approx(1)
    assert set(found["lrp"].curves) == {"lrp", "random", "reversed", "re-initialised model"}
    assert "DOES NOT PASS" in repr(found["the image itself"])
    assert "ahead of random" in repr(found["lrp"])


def test_masks_and_parametrizations_are_not_taken_for_new_weights():
    from torch.nn.utils import parametrizations, prune

    masked = zoo.load("lenet-5")
    prune.l1_unstructured(masked.fc1, "weight", 0.5)
    with pytest.raises(ValueError, match="layer 'fc1' computes its weights from others"):
        reinitialised(masked)
    with pytest.raises(ValueError, match="layer '0' computes its weights from others"):
        reinitialised(nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))))


def test_noise_follows_each_images_own_range(lenet, some):
    dim = some.inputs.clone()
    dim[1] *= 0.5
    both = smoothgrad(lenet, dim[:2], some.targets[:2], samples=50)
    alone = smoothgrad(lenet, dim[:1], some.targets[:1], samples=50)
    assert torch.allclose(both[:1], alone)


def test_reinitialised_models_are_new_and_the_old_one_stays(lenet):
    before = {name: value.clone() for name, value in lenet.state_dict().items()}
    one, other, again = reinitialised(lenet, 0), reinitialised(lenet, 1), reinitialised(lenet, 0)
    for name, value in lenet.state_dict().items():
        assert torch.equal(before[name], value)
        assert not torch.equal(one.state_dict()[name], value)
        assert not torch.equal(one.state_dict()[name], other.state_dict()[name])
        assert torch.equal(one.state_dict()[name], again.state_dict()[name])
    bare = reinitialised(Linear().eval())
    assert torch.equal(bare.weight.flatten().sort().values, Linear().weight.flatten().sort().values)


def test_scorecards_gain_drift_columns_and_say_when_a_method_is_not_to_be_trusted(lenet, some):
    extra = drift_columns(lenet, *some)
    [card] = scorecards({"itself": lenet}, some, ACCURACY, repeats=2, extra=extra)
    title = "drift of heatmaps (coarse occlusion, cosine)"
    assert card[title] == 0
    assert f"{title}  " in str(card)
    assert "↑" in next(line for line in str(card).splitlines() if "faithfulness" in line)
    picture = Method("the image itself", lambda model, images, targets: images[:, 0])
    titles = [column.title for column in drift_columns(lenet, *some, method=picture)]
    assert "does not pass the sanity gate" in titles[0]


def test_an_autoencoders_columns(digits):
    model, split = zoo.load("mnist-autoencoder"), Split(digits, torch.zeros(len(digits), dtype=torch.long))
    extra = drift_columns(model, digits, digits, method="integrated gradients")
    [card] = scorecards({"itself": model}, split, PSNR, repeats=2, extra=extra)
    assert next(value for key, value in card.values.items() if key.startswith("drift")) == 0


def test_tags_go_where_they_are_said_to(some):
    mask = tag_mask()
    assert mask.sum() == 16
    own, others = tag_class(some, 8, "own"), tag_class(some, 8, "others")
    is_8 = some.targets == 8
    assert torch.equal(own.inputs[:, 0, mask].mean(1) == 1, is_8)
    assert torch.equal(others.inputs[:, 0, mask].mean(1) == 1, ~is_8)
    assert torch.equal(own.inputs[:, 0, ~mask], some.inputs[:, 0, ~mask])
    assert torch.equal(tag_class(some, 8, "none").inputs, some.inputs)
    half = tag_class(data.mnist("validation"), 8, "others", share=0.5)
    assert 0.45 < (half.inputs[:, 0, mask].mean(1) == 1).double().mean() < 0.55
    assert torch.equal(add_tag(some.inputs, torch.zeros(40, dtype=torch.bool)), some.inputs)
    for arguments, message in (
        ((8, "all"), "placement must be one of"),
        ((12, "own"), "label must be a class"),
        ((8, "own", 2), "share must be from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            tag_class(some, *arguments)


def test_mass_is_the_part_on_the_mask():
    heat = torch.zeros(2, 28, 28)
    heat[:, 2, 2], heat[:, 20, 20] = -3, 1
    assert relevance_mass(heat, tag_mask()).tolist() == [0.75, 0.75]
    assert relevance_mass(torch.ones(1, 28, 28), tag_mask()).item() == pytest.approx(16 / 784)
    with pytest.raises(ValueError, match="mask must fit"):
        relevance_mass(heat, tag_mask(14, 14))
    with pytest.raises(ValueError, match="heatmap 0 is zero everywhere"):
        relevance_mass(0 * heat, tag_mask())


def test_weights_fall_with_the_evidence_on_a_spot_and_keep_the_classes():
    heat, labels = torch.zeros(6, 28, 28), torch.tensor([0, 0, 0, 1, 1, 1])
    heat[:, 20, 20], heat[:, 2, 2] = 1, torch.tensor([3.0, 0, -1, 0, 0, 1])
    shares = spot_share(heat, tag_mask())
    assert shares.tolist() == [0.75, 0, -0.5, 0, 0, 0.5]
    assert spot_share(0 * heat, tag_mask()).tolist() == [0] * 6
    weights = sample_weights(shares, labels, strength=4)
    assert weights[:3].mean() == pytest.approx(1)
    assert weights[3:].mean() == pytest.approx(1)
    assert (weights[1] / weights[0]).item() == pytest.approx(math.exp(3))
    assert (weights[2] / weights[1]).item() == pytest.approx(math.exp(2))
    assert sample_weights(shares, labels, strength=0).tolist() == [1] * 6
    assert sample_weights(shares, labels, strength=1e6).isfinite().all()
    with pytest.raises(ValueError, match="mask must fit"):
        spot_share(heat, tag_mask(14, 14))
    for values, strength, message in (
        (shares[:5], 1, "one for each label"),
        (shares / 0, 1, "6 finite numbers"),
        (shares, -1, "strength must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_weights(values, labels, strength)


def test_a_class_whose_images_all_have_the_spot_keeps_its_weights():
    shares, labels = torch.tensor([0.4, 0.4, 0.0, 0.0]), torch.tensor([8, 8, 1, 1])
    assert sample_weights(shares, labels).tolist() == [1] * 4


def test_watching_shifts(lenet):
    split = data.mnist("validation", 100)
    rows = watch(lenet, split, "rotation", [0, 20, 60], scores=lambda some: heatmaps(lenet, *some).mean(0))
    assert rows[0]["drift"] == 0
    assert rows[0]["scores"] == pytest.approx(0)
    assert rows[0]["drift"] < rows[1]["drift"] < rows[2]["drift"]
    assert rows[0]["accuracy"] > rows[2]["accuracy"]
    noise = watch(lenet, split, "noise", [0.0, 0.3], method="gradient x input")
    assert noise[0]["drift"] == 0
    assert "scores" not in noise[0]
    assert noise[0]["images"] == 0
    assert 0 < noise[1]["images"] < 1


def test_class_means_have_one_map_per_class(some):
    means = class_means(torch.ones(40, 28, 28) * some.targets[:, None, None], some.targets)
    assert means[:, 0, 0].tolist() == sorted(set(some.targets.tolist()))
