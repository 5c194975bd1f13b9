"""Pruning and tuning in turn, under a budget, with masks that are learned."""

from .budget import BudgetResult, ExplanationBudget, prune_within_budget
from .masks import Masks, learn_masks
from .recalibrate import recalibrate, running_norms
from .reconstruct import reconstruct
from .schedules import SCHEDULES, TuneResult, prune_and_tune, ratios
from .shrink import Cutting, ShrinkResult, shrink
from .stored_statistics import stored_statistics

__all__ = [
    "SCHEDULES",
    "BudgetResult",
    "Cutting",
    "ExplanationBudget",
    "Masks",
    "ShrinkResult",
    "TuneResult",
    "learn_masks",
    "prune_and_tune",
    "prune_within_budget",
    "ratios",
    "recalibrate",
    "reconstruct",
    "running_norms",
    "shrink",
    "stored_statistics",
]
