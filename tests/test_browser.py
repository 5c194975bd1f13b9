"""A real slider, dragged in JupyterLab in headless Chromium."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("XAIPRUNE_REQUIRE_BROWSER"),
        reason="no Chromium on this machine: install it (Debian: apt-get install chromium) to drive the sliders",
    ),
]

#: Notebook to its cells: each ends in an explorer.
NOTEBOOKS = {
    "coefficients": (
        """import xaiprune as xp
xp.setup()
model = xp.zoo.load("mnist-autoencoder")
images = xp.data.mnist("validation", 256).images
scores = xp.score(model, xp.find_units(model, images[:1]), "l2")""",
        "xp.widgets.CoefficientExplorer(model, scores, images, stops={'latent away': {'latent': 0.9}})",
    ),
    "threshold": (
        """import xaiprune as xp
xp.setup()
model = xp.zoo.load("lenet-300-100")
digits = xp.data.mnist("validation", 1000)""",
        "xp.widgets.ThresholdExplorer(model, digits)",
    ),
    "curvature": (
        """import xaiprune as xp
from torch import nn
xp.setup()
model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 16), nn.Tanh(), nn.Linear(16, 10)).eval()
digits = xp.data.mnist("calibration")
diagonal = xp.curvature.hessian_diagonal(model, digits, xp.training.classification_loss, probes=10)""",
        "xp.widgets.CurvatureExplorer(model, digits, diagonal, '2.weight')",
    ),
    "heatmap": (
        """import xaiprune as xp
xp.setup()
model, digits = xp.zoo.load("lenet-5"), xp.data.mnist("validation", 20)
explorer = xp.widgets.HeatmapExplorer(model, digits, {"epsilon": (0, "lrp", "epsilon", 0.5)})
view = explorer.set(0, "lrp", "gamma", 0.1)""",
        "explorer",
    ),
    "noise": (
        """import xaiprune as xp
xp.setup()
model, digits = xp.zoo.load("lenet-5"), xp.data.mnist("validation", 20)""",
        "xp.widgets.NoiseExplorer(model, digits)",
    ),
    "structure": (
        """import xaiprune as xp
xp.setup()
model, clothes = xp.zoo.load("mobilenet-fashion-mnist"), xp.data.fashion_mnist("validation", 60)""",
        "xp.widgets.StructureExplorer(model, clothes, clothes, criteria=('l1',), stops=((0, 'l1', 'uniform'),))",
    ),
    "heads": (
        """import xaiprune as xp
xp.setup()
model, clothes = xp.zoo.load("vit-fashion-mnist"), xp.data.fashion_mnist("validation", 60)""",
        "xp.widgets.HeadExplorer(model, clothes, clothes, criteria=('l2',), stops=((24, 1536, 'l2'),))",
    ),
    "calibration": (
        """import xaiprune as xp
xp.setup()
model, clothes = xp.zoo.load("mobilenet-fashion-mnist"), xp.data.fashion_mnist("validation", 60)""",
        "xp.widgets.CalibrationExplorer(model, clothes.images, clothes)",
    ),
    "temperature": (
        """import xaiprune as xp
xp.setup()
models = [xp.zoo.load(name) for name in ("lenet-5", "lenet-300-100")]
digits = xp.data.mnist("validation", 20)""",
        "xp.widgets.TemperatureExplorer(*models, digits, xp.data.MNIST_CLASSES)",
    ),
    "routes": (
        """import xaiprune as xp
xp.setup()
model, clothes = xp.zoo.load("mobilenet-fashion-mnist"), xp.data.fashion_mnist("train", 500)
trunk, tail = xp.dynamic.split_at(model, "features.4")
branch = xp.dynamic.fit_branch(trunk, clothes, classes=10, epochs=8, progress=False)""",
        """network = xp.dynamic.Dynamic(trunk, branch, [tail], [range(10)], 0.9)
xp.widgets.RouteExplorer(network, model, clothes.first(200))""",
    ),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab with token authentication, on a free port, with a notebook for each explorer."""
    folder = tmp_path_factory.mktemp("lab")
    for name, cells in NOTEBOOKS.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    shutil.copy(Path(__file__).parents[1] / "notebooks" / "dashboard.ipynb", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--notebook-dir={folder}"]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "server.log")
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def page():
    """A page in headless Chromium."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "XAIPRUNE_REQUIRE_BROWSER is set, but there is no Chromium"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(120):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def settle(page) -> None:
    """Updates are throttled on their way to the kernel: wait until the readout has been still for a second."""
    page.evaluate("window.lastText = null")
    page.wait_for_function(
        """() => {
            const text = document.querySelector('.xaiprune-readout').innerText
            if (text !== window.lastText) { window.lastText = text; window.lastTime = Date.now() }
            return Date.now() - window.lastTime > 1000
        }""",
        timeout=15_000,
    )


def readout(page) -> tuple[str, list[float]]:
    """What stands above the picture, and the numbers in it."""
    text = page.locator(".xaiprune-readout").inner_text()
    return text, [float(number.replace(",", "")) for number in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)]


def wait_for_change(page, text: str) -> None:
    """Until the readout says something else, and has settled."""
    changed = "text => document.querySelector('.xaiprune-readout').innerText !== text"
    page.wait_for_function(changed, arg=text, timeout=60_000)
    settle(page)


def drag(lab, page, name: str, handle: int, pixels: int, down: int = 0) -> list[list[float]]:
    """Open a notebook, run it, drag the handle of a slider to the right or down; the numbers before and after."""
    address, token = lab
    page.goto(f"{address}/lab/tree/{name}.ipynb?token={token}&reset")
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # a cell that is run before its kernel is there is lost
    page.locator(".jp-CodeCell .cm-content").first.click(timeout=60_000)
    for _ in NOTEBOOKS[name]:
        page.keyboard.press("Shift+Enter")
    page.locator(".xaiprune-readout").wait_for(timeout=90_000)
    settle(page)
    before, picture = readout(page), page.locator(".jp-OutputArea img").first.get_attribute("src")
    slider = page.locator(".noUi-handle").nth(handle)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y + down, steps=12)
    page.mouse.up()
    wait_for_change(page, before[0])
    after = readout(page)
    assert after[0] != before[0]
    redrawn = "picture => document.querySelector('.jp-OutputArea img').src !== picture"
    page.wait_for_function(redrawn, arg=picture, timeout=60_000)
    if folder := os.environ.get("XAIPRUNE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")
    return [before[1], after[1]]


def test_jupyterlab_asks_for_its_token(lab):
    address, _ = lab
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/contents", timeout=5)
    assert refused.value.code == 403


def test_dragging_a_coefficient_fades_the_reconstructions(lab, page):
    (psnr, sparsity), (less, more) = drag(lab, page, "coefficients", handle=2, pixels=140)  # encoder.hidden
    assert sparsity == 0
    assert more > 0.1
    assert less < psnr


def test_dragging_the_threshold_takes_weights_away(lab, page):
    (accuracy, gone, whole, *_), (lower, more, fewer, *_) = drag(lab, page, "threshold", handle=0, pixels=200)
    assert gone == 0
    assert more > 30
    assert fewer < whole
    assert lower < accuracy


def test_dragging_gamma_changes_what_the_pixels_get(lab, page):
    (label, got, whole, *_), (same, less, also, *_) = drag(lab, page, "heatmap", handle=1, pixels=120)
    assert (label, whole) == (same, also)
    assert less != got


def test_dragging_sigma_makes_two_draws_differ(lab, page):
    (alike, _), (less, _) = drag(lab, page, "noise", handle=1, pixels=90)
    assert less < alike


def test_dragging_a_bar_takes_channels_from_one_group(lab, page):
    (_, _, whole, *_), (_, _, less, *_) = drag(lab, page, "structure", handle=2, pixels=0, down=60)
    assert whole == 100
    assert less < whole


def test_dragging_the_number_of_heads_and_clicking_one(lab, page):
    (_, whole, off, *_), (_, less, more, *_) = drag(lab, page, "heads", handle=0, pixels=-120)
    assert (whole, off) == (100, 0)
    assert less < whole
    assert more > 4
    was, before = readout(page)[0], readout(page)[1][2]
    page.locator(".jupyter-widgets.widget-toggle-button", has_text="%").first.click()
    wait_for_change(page, was)
    assert readout(page)[1][2] == before + 1


def test_dragging_the_clip_trades_rounding_for_clipping(lab, page):
    before, after = drag(lab, page, "calibration", handle=0, pixels=-60)
    (_, step, _, rounding, clipping, saturated, *_), (_, finer, _, less, more, outside, *_) = before, after
    assert (clipping, saturated) == (0, 0)
    assert finer < step
    assert less < rounding
    assert min(more, outside) > 0


def test_dragging_to_another_weight_shows_its_landscape(lab, page):
    before, after = drag(lab, page, "curvature", handle=0, pixels=120)
    assert before != after


def test_dragging_the_temperature_lets_the_teacher_say_more(lab, page):
    (cold, bits, most, *_), (warm, more, same, *_) = drag(lab, page, "temperature", handle=0, pixels=90)
    assert (cold, most) == (1, same)
    assert warm > cold
    assert more > bits


def test_dragging_the_threshold_of_the_branch_keeps_images(lab, page):
    (leave, _, mean, *_), (fewer, _, more, *_) = drag(lab, page, "routes", handle=0, pixels=200)
    assert fewer < leave
    assert more > mean


def test_the_dashboard_shows_an_explorer_without_code(lab, page):
    address, token = lab
    page.goto(f"{address}/voila/render/dashboard.ipynb?token={token}")
    page.locator("select").wait_for(timeout=120_000)
    assert page.locator(".cm-content, .jp-InputArea-editor").count() == 0
    page.locator("select").select_option(label="Noise: gradients, smoothed")
    page.locator(".xaiprune-readout").wait_for(timeout=90_000)
    settle(page)
    before = readout(page)[0]
    box = page.locator(".noUi-handle").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2, steps=12)
    page.mouse.up()
    wait_for_change(page, before)
    if folder := os.environ.get("XAIPRUNE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/dashboard.png")


def test_the_dashboard_asks_for_the_token_too(lab, page):
    address, _ = lab
    page.context.clear_cookies()
    answer = page.goto(f"{address}/voila/render/dashboard.ipynb")
    assert "/login" in page.url or answer.status == 403
    assert page.locator("select").count() == 0
