"""xaiprune: explainable compression of neural networks, behind a course of notebooks.

The five words of pruning, and the few other names that a lesson needs, are here: ``xp.find_units``,
``xp.score``, ``xp.plan``, ``xp.masked``, ``xp.cut``; ``xp.scorecards`` and ``xp.compare``; ``xp.claim`` and
``xp.setup``. Everything else is in the submodules. All of them load when they are first used.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_SUBMODULES = (
    "checks",
    "confidence",
    "control",
    "course",
    "data",
    "distill",
    "doctor",
    "dynamic",
    "exercises",
    "explain",
    "export",
    "fairness",
    "measure",
    "metrics",
    "pipeline",
    "plots",
    "prune",
    "quantize",
    "samples",
    "sweeps",
    "tables",
    "train",
)
_SUBMODULES += ("widgets", "words", "zoo")
_NAMES = {
    **dict.fromkeys(("claim", "guess"), "checks"),
    "exercise": "exercises",
    "setup": "doctor",
    **dict.fromkeys(("compare", "scorecard", "scorecards"), "measure"),
    **dict.fromkeys(("cut", "find_units", "masked", "plan", "score"), "prune"),
}
__all__ = [*_SUBMODULES, *_NAMES]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
