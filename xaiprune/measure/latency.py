"""Latency on a machine that is shared: warm-up, pinned threads, turns, and samples without stolen time."""

# In stored tables: latency

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..core import evaluating
from ..graph import calling

#: Timed runs in a row.
_IN_A_ROW = 10
#: Seconds before a turn in which the threads of others stop waiting busily: they do so for some 10 ms after their last
#: work, and a second session of ONNX Runtime was seen to take three times as long beside them.
_REST = 0.05


@dataclass(frozen=True)
class Latency:
    """Times of one callable, in milliseconds.

    Attributes
    ----------
    median : float
    quartiles : tuple of float
        First and third.
    kept : int
        Undisturbed samples: those during which the machine's steal counter moved are dropped, but where it moved during
        all of them all are used, and 0 are called undisturbed.
    taken : int
        All samples.
    threads : int
    runtime : str
        What ran it, such as ``eager``.
    """

    median: float
    quartiles: tuple[float, float]
    kept: int
    taken: int
    threads: int
    runtime: str

    def __str__(self) -> str:
        low, high = self.quartiles
        return (
            f"median {self.median:.2f} ms, quartiles {low:.2f} to {high:.2f}, {self.kept} of {self.taken} runs, "
            f"{self.runtime}, {self.threads} threads"
        )


def latencies(
    models: Mapping[str, Callable],
    example: torch.Tensor,
    *,
    repeats: int = 40,
    warmup: int = 3,
    threads: int | None = None,
    runtime: str = "eager",
) -> dict[str, Latency]:
    """Time callables in turns of ten runs, all of them in each round, so that a drift of the machine's speed meets all.

    A turn begins with a short rest, if there are several threads, and with runs that do not count: a network that is
    used alone finds its own weights in the caches, and no other one's threads at work. Each round has another order,
    the same ones at every call.

    Parameters
    ----------
    models : mapping of str to callable
        Models in evaluation mode, or anything that takes ``example``.
    example : torch.Tensor, or tuple or mapping of torch.Tensor
        The batch.
    repeats, warmup : int
        Timed runs per callable, and runs before each turn of it.
    threads : int, optional
        Default torch's present number, which is restored.
    runtime : str
        Stated in the result.

    Returns
    -------
    dict of str to Latency

    Raises
    ------
    ValueError
        If a model is in training mode, or ``repeats`` or ``threads`` is less than 1.

    Examples
    --------
    >>> times = xp.measure.latencies({"short": torch.sin, "long": lambda x: x @ x}, torch.zeros(100, 100), repeats=3)
    >>> list(times), times["long"].taken, times["long"].median > 0
    (['short', 'long'], 3, True)
    """
    for name, model in models.items():
        if isinstance(model, nn.Module):
            evaluating(model, f"model {name!r}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}.")
    calls = {name: _repeatable(model, example) for name, model in models.items()}
    before = torch.get_num_threads()
    threads = threads or before
    samples: dict[str, list[tuple[float, bool]]] = {name: [] for name in models}
    orders = random.Random(0)
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            for done in range(0, repeats, _IN_A_ROW):
                for name in orders.sample(list(models), len(models)):
                    if threads > 1:
                        time.sleep(_REST)
                    for _ in range(warmup):
                        calls[name]()
                    for _ in range(min(_IN_A_ROW, repeats - done)):
                        stolen, start = _stolen(), time.perf_counter()
                        calls[name]()
                        samples[name].append((1e3 * (time.perf_counter() - start), _stolen() == stolen))
    finally:
        torch.set_num_threads(before)
    return {name: _summary(taken, threads, runtime) for name, taken in samples.items()}


def _repeatable(model: Callable, example: object) -> Callable[[], object]:
    """A call that finds the same inputs each time: copies of them, where the model changes them in place."""
    if not isinstance(model, nn.Module):
        return calling(model, example)
    with torch.no_grad():
        call = calling(model, example)
        given = [value for value in (*call.args, *call.keywords.values()) if isinstance(value, torch.Tensor)]
        before = [value._version for value in given]
        call()
    same = before == [value._version for value in given]
    return call if same else lambda: calling(model, example)()


def _summary(samples: list[tuple[float, bool]], threads: int, runtime: str) -> Latency:
    kept = [value for value, clean in samples if clean]
    low, median, high = np.percentile(kept or [value for value, _ in samples], [25, 50, 75])
    return Latency(float(median), (float(low), float(high)), len(kept), len(samples), threads, runtime)


def _stolen() -> int:
    """Ticks that a hypervisor took from this machine so far; 0 where the system does not say."""
    try:
        with open("/proc/stat") as file:
            return int(file.readline().split()[8])
    except (OSError, IndexError, ValueError):
        return 0
