"""Pruning in five words: unit, score, plan, mask, cut."""

from .apply import cut, difference, load_cut, masked, save_cut
from .cost import ParameterCount
from .criteria import CRITERIA, Criterion, Evidence
from .layers import LAYERS
from .planning import counts_from, lowest, plan
from .plans import Plan
from .scores import Scores, score
from .units import Member, UnitGroup, find_units

__all__ = [
    *("CRITERIA", "LAYERS", "Criterion", "Evidence", "Member", "ParameterCount", "Plan", "Scores", "UnitGroup"),
    *(
        "counts_from",
        "cut",
        "difference",
        "find_units",
        "load_cut",
        "lowest",
        "masked",
        "plan",
        "save_cut",
        "score",
    ),
]
