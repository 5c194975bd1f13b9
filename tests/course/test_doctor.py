"""The doctor says OK, or what to do in words."""

from __future__ import annotations

import importlib
import re
import sys
from collections import namedtuple
from dataclasses import replace

import pytest
import torch

import xaiprune as xp
from xaiprune import deploy
from xaiprune.course import doctor


def test_a_healthy_machine_gets_ok_everywhere():
    findings = doctor.doctor()
    assert all(finding.ok for finding in findings), findings
    assert str(findings[0]) == "OK  Python 3.11 or newer"


@pytest.fixture
def whole(monkeypatch):
    """A machine that lacks nothing."""
    monkeypatch.setattr("xaiprune.core.LATE", False)
    for row in deploy.RUNTIMES.values():
        monkeypatch.setitem(deploy.RUNTIMES, row.name, replace(row, lacks=lambda: ""))


def test_setup_seeds_pins_threads_and_reports(whole, capsys):
    before = torch.get_num_threads()
    xp.setup(seed=5, threads=1)
    first = torch.rand(1)
    xp.setup(seed=5, threads=1)
    assert torch.equal(torch.rand(1), first)
    assert torch.get_num_threads() == 1
    assert f"doctor: {len(doctor.CHECKS)} checks, all OK" in capsys.readouterr().out
    torch.set_num_threads(before)


def importing(failures):
    """importlib.import_module, but for some names an exception."""
    real = importlib.import_module

    def fake(name, *args):
        if name in failures:
            raise failures[name]
        return real(name, *args)

    return fake


@pytest.mark.parametrize(
    ("failures", "advice"),
    [
        ({"torch": ImportError("no torch")}, "torch cannot be imported"),
        (
            {"torchvision": RuntimeError("operator torchvision::nms does not exist")},
            "from the same index: delete .venv",
        ),
        ({"torchvision": ImportError("none")}, "torchvision cannot be imported"),
    ],
)
def test_torch_and_torchvision_that_do_not_fit(monkeypatch, failures, advice):
    monkeypatch.setattr(doctor.importlib, "import_module", importing(failures))
    assert advice in doctor._torch().advice


def test_an_old_python(monkeypatch):
    Version = namedtuple("Version", "major minor micro")
    monkeypatch.setattr(sys, "version_info", Version(3, 10, 4))
    assert "this is 3.10.4; install Python 3.11" in doctor._python().advice


def test_a_missing_widgets_extension(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(doctor.Path, "home", lambda: tmp_path)
    assert "pip install jupyterlab_widgets" in doctor._widgets().advice


def test_missing_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path))
    assert "MNIST/t10k-labels-idx1-ubyte.gz" in doctor._data().advice
    assert "checkpoints/mnist-autoencoder-seed0.safetensors missing" in doctor._data().advice
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path / "nowhere"))
    assert doctor._data().ok


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "deep" / "down"))
    assert doctor._cache().ok
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert "set XAIPRUNE_CACHE" in doctor._cache().advice


def test_a_torch_that_does_not_load_is_told_and_nothing_behind_it_is_looked_at(monkeypatch):
    monkeypatch.setattr(doctor.importlib, "import_module", importing({"torch": ImportError("no torch")}))
    monkeypatch.setattr(doctor, "CHECKS", (doctor._torch, lambda: pytest.fail("looked at")))
    [finding] = doctor.doctor()
    assert not finding.ok


def test_what_a_runtime_misses_is_a_note_that_says_what_it_costs(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(doctor, "CHECKS", (doctor._python, doctor._onnx_runtime, doctor._compiler))
    xp.setup(threads=torch.get_num_threads())
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert re.match(r"NOTE ONNX Runtime: onnxruntime is not installed; .*deploy.*lessons 05, .* stop where", first)
    assert re.match(
        r"NOTE a C\+\+ compiler, .*: there is no C\+\+ compiler .*; install .*torch.compile is left out", second
    )
    assert all(finding.ok for finding in doctor.doctor())


def test_setup_refuses_to_start_a_lesson_half_broken(monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: doctor.Finding("something", "mend it"),))
    with pytest.raises(RuntimeError, match="DO  something: mend it"):
        xp.setup()


def test_what_a_runtime_lacks_is_noted_and_the_lessons_go_on(whole, monkeypatch, capsys):
    row = replace(deploy.RUNTIMES["torch.compile"], lacks=lambda: "there is no C++ compiler 'g++'; install it")
    monkeypatch.setitem(deploy.RUNTIMES, row.name, row)
    xp.setup()
    out = capsys.readouterr().out
    assert "doctor: 8 checks, 7 OK" in out
    assert "NOTE a C++ compiler, for torch.compile: there is no C++ compiler 'g++'; install it; until then" in out
