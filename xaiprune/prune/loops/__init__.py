"""Pruning and tuning in turn, under a budget, with masks that are learned."""

from .budget import Budget, Budgeted, within
from .masks import Masks, learn_masks
from .recalibrate import recalibrate, running_norms
from .schedules import SCHEDULES, Tuned, prune_and_tune, ratios
from .shrink import Cutting, Shrunk, shrink

__all__ = [
    "SCHEDULES",
    "Budget",
    "Budgeted",
    "Cutting",
    "Masks",
    "Shrunk",
    "Tuned",
    "learn_masks",
    "prune_and_tune",
    "ratios",
    "recalibrate",
    "running_norms",
    "shrink",
    "within",
]
