"""Stored tables: rows of costly sweeps, with the command that makes them again and a probe that proves they still hold.

A table names the code that it depends on as that code names itself (:mod:`xaiprune.experiments.provenance`), so that
moving or renaming a module leaves it valid. Beside the rows lies a *probe*: what the same code gave on a setting small
enough for three seconds. The tests measure every probe anew. Where the code behind a table has changed, :func:`carry`
keeps the rows if the probe still gives what it gave, and notes the reason.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path

from ..core import data_dir, save_atomically, sha256
from .provenance import code_digest

#: How far a probe's numbers may be off, as a share of the larger of 1 and the number.
TOLERANCE = 1e-3


def write(
    name: str,
    rows: list[dict],
    *,
    command: str,
    code: Iterable[str],
    checkpoints: Iterable[str],
    seconds: float,
    probe: list[dict],
    tolerance: float = TOLERANCE,
) -> Path:
    """Write a table to ``data/tables/NAME.json``.

    Parameters
    ----------
    name : str
    rows : list of dict
    command : str
        The command that makes the table again.
    code : iterable of str
        What the rows depend on, as modules name themselves in their line ``# In stored tables: NAME``.
    checkpoints : iterable of str
        Names of the files in ``data/checkpoints`` that were measured.
    seconds : float
        How long it took.
    probe : list of dict
        Rows of the same code on a small setting.
    tolerance : float
        How far a probe's numbers may be off, as a share of the larger of 1 and the number.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If ``probe`` is empty, or no module goes by a name in ``code``.
    """
    import torch

    _check_probe(probe)
    code = sorted(code)
    made = {"command": command, "code": code, "digest": code_digest(*code)}
    made["checkpoints"] = {file: sha256(data_dir() / "checkpoints" / file) for file in sorted(checkpoints)}
    made |= {"seconds": round(seconds), "torch": torch.__version__.partition("+")[0]}
    made["probe"] = {"tolerance": tolerance, "rows": rounded(probe)}
    return _write(name, made, rows)


def _check_probe(probe: list[dict]) -> None:
    if not probe:
        raise ValueError("probe is empty: give the rows of a small setting, by which the table can be checked.")


def _write(name: str, made: dict, rows: list[dict]) -> Path:
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"made": {json.dumps(made)},\n"rows": [\n{lines}\n]}}\n'
    path = data_dir() / "tables" / f"{name}.json"
    save_atomically(path, lambda temporary: temporary.write_text(text))
    return path


def read(name: str) -> list[dict]:
    """Rows of a stored table.

    Parameters
    ----------
    name : str

    Returns
    -------
    list of dict

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If the code or a checkpoint has changed since, or the table is of an earlier form; what to do is said.

    Examples
    --------
    >>> rows = xp.tables.read("toy")
    >>> rows[0]["data"], rows[0]["criterion"], rows[0]["per_class"]
    ('moons', 'weight', 10)
    """
    content = _content(name)
    if found := _outdated(name, content["made"]):
        raise ValueError(found)
    return content["rows"]


def outdated(name: str) -> str:
    """Why a stored table cannot be read, and what to do.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        Empty if the code and the checkpoints are those that it was made from.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it is of an earlier form.
    """
    return _outdated(name, made(name))


def _outdated(name: str, made: dict) -> str:
    if code_digest(*made["code"]) != made["digest"]:
        return (
            f"table {name} was made by other code. If its probe still gives the same, keep the rows with "
            f'`python -m experiments carry {name} "WHY"`; otherwise renew it with `{made["command"]}`.'
        )
    for file, digest in made["checkpoints"].items():
        if sha256(data_dir() / "checkpoints" / file) != digest:
            return f"table {name} was made from another {file}; renew it with `{made['command']}`."
    return ""


def carry(name: str, why: str, probe: list[dict]) -> None:
    """Keep the rows of a table though the code behind it has changed: its probe gives what it gave.

    Parameters
    ----------
    name : str
    why : str
        A sentence that says what changed. It is noted in the table, with the digest of the code before.
    probe : list of dict
        The probe's rows, measured by the code as it is now.

    Raises
    ------
    ValueError
        If no reason is given, the code has not changed, or the probe gives something else (the first difference is
        named).
    """
    content = _content(name)
    made = content["made"]
    now = code_digest(*made["code"])
    if not why.strip():
        raise ValueError("why must be a sentence that says what changed, and why the rows do not depend on it.")
    if now == made["digest"]:
        raise ValueError(f"table {name} was made by this code; there is nothing to carry it over from.")
    if found := differences(name, probe):
        raise ValueError(f"table {name} does not hold any more: {found[0]}. Renew it with `{made['command']}`.")
    made["kept"] = [*made.get("kept", []), {"digest": made["digest"], "why": why}]
    _write(name, made | {"digest": now}, content["rows"])


def store_probe(name: str, probe: list[dict], tolerance: float = TOLERANCE) -> None:
    """Store another probe with a table, whose setting is another now; only by the code that the table was made by.

    Parameters
    ----------
    name : str
    probe : list of dict
        Rows of the new setting.
    tolerance : float
        How far its numbers may be off, as a share of the larger of 1 and the number.

    Raises
    ------
    ValueError
        If the probe is empty, or the code or a checkpoint is another: then the probe has to decide about the rows.
    """
    _check_probe(probe)
    content = _content(name)
    if found := _outdated(name, content["made"]):
        raise ValueError(found)
    made = content["made"] | {"probe": {"tolerance": tolerance, "rows": rounded(probe)}}
    _write(name, made, content["rows"])


def differences(name: str, probe: list[dict]) -> list[str]:
    """Where the rows of a probe differ from those that are stored with a table by more than its tolerance.

    Parameters
    ----------
    name : str
    probe : list of dict

    Returns
    -------
    list of str
        One sentence each: row, column, the stored and the measured value.
    """
    stored = _content(name)["made"]["probe"]
    probe = rounded(probe)
    if len(probe) != len(stored["rows"]):
        return [f"its probe has {len(probe)} rows, stored are {len(stored['rows'])}"]
    found = []
    for number, (was, now) in enumerate(zip(stored["rows"], probe)):
        for key in sorted(set(was) | set(now)):
            if not _alike(was.get(key), now.get(key), stored["tolerance"]):
                found.append(f"row {number} of its probe, {key!r}: stored {was.get(key)}, measured {now.get(key)}")
    return found


def _alike(was: object, now: object, tolerance: float) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (was, now)]
    if all(numbers):
        return was == now or abs(was - now) <= tolerance * max(1.0, abs(was))
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(_alike(a, b, tolerance) for a, b in zip(was, now))
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() == now.keys() and all(_alike(was[key], now[key], tolerance) for key in was)
    return was == now


def rounded(rows: list[dict]) -> list[dict]:
    """Rows as a file of JSON holds them, their numbers with six digits.

    Parameters
    ----------
    rows : list of dict

    Returns
    -------
    list of dict
    """
    return json.loads(json.dumps(rows), parse_float=lambda text: float(f"{float(text):.6g}"))


def made(name: str) -> dict:
    """How a stored table was made.

    Parameters
    ----------
    name : str

    Returns
    -------
    dict
        ``command``, ``code`` and its ``digest``, ``checkpoints``, ``seconds``, ``torch`` and ``probe``. Where rows were
        carried over changes of the code, ``kept`` lists the earlier ``digest`` and ``why``.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it is of an earlier form.

    Examples
    --------
    >>> xp.tables.made("toy")["command"]
    'python -m experiments make toy'
    """
    return _content(name)["made"]


def names() -> list[str]:
    """The stored tables.

    Returns
    -------
    list of str
    """
    return sorted(path.stem for path in (data_dir() / "tables").glob("*.json"))


def _content(name: str) -> dict:
    path = data_dir() / "tables" / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"there is no table {path}.")
    content = json.loads(path.read_text())
    if not content["made"].get("probe", {}).get("rows"):
        raise ValueError(
            f"table {name} is of an earlier form, without a probe: renew it with `{content['made']['command']}`."
        )
    return content


def where(rows: Iterable[dict], **equal) -> list[dict]:
    """Rows whose columns equal the given values: ``where(rows, rho=0.7, method="grid")``.

    Parameters
    ----------
    rows : iterable of dict
    **equal : object
        Names of columns, and the value that each of them must have.

    Returns
    -------
    list of dict
        In the order of the rows.

    Raises
    ------
    KeyError
        If a row lacks one of the columns.

    Examples
    --------
    >>> xp.tables.where([{"rho": 0.5, "psnr": 21}, {"rho": 0.7, "psnr": 18}], rho=0.7)
    [{'rho': 0.7, 'psnr': 18}]
    """
    return [row for row in rows if all(row[key] == value for key, value in equal.items())]


def column(rows: Iterable[dict], key: str, **equal) -> list:
    """One column of the rows whose other columns equal the given values.

    Parameters
    ----------
    rows : iterable of dict
    key : str
        Name of the column.
    **equal : object
        Names of other columns, and the value that each of them must have.

    Returns
    -------
    list
        Values in the order of the rows.

    Raises
    ------
    KeyError
        If a row lacks one of the columns.

    Examples
    --------
    >>> rows = [{"rho": 0.5, "psnr": 21}, {"rho": 0.7, "psnr": 18}, {"rho": 0.7, "psnr": 19}]
    >>> xp.tables.column(rows, "psnr", rho=0.7)
    [18, 19]
    """
    return [row[key] for row in where(rows, **equal)]


def interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of a few values, such as one for each training seed, and its confidence interval by Student's t.

    Parameters
    ----------
    values : iterable of float
        At least two.
    level : float
        Of confidence, between 0 and 1.

    Returns
    -------
    mean, low, high : float

    Raises
    ------
    ValueError
        For fewer than two values.

    Examples
    --------
    >>> mean, low, high = xp.tables.interval([90, 91, 92])
    >>> print(f"{mean} in [{low:.2f}, {high:.2f}]")
    91.0 in [88.52, 93.48]
    """
    from scipy import stats

    values = list(values)
    if len(values) < 2:
        raise ValueError(f"values must be at least two, got {len(values)}: one says nothing of the spread.")
    mean = statistics.fmean(values)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def lead(rows: Iterable[dict], one: str, others: Iterable[str], *, by: Iterable[str], key: str) -> list[float]:
    """How far one method is ahead of the best of others, for every setting of the columns ``by``.

    Parameters
    ----------
    rows : iterable of dict
        With ``method``, ``key`` and the columns ``by``.
    one : str
    others : iterable of str
        Methods that a setting lacks are left out there.
    by : iterable of str
        Columns that make a setting, such as ``("seed", "rho")``.
    key : str
        The column to compare; more is better.

    Returns
    -------
    list of float
        One difference per setting that has ``one`` and at least one of ``others``.

    Examples
    --------
    >>> rows = [
    ...     {"method": "relax", "seed": 0, "psnr": 21},
    ...     {"method": "uniform", "seed": 0, "psnr": 18},
    ...     {"method": "by_norm", "seed": 0, "psnr": 19},
    ... ]
    >>> xp.tables.lead(rows, "relax", ["uniform", "by_norm"], by=["seed"], key="psnr")
    [2]
    """
    by, others, settings = tuple(by), set(others), {}
    for row in rows:
        settings.setdefault(tuple(row[name] for name in by), {})[row["method"]] = row[key]
    found = []
    for values in settings.values():
        rivals = [value for method, value in values.items() if method in others]
        if one in values and rivals:
            found.append(values[one] - max(rivals))
    return found
