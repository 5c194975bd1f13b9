"""A real slider, dragged in JupyterLab in headless Chromium."""

from __future__ import annotations

import inspect
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from tests import ROOT
from xaiprune.widgets import EXPLORERS

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


def elsewhere(control):
    """A value that is neither the default nor at an end; of a mapping, for its first name."""
    if hasattr(control, "controls"):
        return {name: elsewhere(part) for name, part in [*control.controls.items()][:1]}
    if hasattr(control, "buttons"):
        return [0]
    if hasattr(control, "options"):
        return control.options[1]
    if isinstance(control.value, bool):
        return True
    return control.min + int(0.7 * (control.max - control.min) / control.step) * control.step


def move(explorer):
    """Set all controls, then each slider by its attribute, off its steps, twice at once: what is shown then."""
    explorer.set(**{name: elsewhere(control) for name, control in explorer.controls.items()})
    banks = [getattr(control, "controls", {"": control}) for control in explorer.controls.values()]
    sliders = [control for bank in banks for control in bank.values() if hasattr(control, "step")]
    for place in (0.7777, 0.3712):
        for slider in sliders[:4]:
            slider.value = type(slider.value)(slider.min + place * (slider.max - slider.min))
    return explorer.view


#: What the first cell of the notebook holds; the others are written by the tests.
SETUP = f"import xaiprune as xp\nxp.setup()\n\n{inspect.getsource(elsewhere)}\n\n{inspect.getsource(move)}"


class Drag(NamedTuple):
    """What is dragged by how many pixels, to the right and down, and what must hold of the numbers before and after."""

    label: str
    right: int
    down: int
    holds: Callable[[list[float], list[float]], bool]


#: For each explorer the drag that its lesson invites to; any other's first slider is dragged, and must change numbers.
DRAGS = {
    "ThresholdExplorer": Drag(
        "threshold", 200, 0, lambda was, now: was[1] == 0 and now[1] > 30 and now[2] < was[2] and now[0] < was[0]
    ),
    "NoiseExplorer": Drag("sigma [%]", 90, 0, lambda was, now: now[0] < was[0]),
    "HeatmapExplorer": Drag(
        "parameter", 120, 0, lambda was, now: (was[0], was[2]) == (now[0], now[2]) and now[1] != was[1]
    ),
    "CurvatureExplorer": Drag("first, by size", 120, 0, lambda was, now: now != was),
    "CoefficientExplorer": Drag(
        "encoder.hidden (256)", 140, 0, lambda was, now: was[1] == 0 and now[1] > 0.1 and now[0] < was[0]
    ),
    "StructureExplorer": Drag("0", 0, 60, lambda was, now: was[2] == 100 and now[2] < 100),
    "HeadExplorer": Drag("heads", -120, 0, lambda was, now: was[1:3] == [100, 0] and now[1] < 100 and now[2] > 4),
    "CalibrationExplorer": Drag(
        "inside [%]",
        -60,
        0,
        lambda was, now: was[4:6] == [0, 0] and now[1] < was[1] and now[3] < was[3] and min(now[4:6]) > 0,
    ),
    "TemperatureExplorer": Drag(
        "T", 90, 0, lambda was, now: was[0] == 1 and now[0] > 1 and now[1] > was[1] and now[2] == was[2]
    ),
    "RouteExplorer": Drag("threshold", 200, 0, lambda was, now: now[0] < was[0] and now[2] > was[2]),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab with token authentication, on a free port, with one notebook for all explorers."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (SETUP, "", "")])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, folder / "explorers.ipynb")
    shutil.copy(ROOT / "notebooks" / "dashboard.ipynb", folder)
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


def run(page, cell: int, source: str) -> None:
    """Write a cell anew, run it, and wait until it has said its last word."""
    run.word = getattr(run, "word", 0) + 1
    place = page.locator(".jp-CodeCell").nth(cell)
    place.locator(".cm-content").click(timeout=60_000)
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(f"{source}\nprint('word', {run.word})")
    page.keyboard.press("Control+Enter")
    place.locator(".jp-OutputArea").get_by_text(re.compile(rf"\bword {run.word}\b")).wait_for(timeout=180_000)


def slide(page, label: str, right: int, down: int = 0) -> None:
    """Drag the handle of the slider with a label."""
    handle = page.locator(f"label:text-is('{label}') ~ .slider-container .noUi-handle").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=12)
    page.mouse.up()


@pytest.fixture(scope="module")
def notebook(lab, page):
    """The notebook in JupyterLab, with a kernel that has run its first cell."""
    address, token = lab
    page.goto(f"{address}/lab/tree/explorers.ipynb?token={token}&reset")
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # a cell that is run before its kernel is there is lost
    run(page, 0, SETUP)
    return page


@pytest.fixture
def explorer(notebook, request):
    """One explorer's example, shown and at rest."""
    run(notebook, 1, f"explorer = xp.widgets.{request.param}.example()\ndisplay(explorer)")
    notebook.locator(".xaiprune-readout").wait_for(timeout=90_000)
    settle(notebook)
    yield request.param
    if folder := os.environ.get("XAIPRUNE_SCREENSHOTS"):
        notebook.screenshot(path=f"{folder}/{request.param}.png")


def test_jupyterlab_asks_for_its_token(lab):
    address, _ = lab
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/contents", timeout=5)
    assert refused.value.code == 403


@pytest.mark.parametrize("explorer", [kind.__name__ for kind in EXPLORERS], indirect=True)
def test_a_slider_is_followed_by_mouse_and_keyboard_and_stays_where_code_sets_it(notebook, explorer):
    page = notebook
    (text, before), picture = readout(page), page.locator(".jp-OutputArea img").first.get_attribute("src")
    first = page.locator("label:has(~ .slider-container)").first.inner_text()
    drag = DRAGS.get(explorer, Drag(first, 90, 0, lambda was, now: was != now))
    slide(page, drag.label, drag.right, drag.down)
    wait_for_change(page, text)
    dragged, after = readout(page)
    assert drag.holds(before, after), (before, after)
    redrawn = "picture => document.querySelector('.jp-OutputArea img').src !== picture"
    page.wait_for_function(redrawn, arg=picture, timeout=60_000)

    page.keyboard.press("ArrowDown")  # the handle that was dragged has the focus
    wait_for_change(page, dragged)

    run(page, 2, "view = move(explorer)")
    settle(page)
    run(page, 2, "print('at rest' if explorer.view is view else explorer.setting)\nprint(view.text)")
    said = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea").inner_text()
    assert said.startswith(f"at rest\n{readout(page)[0]}"), f"the browser has moved what code had set: {said}"


@pytest.mark.parametrize("explorer", ["HeadExplorer"], indirect=True)
def test_clicking_a_head_switches_it_off(notebook, explorer):
    text, before = readout(notebook)
    notebook.locator(".jupyter-widgets.widget-toggle-button", has_text="%").first.click()
    wait_for_change(notebook, text)
    assert readout(notebook)[1][2] == before[2] + 1


def test_the_dashboard_shows_an_explorer_without_code(lab, page):
    address, token = lab
    page.goto(f"{address}/voila/render/dashboard.ipynb?token={token}")
    page.locator("select").wait_for(timeout=120_000)
    assert page.locator(".cm-content, .jp-InputArea-editor").count() == 0
    page.locator("select").select_option(label="Noise: gradients, smoothed")
    page.locator(".xaiprune-readout").wait_for(timeout=90_000)
    settle(page)
    before = readout(page)[0]
    slide(page, "sigma [%]", 90)
    wait_for_change(page, before)
    if folder := os.environ.get("XAIPRUNE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/dashboard.png")


def test_the_dashboard_asks_for_the_token_too(lab, page):
    address, _ = lab
    page.context.clear_cookies()
    answer = page.goto(f"{address}/voila/render/dashboard.ipynb")
    assert "/login" in page.url or answer.status == 403
    assert page.locator("select").count() == 0
