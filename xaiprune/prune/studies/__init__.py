"""Studies of a network before it is pruned: sensitivity, rates, reference draws, profiles."""

from .ratio_curve import RATIOS, RatioCurve, ablated, lowest_units, ratio_curve
from .reference import contrast_scores, overlaps, reference_draws, unit_scores
from .sensitivity import WHOLE, allocate_ratios, cliffs, scan
from .weight_profile import FlowRecorder, gradient_flow, suits_magnitude, weight_profile

__all__ = [
    "RATIOS",
    "WHOLE",
    "FlowRecorder",
    "RatioCurve",
    "ablated",
    "allocate_ratios",
    "cliffs",
    "contrast_scores",
    "gradient_flow",
    "lowest_units",
    "overlaps",
    "ratio_curve",
    "reference_draws",
    "scan",
    "suits_magnitude",
    "unit_scores",
    "weight_profile",
]
