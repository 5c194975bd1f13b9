"""Plans: which units go."""

from .selection import check_names, counts_from, lowest, plan
from .targets import to_target, walk

__all__ = [
    "check_names",
    "counts_from",
    "lowest",
    "plan",
    "to_target",
    "walk",
]
