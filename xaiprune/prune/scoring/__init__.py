"""Scores: how much each unit matters, by one criterion."""

from .criteria import CRITERIA, QUANTITIES, YEOM, Criterion, Evidence
from .fairness import entry_masks, entry_relevance, fair_scores, masked_entries
from .obd_obs import Damage, InverseFisher, inverse_fisher, obd, obs, obs_in_turn, surgery, with_gradient
from .scores import NORMALISATIONS, Scores, score

__all__ = [
    "CRITERIA",
    "NORMALISATIONS",
    "QUANTITIES",
    "YEOM",
    "Criterion",
    "Damage",
    "Evidence",
    "InverseFisher",
    "Scores",
    "entry_masks",
    "entry_relevance",
    "fair_scores",
    "inverse_fisher",
    "masked_entries",
    "obd",
    "obs",
    "obs_in_turn",
    "score",
    "surgery",
    "with_gradient",
]
