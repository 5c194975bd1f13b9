"""xaiprune: explainable compression of neural networks, behind a course of notebooks.

The five words of pruning, and the few other names that a lesson needs, are here: ``xp.find_units``,
``xp.score``, ``xp.plan``, ``xp.masked``, ``xp.cut``; ``xp.scorecards`` and ``xp.compare``; ``xp.claim`` and
``xp.setup``. Everything else is in the rooms, such as ``xp.prune`` and ``xp.measure``. All of them load when they are
first used.

The examples in the docstrings begin where a lesson does: ``import torch``, ``import numpy as np``,
``from torch import nn``, ``import xaiprune as xp``.
"""

from __future__ import annotations

from importlib import import_module

from .core import threads  # before torch: it says how threads wait

__version__ = "0.1.0"

#: The rooms, in the order in which they stand on each other.
ROOMS = (
    "core",
    "plots",
    "data",
    "experiments",
    "nn",
    "graph",
    "measure",
    "deploy",
    "training",
    "curvature",
    "explain",
    "zoo",
    "prune",
    "quantize",
    "distill",
    "dynamic",
    "pipeline",
    "course",
    "widgets",
)
#: Modules that lessons use so often that they have a name here.
_MODULES = {"tables": "experiments.tables"}
_NAMES = {
    **dict.fromkeys(("claim", "exercise", "guess", "setup"), "course"),
    **dict.fromkeys(("compare", "scorecard", "scorecards"), "measure"),
    **dict.fromkeys(("cut", "find_units", "masked", "plan", "score"), "prune"),
}
__all__ = [*ROOMS, *_MODULES, *_NAMES]


def __getattr__(name: str):
    if name in ROOMS:
        return import_module(f"{__name__}.{name}")
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
