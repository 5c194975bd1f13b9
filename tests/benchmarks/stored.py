"""How a stored table is made: part by part, so that an interrupted run goes on with what is missing."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import ModuleType

import torch

from xaiprune import core
from xaiprune.core import save_atomically
from xaiprune.experiments import tables

#: Columns that are too long to be shown while a table is made.
LONG = ("values", "removed", "steps", "bits")


def make(
    name: str,
    function: Callable[..., list[dict]],
    parts: Sequence[tuple],
    *,
    settings: str,
    command: str,
    modules: Iterable[str],
    files: Iterable[str],
    processes: int = 1,
    finish: Callable[[list[dict]], list[dict]] = list,
) -> list[dict]:
    """Measure all parts of a table and write it.

    Parameters
    ----------
    name : str
    function : callable
        ``(*part) -> rows``.
    parts : sequence of tuple
    settings : str
        Dotted name of the module with the function: parts that it measured with other code are not mixed in.
    command, modules, files
        As for ``tables.write``.
    processes : int
        1 measures one part after another with all threads, more give each part one thread.
    finish : callable
        ``rows -> rows``, for all of them.
    """
    unfinished = files.cache_dir() / "training" / f"{name}-{tables.code_version(settings, *modules)}.json"
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(unfinished.read_text()) if unfinished.exists() else {}
    missing = [part for part in parts if json.dumps(part) not in known]
    for part, rows, seconds in _all_timed(function, missing, processes):
        known[json.dumps(part)] = [rows, seconds]
        save_atomically(unfinished, lambda path: path.write_text(json.dumps(known)))
        print(f"{seconds:.0f} s: { {key: value for key, value in rows[0].items() if key not in LONG} }", flush=True)
    rows = finish([row for part in parts for row in known[json.dumps(part)][0]])
    seconds = sum(seconds for _, seconds in known.values())
    tables.write(name, rows, command=command, modules=modules, checkpoints=files, seconds=seconds)
    unfinished.unlink()
    return rows


def make_all(sweep: ModuleType, processes: int = 2) -> None:
    """Make all tables of a module: its ``jobs()`` by name, from its ``FILES``, with its ``COMMAND`` and ``MODULES``."""
    for name, (function, parts) in sweep.jobs().items():
        options = {"settings": sweep.__name__, "command": sweep.COMMAND, "modules": sweep.MODULES[name]}
        make(name, function, parts, files=sweep.FILES, processes=processes, **options)


def _all_timed(function: Callable, parts: Sequence[tuple], processes: int) -> Iterator[tuple]:
    """Parts as they are finished. Not by joblib, whose workers leave when they hold much: what they cached would go."""
    if processes == 1:
        yield from (_timed(function, part, processes) for part in parts)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_timed, function, part, processes) for part in parts]):
            yield future.result()


def _timed(function: Callable, part: tuple, processes: int) -> tuple[tuple, list[dict], float]:
    if processes > 1:  # what ``report.main`` sets up does not reach a new process
        core.keep_freed()
        torch.set_num_threads(1)
    start = time.perf_counter()
    rows = function(*part)
    return part, rows, time.perf_counter() - start
