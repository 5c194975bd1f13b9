"""Every picture that the repository ships or shows, with its licence; and none in a wheel."""

from __future__ import annotations

import json
import re
import subprocess
from fnmatch import fnmatch

import pytest
from setuptools import find_packages

from tests import ROOT
from tests.whole.test_docs import table
from tests.whole.test_project import pyproject

#: Endings of pictures, of files that may hold them, and of notebooks, which show them.
PICTURES = {"png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "svg", "ico", "pdf", "npz", "npy", "ipynb"}
ROWS = {row[0].strip("`"): row[1:] for row in table((ROOT / "data" / "PICTURES.md").read_text())[1:]}
#: What a lesson calls to get pictures, and the licence that its figures then have.
SHOWN = {"mnist": "CC BY-SA 3.0", "fashion_mnist": "MIT", "objects": "GPL-2", "two_objects": "GPL-2", "scenes": "GPL-2"}


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def test_every_picture_stands_in_one_row_and_every_row_has_pictures():
    pictures = [name for name in files() if name.rpartition(".")[2].lower() in PICTURES or "-images-idx" in name]
    assert len(pictures) > 300
    for name in pictures:
        assert len([pattern for pattern in ROWS if fnmatch(name, pattern)]) == 1, name
    for pattern in ROWS:
        assert any(fnmatch(name, pattern) for name in pictures), pattern
    for shows, licence, source in ROWS.values():
        assert shows
        assert re.search(r"CC BY-SA 3\.0|CC0|MIT|GPL-2", licence)
        for told in re.findall(r"`(.*?)`", source):
            assert (ROOT / told).exists(), told


def test_a_lessons_figures_have_the_licences_of_what_it_shows():
    for name in files():
        if name.endswith(".ipynb"):
            cells = json.loads((ROOT / name).read_text())["cells"]
            code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
            [licence] = [row[1] for pattern, row in ROWS.items() if fnmatch(name, pattern)]
            for function, needed in SHOWN.items():
                assert needed in licence or not re.search(rf"\b{function}\(", code), f"{name}: {function}"


def test_no_picture_hides_in_text():
    for name in files():
        if name.rpartition(".")[2] in ("md", "py", "json", "txt", "html", "css"):
            text = (ROOT / name).read_text(errors="ignore")
            assert not re.search(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/]{99}", text), name


def test_no_picture_is_in_a_wheel():
    tools = pyproject()["tool"]["setuptools"]
    assert tools == {"packages": {"find": {"include": ["xaiprune*"]}}}
    packages = find_packages(ROOT, **tools["packages"]["find"])
    assert {name.partition(".")[0] for name in packages} == {"xaiprune"}
    inside = [name for name in files() if name.startswith("xaiprune/")]
    assert {name.rpartition(".")[2] for name in inside} <= {"py", "typed"}, "a wheel takes what lies in the package"
