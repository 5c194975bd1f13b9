"""The pages on extensions: their examples run, say all that takes such an object, and can be made permanent."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import ROOT
from tests.whole.test_registries import CASES, REGISTRIES
from xaiprune import pipeline, widgets
from xaiprune.experiments.provenance import code_digest, modules

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "extend").glob("*.md"))}
#: What each page is about, and what takes it where that is no row of a registry.
REGISTRY = {
    "calibrator": "CALIBRATORS",
    "criterion": "CRITERIA",
    "exercise": "EXERCISES",
    "loss": "LOSSES",
    "method": "METHODS",
    "schedule": "SCHEDULES",
    "unit_kind": "KINDS",
}
OTHERS = {"explorer": {"gallery"}, "recipe_step": {"compress", "search", "choices", "orders", "report"}}
SECTIONS = ("The contract", "An example", "Where it goes", "Make it permanent", "Test it")

each_page = pytest.mark.parametrize("name", PAGES)


def section(name: str, title: str) -> str:
    return PAGES[name].partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def listed(name: str) -> list[tuple[str, str]]:
    """The files that a page says to change, and whether each is new."""
    files = section(name, "Make it permanent").partition("Files to change:\n\n")[2].partition("\n\n")[0]
    return re.findall(r"^- `(\S+)`(, new)?", files, re.M)


def blocks(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def example(name: str) -> str:
    """The page's own code, without what belongs into the package."""
    return "\n".join(blocks(PAGES[name].replace(section(name, "Make it permanent"), "")))


def definitions(code: str) -> str:
    """The functions and classes at the top of some code."""
    found = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    lines = code.splitlines()
    starts = [min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1 for node in found]
    return "\n\n\n".join("\n".join(lines[start : node.end_lineno]) for start, node in zip(starts, found))


def changes(name: str) -> dict[str, list[tuple[str, str]]]:
    """File to what is replaced there, as the page shows it; an empty text stands for a new file."""
    found: dict[str, list[tuple[str, str]]] = {}
    text = section(name, "Make it permanent")
    own = definitions("\n".join(blocks(section(name, "An example"))))
    for block in blocks(text):
        if path := re.match(r"# (\S+\.py)\n", block):
            found[path[1]] = [
                ("", re.sub(r"^# \.\.\. .*$", lambda _: f"\n{own}", block.partition("\n")[2], flags=re.M))
            ]
    for block in blocks(text, "diff"):
        path, _, body = block.partition("\n")
        for hunk in body.split("...\n"):
            lines = hunk.splitlines()
            before, after = (
                "".join(f"{line[1:]}\n" for line in lines if not line.startswith(other)) for other in ("+", "-")
            )
            found.setdefault(path.removeprefix("# "), []).append((before, after))
    return found


@pytest.fixture
def restored():
    """Registries as they were, and no network."""
    kept = {name: dict(registry) for name, registry in REGISTRIES.items()}
    yield
    for name, rows in kept.items():
        REGISTRIES[name].clear()
        REGISTRIES[name].update(rows)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package in which everything that the pages show is permanent."""
    root = tmp_path_factory.mktemp("extended")
    for part in ("xaiprune", "tests"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    for name in PAGES:
        for path, replaced in changes(name).items():
            for before, after in replaced:
                text = (root / path).read_text(encoding="utf-8") if before else ""
                assert before or not (root / path).exists(), f"{name}: {path} is there already"
                assert text.count(before) == 1 or not before, f"{name}: {path} has not, or not once:\n{before}"
                (root / path).write_text(text.replace(before, after) if before else after, encoding="utf-8")
    return root


def run_in(root: Path, *command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(root), "XAIPRUNE_DATA": str(ROOT / "data")}
    return subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True)


def test_there_is_a_page_for_each_thing_that_can_be_added():
    assert set(PAGES) == {*REGISTRY, *OTHERS}
    listed = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in PAGES if f"(extend/{name}.md)" not in listed] == []


@each_page
def test_it_has_its_sections_in_order(name):
    assert re.findall(r"^## (.*)$", PAGES[name], re.M) == list(SECTIONS)
    when = PAGES[name].partition("\n## ")[0].split("\n\n")
    assert when[0].startswith("# ")
    assert len(when[1].split()) >= 15, "when somebody needs one"


@each_page
def test_its_code_runs_without_a_network_and_its_tests_pass(name, restored, monkeypatch, capsys):
    def refused(*arguments):
        raise OSError("the examples run offline")

    monkeypatch.setattr(socket.socket, "connect", refused)
    module = ModuleType(f"page_{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example(name), f"docs/extend/{name}.md", "exec"), vars(module))
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    assert tests, "how to test it"
    for test in tests:
        marks = {mark.args[0]: mark.args[1] for mark in getattr(test, "pytestmark", ())}
        for names, rows in marks.items() or {(): [()]}.items():
            for row in rows:
                test(**dict(zip(names, row)))
    said = capsys.readouterr().out
    for told in re.findall(r"^(?:print|xp\.exercise)\(.*\)  # (.*)$", example(name), re.M):
        if told[0].isupper() or told[0] in "[" or ": " in told:
            assert told in said, f"the page says that it prints {told}"


@each_page
def test_it_names_all_that_takes_such_an_object(name):
    kind = REGISTRY.get(name)
    takers = {re.split(r"[.(]", place)[0] for place, case in CASES.items() if case.registry == kind}
    named = set(re.findall(r"`(?:\w+\.)*(\w+)(?:\([^`]*\))?`", section(name, "Where it goes").partition("```")[0]))
    named |= set(re.findall(r"\b(\w+)\(", "".join(blocks(section(name, "Where it goes")))))
    assert (takers or OTHERS[name]) - named == set()


@each_page
def test_it_takes_two_files_at_most_and_these_are_the_ones_that_it_names(name):
    files = listed(name)
    assert 1 <= len(files) <= 2
    assert {path for path, _ in files} == set(changes(name))
    for path, new in files:
        assert (ROOT / path).exists() != bool(new), path
        assert (ROOT / path).parent.is_dir()


RUNNER = """
import json, pathlib, sys, traceback, types
wrong = {}
for name, code in json.loads(pathlib.Path(sys.argv[1]).read_text()).items():
    module = sys.modules[name] = types.ModuleType(name)
    try:
        exec(code, vars(module))
    except Exception:
        wrong[name] = traceback.format_exc()
print("END", json.dumps(wrong))
"""


def test_what_is_made_permanent_is_known_by_its_name(extended):
    later = {name: [b for b in blocks(section(name, "Make it permanent")) if not b.startswith("# ")] for name in PAGES}
    assert all(later.values()), "what works from then on"
    codes = extended / "codes.json"
    codes.write_text(json.dumps({name: "\n".join([example(name), *code]) for name, code in later.items()}))
    done = run_in(extended, "-c", RUNNER, str(codes))
    assert json.loads(done.stdout.rpartition("END ")[2]) == {}, done.stderr


def test_stored_tables_and_style_stand_after_all_extensions(extended):
    package = extended / "xaiprune"
    assert {n: code_digest(n, package=package) for n in modules(package)} == {n: code_digest(n) for n in modules()}
    (extended / "pages").mkdir()
    for name in PAGES:
        (extended / "pages" / f"{name}.py").write_text(example(name))
    for words in (["check", "--ignore=D,E402"], ["check"], ["format", "--check"]):
        where = ["pages"] if "--ignore=D,E402" in words else sorted({path for name in PAGES for path in changes(name)})
        done = run_in(extended, "-m", "ruff", *words, "--config", str(ROOT / "pyproject.toml"), "--quiet", *where)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_that_go_through_all_rows_take_the_new_ones(extended):
    asked = [
        "tests/course/test_checks.py",
        "tests/widgets/test_widgets.py",
        "-k",
        "half or RoundingExplorer or solution_and_mistakes",
    ]
    done = run_in(extended, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 8


def test_a_page_that_is_not_true_any_more_is_noticed():
    """The readers of pages above see what they are meant to see."""
    assert definitions("x = 1\n\n\n@f\ndef g():\n    return 2\n") == "@f\ndef g():\n    return 2"
    assert changes("schedule")["xaiprune/prune/loops/__init__.py"][0] == (
        "from .shrink import Cutting, ShrinkResult, shrink\n",
        "from .shrink import Cutting, ShrinkResult, shrink\nfrom .slow_start import slow_start\n",
    )
    assert "def slow_start(t, final):" in changes("schedule")["xaiprune/prune/loops/slow_start.py"][0][1]
    assert pipeline.Step not in widgets.EXPLORERS
