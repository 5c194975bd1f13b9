"""Stored tables, and the sweeps that make them."""

from . import controls, provenance, tables
from .sweeps import on_dask, sweep
from .tables import read

__all__ = [
    "controls",
    "on_dask",
    "provenance",
    "read",
    "sweep",
    "tables",
]
