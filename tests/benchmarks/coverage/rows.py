"""The stored rows: one for each model and verb, with the versions that gave it, and the digest of the kit's code."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

import xaiprune
from xaiprune.core import cache_dir, save_atomically

PATH = Path(__file__).with_name("rows.json")


def read() -> list[dict]:
    """All rows.

    Returns
    -------
    list of dict
        Each has ``model``, ``family``, ``verb``, ``verdict``, ``told``, ``seconds``, ``memory`` (MiB, the largest of
        the process so far), ``versions``, ``code`` and the verb's own numbers.
    """
    return json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else []


def add(rows: Iterable[dict]) -> None:
    """Put rows in the place of those of the same model and verb; safe from several processes.

    Parameters
    ----------
    rows : iterable of dict
    """
    with FileLock(cache_dir() / "coverage.lock"):
        known = {(row["model"], row["verb"]): row for row in read()}
        known |= {(row["model"], row["verb"]): _rounded(row) for row in rows}
        lines = ",\n".join(json.dumps(known[key]) for key in sorted(known))
        save_atomically(PATH, lambda temporary: temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))


def _rounded(row: dict) -> dict:
    """Numbers with three digits; None for what is none."""
    return {
        key: (float(f"{value:.3g}") if math.isfinite(value) else None) if isinstance(value, float) else value
        for key, value in row.items()
    }


def versions(library: str, verb: str) -> str:
    """The versions that a row depends on, such as ``"torch 2.14.1, timm 1.0.31"``.

    Parameters
    ----------
    library : str
        Of the model.
    verb : str

    Returns
    -------
    str
    """
    names = dict.fromkeys(("torch", library, "torch-pruning") if verb == "torch-pruning" else ("torch", library))
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "missing"


@functools.cache
def code() -> str:
    """A digest of the kit's code, so that rows of an earlier one can be told apart.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    package, digest = Path(xaiprune.__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
