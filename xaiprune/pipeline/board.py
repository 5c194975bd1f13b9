"""A leaderboard: what different recipes spent of one budget."""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock

from ..core import save_atomically
from .budget import COSTS
from .run import CompressionResult


def submit(name: str, done: CompressionResult, path: Path | str, *, by: str = "size") -> list[dict]:
    """Put a result on a leaderboard, which is a file that a class can share, and give all of it back in order.

    Parameters
    ----------
    name : str
        Whose it is; a later result of the same name takes the earlier one's place.
    done : Compressed
        From ``compress``, or the ``nearest`` of an ``OutOfBudgetError``.
    path : Path or str
        JSON; is made where it is missing.
    by : str
        Name of a budget: what decides among those that hold the budget; less is better.

    Returns
    -------
    list of dict
        ``name``, ``steps``, ``budget``, ``over`` (the bounds that are broken), and by the names of a budget what was
        spent; those that hold their budget first.

    Raises
    ------
    ValueError
        If ``by`` is none of a budget, or the file's results were held against another budget.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> points = xp.data.Split(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
    >>> data, steps = dict.fromkeys(("train", "validation", "calibration"), points), [xp.pipeline.Prune(k=4)]
    >>> done = xp.pipeline.compress(model, data, steps, folder="recipe", explained=10, repeats=1, progress=False)
    >>> [row] = xp.pipeline.submit("Ada", done, "board.json")
    >>> row["name"], row["over"], row["size"] < 1
    ('Ada', [], True)
    """
    path, names = Path(path), (*COSTS, "accuracy", "drift")
    if by not in names:
        raise ValueError(f"by must be one of {', '.join(names)}, got {by!r}.")
    row = {"name": name, "steps": repr(list(done.steps)), "budget": repr(done.budget), "over": list(done.over)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=60):  # a class enters at the same time
        rows = json.loads(path.read_text()) if path.exists() else []
        if other := [row["budget"] for row in rows if row["budget"] != repr(done.budget)]:
            raise ValueError(f"{path} is a leaderboard for {other[0]}, this result was held against {done.budget}.")
        rows = [old for old in rows if old["name"] != name] + [row | done.spent]
        rows.sort(key=lambda row: (len(row["over"]) > 0, row[by]))
        save_atomically(path, lambda temporary: temporary.write_text(json.dumps(rows, indent=1)))
    return rows
