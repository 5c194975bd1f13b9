"""What cannot run on a machine is left out where everything is taken, and refused in words where it is named."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from xaiprune import data, deploy, pipeline, prune, quantize
from xaiprune.core import Registry
from xaiprune.deploy import Runtime, needs

IMAGES = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
WAY_OUT = r'not installed; `pip install "xaiprune\[deploy\]"`'


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)).eval()


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def without(monkeypatch, *packages):
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_a_runtime_that_cannot_run_is_left_out_with_the_reason(model, no_compiler):
    with pytest.warns(UserWarning, match=r"'torch\.compile' is left out: there is no C\+\+ compiler .*; install"):
        found = deploy.runtime_latencies({"a": model}, IMAGES, repeats=2)
    assert {runtime for _, runtime in found} == set(deploy.available()) == set(deploy.RUNTIMES) - {"torch.compile"}
    assert list(deploy.missing()) == ["torch.compile"]


def test_a_runtime_that_is_named_and_cannot_run_is_refused_before_anything_is_timed(model, no_compiler, monkeypatch):
    monkeypatch.setattr(deploy.runtimes, "latencies", lambda *_, **__: pytest.fail("it was timed"))
    words = r"the runtime 'torch\.compile' cannot run here: there is no C\+\+ compiler .*; install"
    with pytest.raises(deploy.UnavailableError, match=words):
        deploy.runtime_latencies({"a": model}, IMAGES, ["eager", "torch.compile"])
    with pytest.raises(deploy.UnavailableError, match=words):
        deploy.prepare(model, IMAGES, "torch.compile")
    with pytest.raises(deploy.UnavailableError, match=r"quantize\.pt2e cannot run here"):
        quantize.pt2e(model, IMAGES, IMAGES)


def test_without_onnx_runtime_the_others_are_timed(model, monkeypatch):
    without(monkeypatch, "onnxruntime")
    rows = [row for row in deploy.RUNTIMES.values() if row.name != "torch.compile"]
    quick = Registry("a runtime", Runtime, rows)
    monkeypatch.setattr(deploy.runtimes, "RUNTIMES", quick)
    with pytest.warns(UserWarning, match=f"'ONNX Runtime' is left out: onnxruntime is {WAY_OUT}"):
        found = deploy.runtime_latencies({"a": model}, IMAGES, repeats=2)
    assert list(found) == [("a", "eager"), ("a", "eager, channels last")]


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("onnxruntime", lambda model, folder: deploy.prepare(model, IMAGES)),
        ("onnxscript", lambda model, folder: deploy.onnx_bytes(model, IMAGES)),
        ("onnx", lambda model, folder: deploy.Frozen(model, IMAGES)),
        ("onnxruntime", lambda model, folder: deploy.node_times(b"", IMAGES)),
        ("onnx", lambda model, folder: deploy.export(model, IMAGES, folder / "model.onnx")),
        ("onnx", lambda model, folder: quantize.int8_bytes(model, IMAGES)),
        ("onnx", lambda model, folder: quantize.quantize_onnx(b"", IMAGES)),
        ("torchao", lambda model, folder: quantize.pt2e(model, IMAGES, IMAGES)),
        ("onnx", lambda model, folder: prune.latency_costs(model, prune.find_units(model, IMAGES[:1]), IMAGES)),
        ("onnxruntime", lambda model, folder: pipeline.compress(model, splits(), [CUT], folder=folder)),
    ],
)
def test_a_missing_package_is_named_with_the_way_out(model, package, call, monkeypatch, tmp_path):
    without(monkeypatch, package)
    with pytest.raises(deploy.UnavailableError, match=f"cannot run here: {package} is {WAY_OUT}"):
        call(model, tmp_path)
    assert not list(tmp_path.iterdir())


CUT = pipeline.Prune(ratio=0.5)


def splits():
    part = data.Split(IMAGES, torch.zeros(8, dtype=torch.long))
    return {"train": part, "validation": part, "calibration": part}


def test_what_another_package_needs_is_not_in_the_extra(monkeypatch):
    without(monkeypatch, "onnx", "executorch")
    assert needs.lacks_packages("torch") == ""
    assert needs.lacks_packages("onnx", "executorch") == (
        "onnx, executorch are not installed; `pip install onnx executorch`"
    )


def test_a_compiler_is_what_cxx_names_arguments_included(monkeypatch, tmp_path):
    compiler = tmp_path / "mine"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for command, found in (("mine", True), ("mine -O1", True), (str(compiler), True), ("theirs", False)):
        monkeypatch.setenv("CXX", command)
        assert ("no C++ compiler" not in needs.lacks_compiler()) is found, command


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they come with Python or the compiler")
def test_a_compiler_without_pythons_header_files_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(needs.shutil, "which", lambda name: name)
    monkeypatch.setattr(needs.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python's header files are missing; install" in needs.lacks_compiler()
    (tmp_path / "Python.h").touch()
    assert needs.lacks_compiler() == ""


def test_a_runtime_of_ones_own_is_a_row(model, monkeypatch):
    mine = Runtime("mine", lambda model, example: lambda images: images)
    found = deploy.runtime_latencies({"a": model}, IMAGES, [mine, "eager"], repeats=2)
    assert [(key, time.runtime) for key, time in found.items()] == [
        (("a", "mine"), "mine"),
        (("a", "eager"), "eager"),
    ]
    assert deploy.prepare(model, IMAGES, mine)(IMAGES) is IMAGES
    monkeypatch.setattr(deploy.runtimes, "RUNTIMES", Registry("a runtime", Runtime, [mine]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(deploy.runtime_latencies({"a": model}, IMAGES, repeats=2)) == [("a", "mine")]
    with pytest.raises(ValueError, match="runtime must be one of mine, got 'eager'"):
        deploy.prepare(model, IMAGES, "eager")


HERE = """
import torch
from xaiprune import deploy
from torch import nn

model, images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval(), torch.rand(2, 1, 6, 6)
print(sorted(deploy.missing()), sorted({runtime for _, runtime in deploy.runtime_latencies({"a": model}, images)}))
try:
    torch.compile(model)(images)
except Exception as error:
    print("InvalidCxxCompiler" in str(error))
"""


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="the extra deploy is not installed")
def test_a_machine_without_a_compiler_times_the_other_runtimes(tmp_path):
    """What is said to be missing is what torch misses: it is asked too, with no kernel that was built before."""
    environment = {name: value for name, value in os.environ.items() if name != "CXX"}
    environment |= {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels")}
    run = subprocess.run([sys.executable, "-c", HERE], env=environment, capture_output=True, text=True, check=True)
    others = sorted(set(deploy.RUNTIMES) - {"torch.compile"})
    assert run.stdout.splitlines() == [f"['torch.compile'] {others}", "True"]
    assert "'torch.compile' is left out: there is no C++ compiler" in run.stderr
