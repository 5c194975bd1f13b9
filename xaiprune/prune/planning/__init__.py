"""Plans: which units go."""

from .selection import check_names, counts_from, lowest, plan
from .targets import plans_by_cost, to_target

__all__ = [
    "check_names",
    "counts_from",
    "lowest",
    "plan",
    "plans_by_cost",
    "to_target",
]
