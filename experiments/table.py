"""How a stored table is made: its rows, part by part, and its probe."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import joblib
import torch

from experiments.setting import WHOLE, Setting
from xaiprune import core
from xaiprune.core import seed_everything
from xaiprune.experiments import sweep, tables
from xaiprune.experiments.provenance import code_digest

#: Columns of times, which are different in every run, and what a recipe has over its budget: probes leave them out.
TIMES = frozenset({"latency", "median", "low", "high", "minutes", "over", "seconds"})


@dataclass(frozen=True)
class Table:
    """A stored table as data.

    Attributes
    ----------
    name : str
        Its file is ``data/tables/NAME.json``.
    measure : callable
        ``(*part, at=Setting) -> rows``, importable, so that other processes can call it.
    parts : sequence of tuple
        Of numbers and strings, each measured on its own: an interrupted run goes on with those that are missing.
    code : tuple of str
        What the rows depend on, as modules name themselves in their line ``# In stored tables: NAME``.
    checkpoints : tuple of str
        Files in ``data/checkpoints`` that are measured.
    tried : sequence of tuple
        Parts of the probe.
    at : Setting
        Of the probe.
    probed : callable, optional
        In place of ``measure`` for the probe, where the rows are times.
    tolerance : float
        How far the probe's numbers may be off, as a share of the larger of 1 and the number.
    processes : int
        1 measures the parts one after another with all threads, more give each part one thread.
    finish : callable
        ``rows -> rows``, for all rows when all parts are measured.
    """

    name: str
    measure: Callable[..., list[dict]]
    parts: Sequence[tuple]
    code: tuple[str, ...]
    tried: Sequence[tuple]
    at: Setting
    checkpoints: tuple[str, ...] = ()
    probed: Callable[..., list[dict]] | None = None
    tolerance: float = tables.TOLERANCE
    processes: int = 1
    finish: Callable[[list[dict]], list[dict]] = list

    @property
    def command(self) -> str:
        """The command that makes the table."""
        return f"python -m experiments make {self.name}"

    def rows(self) -> tuple[list[dict], float]:
        """Measure all parts, which takes minutes or hours.

        Returns
        -------
        rows, seconds
            The seconds are those of all parts, of earlier runs too.
        """
        source = Path(inspect.getsourcefile(self.measure)).read_bytes()
        path = unfinished(f"{self.name}-{hashlib.sha256(source).hexdigest()[:12]}.json", self.code)
        with joblib.parallel_config("loky", n_jobs=self.processes, inner_max_num_threads=1):
            found = sweep(partial(_timed, self.measure), self.parts, identity={}, table=path, label=self.name)
        rows, seconds = zip(*found.values())
        return self.finish([row for some in rows for row in some]), sum(seconds)

    def probe(self) -> list[dict]:
        """Measure the probe: with one thread, fresh seeds and a cache of its own.

        Returns
        -------
        list of dict
            Rows without their times.
        """
        with _alone():
            rows = [row for part in self.tried for row in (self.probed or self.measure)(*part, at=self.at)]
        return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]

    def make(self) -> Path:
        """Measure rows and probe and write the table.

        Returns
        -------
        Path
            The file.
        """
        rows, seconds = self.rows()
        about = {"command": self.command, "code": self.code, "checkpoints": self.checkpoints, "seconds": seconds}
        return tables.write(self.name, rows, probe=self.probe(), tolerance=self.tolerance, **about)


def unfinished(name: str, code: Iterable[str]) -> Path:
    """Where something that takes long keeps what it has: another place when the code has changed.

    Parameters
    ----------
    name : str
    code : iterable of str
        As for a table.

    Returns
    -------
    Path
    """
    path = core.cache_dir() / "experiments" / code_digest(*code) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _timed(measure: Callable[..., list[dict]], part: tuple) -> tuple[list[dict], float]:
    core.keep_freed()
    start = time.perf_counter()
    return measure(*part, at=WHOLE), time.perf_counter() - start


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One thread, fresh seeds, an empty cache, and nothing that is compiled, which would take longer than the probe."""
    unpacked, threads = core.cache_dir() / "unpacked", torch.get_num_threads()
    unpacked.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        (Path(folder) / "unpacked").symlink_to(unpacked.resolve())  # images, which take seconds to unpack
        stack.enter_context(mock.patch.dict(os.environ, {"XAIPRUNE_CACHE": folder}))
        stack.enter_context(mock.patch.object(torch, "compile", lambda model, **options: model))
        stack.enter_context(torch.random.fork_rng())
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(1)
        seed_everything(0)
        yield
