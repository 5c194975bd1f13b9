"""Dynamic pruning: each image runs what its likely classes need."""

from .build import class_scores, class_sets, cut_tails, fit_branch, set_scores, tune_tails
from .columns import MEAN, WORST, cost_columns
from .halves import Halves, groups_behind, split_at
from .routing import EXIT, Branch, Dynamic, First, Route, choose_threshold, exits_early, route_macs
from .shipped import OnnxDynamic, route_latencies

__all__ = [
    *("EXIT", "MEAN", "WORST", "Branch", "Dynamic", "First", "Halves", "OnnxDynamic", "Route", "groups_behind"),
    *("choose_threshold", "class_scores", "class_sets", "cost_columns", "fit_branch", "exits_early", "route_latencies"),
    *("route_macs", "set_scores", "split_at", "cut_tails", "tune_tails"),
]
