"""What makes the stored tables: for each one the long sweep behind its rows, and a probe of seconds.

``python -m experiments`` lists, makes, probes and carries over tables; :class:`experiments.table.Table` says what a
table is made of.
"""

from __future__ import annotations

import functools
import importlib

from experiments.table import Table
from xaiprune.core import Registry

#: The modules with tables: each has a list ``TABLES``.
MODULES = (
    "allocation",
    "capstone",
    "compressed_explanations",
    "criteria",
    "distillation",
    "distillation_elsewhere",
    "distillation_settled",
    "distillation_students",
    "drift_photographs",
    "dynamic",
    "ground_truth",
    "mobilenet",
    "photographs",
    "quantization",
    "quantization_controls",
    "recovery",
    "resolution",
    "reweighting",
    "soft",
    "soft_limits",
    "soft_tuned",
    "toy",
    "vit",
    "vit_explained",
    "weights",
)


@functools.cache
def tables() -> Registry[Table]:
    """All tables by their names.

    Returns
    -------
    Registry of Table
    """
    modules = [importlib.import_module(f"{__name__}.{name}") for name in MODULES]
    return Registry("a table", Table, [table for module in modules for table in module.TABLES])
