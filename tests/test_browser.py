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

CELLS = (
    """import xaiprune as xp
xp.setup()
model = xp.zoo.load("mnist-autoencoder")
images = xp.data.mnist("validation", 256).images
scores = xp.score(model, xp.find_units(model, images[:1]), "l2")""",
    "xp.widgets.CoefficientExplorer(model, scores, images, solutions={'latent away': {'latent': 0.9}})",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab with token authentication, on a free port, with a notebook of an explorer."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, folder / "explorer.ipynb")
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


def readout(page) -> tuple[float, float]:
    """PSNR and sparsity as the learner reads them."""
    text = page.locator(".xaiprune-readout").inner_text()
    numbers = re.search(r"PSNR ([\d.]+) dB, measured sparsity ([\d.]+)", text)
    return float(numbers[1]), float(numbers[2])


def test_jupyterlab_asks_for_its_token(lab):
    address, _ = lab
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/contents", timeout=5)
    assert refused.value.code == 403


def test_dragging_a_slider_changes_numbers_and_picture(lab, page):
    address, token = lab
    page.goto(f"{address}/lab/tree/explorer.ipynb?token={token}")
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # a cell that is run before its kernel is there is lost
    page.locator(".jp-CodeCell .cm-content").first.click(timeout=60_000)
    for _ in CELLS:
        page.keyboard.press("Shift+Enter")
    page.locator(".xaiprune-readout").wait_for(timeout=90_000)
    before, picture = readout(page), page.locator(".jp-OutputArea img").first.get_attribute("src")
    assert before[1] == 0

    handle = page.locator(".noUi-handle").nth(2)  # encoder.hidden, the third slider
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 140, y, steps=12)
    page.mouse.up()
    settle(page)
    after = readout(page)
    assert after[1] > 0.1
    assert after[0] < before[0]
    assert page.locator(".jp-OutputArea img").first.get_attribute("src") != picture
    if folder := os.environ.get("XAIPRUNE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/explorer.png")


def test_a_button_sets_its_solution(lab, page):
    page.get_by_role("button", name="latent away").click()
    page.wait_for_function(
        "document.querySelectorAll('.widget-readout')[3].innerText.startsWith('0.90')", timeout=5_000
    )
    settle(page)
    assert readout(page)[1] < 0.05  # the latent holds few parameters
