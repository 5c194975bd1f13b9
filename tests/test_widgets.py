"""The explorer: compute and draw over the whole slider grid, the binding, and what it leaves in a notebook."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from xaiprune import plots
from xaiprune.prune import find_units, score
from xaiprune.widgets import CoefficientExplorer
from xaiprune.widgets.canvas import png_bytes, strip
from xaiprune.widgets.coefficients import Picture, compute

FRONTIER = [{"method": "descend", "sparsity": s, "psnr": 20 - 10 * s} for s in (0.2, 0.5, 0.7, 0.85)]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


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
    before, png = explorer.readout.value, explorer.image.value
    explorer.sliders["encoder.hidden"].value = 0.8
    assert explorer.readout.value != before
    assert explorer.image.value != png
    assert explorer.view.coefficients["encoder.hidden"] == 0.8
    assert f"{explorer.view.psnr:.2f} dB" in explorer.readout.value


def test_setting_all_sliders_updates_once(explorer, monkeypatch):
    calls = []
    original = explorer._compute
    monkeypatch.setattr(explorer, "_compute", lambda c: (calls.append(c), original(c))[1])
    view = explorer.set({"latent": 0.4, "decoder.hidden": 0.2})
    assert len(calls) == 1
    assert view.kept["latent"] == 3
    assert explorer.sliders["encoder.hidden"].value == 0


def test_a_button_sets_its_solution(explorer):
    buttons = explorer.box.children[0].children[0].children
    assert [button.description for button in buttons] == ["nothing pruned", "half"]
    buttons[1].click()
    assert explorer.sliders["latent"].value == 0.5
    buttons[0].click()
    assert explorer.view.sparsity == 0


def test_the_notebook_gets_widget_and_strip(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    one = pixels(explorer.image.value)
    assert pixels(base64.b64decode(bundle["image/png"])).shape == (2 * one.shape[0], *one.shape[1:])
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
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.5"):
        explorer.set({"latent": 1.5})
    explorer.sliders["latent"].value = 0.6
    assert explorer.view.coefficients["latent"] == 0.6
    with pytest.raises(ValueError, match="did you mean 'latent'"):
        CoefficientExplorer(tiny, explorer.scores, digits, solutions={"bad": {"lat": 1}})
    with pytest.raises(ValueError, match="do not run through the model"):
        CoefficientExplorer(tiny, explorer.scores, torch.rand(2, 3, 28, 28))


def test_a_strip_is_pictures_below_each_other():
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    both = pixels(strip([png_bytes(red), png_bytes(red // 2)]))
    assert both.shape == (8, 6, 3)
    assert both[0, 0, 0] == 200
    assert both[7, 0, 0] == 100
