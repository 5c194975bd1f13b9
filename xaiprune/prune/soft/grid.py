"""Every combination of coefficients at a stated resolution, as far as it meets the constraint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core import digest
from ...experiments import sweep
from .problem import SoftProblem, SoftResult, _Stopwatch


def combinations(problem: SoftProblem, levels: int | Sequence[float] = 6) -> np.ndarray:
    """Counts of all combinations that meet the constraint; exact, and without an evaluation.

    Parameters
    ----------
    problem : SoftProblem
    levels : int or sequence of float
        That many equally spaced coefficients from 0 to 1, or the coefficients themselves.

    Returns
    -------
    numpy.ndarray of int
        Shape ``(combinations, groups)``; combinations that round to the same units are listed once.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> counts = xp.prune.soft.combinations(problem, levels=3)
    >>> counts.shape[1], bool(problem.meets(counts).all()), problem.evaluations
    (2, True, 0)
    """
    levels = np.linspace(0, 1, levels) if isinstance(levels, int) else np.asarray(levels, float)
    axes = np.array([problem.counts([level] * len(problem.sizes)) for level in levels]).T
    mesh = np.stack(np.meshgrid(*map(np.unique, axes), indexing="ij"), -1).reshape(-1, len(axes))
    return mesh[problem.meets(mesh)]


def grid_search(
    problem: SoftProblem,
    levels: int | Sequence[float] = 6,
    *,
    table: Path | str | None = None,
    progress: bool = True,
    chunk: int = 64,
) -> SoftResult:
    """Evaluate every combination that meets the constraint and keep the best.

    The sparsity of all combinations is computed at once; only those inside the band are run. They run
    through joblib, so ``joblib.parallel_config("loky", n_jobs=2)`` around the call uses two processes. An interrupted
    search loses nothing: the same call on the same problem goes on where it stopped, and with ``table`` also
    in another process.

    Parameters
    ----------
    problem : SoftProblem
    levels : int or sequence of float
        As for :func:`combinations`.
    table : Path or str, optional
        JSON file that keeps what is finished.
    progress : bool
    chunk : int
        Combinations per task.

    Returns
    -------
    SoftResult
        ``evaluations`` is the number of combinations that meet the constraint, also those that were read
        from ``table``; ``history`` holds the best so far each time it rose.

    Raises
    ------
    ValueError
        If no combination meets the constraint (the nearest sparsity is named), or ``table`` belongs to
        another problem.
    KeyboardInterrupt
        When interrupted, after everything finished has been kept.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    >>> scores = xp.score(model, xp.find_units(model, torch.zeros(1, 4)), "l2")
    >>> data, metric = xp.data.Split(torch.eye(4), torch.arange(4)), xp.measure.ACCURACY
    >>> problem = xp.prune.soft.SoftProblem(model, scores, data, target_sparsity=0.6, epsilon=0.1, metric=metric)
    >>> found = xp.prune.soft.grid_search(problem, levels=3, progress=False)
    >>> found.evaluations == len(xp.prune.soft.combinations(problem, levels=3))
    True
    """
    watch, before = _Stopwatch(problem), problem.evaluations
    counts = combinations(problem, levels)
    if not len(counts):
        raise ValueError(
            f"no combination of {levels} levels has |S - {problem.target_sparsity:g}| <= {problem.epsilon:g}: "
            "take more levels."
        )
    keys = [tuple(map(int, row)) for row in counts]
    problem.remember(
        sweep(
            problem.value,
            keys,
            identity=_identity(problem),
            table=table,
            chunk=chunk,
            progress=progress,
            label="grid",
        )
    )
    history, best = [], -np.inf
    for number, key in enumerate(keys, 1):
        if (gain := problem.gain(key)) > best:
            best, winner = gain, key
            row = {"evaluations": number, "value": problem.value(key), "sparsity": float(problem.sparsity(key))}
            history.append(row | {"coefficients": (np.array(key) / problem.sizes).tolist()})
    problem.evaluations = before + len(keys)
    return watch.result("grid", problem.plan(winner), problem.value(winner), history)


def _identity(problem: SoftProblem) -> dict:
    """What the stored values depend on: the metric, its value of the unpruned model, the data, and every ranking."""
    return {
        "groups": dict(zip(problem.names, problem.sizes.tolist())),
        "metric": problem.metric.name,
        "intact": round(problem.intact, 3),
        "data": digest(*(tensor for tensor in problem.data if tensor is not None)),
        "ranking": digest(*(problem.scores.order(name) for name in problem.names)),
    }
