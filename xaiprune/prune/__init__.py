"""Pruning in five words: unit, score, plan, mask, cut."""

from . import curvature
from .apply import cut, difference, held, load_cut, masked, save_cut
from .bias import against, entry_masks, entry_relevance, masked_entries
from .blocks import RESIDUAL, find_blocks
from .budget import Budget, Budgeted, within
from .cost import ParameterCount
from .costs import Costs, Layer, computing_layers, mac_costs
from .criteria import CRITERIA, YEOM, Criterion, Evidence
from .gates import gated_by
from .groups import Member, UnitGroup
from .latency import latency_costs
from .layers import LAYERS
from .masks import Masks, learn_masks
from .planning import counts_from, lowest, plan
from .plans import Plan
from .profile import FlowRecorder, candidate, gradient_flow, weight_profile
from .rates import RATES, RateCurve, lowest_units, rate_curve, switched_off
from .recover import recalibrate, tune
from .recurrent import find_memory
from .reference import carriers, overlaps, reference_draws, unit_scores
from .schedules import SCHEDULES, Tuned, prune_and_tune, ratios
from .scores import NORMALISATIONS, Scores, score
from .sensitivity import allocate, cliffs, scan
from .shrink import Shrunk, shrink
from .sparse import SparseLinear, break_even, csr_latency, sparse_latency, to_sparse, two_of_four
from .targets import to_target
from .torch_masks import read_masks, write_masks
from .transformer import find_dimensions, find_heads, find_neurons
from .units import find_units
from .weights import find_weights

__all__ = [
    *("CRITERIA", "LAYERS", "NORMALISATIONS", "RATES", "RESIDUAL", "SCHEDULES", "YEOM", "Budget"),
    *("Budgeted", "Costs", "Criterion", "Evidence", "FlowRecorder", "Layer", "Masks", "Member"),
    *("ParameterCount", "Plan", "RateCurve", "Scores", "Shrunk", "SparseLinear", "Tuned", "UnitGroup"),
    *("against", "allocate", "break_even", "candidate", "carriers", "cliffs", "computing_layers"),
    *("counts_from", "csr_latency", "curvature", "cut", "difference", "entry_masks"),
    *("entry_relevance", "find_blocks", "find_dimensions", "find_heads", "find_memory", "find_neurons", "find_units"),
    *("find_weights", "gated_by", "gradient_flow", "held", "latency_costs", "learn_masks", "load_cut"),
    *("lowest", "lowest_units", "mac_costs", "masked", "masked_entries", "overlaps", "plan"),
    *("prune_and_tune", "rate_curve", "ratios", "read_masks", "recalibrate", "reference_draws"),
    *("save_cut", "scan", "score", "shrink", "sparse_latency", "switched_off", "to_sparse"),
    *("to_target", "tune", "two_of_four", "unit_scores", "weight_profile", "within", "write_masks"),
]
