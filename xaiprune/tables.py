"""Stored sweeps: small JSON tables that say which command made them, from which checkpoints and which code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
import pkgutil
import statistics
from collections.abc import Iterable
from pathlib import Path

from .data import data_dir, save_atomically, sha256


def code_version(*modules: str) -> str:
    """A digest of what the named modules compute, all submodules included.

    Comments, docstrings and the words of error messages do not count.

    Parameters
    ----------
    *modules : str
        Dotted names; they are read, not imported.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted({path for name in modules for path in _sources(name)}):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise):
                node.exc = None
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def _sources(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    paths = [Path(spec.origin)]
    for folder in spec.submodule_search_locations or ():
        for child in pkgutil.iter_modules([folder]):
            paths += _sources(f"{module}.{child.name}")
    return paths


def write(
    name: str, rows: list[dict], *, command: str, modules: Iterable[str], checkpoints: Iterable[str], seconds: float
) -> Path:
    """Write a table to ``data/tables/NAME.json``.

    Parameters
    ----------
    name : str
    rows : list of dict
    command : str
        The command that makes the table again.
    modules : iterable of str
        Dotted names of the code that the rows depend on.
    checkpoints : iterable of str
        Names of the files in ``data/checkpoints`` that were measured.
    seconds : float
        How long it took.
    """
    import torch

    modules = sorted(modules)
    made = {"command": command, "modules": modules, "code": code_version(*modules)}
    made["checkpoints"] = {file: sha256(data_dir() / "checkpoints" / file) for file in sorted(checkpoints)}
    made |= {"seconds": round(seconds), "torch": torch.__version__.partition("+")[0]}
    return _write(name, made, rows)


def _write(name: str, made: dict, rows: list[dict]) -> Path:
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"made": {json.dumps(made)},\n"rows": [\n{lines}\n]}}\n'
    path = data_dir() / "tables" / f"{name}.json"
    save_atomically(path, lambda temporary: temporary.write_text(text))
    return path


def read(name: str) -> list[dict]:
    """Rows of a stored table.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If the code or a checkpoint has changed since; the command that renews the table is given.
    """
    content = _content(name)
    made = content["made"]
    if code_version(*made["modules"]) != made["code"]:
        raise ValueError(f"table {name} was made by other code; renew it with `{made['command']}`.")
    for file, digest in made["checkpoints"].items():
        if sha256(data_dir() / "checkpoints" / file) != digest:
            raise ValueError(f"table {name} was made from another {file}; renew it with `{made['command']}`.")
    return content["rows"]


def keep(name: str, why: str) -> None:
    """Keep the rows of a table though its modules have changed, and note in the table why they still hold.

    For a change that touches nothing the rows depend on, such as another default that they do not use. The version of
    the code that measured them stays noted beside the reason.

    Parameters
    ----------
    name : str
    why : str
        A sentence.

    Raises
    ------
    ValueError
        If no reason is given, or the modules have not changed.
    """
    content = _content(name)
    made = content["made"]
    now = code_version(*made["modules"])
    if not why.strip():
        raise ValueError("why must be a sentence that says what changed, and why the rows do not depend on it.")
    if now == made["code"]:
        raise ValueError(f"table {name} was made by this code; there is nothing to keep it from.")
    made["kept"] = [*made.get("kept", []), {"code": made["code"], "why": why}]
    _write(name, made | {"code": now}, content["rows"])


def made(name: str) -> dict:
    """How a stored table was made: ``command``, ``modules``, ``code``, ``checkpoints``, ``seconds``, ``torch``.

    Where rows were kept through changes of their modules, ``kept`` lists the earlier ``code`` and ``why``.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    """
    return _content(name)["made"]


def _content(name: str) -> dict:
    path = data_dir() / "tables" / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"there is no table {path}.")
    return json.loads(path.read_text())


def where(rows: Iterable[dict], **equal) -> list[dict]:
    """Rows whose columns equal the given values: ``where(rows, rho=0.7, method="grid")``."""
    return [row for row in rows if all(row[key] == value for key, value in equal.items())]


def column(rows: Iterable[dict], key: str, **equal) -> list:
    """One column of the rows whose other columns equal the given values."""
    return [row[key] for row in where(rows, **equal)]


def interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of a few values, such as one for each training seed, and its confidence interval by Student's t.

    Returns
    -------
    mean, low, high : float
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
