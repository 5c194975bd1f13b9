"""Stored tables, and the sweeps that make them."""

from . import provenance, tables
from .sweeps import digest, on_dask, sweep
from .tables import read

__all__ = [
    "digest",
    "on_dask",
    "provenance",
    "read",
    "sweep",
    "tables",
]
