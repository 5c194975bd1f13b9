"""Threads that wait soon sleep, wherever the kit starts, unless the user has chosen."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests import ROOT
from xaiprune.core import threads

POLICY, SPINS = threads.SETTINGS
SHOW = f"import os; print(*[os.environ.get(name) for name in ({POLICY!r}, {SPINS!r})])"
KERNEL = f"""
import sys
from pathlib import Path
import nbformat
from xaiprune.course import runner

lesson = nbformat.v4.new_notebook(metadata={{"xaiprune": {{"seconds": 60}}}})
lesson.cells = [nbformat.v4.new_code_cell({SHOW!r})]
nbformat.write(lesson, sys.argv[1])
print(runner.execute(Path(sys.argv[1])).notebook.cells[0].outputs[0].text)
"""
CHOICES = pytest.mark.parametrize(
    ("chosen", "told"),
    [({}, "PASSIVE 1000"), ({POLICY: "ACTIVE"}, "ACTIVE None"), ({SPINS: "7"}, "None 7")],
    ids=["none", "active", "spins"],
)


def started(command, **environment) -> subprocess.CompletedProcess:
    """A process that begins without a choice, but for what is given."""
    clean = {name: value for name, value in os.environ.items() if name not in threads.SETTINGS} | environment
    return subprocess.run(command, env=clean, cwd=ROOT, capture_output=True, text=True, check=True)


def python(code, *arguments, **environment):
    return started([sys.executable, "-c", code, *arguments], **environment)


@CHOICES
def test_the_package_sets_it_unless_the_user_has(chosen, told):
    assert python(f"import xaiprune; {SHOW}", **chosen).stdout.strip() == told


def test_what_torch_computes_with_reads_it():
    run = python("import xaiprune, torch", OMP_DISPLAY_ENV="TRUE")
    assert re.findall(r"OMP_WAIT_POLICY *= *'(\w+)'", run.stderr) == ["PASSIVE"]


def test_kernels_of_the_runner_have_it(tmp_path):
    assert python(KERNEL, str(tmp_path / "00_lesson.ipynb")).stdout.strip() == "PASSIVE 1000"


@CHOICES
def test_make_sets_the_same(chosen, told):
    shown = f"shown: ; @echo $${{{POLICY}-None}} $${{{SPINS}-None}}"
    assert started(["make", "--silent", "--eval", shown, "shown"], **chosen).stdout.strip() == told


def test_where_torch_came_first_the_doctor_says_so():
    loaded = "import sys; sys.modules['torch'] = sys; "
    told = "import xaiprune; from xaiprune.course import doctor; print(doctor._threads(), doctor._threads().ok)"
    late = python(loaded + told).stdout
    assert late.startswith("NOTE threads that wait asleep: torch was imported before xaiprune; until xaiprune comes")
    assert late.endswith("True\n"), "a note stops no lesson"
    assert python(loaded + told, **{POLICY: "ACTIVE"}).stdout.startswith("OK")
    assert python(told).stdout.startswith("OK")
