"""The project as a whole: pins that agree, imports one way, commands that work, documentation that is complete."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml

import xaiprune
from tests import ROOT, house

MODULES = sorted(
    ["xaiprune", *(m.name for m in pkgutil.walk_packages(xaiprune.__path__, "xaiprune.") if "__main__" not in m.name)]
)


def requirements(text: str) -> dict[str, str]:
    """Name to version of lines such as ``name==version``, normalised."""
    rows = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", text, re.M)
    return {name.lower().replace("_", "-").replace(".", "-"): version for name, version in rows}


def pyproject() -> dict:
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_dependency_is_pinned_at_or_above_its_lower_bound():
    from packaging.requirements import Requirement

    pins = requirements((ROOT / "constraints.txt").read_text())
    project = pyproject()["project"]
    wanted = [*project["dependencies"], *(row for extra in project["optional-dependencies"].values() for row in extra)]
    for line in map(Requirement, wanted):
        assert line.name in pins, f"{line.name} has no pin in constraints.txt"
        assert line.specifier.contains(pins[line.name]), f"{line.name}: {pins[line.name]} is not {line.specifier}"


def test_this_environment_is_the_pinned_one():
    from importlib.metadata import version

    pins = requirements((ROOT / "constraints.txt").read_text())
    for name in ("torch", "torchvision", "captum", "ipywidgets", "jupyterlab", "nbval", "numpy", "matplotlib"):
        assert version(name).partition("+")[0] == pins[name]


def test_environment_yml_takes_its_pins_from_the_same_file():
    """conda itself cannot run in the tests: this checks the schema and that the pins have one place."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["name"] == "xaiprune"
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert pip == {"pip": ["--constraint constraints.txt", "--editable .[course,deploy,scale,test]"]}
    assert pyproject()["project"]["requires-python"] == ">=3.11"
    makefile = (ROOT / "Makefile").read_text()
    assert '--constraint constraints.txt --editable ".[course,deploy,scale,test]"' in makefile
    teachers = (ROOT / "notebooks" / "README.md").read_text()
    assert '--editable "REPOSITORY[course,deploy,scale]"' in teachers  # what lessons need, without tests


def test_the_citation_names_the_software_as_the_project_does():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # required by the format, version 1.2.0
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    project = pyproject()["project"]
    assert citation["version"] == project["version"] == xaiprune.__version__
    assert citation["license"] == project["license"]
    assert citation["title"].partition(":")[0] == project["name"]
    holder = re.search(r"Copyright \(c\) \d+ (.+)", (ROOT / "LICENSE").read_text())[1]
    assert citation["authors"] == [{"name": holder}]


def test_torch_comes_from_a_folder_of_wheels_where_make_is_told_so(tmp_path):
    """Two wheels of nothing, with the pinned versions: only the folder can have given them."""
    pins = requirements((ROOT / "constraints.txt").read_text())
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("torch", "torchvision"):
        version = f"{pins[name]}+folder"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
    venv = tmp_path / "venv"
    arguments = [f"VENV={venv}", f"TORCH_INDEX={wheels}", f"PYTHON={sys.executable}"]
    subprocess.run(["make", *arguments, f"{venv}/.torch"], cwd=ROOT, check=True, capture_output=True)
    listed = subprocess.run([f"{venv}/bin/pip", "list"], capture_output=True, text=True, check=True).stdout
    assert f"{pins['torch']}+folder" in listed
    assert f"{pins['torchvision']}+folder" in listed


def test_make_takes_an_address_as_an_index_and_nothing_as_the_stock_one():
    def dry(*arguments):
        command = ["make", "-n", "VENV=nowhere", *arguments, "nowhere/.torch"]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert "--index-url https://wheels.example.org/cpu" in dry("TORCH_INDEX=https://wheels.example.org/cpu")
    assert "pip" not in dry().partition("-m venv")[2]


def test_an_old_python_is_told_so(tmp_path):
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    command = ["make", f"VENV={tmp_path}/venv", f"PYTHON={old}", f"{tmp_path}/venv/.python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed; this is Python 3.9.1" in done.stdout + done.stderr


def test_jupyter_keeps_its_authentication():
    for path in (ROOT / "Makefile", ROOT / ".ci" / "run"):
        assert not re.search(r"token=|password=|disable_check_xsrf", path.read_text())


@pytest.mark.parametrize("module", house.modules())
def test_a_room_imports_only_rooms_that_stand_above_it(module):
    order = xaiprune.ROOMS.index
    for one in house.imports():
        here, there = house.room(one.module), house.room(one.target)
        if one.module == module and here and there:
            assert order(there) <= order(here), f"{module} imports {one.target}"
            assert here == "widgets" or there != "widgets"


def test_no_rooms_stand_on_each_other():
    assert house.circles(house.plan()) == house.circles(house.plan("xaiprune.prune")) == []
    assert house.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_what_looks_public_is_exported_and_rooms_take_only_that_from_each_other():
    assert house.accidental() == []
    assert house.unexported() == []


@pytest.mark.parametrize("module", house.modules())
def test_modules_are_small(module):
    assert len(house.lines_of_code(house.modules()[module])) <= 220


def test_importing_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, xaiprune; print([m for m in ('torch', 'matplotlib', 'ipywidgets', 'captum') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    assert "plan" in dir(xaiprune)
    with pytest.raises(AttributeError, match="has no attribute 'prune_all'"):
        xaiprune.prune_all  # noqa: B018


def test_every_name_of_the_package_can_be_had_in_a_fresh_process():
    code = "import xaiprune as xp; [getattr(xp, name) for name in xp.__all__]; print(len(xp.__all__))"
    assert int(subprocess.check_output([sys.executable, "-c", code], text=True)) == len(xaiprune.__all__)


def public_functions():
    seen = set()
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            own = getattr(value, "__module__", None) == name and not attribute.startswith("_")
            if own and (inspect.isfunction(value) or inspect.isclass(value)) and value not in seen:
                seen.add(value)
                yield pytest.param(value, id=f"{name}.{attribute}")


@pytest.mark.parametrize("thing", public_functions())
def test_public_names_are_documented_and_their_parameters_match(thing):
    from numpydoc.validate import validate

    document = inspect.getdoc(thing)
    assert document, thing
    found = validate(f"{thing.__module__}.{thing.__qualname__}")["errors"]
    relevant = {"PR02", "PR03"} | ({"PR01"} if "Parameters\n---" in document else set())
    assert [text for code, text in found if code in relevant] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


def test_the_project_names_no_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    home = re.compile(r"/(root|home/\w+|work)/|https?://[\w.-]*(pypi|pythonhosted|debian)\.")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ".json", "")
            and path.name not in ("test_project.py", "COPYRIGHT.upstream.txt")  # others' words stay as they are
        ):
            assert not home.search(path.read_text(errors="ignore")), name


def test_ci_runs_make_test_and_requires_the_browser():
    text = (ROOT / ".ci" / "run").read_text()
    assert "make test" in text
    assert "XAIPRUNE_REQUIRE_BROWSER=1" in text
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert shutil.which("make")
