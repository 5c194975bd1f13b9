"""The course: claims, exercises, the doctor, the runner, editions, and the site."""

from .claims import claim, guess
from .doctor import setup
from .exercises import exercise

__all__ = [
    "claim",
    "exercise",
    "guess",
    "setup",
]
