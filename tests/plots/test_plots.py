"""Pictures: pure functions that draw every row they are given, with titles, labels and better sides."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

from xaiprune import plots


@pytest.fixture(autouse=True)
def closed():
    plots.use_style()
    yield
    plt.close("all")


ROWS = [
    {"method": m, "rho": r, "seed": s, "psnr": 20 - 10 * r + s / 10, "coefficients": [r, r / 2]}
    for m in ("descend", "grid", "random 0", "random 1", "global l2")
    for r in (0.5, 0.7)
    for s in (0, 1)
]
SCAN = [{"group": g, "ratio": r, "value": 90 - 50 * r} for g in ("one", "two", "whole model") for r in (0, 0.5, 0.9)]
LOSSES = [
    {"group": g, "units": n, "alpha": a, "loss": a * n, "parameters": 10 * n, "loss_per_parameter": a / n}
    for g, n in (("one", 16), ("two", 256))
    for a in (0.25, 0.4)
]


def test_a_montage_places_every_image():
    rows = [np.full((3, 4, 5), value) for value in (0.1, 0.9)]
    picture = plots.montage(rows, gap=1, fill=0.5)
    assert picture.shape == (2 * 5 - 1, 3 * 6 - 1)
    assert (picture[:4, :5] == 0.1).all()
    assert (picture[5:, 12:17] == 0.9).all()
    assert (picture[4] == 0.5).all()
    assert (plots.montage([np.zeros((3, 1, 4, 5))]) == plots.montage([np.zeros((3, 4, 5))])).all()


LEDGER = [
    {"layer": "output", "rule": "", "bias": 0.0, "kept": 0.0, "left": 4.0},
    {"layer": "fc", "rule": "epsilon", "bias": 1.0, "kept": 0.5, "left": 2.5},
    {"layer": "input", "rule": "", "bias": 0.0, "kept": 0.0, "left": 2.5},
]
ENDS = {f"{key}{end}": value for key in ("drift", "top") for end, value in (("", 0.5), ("_low", 0.4), ("_high", 0.7))}
DRIFT = [{"class": name, "images": 9, **ENDS} for name in ("0", "3", "all")]
DRAWS = [
    {"criterion": c, "per_class": n, "values": [90.0, 91.0], "overlap": 0.9, "least": 0.8}
    for c in ("relevance", "taylor")
    for n in (1, 5)
]
WATCHED = [{"level": n, "accuracy": 90.0, "drift": 0.2, "scores": 0.1} for n in (0, 10)]


def drawn():
    plt.close("all")
    landscape = np.add.outer(np.arange(4.0), np.arange(5.0))
    return {
        "images": plots.image_rows({"a": np.zeros((2, 4, 4)), "b": np.ones((2, 1, 4, 4))}, "Images"),
        "sparsity": plots.sparsity_curve([0, 0.5, 1], [0, 0.7, 1], "Sparsity", guess=0.5),
        "curves": plots.loss_curves(LOSSES, "Curves"),
        "per parameter": plots.loss_per_parameter(LOSSES, 0.4, "Per parameter"),
        "saving": plots.loss_against_saving(LOSSES, 0.4, "Saving"),
        "psnr": plots.psnr_against_sparsity(ROWS, ["descend", "grid", "random"], "PSNR"),
        "coefficients": plots.coefficients_per_group(ROWS, ["one", "two"], ["descend", "grid"], "Shares"),
        "path": plots.search_path(
            (range(5), range(4)), landscape, landscape / 7, 0.5, {"p": [(0, 0), (1, 1)]}, ("x", "y"), "Path"
        ),
        "histories": plots.histories({"a": [{"evaluations": 1, "value": 2}]}, "History", guess=3),
        "letters": plots.letters({"abc": np.array([0.0, 2.0, -1.0, 0.5]), "z": np.ones(4)}, "Letters"),
        "heatmaps": plots.heatmap_rows(np.zeros((2, 1, 4, 4)), {"lrp": np.ones((2, 4, 4))}, "Heatmaps"),
        "waterfall": plots.waterfall(LEDGER, "Ledger"),
        "faithfulness": plots.faithfulness_curves(
            [0, 0.5, 1], {"lrp": (np.ones((4, 3)), np.zeros((4, 3))), "random": (np.ones((4, 3)),) * 2}, "Gate"
        ),
        "drift": plots.drift_by_class(DRIFT, "Drift", names=list("abcd")),
        "draws": plots.draws_against_size(DRAWS, "Draws", "accuracy [%] (↑ better)"),
        "watch": plots.watch_lines(WATCHED, "Watch", "rotation [degrees]"),
        "bars": plots.bars({"a": 1.0, "b": 2.0}, "Bars", "PSNR [dB]  (→ better)", guess=1.5),
        "lines": plots.lines(
            {"a": ([1, 2], [3, 4])}, "Lines", "x", "y  (↑ better)", marks={"m": 1}, levels={"l": 3}, guess=(1, 2)
        ),
        "beside_controls": plots.beside_controls(ROWS, "psnr", "Beside", "PSNR [dB]  (↑ better)", ["random 0", "grid"]),
        "bands": plots.bands(ROWS, "rho", "psnr", "Bands", "rho", "PSNR [dB]  (↑ better)"),
        "sensitivity": plots.sensitivity_curves(SCAN, "Sensitivity", edges={"one": 0.5, "two": None}, guess=0.4),
        "histograms": plots.weight_histograms(
            {"one": np.linspace(-1, 1, 50), "two": np.ones(3)}, "Histograms (→ better)", thresholds={"one": 0.5}
        ),
    }


@pytest.mark.parametrize("name", drawn())
def test_every_picture_has_a_title_and_says_what_is_on_its_axes(name):
    axes = drawn()[name].axes[0]
    assert axes.get_title()
    if name != "images":
        words = " ".join(label for ax in drawn()[name].axes for label in (ax.get_xlabel(), ax.get_ylabel()))
        assert words.strip()
        titles = " ".join(ax.get_title() for ax in drawn()[name].axes)
        assert "better" in words + titles or name in ("coefficients", "histograms", "heatmaps", "letters", "waterfall")


def test_heatmaps_share_one_range_whatever_their_units():
    maps = np.random.default_rng(0).standard_normal((3, 8, 8)) * np.array([1e-6, 1, 1e6])[:, None, None]
    scaled = plots.scale_heatmaps(maps)
    assert np.abs(scaled).max(axis=(1, 2)).tolist() == [1, 1, 1]
    assert (np.sign(scaled) == np.sign(maps)).all()
    assert plots.scale_heatmaps(np.zeros((1, 8, 8))).max() == 0


def test_a_waterfall_ends_where_the_ledger_ends():
    ax = plots.waterfall(LEDGER, "Ledger").axes[0]
    heights = {(bar.get_x() + bar.get_width() / 2): bar for bar in ax.patches}
    assert heights
    tops = [bar.get_y() + bar.get_height() for bar in ax.patches]
    assert max(tops) == 4.0
    bias = next(bar for bar in ax.patches if bar.get_height() == 1.0)
    kept = next(bar for bar in ax.patches if bar.get_height() == 0.5)
    assert (bias.get_y(), kept.get_y()) == (3.0, 2.5)


def test_random_draws_are_one_line_with_their_band():
    axes = plots.psnr_against_sparsity(ROWS, ["random"], "Random").axes[0]
    [line] = axes.lines
    assert line.get_ydata()[0] == pytest.approx(np.mean([15.0, 15.1]))
    assert len(axes.collections) == 1


def test_a_method_is_not_mixed_with_another_of_a_longer_name():
    rows = [*ROWS, {"method": "descend from uniform", "rho": 0.5, "seed": 0, "psnr": -100, "coefficients": [0, 0]}]
    [line] = plots.psnr_against_sparsity(rows, ["descend"], "One").axes[0].lines
    assert min(line.get_ydata()) > 0


def test_a_guess_is_drawn_beside_the_truth():
    axes = plots.bars({"a": 1.0}, "Bars", "x", guess=0.4).axes[0]
    assert "your guess" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_histogram_colours_what_a_threshold_takes():
    figure = plots.weight_histograms({"one": np.linspace(-1, 1, 1001)}, "One", thresholds={"one": 0.25})
    bars = {patch.get_facecolor(): 0.0 for patch in figure.axes[0].patches}
    for patch in figure.axes[0].patches:
        bars[patch.get_facecolor()] += patch.get_height()
    assert sorted(bars.values()) == pytest.approx([250, 751], abs=15)


def test_bands_reach_from_the_least_to_the_most_and_lines_follow_the_mean():
    rows = [{"method": "m", "x": x, "y": y} for x, y in ((0.1, 1), (0.1, 3), (0.2, 5))]
    axes = plots.bands(rows, "x", "y", "Bands", "x", "y").axes[0]
    assert axes.lines[0].get_ydata().tolist() == [2, 5]
    ends = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == (1, 5)


WIDTHS = [
    {"layer": "a", "makes": 32, "kept": 20, "gone": False},
    {"layer": "b", "makes": 96, "kept": 96, "gone": True},
    {"layer": "c", "makes": 24, "kept": 7, "gone": False},
]
STEPS = [{"share": 1 - 0.2 * n, "cut": 80 - 20 * n, "recalibrated": 85 - 5 * n, "tuned": 93 - n} for n in (1, 2, 3)]
FRONTIER = [
    {"method": m, "accuracy": 93 - n - d, "drift": 0.1 * n, "latency": 4 - n}
    for d, m in enumerate(("plain", "budget"))
    for n in (1, 2, 3)
]


def test_the_flow_is_as_wide_as_the_channels():
    ax = plots.flow(WIDTHS, "Flow").axes[0]
    whole, kept = (part.get_paths()[0].get_extents() for part in ax.collections)
    assert whole.height == 96
    assert kept.height == 20
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"removed", "kept", "block passed over"}


def test_the_cliff_draws_every_step_and_the_original():
    ax = plots.cliff(STEPS, "Cliff", intact=93.5).axes[0]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["cut", "recalibrated", "tuned", "original"]
    assert ax.xaxis_inverted()
    assert "↑ better" in ax.get_ylabel()


def test_the_frontier_colours_by_drift():
    figure = plots.frontier(FRONTIER, "Frontier")
    ax, bar = figure.axes
    assert len(ax.collections) == 2
    assert ax.collections[0].get_array().tolist() == sorted((0.1, 0.2, 0.30000000000000004), reverse=True)
    assert "↓ better" in bar.get_ylabel()


def test_runtime_bars_show_every_pair():
    times = {(m, r): (1.0, 2.0, 3.0) for m in ("original", "cut") for r in ("eager", "ONNX Runtime")}
    ax = plots.runtime_bars(times, "Latency").axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["eager", "ONNX Runtime"]
    assert sum(patch.get_height() == 2 for patch in ax.patches) == 4


def test_two_cliffs_share_an_axis_and_name_their_metric():
    ax = plots.cliff(STEPS, "Cliff", ylabel="PSNR [dB]").axes[0]
    plots.cliff(STEPS, "Cliff", ylabel="PSNR [dB]", ax=ax)
    assert ax.xaxis_inverted()
    assert ax.get_ylabel() == "PSNR [dB]"


def test_a_pair_that_was_not_timed_has_no_bar():
    times = {("a", "eager"): (1, 2, 3), ("a", "onnx"): (1, 2, 3), ("b", "eager"): (1, 2, 3)}
    ax = plots.runtime_bars(times, "Latency").axes[0]
    assert len(ax.texts) == 3


def test_heads_are_drawn_each_on_its_own_scale_and_crossed_out_when_gone():
    maps = np.arange(2 * 3 * 4).reshape(2, 3, 2, 2) + 1.0
    ax = plots.head_maps(maps, "Heads", off={1: [0, 2]}).axes[0]
    picture = ax.images[0].get_array()
    assert picture.shape == (5, 8)
    assert picture[:2, :2].max() == picture[3:, 6:].max() == 1
    assert ax.lines[0].get_xdata().tolist() == [0.5, 6.5]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]


def test_a_grid_of_heads_prints_every_number():
    figure = plots.head_grid(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "Shares", "share [%]")
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("head", "block")
    ax, bar = figure.axes
    assert [text.get_text() for text in ax.texts] == ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]
    assert bar.get_ylabel() == "share [%]"


def test_reliability_is_drawn_bin_by_bin():
    rows = [
        {"low": 0.0, "high": 0.5, "share": 0.1, "confidence": 0.4, "accuracy": 0.2},
        {"low": 0.5, "high": 1.0, "share": 0.9, "confidence": 0.8, "accuracy": 0.9},
    ]
    figure = plots.reliability_diagrams({"teacher": rows, "student": rows[1:]})
    first, second = figure.axes
    assert [bar.get_height() for bar in first.patches] == [0.2, 0.9]
    assert [(bar.get_x(), bar.get_width()) for bar in second.patches] == [(0.5, 0.5)]
    assert first.patches[0].get_facecolor()[3] < first.patches[1].get_facecolor()[3]
    assert [ax.get_title() for ax in figure.axes] == ["teacher", "student"]


def test_clips_are_drawn_with_their_values():
    figure = plots.clips(np.array([1, 5, 2]), np.array([0.0, 1, 2, 3]), {"min-max": 3.0, "percentile": 2.5}, "Ranges")
    [ax] = figure.axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["min-max: 3.00", "percentile: 2.50"]
    assert [line.get_xdata()[0] for line in ax.lines] == [3.0, 2.5]


def test_ranges_of_channels_are_sorted():
    figure = plots.channel_ranges({"before": [3.0, 1.0, 2.0], "after": [2.0, 2.0, 2.0]}, "Channels")
    [ax] = figure.axes
    assert list(ax.lines[0].get_ydata()) == [1.0, 2.0, 3.0]
    assert ax.get_yscale() == "log"


def test_letters_stand_on_their_own_evidence():
    ax = plots.letters({"abc": np.array([9.0, 2.0, -1.0, 0.5]), "z": np.ones(4)}, "Letters").axes[0]
    cells = ax.images[0].get_array()
    assert cells[0].tolist() == pytest.approx([1.0, -0.5, 0.25])
    assert cells[1, 0] == 1
    assert np.ma.getmaskarray(cells)[1, 1:].all()
    assert [text.get_text() for text in ax.texts] == list("abcz")


def test_pictures_in_colour_stand_above_their_heatmaps_in_their_colours():
    red = np.zeros((2, 3, 4, 4))
    red[:, 0] = 1
    drawn = plots.heatmap_rows(red, {"lrp": np.ones((2, 4, 4))}, "Heatmaps").axes[0].images[1].get_array()
    assert drawn.shape == (4, 10, 3)  # two of four pixels a side, a gap of two between them
    assert (drawn[:, :4] == [1, 0, 0]).all()
    assert (drawn[:, 4:6] == 1).all()


def test_controls_are_a_band_from_the_least_to_the_most_mean():
    rows = [
        {"method": name, "y": y, "told": told}
        for told in ("one", "two")
        for name, y in (("mine", 8), ("mine", 9), ("shuffled", 3), ("shuffled", 5), ("plain", 2))
    ]
    figure = plots.beside_controls(rows, "y", "Beside", "y", ["shuffled", "plain"], panel="told")
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    for ax in figure.axes:
        [band] = ax.patches
        assert (band.get_x(), band.get_width()) == (2, 2)
        assert [list(dots.get_xdata()) for dots in ax.lines[::2]] == [[8, 9], [3, 5], [2]]
        assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mine", "shuffled", "plain"]


def test_rulers_share_one_way_from_equal_models_to_chance():
    drifts = {"fine": {"noise": 0.4, "cut": 0.6, "chance": 0.8}, "coarse": {"noise": 0.1, "cut": 0.5, "chance": 1.0}}
    [ax] = plots.rulers(drifts, "Two rulers", noise="noise", chance="chance").axes
    assert [bar.get_width() for bar in ax.patches] == [50, 10]
    places = {(text.get_text(), text.xy[1]): text.xy[0] for text in ax.texts}
    assert places["cut", 0] == pytest.approx(75)
    assert places["cut", 1] == 50
    assert places["chance", 0] == places["chance", 1] == 100
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fine", "coarse"]
