"""Pruning in five words: unit, score, plan, mask, cut."""

from . import curvature
from .apply import cut, difference, held, load_cut, masked, save_cut
from .blocks import RESIDUAL, find_blocks
from .cost import ParameterCount
from .criteria import CRITERIA, YEOM, Criterion, Evidence
from .layers import LAYERS
from .planning import counts_from, lowest, plan
from .plans import Plan
from .profile import FlowRecorder, candidate, gradient_flow, weight_profile
from .reference import carriers, overlaps, reference_draws, unit_scores
from .schedules import SCHEDULES, Tuned, prune_and_tune, ratios
from .scores import Scores, score
from .sensitivity import allocate, cliffs, scan
from .sparse import SparseLinear, break_even, csr_latency, sparse_latency, to_sparse, two_of_four
from .torch_masks import read_masks, write_masks
from .units import Member, UnitGroup, find_units
from .weights import find_weights

__all__ = [
    *("CRITERIA", "LAYERS", "RESIDUAL", "SCHEDULES", "YEOM"),
    *(
        "Criterion",
        "Evidence",
        "FlowRecorder",
        "Member",
        "ParameterCount",
        "Plan",
        "Scores",
        "SparseLinear",
        "Tuned",
        "UnitGroup",
    ),
    *(
        "allocate",
        "break_even",
        "candidate",
        "carriers",
        "cliffs",
        "counts_from",
        "csr_latency",
        "curvature",
        "cut",
        "difference",
    ),
    *("find_blocks", "find_units", "find_weights", "gradient_flow", "held", "load_cut", "lowest", "masked", "overlaps"),
    *("plan", "prune_and_tune", "ratios", "read_masks", "reference_draws"),
    *(
        "save_cut",
        "scan",
        "score",
        "sparse_latency",
        "to_sparse",
        "two_of_four",
        "unit_scores",
        "weight_profile",
        "write_masks",
    ),
]
