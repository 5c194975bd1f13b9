"""Sweeps: many independent evaluations that run in parallel, show progress, and lose nothing when interrupted."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import joblib
from tqdm.auto import tqdm

from .. import core
from ..core import save_atomically

#: A task is a tuple of numbers and strings, so that it can be a key and a line of JSON.
_Task = tuple

#: Seconds after which a table is written again: a process that is killed loses no more.
_EVERY = 5.0


def sweep(
    function: Callable[[_Task], float],
    tasks: Iterable[_Task],
    *,
    identity: dict,
    table: Path | str | None = None,
    chunk: int = 1,
    progress: bool = True,
    label: str = "sweep",
) -> dict[_Task, float]:
    """Evaluate a function on many tasks through joblib.

    ``joblib.parallel_config("loky", n_jobs=2)`` around the call uses two processes, :func:`on_dask` a cluster.

    Parameters
    ----------
    function : callable
        ``task -> float``; it is sent to other processes, so it must be importable or a partial of what is.
    tasks : iterable of tuple
        Of numbers and strings.
    identity : dict
        What the values depend on, as JSON can hold it. A table made under another identity is refused.
    table : Path or str, optional
        JSON file that keeps what is finished, written every few seconds; tasks that it holds are not run again.
    chunk : int
        Tasks per job.
    progress : bool
    label : str
        Of the progress bar.

    Returns
    -------
    dict of tuple to float
        The tasks in their order, with their values.

    Raises
    ------
    ValueError
        If ``table`` is no table of a sweep or belongs to another identity.
    TypeError
        Before anything runs: if JSON cannot hold a task or the identity.
    KeyboardInterrupt
        When interrupted, after everything finished has been kept.

    Examples
    --------
    >>> xp.experiments.sweep(max, [(1, 5), (7, 2)], identity={"function": "max"}, progress=False)
    {(1, 5): 5, (7, 2): 7}
    """
    tasks = list(tasks)
    json.dumps([identity, tasks])  # what cannot be kept is said before hours have gone into it
    known = {} if table is None else _read(Path(table), identity)
    missing = [task for task in tasks if task not in known]
    parts = [missing[start : start + chunk] for start in range(0, len(missing), chunk)]
    jobs = (joblib.delayed(_run)(function, part) for part in parts)
    kept = time.monotonic()
    with tqdm(total=len(tasks), initial=len(tasks) - len(missing), disable=not progress, desc=label) as bar:
        try:
            for part, values in joblib.Parallel(return_as="generator_unordered")(jobs):
                known |= zip(part, values)
                bar.update(len(part))
                if table is not None and time.monotonic() - kept > _EVERY:
                    _write(Path(table), identity, known)
                    kept = time.monotonic()
        finally:
            if table is not None and missing:
                _write(Path(table), identity, known)
    return {task: known[task] for task in tasks}


@contextmanager
def on_dask(address: str | None = None, *, workers: int = 2, timeout: float = 10.0) -> Iterator:
    """Inside the ``with``, every sweep runs on a Dask cluster; what a lost worker had begun is run again.

    Of a cluster with a single core joblib makes no use: it runs the sweep in this process.

    Parameters
    ----------
    address : str, optional
        Of a scheduler, such as ``tcp://head:8786``. Without one, workers are started on this machine.
    workers : int
        Processes of that local cluster, each with one thread.
    timeout : float
        Seconds to wait for the scheduler.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ConnectionError
        If no scheduler answers at the address.

    Examples
    --------
    A cluster takes seconds to start, so these two lines are not run here:

    >>> with xp.experiments.on_dask(workers=2):  # doctest: +SKIP
    ...     values = xp.experiments.sweep(max, [(1, 5), (7, 2)], identity={"function": "max"})

    Where no scheduler answers, that is said:

    >>> with xp.experiments.on_dask("tcp://127.0.0.1:1", timeout=0.1):
    ...     pass
    Traceback (most recent call last):
        ...
    ConnectionError: no Dask scheduler answers at tcp://127.0.0.1:1 (...
    """
    import dask
    from distributed import Client, LocalCluster

    if address is None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")
    with ExitStack() as stack:
        if address is None:
            options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
            options["silence_logs"] = logging.ERROR  # a worker that is slow to leave is no news
            # Dask has its workers give freed memory back at once, and faults then take half of their time.
            environment = dask.config.get("distributed.nanny.pre-spawn-environ") | core.KEPT
            stack.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": environment}))
            address = stack.enter_context(LocalCluster(**options))
        try:
            client = stack.enter_context(Client(address, timeout=timeout))
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {address} ({error}): start one there with `dask scheduler`, and workers "
                "with `dask worker ADDRESS --nthreads 1`, or leave the address out for workers on this machine."
            ) from error
        stack.enter_context(joblib.parallel_config("dask"))
        yield client


def _run(function: Callable[[_Task], float], part: Sequence[_Task]) -> tuple[Sequence[_Task], list[float]]:
    return part, [function(task) for task in part]


def _write(path: Path, identity: dict, known: dict[_Task, float]) -> None:
    content = json.dumps({"identity": identity, "rows": list(known.items())})
    save_atomically(path, lambda temporary: temporary.write_text(content))


def _read(path: Path, identity: dict) -> dict[_Task, float]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        found, rows = content["identity"], {tuple(task): value for task, value in content["rows"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"table {path} is no table of a sweep ({type(error).__name__}); give another file name."
        ) from error
    if found != json.loads(json.dumps(identity)):
        raise ValueError(
            f"table {path} belongs to another model, other data or another ranking; give another file name."
        )
    return rows
