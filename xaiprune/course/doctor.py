"""The first cell of every lesson: seeds, threads, figure style, and a doctor that says OK or what to do."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """What the doctor found.

    Attributes
    ----------
    what : str
        What was looked at.
    advice : str
        What to do; empty if all is well.
    note : bool
        Whether lessons go on without it: the advice says what that costs.
    """

    what: str
    advice: str = ""
    note: bool = False

    @property
    def ok(self) -> bool:
        """True if nothing has to be done."""
        return not self.advice or self.note

    def __str__(self) -> str:
        mark = "NOTE " if self.advice and self.note else "DO  " if self.advice else "OK  "
        return f"{mark}{self.what}" + (f": {self.advice}" if self.advice else "")


def setup(seed: int = 0, threads: int | None = None) -> None:
    """Prepare a lesson: seed the generators, pin the threads, set the figure style, and ask the doctor.

    What the doctor only notes is printed. What is freed stays with the process from now on (``core.keep_freed``), so
    that timings do not depend on luck.

    Parameters
    ----------
    seed : int
    threads : int, optional
        Threads that torch computes with; default as many as it has, but at most 2, so that the course's timings can
        be compared.

    Raises
    ------
    RuntimeError
        If the doctor finds something that would break the lesson; the message says what to do.

    Examples
    --------
    >>> xp.setup(seed=1, threads=1)
    xaiprune ..., torch ..., 1 threads, seed 1
    doctor: ...
    """
    findings = doctor()
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        raise RuntimeError("\n".join(["The doctor found something to do first:", *map(str, bad)]))
    import torch

    from .. import __version__
    from ..core import keep_freed, seed_everything
    from ..plots import use_style

    keep_freed()
    seed_everything(seed)
    torch.set_num_threads(threads or min(2, torch.get_num_threads()))
    use_style()
    print(f"xaiprune {__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads, seed {seed}")
    notes = [finding for finding in findings if finding.advice]
    print(f"doctor: {len(findings)} checks, {len(findings) - len(notes) if notes else 'all'} OK", *notes, sep="\n")


def doctor() -> list[Finding]:
    """Look at Python, torch, the widgets, the data, the cache, and what runtimes need; nothing is changed.

    Without a torch that works nothing behind it can be looked at.

    Returns
    -------
    list of Finding
        One for each check that was made, in the order of ``CHECKS``.
    """
    findings = []
    for check in CHECKS:
        findings.append(check())
        if check is _torch and not findings[-1].ok:
            break
    return findings


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    advice = "" if sys.version_info >= (3, 11) else f"this is {found}; install Python 3.11 or newer, then `make lab`"
    return Finding("Python 3.11 or newer", advice)


def _torch() -> Finding:
    what = "torch and torchvision fit each other"
    try:
        importlib.import_module("torch")
    except ImportError as error:
        return Finding(what, f"torch cannot be imported ({error}); run `make lab`")
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a mismatch raises RuntimeError, a missing package ImportError
        versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "torchvision"))
        if "torchvision::nms" in str(error):
            return Finding(
                what,
                f"they do not ({versions}): one was built for the CPU only, or for another release. Install both "
                "from the same index: delete .venv and run `make lab`",
            )
        return Finding(what, f"torchvision cannot be imported ({versions}; {error}); run `make lab`")
    return Finding(what)


def _widgets() -> Finding:
    folders = [Path(base) / "share" / "jupyter" / "labextensions" for base in (sys.prefix, Path.home() / ".local")]
    found = any((folder / "@jupyter-widgets" / "jupyterlab-manager").exists() for folder in folders)
    advice = "" if found else "sliders would not show; `pip install jupyterlab_widgets`, then reload the page"
    return Finding("JupyterLab's widgets extension", advice)


def _data() -> Finding:
    from ..core import data_dir
    from ..data import FILES

    if not data_dir().exists():
        return Finding("data (outside a checkout: downloaded when first used)")
    wanted = [f"{dataset}/{name}.gz" for dataset, files in FILES.items() for name in files]
    wanted += ["checkpoints/mnist-autoencoder-seed0.safetensors"]
    missing = [name for name in wanted if not (data_dir() / name).exists()]
    advice = f"{', '.join(missing)} missing in {data_dir()}; `git checkout -- data`" if missing else ""
    return Finding("data and checkpoints", advice)


def _cache() -> Finding:
    from ..core import cache_dir

    place = cache_dir()
    while not place.exists():
        place = place.parent
    advice = "" if os.access(place, os.W_OK) else f"{place} cannot be written; set XAIPRUNE_CACHE to a folder that can"
    return Finding("a cache that can be written", advice)


def _threads() -> Finding:
    from ..core import LATE

    advice = "torch was imported before xaiprune; until xaiprune comes first, lessons are slow beside other programs"
    return Finding("threads that wait asleep", advice if LATE else "", note=True)


def _onnx_runtime() -> Finding:
    from ..deploy import RUNTIMES

    lack = RUNTIMES["ONNX Runtime"].lacks()
    advice = f"{lack}; until then lessons 05, 06, 07, 09 and 10 stop where they run a network in it"
    return Finding("ONNX Runtime", advice if lack else "", note=True)


def _compiler() -> Finding:
    from ..deploy import RUNTIMES

    lack = RUNTIMES["torch.compile"].lacks()
    advice = f"{lack}; until then torch.compile is left out where runtimes are timed, and quantize.pt2e is refused"
    return Finding("a C++ compiler, for torch.compile", advice if lack else "", note=True)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


CHECKS: tuple[Callable[[], Finding], ...] = (
    *(_python, _torch, _widgets, _data, _cache),
    *(_threads, _onnx_runtime, _compiler),
)
