"""Studies of a network before it is pruned: sensitivity, rates, reference draws, profiles."""

from .rates import RATES, RateCurve, lowest_units, rate_curve, switched_off
from .reference import carriers, overlaps, reference_draws, unit_scores
from .sensitivity import WHOLE, allocate, cliffs, scan
from .weight_profile import FlowRecorder, candidate, gradient_flow, weight_profile

__all__ = [
    "RATES",
    "WHOLE",
    "FlowRecorder",
    "RateCurve",
    "allocate",
    "candidate",
    "carriers",
    "cliffs",
    "gradient_flow",
    "lowest_units",
    "overlaps",
    "rate_curve",
    "reference_draws",
    "scan",
    "switched_off",
    "unit_scores",
    "weight_profile",
]
