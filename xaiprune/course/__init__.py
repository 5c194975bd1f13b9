"""The course: claims, exercises, the doctor, the runner, editions, and the site."""

from .claims import STRICT, ClaimError, claim, guess
from .doctor import setup
from .exercises import EXERCISES, Exercise, Function, NotYet, Number, check, exercise

__all__ = [
    "EXERCISES",
    "STRICT",
    "ClaimError",
    "Exercise",
    "Function",
    "NotYet",
    "Number",
    "check",
    "claim",
    "exercise",
    "guess",
    "setup",
]
