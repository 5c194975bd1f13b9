"""The course: claims, exercises, the doctor, the runner, editions, and the site."""

from importlib import import_module

from . import doctor
from .claims import STRICT, ClaimError, claim, guess
from .doctor import setup
from .exercises import EXERCISES, Exercise, Function, NotYet, Number, check, exercise
from .headlines import HEADLINES

#: What the commands of ``python -m xaiprune.course`` do; they load when they are first used.
_COMMANDS = ("api", "editions", "runner", "site")
__all__ = [
    "EXERCISES",
    "HEADLINES",
    "STRICT",
    "ClaimError",
    "Exercise",
    "Function",
    "NotYet",
    "Number",
    "api",
    "check",
    "claim",
    "doctor",
    "editions",
    "exercise",
    "guess",
    "runner",
    "setup",
    "site",
]


def __getattr__(name: str):
    if name in _COMMANDS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
