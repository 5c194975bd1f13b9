"""The explorers: compute and draw over the whole slider grid, the binding, and what they leave in a notebook."""

from __future__ import annotations

import base64
import inspect
import io
import itertools
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xaiprune import curvature, data, measure, plots, zoo
from xaiprune.core import Registry, seed_everything
from xaiprune.dynamic import Branch, Dynamic, route_macs, split_at
from xaiprune.explain import METHODS, Method
from xaiprune.explain.relevance import gamma
from xaiprune.measure import accuracy
from xaiprune.prune import CRITERIA, Criterion, cut, find_units, find_weights, plan, scan, score
from xaiprune.quantize import CALIBRATORS, Calibrator
from xaiprune.training import classification_loss
from xaiprune.widgets import (
    EXPLORERS,
    CalibrationExplorer,
    CoefficientExplorer,
    CurvatureExplorer,
    Explorer,
    HeadExplorer,
    HeatmapExplorer,
    NoiseExplorer,
    RouteExplorer,
    StructureExplorer,
    TemperatureExplorer,
    ThresholdExplorer,
    gallery,
)
from xaiprune.widgets.calibration import BITS
from xaiprune.widgets.calibration import SHARES as INSIDE
from xaiprune.widgets.canvas import LETTER, LINE, png_bytes, strip
from xaiprune.widgets.coefficients import Picture, compute
from xaiprune.widgets.controls import Bank, Menu, Whole
from xaiprune.widgets.curvature import SHARES
from xaiprune.widgets.heatmap import RULES
from xaiprune.widgets.heatmap import compute as heatmap_compute
from xaiprune.widgets.noise import compute as noise_compute
from xaiprune.widgets.routes import SHOWN
from xaiprune.widgets.structure import SCOPES
from xaiprune.widgets.structure import compute as structure_compute
from xaiprune.widgets.temperature import ALPHAS, TEMPERATURES, entropy
from xaiprune.widgets.threshold import compute as threshold_compute

FRONTIER = [{"method": "descend", "sparsity": s, "psnr": 20 - 10 * s} for s in (0.2, 0.5, 0.7, 0.85)]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def stored(explorer: Explorer) -> list[str]:
    """The captions of the stored pictures, of which there are as many, each below one or more lines of its caption."""
    bundle, one = explorer._repr_mimebundle_(), pixels(explorer.png.value)
    strip, captions = pixels(base64.b64decode(bundle["image/png"])), bundle["text/plain"].splitlines()
    written = strip.shape[0] - len(captions) * one.shape[0]
    assert strip.shape[1:] == one.shape[1:]
    assert len(captions) * 2 * LINE <= written <= len(captions) * 5 * LINE
    return captions


@pytest.fixture
def explorer(tiny, digits):
    plots.use_style()
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    return CoefficientExplorer(tiny, scores, digits, FRONTIER, {"half": {"latent": 0.5, "encoder.hidden": 0.5}})


def test_compute_is_finite_and_sparsity_grows_over_the_whole_grid(tiny, digits):
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    for group in scores.groups:
        views = [compute(tiny, scores, digits, {group.name: alpha}) for alpha in np.linspace(0, 1, 101)]
        assert all(np.isfinite(view.psnr) for view in views)
        assert all(np.isfinite(view.reconstructions).all() for view in views)
        sparsities = [view.sparsity for view in views]
        assert sparsities == sorted(sparsities)
        assert views[0].sparsity == 0
        assert views[-1].kept[group.name] == 1


def test_all_sliders_at_both_ends(tiny, digits):
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    for alpha in (0.0, 1.0):
        view = compute(tiny, scores, digits, {group.name: alpha for group in scores.groups})
        assert np.isfinite(view.psnr)
        assert view.reconstructions.shape == (8, 28, 28)


def test_draw_shows_every_view(tiny, digits):
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    one, other = (compute(tiny, scores, digits, {"latent": alpha}) for alpha in (0.0, 0.8))
    picture = Picture(one, FRONTIER)
    first, second, again = picture.draw(one), picture.draw(other), picture.draw(one)
    assert first != second
    assert first == again
    assert pixels(first).shape[1] == 900


def test_a_slider_moves_numbers_and_picture(explorer):
    before, png = explorer.readout.value, explorer.png.value
    explorer.controls["coefficients"]["encoder.hidden"].value = 0.8
    assert explorer.readout.value != before
    assert explorer.png.value != png
    assert explorer.view.coefficients["encoder.hidden"] == 0.8
    assert f"{explorer.view.psnr:.2f} dB" in explorer.readout.value


def test_setting_all_sliders_updates_once(explorer, monkeypatch):
    calls = []
    original = explorer.compute
    monkeypatch.setattr(explorer, "compute", lambda **setting: (calls.append(setting), original(**setting))[1])
    view = explorer.set({"latent": 0.4, "decoder.hidden": 0.2})
    assert len(calls) == 1
    assert view.kept["latent"] == 3
    assert explorer.controls["coefficients"]["encoder.hidden"].value == 0


def test_a_button_sets_its_solution(explorer):
    buttons = explorer.box.children[0].children
    assert [button.description for button in buttons] == ["nothing pruned", "half"]
    buttons[1].click()
    assert explorer.controls["coefficients"]["latent"].value == pytest.approx(0.6), "three of five units"
    buttons[0].click()
    assert explorer.view.sparsity == 0


def test_the_notebook_gets_widget_and_strip(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert len(stored(explorer)) == 2
    assert bundle["text/plain"].startswith("nothing pruned: PSNR")


def test_the_model_is_left_alone(explorer, tiny):
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    explorer.set({"latent": 0.9})
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())


def test_bad_images_are_refused(tiny, digits):
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    with pytest.raises(ValueError, match="divide them by 255"):
        CoefficientExplorer(tiny, scores, digits * 255)


def test_bad_coefficients_are_refused_and_the_sliders_stay_alive(explorer, tiny, digits):
    with pytest.raises(ValueError, match="did you mean 'latent'"):
        explorer.set({"lat": 0.5})
    with pytest.raises(ValueError, match=r"coefficients of 'latent' must be from 0 to 1, .*, got 1.5"):
        explorer.set({"latent": 1.5})
    explorer.controls["coefficients"]["latent"].value = 0.6
    assert explorer.view.coefficients["latent"] == 0.6
    with pytest.raises(ValueError, match="did you mean 'latent'"):
        CoefficientExplorer(tiny, explorer.scores, digits, stops={"bad": {"lat": 1}})
    with pytest.raises(ValueError, match="do not run through the model"):
        CoefficientExplorer(tiny, explorer.scores, torch.rand(2, 3, 28, 28))


def test_a_strip_is_pictures_below_each_other_each_under_its_caption():
    red = np.zeros((4, 600, 3), np.uint8)
    red[..., 0] = 200
    both = pixels(strip([png_bytes(red), png_bytes(red // 2)], ["first", "W" * 40 + " second " + "W" * 40]))
    assert both.shape == (2 * LINE + 4 + 3 * LINE + 4, 600, 3)
    assert both[2 * LINE, 0].tolist() == [200, 0, 0]
    assert both[-1, 0].tolist() == [100, 0, 0]
    assert both[: 2 * LINE].min() == 0, "the caption is written"
    assert both[: 2 * LINE, -LETTER:].min() == 255, "none of it is cut off"


@pytest.fixture(scope="module")
def classifier():
    """A small untrained classifier, forty digits with labels, and its magnitudes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 8), nn.Tanh(), nn.Linear(8, 10)).eval()
    return model, data.mnist("validation", 40)


def same_weights(model, before) -> bool:
    return all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.fixture
def threshold_explorer(classifier):
    plots.use_style()
    model, split = classifier
    scores = score(model, find_weights(model), "l1")
    return ThresholdExplorer(model, split, scan(model, scores, split, ratios=[0.5, 0.9], progress=False))


def test_a_rising_threshold_takes_ever_more_weights_over_the_whole_slider(classifier, threshold_explorer):
    model, split = classifier
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    slider = threshold_explorer.controls["threshold"]
    for layer in threshold_explorer.controls["layer"].options:
        views = [threshold_explorer.set(value, layer) for value in np.linspace(0, slider.max, 60)]
        gone = [view.gone["whole model"] for view in views]
        assert gone == sorted(gone)
        assert gone[-1] > gone[0]
        sizes = [view.csr_bytes for view in views]
        assert sizes == sorted(sizes, reverse=True)
        assert all(np.isfinite(view.value) for view in views)
        assert min(view.nonzeros for view in views) >= 2
        threshold_explorer.set(0)
    assert same_weights(model, before)
    half = threshold_compute(model, threshold_explorer.scores, split, {"2.weight": 0.05})
    assert half.gone["4.weight"] == 0
    assert half.value == accuracy(cut(model, plan(threshold_explorer.scores, threshold={"2.weight": 0.05})), split)


def test_the_threshold_of_a_layer_is_its_own(threshold_explorer):
    slider, layer = threshold_explorer.controls.values()
    threshold_explorer.set(0.02)
    layer.value = "4.weight"
    assert slider.value == 0.02
    slider.value = 0.1
    assert threshold_explorer.thresholds["2.weight"] == 0.02
    assert threshold_explorer.thresholds["4.weight"] == pytest.approx(0.1, abs=slider.step)
    layer.value = "2.weight"
    assert slider.value == pytest.approx(0.02, abs=1e-9)
    layer.value = "all layers"
    assert slider.value == pytest.approx(0.02, abs=1e-9)
    assert threshold_explorer.thresholds["4.weight"] == pytest.approx(0.1, abs=slider.step)
    assert threshold_explorer.view.gone["4.weight"] > threshold_explorer.view.gone["2.weight"]


def test_the_threshold_explorer_draws_what_it_computes(threshold_explorer):
    still = pixels(threshold_explorer.png.value)
    threshold_explorer.controls["threshold"].value = threshold_explorer.controls["threshold"].max / 2
    assert (pixels(threshold_explorer.png.value) != still).any()
    assert threshold_explorer.view.text in threshold_explorer.readout.value
    assert ["non-zeros" in caption for caption in stored(threshold_explorer)] == [True] * 4


def test_settings_that_make_no_sense_leave_the_threshold_explorer_as_it_is(classifier, threshold_explorer):
    model, split = classifier
    view = threshold_explorer.view
    with pytest.raises(ValueError, match=r"layer must be one of all layers, 2\.weight, 4\.weight, got 'fc'"):
        threshold_explorer.set(0.1, "fc")
    with pytest.raises(ValueError, match="threshold must be from 0 to"):
        threshold_explorer.set(99)
    assert threshold_explorer.view is view
    with pytest.raises(ValueError, match="split is empty"):
        ThresholdExplorer(model, data.Split(split.inputs[:0], split.targets[:0]))


@pytest.fixture
def curvature_explorer(classifier):
    plots.use_style()
    model, split = classifier
    diagonal = curvature.hessian_diagonal(model, split, classification_loss, probes=20)
    return CurvatureExplorer(model, split, diagonal, "4.weight", {"ends": (0, 79), "middle": (39, 40)})


def test_every_pair_of_weights_gives_a_finite_landscape_and_leaves_no_trace(classifier, curvature_explorer):
    model, _ = classifier
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for first, second in ((0, 1), (79, 0), (5, 5), (17, 60)):
        view = curvature_explorer.set(first, second)
        assert np.isfinite(view.losses).all()
        assert np.isfinite(view.rises).all()
        assert view.smaller == int(abs(view.weights[1]) < abs(view.weights[0]))
        assert view.text in curvature_explorer.readout.value
    assert same_weights(model, before)
    for slider in curvature_explorer.controls.values():
        for rank in range(0, 80, 8):
            slider.value = rank
            assert np.isfinite(curvature_explorer.view.losses).all()


def test_the_landscape_holds_the_measured_rises(classifier, curvature_explorer):
    model, split = classifier
    view = curvature_explorer.set(10, 70)
    whole = classification_loss(model, *split).item()
    entries = curvature_explorer.order[[10, 70]].tolist()
    rises = curvature.measured_rises(model, split, classification_loss, "4.weight").flatten()
    assert view.rises == pytest.approx(tuple(rises[entries].tolist()), abs=1e-6)
    near = view.losses[np.argmin(abs(SHARES - 1)), np.argmin(abs(SHARES - 0))]
    assert near == pytest.approx(whole + view.rises[0], abs=1e-5)


def test_the_curvature_explorer_draws_and_refuses(classifier, curvature_explorer):
    model, split = classifier
    still = pixels(curvature_explorer.png.value)
    curvature_explorer.controls["first"].value = 50
    assert (pixels(curvature_explorer.png.value) != still).any()
    shown = curvature_explorer._repr_mimebundle_()
    assert shown["text/plain"].count("magnitude takes") == 2
    with pytest.raises(ValueError, match=r"second must be a whole number from 0 to 79, .*, got 80"):
        curvature_explorer.set(0, 80)
    with pytest.raises(ValueError, match="name must be one of"):
        CurvatureExplorer(model, split, curvature_explorer.diagonal, "weight")


@pytest.fixture(scope="module")
def lenet():
    plots.use_style()
    return zoo.load("lenet-5"), data.mnist("validation", 6)


def test_heatmaps_are_finite_and_the_books_balance_over_the_whole_grid(lenet):
    for rule in RULES:
        for parameter in np.linspace(0, 1, 21):
            view = heatmap_compute(*lenet, 1, "lrp", rule, float(parameter))
            assert np.isfinite(view.heatmap).all()
            rows = view.ledger
            assert rows[-2]["left"] == pytest.approx(rows[-1]["left"], rel=1e-3, abs=1e-3)
            assert torch.isfinite(view.curves.faithfulness).all()
    for method in (name for name, row in METHODS.items() if not row.attention):
        views = [heatmap_compute(*lenet, image, method) for image in range(6)]
        assert all(np.abs(view.heatmap).max() == 1 for view in views)
        assert all((view.ledger is None) == (method != "lrp") for view in views)


def test_gamma_takes_evidence_against_away(lenet):
    against = [
        -heatmap_compute(*lenet, 0, "lrp", "gamma", share).heatmap.clip(max=0).sum() for share in (0.0, 0.25, 1.0)
    ]
    assert against[0] > against[1] > against[2]


def test_the_heatmap_explorer_follows_its_controls(lenet):
    stops = {"one": (0, "lrp", "gamma", 0.25), "two": (3, "saliency", "gamma", 0.25)}
    explorer = HeatmapExplorer(*lenet, stops, methods=("lrp", *METHODS))
    png, text = explorer.png.value, explorer.readout.value
    image, method, rule, parameter = explorer.controls.values()
    parameter.value = 0.75
    assert explorer.png.value != png
    assert explorer.readout.value != text
    rule.value = "z-plus"
    assert parameter.disabled
    method.value = "saliency"
    assert rule.disabled
    assert explorer.view.ledger is None
    view = explorer.set(2, "lrp", "epsilon", 0.33)
    assert parameter.value == pytest.approx(0.35)
    assert image.value == 2
    assert view.text == explorer.view.text
    assert [caption.partition(": label")[0] for caption in stored(explorer)] == ["one", "two"]


def test_the_heatmap_explorer_refuses_what_is_not_there(lenet):
    explorer = HeatmapExplorer(*lenet, methods=("lrp", *METHODS))
    for setting, message in (
        ((6,), "image must be a whole number from 0 to 5, .*, got 6"),
        ((0, "gradcam"), "method must be one of lrp"),
        ((0, "lrp", "flat"), "rule must be one of epsilon"),
        ((0, "lrp", "gamma", 2), "parameter must be from 0 to 1, .*, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(*setting)
    model, split = lenet
    with pytest.raises(ValueError, match="split is empty"):
        HeatmapExplorer(model, data.Split(split.inputs[:0], split.targets[:0]))


@pytest.fixture
def photographs():
    """A network on small pictures in colour, normalised, and how."""
    prepare = data.Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 2)).eval()
    shown = torch.rand(3, 3, 8, 8)
    return model, data.Split(prepare(shown), torch.tensor([0, 1, 1])), prepare, shown.permute(0, 2, 3, 1).numpy()


def test_photographs_are_shown_in_colour_as_they_were_before_they_were_normalised(photographs):
    model, split, prepare, shown = photographs
    options = {"preprocessing": prepare, "methods": ["gradient x input"]}
    heat = HeatmapExplorer(model, split, [(0,), (1,)], classes=["hen", "fox"], live=False, **options)
    cuts = StructureExplorer(model, split, split, criteria=["l1"], preprocessing=prepare)
    for explorer in (heat, cuts):
        assert np.abs(explorer.picture.panels.images - shown).max() < 1e-6
        assert explorer.picture.panels.artists[0].get_array().shape == (8, 8, 3)
    assert [caption.partition("label ")[2][:4] for caption in stored(heat)] == ["hen:", "fox:"]
    assert not heat.controls["image"].continuous_update
    png = heat.png.value
    heat.controls["image"].value = 2
    assert heat.png.value != png
    noisy = noise_compute(model, data.Split(torch.rand(1, 3, 8, 8), split.targets[:1]), 0, 10, 2).noisy
    assert noisy.shape == (8, 8, 3)


def test_noise_agrees_with_itself_more_the_less_there_is_and_the_more_samples(lenet):
    likeness = {}
    for sigma in (0, 10, 30, 60):
        for samples in (1, 8, 64):
            view = noise_compute(*lenet, 2, sigma, samples)
            assert np.isfinite(view.heatmaps).all()
            assert 0 <= view.noisy.min() <= view.noisy.max() <= 1
            likeness[sigma, samples] = view.likeness
    assert likeness[0, 1] == pytest.approx(1)
    assert likeness[10, 8] > likeness[30, 8] > likeness[60, 8]
    assert likeness[30, 64] > likeness[30, 8] > likeness[30, 1]


def test_the_noise_explorer_follows_its_sliders(lenet):
    explorer = NoiseExplorer(*lenet, {"one": (0, 15, 25), "two": (1, 0, 1)})
    png, text = explorer.png.value, explorer.readout.value
    explorer.controls["sigma"].value = 45
    assert explorer.png.value != png
    assert explorer.readout.value != text
    assert explorer.set(1, 0, 1).likeness == pytest.approx(1)
    assert explorer._repr_mimebundle_()["text/plain"].count("two draws agree") == 2
    for setting, message in (
        ((9, 15, 25), "image must be a whole number from 0 to 5"),
        ((0, 61, 25), "sigma must be a whole number from 0 to 60, noise in per cent"),
        ((0, 15, 0), "samples must be a whole number from 1 to 64"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(*setting)


@pytest.fixture(scope="module")
def structure_explorer():
    clothes = data.fashion_mnist("validation", 40)
    stops = ((0, "taylor", "uniform"), (50, "taylor", "global"))
    model = zoo.load("mobilenet-fashion-mnist")
    return StructureExplorer(model, clothes, clothes, criteria=("taylor", "l1"), method="lrp", stops=stops)


def test_a_higher_ratio_costs_less_by_every_criterion_and_scope(structure_explorer):
    explorer = structure_explorer
    state = {name: tensor.clone() for name, tensor in explorer.model.state_dict().items()}
    for criterion in explorer.criteria:
        for scope in SCOPES:
            views = [explorer.set(ratio, criterion, scope) for ratio in (0, 45, 90)]
            assert views[0].macs == 1
            assert [view.macs for view in views] == sorted((view.macs for view in views), reverse=True)
            for view in views:
                assert np.isfinite(view.heatmaps).all()
                assert view.heatmaps.shape == (2, 28, 28)
                assert 0 <= view.drift <= 2
                assert min(view.kept.values()) >= 1
    assert all(torch.equal(tensor, state[name]) for name, tensor in explorer.model.state_dict().items())


def test_nothing_removed_is_the_original(structure_explorer):
    view = structure_explorer.set(0, image=3)
    assert view.drift < 0.01
    assert view.before == accuracy(structure_explorer.model, structure_explorer.split)


def test_one_bar_moves_one_group(structure_explorer):
    explorer = structure_explorer
    explorer.set(0)
    picture = explorer.png.value
    explorer.controls["kept"]["features.2.conv.0.0"].value = 48
    assert explorer.view.kept["features.2.conv.0.0"] == 48
    assert sum(bar.value < bar.max for bar in explorer.controls["kept"].controls.values()) == 1
    assert explorer.view.macs < 1
    assert explorer.png.value != picture
    explorer.controls["ratio"].value = 30
    assert explorer.view.kept == explorer.kept_at(30, "taylor", "uniform")
    explorer.controls["image"].value = 5
    assert explorer.view.kept == explorer.kept_at(30, "taylor", "uniform")
    explorer.set(30, kept={"features.0.0": 8})
    assert explorer.view.kept["features.0.0"] == explorer.controls["kept"]["features.0.0"].value == 8


def test_the_structure_explorer_leaves_a_strip_and_refuses(structure_explorer):
    explorer = structure_explorer
    before = explorer.set(30)
    assert ["% of the MACs" in caption for caption in stored(explorer)] == [True, True]
    for wrong, message in (
        ({"ratio": 33}, "ratio must go by steps of 5, got 33; did you mean 35?"),
        ({"ratio": 0.3}, "ratio must be a whole number from 0 to 90, per cent .*, got 0.3"),
        ({"ratio": 30, "criterion": "beauty"}, "criterion must be one of taylor, l1"),
        ({"ratio": 30, "scope": "local"}, "scope must be one of uniform, global"),
        ({"ratio": 30, "image": 40}, "image must be a whole number from 0 to 39"),
        ({"ratio": 30, "kept": {"nothing": 3}}, "a name in kept must be one of features.0.0, .*, got 'nothing'"),
        ({"ratio": 30, "kept": {"features.0.0": 0}}, "kept of .* must be a whole number from 1 to 32"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(**wrong)
    assert explorer.view is before
    empty = data.Split(torch.zeros(0, 1, 28, 28), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="split is empty"):
        StructureExplorer(explorer.model, explorer.split, empty)


def test_a_predicted_latency_is_shown_where_there_is_a_table(structure_explorer):
    explorer = structure_explorer
    clothes = explorer.split
    timed = StructureExplorer(explorer.model, clothes, clothes, latency=explorer.macs, criteria=("l1",), stops=())
    assert timed.set(50, "l1").latency < timed.set(0, "l1").latency
    assert "predicted" in timed.view.text


def test_the_structure_explorer_takes_any_criteria_and_knows_its_groups(structure_explorer):
    explorer = structure_explorer
    other = StructureExplorer(explorer.model, explorer.calibration, explorer.split, criteria=("l1",))
    assert other.stops == ((0, "l1", "uniform"), (30, "l1", "uniform"))
    assert other.set(30).macs < 1
    with pytest.raises(ValueError, match="kept names group 'nobody'"):
        structure_compute(other.model, other.scores("l1"), {"nobody": 1}, other.split, 0, other.macs)


@pytest.fixture(scope="module")
def head_explorer():
    from tests.zoo.test_vit import small

    images, labels = data.fashion_mnist("validation", 12)
    split = data.Split(torch.nn.functional.interpolate(images, 8), labels % 4)
    return HeadExplorer(small(), split, split, criteria=("attnlrp", "l2"), stops=((6, 14, "attnlrp"), (2, 7, "l2")))


def test_fewer_heads_and_neurons_cost_less_by_every_criterion(head_explorer):
    explorer = head_explorer
    state = {name: tensor.clone() for name, tensor in explorer.model.state_dict().items()}
    for criterion in explorer.criteria:
        grid = itertools.product((0, 5), (6, 3, 0), (14, 5, 0))
        views = [explorer.set(heads, neurons, criterion, image) for image, heads, neurons in grid]
        for view in views:
            assert np.isfinite(view.heatmaps).all()
            assert view.heatmaps.shape == (2, 8, 8)
            assert view.shares.shape == (2, 3)
            assert view.shares.sum() == pytest.approx(100)
            assert 0 <= view.value <= 100
            assert 0 <= view.probability <= 1
        for some in (views[:9], views[9:]):
            by_neurons = [some[place].macs for place in (0, 1, 2)]
            by_heads = [some[place].macs for place in (0, 3, 6)]
            assert some[0].macs == 1
            assert by_neurons == sorted(by_neurons, reverse=True)
            assert by_heads == sorted(by_heads, reverse=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in explorer.model.state_dict().items())


def test_all_heads_on_is_the_original(head_explorer):
    view = head_explorer.set(image=3)
    assert np.array_equal(*view.heatmaps)
    assert view.value == accuracy(head_explorer.model, head_explorer.split)
    assert view.heads == {}


def test_a_click_switches_one_head_off_and_all_of_a_block_may_go(head_explorer):
    explorer = head_explorer
    explorer.set(criterion="attnlrp")
    picture = explorer.png.value
    heads, neurons, _, image, off = explorer.controls.values()
    block = off["blocks.1.attention"]
    block.buttons[2].value = False
    assert explorer.view.heads == {"blocks.1.attention": [2]}
    assert block.buttons[2].description == "off"
    assert "1 of 6 heads off" in explorer.view.text
    assert explorer.png.value != picture
    for unit in (0, 1):
        block.buttons[unit].value = False
    assert explorer.view.heads == {"blocks.1.attention": [0, 1, 2]}
    heads.value = 6
    heads.value = 4
    assert explorer.view.heads == explorer.off_at(4, "attnlrp")
    neurons.value = 7
    assert explorer.view.neurons == 7
    image.value = 2
    assert explorer.view.image == 2
    view = explorer.set(off={"blocks.0.attention": [1]})
    assert view.heads == {"blocks.0.attention": [1]}


def test_the_head_explorer_leaves_a_strip_and_refuses(head_explorer):
    explorer = head_explorer
    before = explorer.set()
    assert [caption.partition(": ")[0] for caption in stored(explorer)] == [
        "heads 6, neurons 14, criterion attnlrp",
        "heads 2, neurons 7, criterion l2",
    ]
    for setting, message in (
        ({"heads": 7}, "heads must be a whole number from 0 to 6, .*, got 7"),
        ({"neurons": 1.5}, "neurons must be a whole number from 0 to 14, .*, got 1.5"),
        ({"criterion": "fate"}, "criterion must be one of attnlrp, l2"),
        ({"image": 12}, "image must be a whole number from 0 to 11, .*, got 12"),
        ({"off": {"blocks.0.attention": [3]}}, "off of 'blocks.0.attention' must be a whole number from 0 to 2, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(**setting)
    assert explorer.view is before
    empty = data.Split(explorer.split.inputs[:0], explorer.split.targets[:0])
    with pytest.raises(ValueError, match="split is empty"):
        HeadExplorer(explorer.model, explorer.split, empty)


@pytest.fixture(scope="module")
def calibration_explorer():
    clothes = data.fashion_mnist("validation", 30)
    stops = (("features.2.conv.2", 100.0, 8, "affine", False), ("features.2.conv.2", 99.0, 3, "affine", True))
    return CalibrationExplorer(zoo.load("mobilenet-fashion-mnist"), clothes.inputs, clothes, stops=stops)


def test_a_tighter_clip_rounds_less_and_clips_more_over_the_whole_grid(calibration_explorer):
    explorer = calibration_explorer
    state = {name: tensor.clone() for name, tensor in explorer.model.state_dict().items()}
    for bits, scheme in itertools.product((2, 4, 8), ("affine", "symmetric")):
        views = [explorer.set("features.2.conv.2", share, bits, scheme) for share in INSIDE]
        for tight, wide in itertools.pairwise(views):
            assert tight.grid.scale <= wide.grid.scale
            assert tight.clipping >= wide.clipping
            assert tight.saturated >= wide.saturated
        assert views[0].rounding < views[-1].rounding
        assert views[-1].saturated == 0
        for view in views:
            assert np.isfinite(view.heatmaps).all()
            assert view.heatmaps.shape == (2, 28, 28)
    assert all(torch.equal(tensor, state[name]) for name, tensor in explorer.model.state_dict().items())


def test_every_layer_and_bit_of_the_calibration_explorer_is_finite(calibration_explorer):
    explorer = calibration_explorer
    for place, layer in enumerate(explorer.controls["layer"].options):
        view = explorer.set(layer, 99.9, BITS[place % len(BITS)], image=place % 30)
        assert np.isfinite([view.rounding, view.clipping, view.saturated, view.value, view.drift]).all()


def test_one_rule_for_all_layers_costs_more_than_for_one(calibration_explorer):
    explorer = calibration_explorer
    alone, everywhere = (explorer.set("features.2.conv.2", 99.0, 3, "affine", choice) for choice in (False, True))
    assert everywhere.value < alone.value - 10
    explorer.controls["bits"].value = 8
    assert explorer.view.value > everywhere.value


def test_the_calibration_explorer_leaves_a_strip_and_refuses(calibration_explorer):
    explorer = calibration_explorer
    before = explorer.set("features.0.0", 99.9, 6, "symmetric", image=3)
    assert ["saturated" in caption for caption in stored(explorer)] == [True, True]
    for wrong, message in (
        ({"layer": "features"}, "layer must be one of"),
        ({"layer": "features.0.0", "share": 100.1}, "share must be one of"),
        ({"layer": "features.0.0", "bits": 9}, "bits must be a whole number from 2 to 8"),
        ({"layer": "features.0.0", "scheme": "log"}, "scheme must be one of"),
        ({"layer": "features.0.0", "image": 30}, "image must be a whole number from 0 to 29"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(**wrong)
    assert explorer.view is before
    empty = data.Split(torch.zeros(0, 1, 28, 28), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="split is empty"):
        CalibrationExplorer(explorer.model, explorer.split.inputs, empty)


@pytest.fixture(scope="module")
def temperature_explorer():
    digits = data.mnist("validation", 12)
    return TemperatureExplorer(zoo.load("lenet-5"), zoo.load("lenet-300-100"), digits, data.MNIST_CLASSES)


def test_soft_labels_are_the_softmax_at_every_stop(temperature_explorer):
    explorer = temperature_explorer
    with torch.no_grad():
        logits = [model(explorer.split.inputs).double() for model in explorer.models]
    for temperature, alpha, image in itertools.product(TEMPERATURES, ALPHAS[::5], (0, 11)):
        view = explorer.compute(temperature, alpha, image)
        teacher, student = (np.exp(rows[image].numpy() / temperature) for rows in logits)
        assert view.teacher == pytest.approx(teacher / teacher.sum(), abs=1e-6)
        assert view.student == pytest.approx(student / student.sum(), abs=1e-6)
        label = np.eye(10)[explorer.split.targets[image]]
        assert view.heard == pytest.approx((1 - alpha) * label + alpha * view.teacher, abs=1e-6)
        assert list(view.teacher[list(view.others)]) == sorted(np.delete(view.teacher, label.argmax()))[::-1]
        assert view.entropy == pytest.approx(-(view.teacher * np.log2(view.teacher)).sum(), abs=1e-6)


def test_entropy_rises_with_temperature_from_one_class_to_all_alike(temperature_explorer):
    explorer = temperature_explorer
    for image in range(12):
        bits = [explorer.compute(temperature, 0.9, image).entropy for temperature in TEMPERATURES]
        assert bits == sorted(bits)
        assert bits[0] < 1
        assert bits[-1] > 3
    assert entropy(torch.tensor([1.0, 0.0])) == 0
    assert entropy(torch.full((8,), 1 / 8)) == pytest.approx(3)


def test_models_that_are_one_agree_and_look_alike():
    digits, model = data.mnist("validation", 4), zoo.load("lenet-5")
    view = TemperatureExplorer(model, model, digits, data.MNIST_CLASSES).view
    assert view.agreement == 100
    assert view.drift == pytest.approx(0)
    assert np.array_equal(*view.heatmaps)


def test_the_temperature_explorer_follows_its_controls_and_refuses(temperature_explorer):
    explorer = temperature_explorer
    before = explorer.set(1.0, 0.9, 0)
    picture = explorer.png.value
    explorer.controls["temperature"].value = 20.0
    assert explorer.view.temperature == 20
    assert explorer.png.value != picture
    assert explorer.set(1.0, 0.9, 0).text == before.text
    assert explorer.png.value == picture
    assert ["bits" in caption for caption in stored(explorer)] == [True, True]
    for setting, message in (
        ({"temperature": 0}, "temperature must be one of 0.5, .*, got 0"),
        ({"alpha": 2}, "alpha must be one of 0.0, .*, got 2"),
        ({"image": 12}, "image must be a whole number from 0 to 11, .*, got 12"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(**setting)
    with pytest.raises(ValueError, match="classes must name 10 classes, got 3"):
        TemperatureExplorer(*explorer.models, explorer.split, "abc")
    empty = data.Split(explorer.split.inputs[:0], explorer.split.targets[:0])
    with pytest.raises(ValueError, match="split is empty"):
        TemperatureExplorer(*explorer.models, empty, data.MNIST_CLASSES)


@pytest.fixture(scope="module")
def route_explorer():
    """A network of no training: a branch on its first layer, and two tails."""
    seed_everything(0)
    whole = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(676, 10)).eval()
    trunk, tail = split_at(whole, "1")
    branch = Branch(4, 10, 8).eval()
    nn.init.normal_(branch[-1].weight, std=20)
    network = Dynamic(trunk, branch, [tail, tail], [range(5), range(5, 10)], 1.0)
    return RouteExplorer(network, whole, data.mnist("validation", 60))


@pytest.mark.parametrize("threshold", [0.2, 0.6, 0.9, 1.0])
def test_routes_are_those_of_the_network(route_explorer, threshold):
    explorer, images = route_explorer, route_explorer.split.inputs
    network = Dynamic(*(getattr(explorer.model, name) for name in ("trunk", "branch", "tails", "sets")), threshold)
    view, costs = explorer.compute(threshold), route_macs(network, images)
    total = measure.macs(explorer.whole, images[:1])
    assert view.shares == network.shares(images)
    assert view.accuracy == pytest.approx(accuracy(network, explorer.split))
    assert (view.mean, view.worst) == pytest.approx((costs["mean"] / total, costs["worst"] / total))
    ways, sure = network.ways(images), explorer.sure
    assert all(ways[place] == -1 for place in view.leave)
    assert all(ways[place] >= 0 for place in view.stay)
    assert len(view.leave) == min(SHOWN, int((ways == -1).sum()))
    assert len(view.stay) == min(SHOWN, int((ways >= 0).sum()))
    assert [sure[place].item() for place in view.leave] == sorted(sure[ways == -1].tolist())[: len(view.leave)][::-1]
    wrong = network(images).argmax(1) != explorer.split.targets
    assert list(view.wrong) == wrong[list(view.leave + view.stay)].tolist()


def test_the_route_explorer_follows_its_slider_and_refuses(route_explorer):
    explorer = route_explorer
    before, picture = explorer.set(0.9), explorer.png.value
    explorer.controls["threshold"].value = 0.3
    assert explorer.view.threshold == 0.3
    assert explorer.png.value != picture
    assert explorer.set(0.9).text == before.text
    assert explorer.png.value == picture
    assert len(stored(explorer)) == 4
    with pytest.raises(ValueError, match=r"threshold must be one of 0.2, .*, got 0.55"):
        explorer.set(0.55)
    with pytest.raises(ValueError, match="split is empty"):
        RouteExplorer(explorer.model, explorer.whole, data.Split(*(part[:0] for part in explorer.split)))


@cache
def example(kind: type[Explorer]) -> Explorer:
    """The gallery's, made once."""
    return kind.example()


def leaves(control) -> list:
    """What a reader can move: the control itself, or those in it."""
    parts = getattr(control, "buttons", None) or getattr(control, "controls", {}).values()
    return [leaf for part in parts for leaf in leaves(part)] or [control]


def another(leaf):
    """A value that a reader could choose in place of the present one."""
    if hasattr(leaf, "options"):
        return next(option for option in leaf.options if option != leaf.value)
    if isinstance(leaf.value, bool):
        return not leaf.value
    return leaf.min if leaf.value != leaf.min else leaf.max


every_explorer = pytest.mark.parametrize("kind", EXPLORERS, ids=lambda kind: kind.__name__)


@every_explorer
def test_every_explorer_takes_stops_and_says_what_its_controls_are(kind):
    explorer = example(kind)
    assert "stops" in inspect.signature(kind).parameters
    assert "xaiprune-readout" in explorer.readout.value
    for name, control in explorer.controls.items():
        for leaf in leaves(control):
            assert leaf.tooltip, f"{name} has no explanation"
            assert leaf.description, f"{name} has no label"
            assert leaf.tabbable is not False, f"{name} cannot be reached by the keyboard"


@every_explorer
def test_every_explorer_opens_at_its_first_stop_and_stores_a_picture_of_each(kind):
    explorer = example(kind)
    opened, captions = explorer.set(**next(iter(explorer._stored.values()))).text, stored(explorer)
    assert len(captions) == len(explorer.stops)
    assert captions[0].endswith(opened)


@every_explorer
def test_every_control_is_followed_when_it_is_moved_by_hand_and_keeps_what_code_sets(kind):
    explorer = example(kind)
    for name, control in explorer.controls.items():
        explorer.set()
        before, leaf = explorer.view, leaves(control)[0]
        leaf.value = another(leaf)
        assert explorer.view is not before, name
        by_hand = explorer.setting[name]
        explorer.set()
        text = explorer.set(**{name: by_hand}).text
        assert control.value == explorer.setting[name] == by_hand
        assert text == explorer.view.text


@every_explorer
def test_what_a_control_cannot_show_is_refused_by_the_setting_s_name_and_nothing_moves(kind):
    explorer = example(kind)
    before, values = explorer.set(), {name: control.value for name, control in explorer.controls.items()}
    for name in explorer.controls:
        for wrong in ("nonsense", -1e9, None):
            with pytest.raises((ValueError, TypeError), match=f"^{name}( of '.*')? must be"):
                explorer.set(**{name: wrong})
    with pytest.raises(ValueError, match=r"the name of a setting must be one of .*, got 'nonsense'"):
        explorer.set(nonsense=1)
    with pytest.raises(TypeError, match="at most"):
        explorer.set(*range(20))
    assert explorer.view is before
    assert {name: control.value for name, control in explorer.controls.items()} == values


@dataclass(frozen=True)
class Sum:
    text: str


class Adding(Explorer[Sum]):
    """As small as an explorer can be; it cannot add up to 7."""

    title = "Adding"

    def __init__(self, stops=()):
        controls = {
            "first": Whole("first [m]", "the one", value=1, min=0, max=9),
            "how": Menu("how", "to add", Registry("a way", callable, {"plain": sum}.items())),
            "others": Bank({"a": Whole("a", "more", value=0, min=0, max=9, step=3)}),
        }
        self.picture = SimpleNamespace(draw=lambda view: png_bytes(np.zeros((4, 600, 3), np.uint8)))
        super().__init__(controls, stops)

    @classmethod
    def example(cls):
        return cls()

    def compute(self, first, how, others):
        total = self.controls["how"].rows[how]([first, *others.values()])
        if total == 7:
            raise ValueError("total must not be <7>.")
        return Sum(f"total {total}")


def test_an_explorer_is_its_controls_and_what_it_computes():
    explorer = Adding([(2, "plain", {"a": 3}), 5])
    assert explorer.view.text == "total 5"
    assert stored(explorer) == ["first 2 m, how plain, a 3: total 5", "first 5 m: total 5"]
    assert explorer.set(9, others={"a": 6}).text == "total 15"
    assert explorer.set(9).text == "total 9", "what is not named goes to its default"
    for wrong in ({"b": 3}, {"a": 4}, {"a": 12}):
        with pytest.raises(ValueError, match=r"others"):
            explorer.set(others=wrong)
    with pytest.raises(TypeError, match="others must be a mapping"):
        explorer.set(others=3)
    with pytest.raises(ValueError, match="first must be a whole number"):
        Adding([10])
    assert stored(Adding()) == ["now: total 1"]


def test_named_stops_are_buttons():
    explorer = Adding({"one": 3, "two": (4,)})
    one, two = explorer.box.children[0].children
    assert (one.description, two.description) == ("one", "two")
    two.click()
    assert explorer.view.text == "total 4"
    assert explorer.controls["first"].value == 4


def test_what_cannot_be_computed_says_so_by_hand_and_raises_in_code():
    explorer = Adding()
    view = explorer.view
    explorer.controls["first"].value = 7
    assert "total must not be &lt;7&gt;." in explorer.readout.value
    assert explorer.view is view
    with pytest.raises(ValueError, match="total must not be <7>"):
        explorer.set(7)
    explorer.controls["first"].value = 8
    assert explorer.view.text == "total 8"


def test_a_row_of_one_s_own_goes_into_the_menu_of_this_explorer_alone():
    explorer, menu = Adding(), Adding().controls["how"]
    assert explorer.set(3, how=max).text == "total 3"
    assert explorer.controls["how"].value == "max"
    assert explorer.controls["how"].options == ("plain", "max")
    assert explorer.set(3, "plain").text == explorer.set(3, "max").text == explorer.set(3, how=max).text
    assert menu.options == ("plain",)
    with pytest.raises(TypeError, match="how must be the name of a way or a way itself, got int"):
        explorer.set(3, how=3)


def test_own_criteria_methods_rules_and_calibrators_are_taken_for_their_names(
    lenet, structure_explorer, head_explorer, calibration_explorer
):
    own = Criterion("mine", {"channels": lambda evidence: {g.name: torch.arange(g.size) for g in evidence.groups}})
    view = structure_explorer.set(30, own)
    assert view.kept == structure_explorer.kept_at(30, "mine", "uniform")
    assert "mine" not in CRITERIA
    head_explorer.set(3, 14, own)
    assert head_explorer.view.heads == head_explorer.off_at(3, "mine")
    flat = Method("flat", lambda model, images, targets: images[:, 0].square())
    explorer = HeatmapExplorer(*lenet, methods=("lrp", flat))
    assert explorer.controls["method"].options == ("lrp", "flat")
    assert explorer.set(0, flat).ledger is None
    assert explorer.set(0, Method("still", flat.function)).heatmap.max() == 1
    assert explorer.set(0, "lrp", gamma(0.25)).text == explorer.set(0, "lrp", "gamma", 0.25).text
    assert "still" not in METHODS
    half = Calibrator("half", lambda seen, bits, scheme: (seen.low / 2, seen.high / 2))
    view = calibration_explorer.set("features.2.conv.2", calibrator=half)
    assert view.saturated > 0
    assert calibration_explorer.controls["share"].disabled
    calibration_explorer.set("features.2.conv.2", calibrator="percentile")
    assert not calibration_explorer.controls["share"].disabled


def test_each_calibrator_and_method_of_the_registries_is_offered(lenet, calibration_explorer):
    assert set(calibration_explorer.controls["calibrator"].options) >= set(CALIBRATORS)
    views = [calibration_explorer.set("features.2.conv.2", bits=4, calibrator=name) for name in CALIBRATORS]
    assert len({view.grid.range for view in views}) > 2
    free = HeatmapExplorer(*lenet).controls["method"].options
    assert set(METHODS) - set(free) == {name for name, method in METHODS.items() if "lrp" in name}
    explorer = HeatmapExplorer(*lenet, methods=METHODS)
    assert set(explorer.controls["method"].options) == set(METHODS)
    for name in METHODS:
        explorer.controls["method"].value = name
        assert ("shows no attention" in explorer.readout.value) == METHODS[name].attention


def test_the_gallery_makes_an_explorer_when_it_is_chosen():
    made = []

    class Counted(Adding):
        title = "Counted"

        @classmethod
        def example(cls):
            made.append(cls())
            return made[-1]

    page = gallery([Adding, Counted])
    choice, place = page.children
    assert place.children == ()
    choice.value = "Counted"
    assert place.children == (made[0].box,)
    choice.value = choice.options[0]
    assert place.children == ()
    choice.value = "Counted"
    assert place.children == (made[0].box,)
    assert len(made) == 1, "it is made once"
    assert gallery().children[0].options[1:] == tuple(kind.title for kind in EXPLORERS)
