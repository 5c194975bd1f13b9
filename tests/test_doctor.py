"""The doctor says OK, or what to do in words."""

from __future__ import annotations

import importlib
import sys
from collections import namedtuple

import pytest
import torch

import xaiprune as xp
from xaiprune.course import doctor


def test_a_healthy_machine_gets_ok_everywhere():
    findings = doctor.doctor()
    assert all(finding.ok for finding in findings), findings
    assert str(findings[0]) == "OK  Python 3.11 or newer"


def test_setup_seeds_pins_threads_and_reports(capsys):
    before = torch.get_num_threads()
    xp.setup(seed=5, threads=1)
    first = torch.rand(1)
    xp.setup(seed=5, threads=1)
    assert torch.equal(torch.rand(1), first)
    assert torch.get_num_threads() == 1
    assert "doctor: 5 checks, all OK" in capsys.readouterr().out
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


def test_setup_refuses_to_start_a_lesson_half_broken(monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: doctor.Finding("something", "mend it"),))
    with pytest.raises(RuntimeError, match="DO  something: mend it"):
        xp.setup()
