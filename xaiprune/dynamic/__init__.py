"""Dynamic pruning: each image runs what its likely classes need."""

from .build import class_scores, class_sets, fit_branch, scores_for, tails_for, tune_tails
from .columns import MEAN, WORST, cost_columns
from .halves import Halves, behind, split_at
from .routing import EXIT, Branch, Dynamic, First, Path, choose_threshold, leaving, path_macs
from .shipped import InParts, path_latencies

__all__ = [
    *("EXIT", "MEAN", "WORST", "Branch", "Dynamic", "First", "Halves", "InParts", "Path", "behind"),
    *("choose_threshold", "class_scores", "class_sets", "cost_columns", "fit_branch", "leaving", "path_latencies"),
    *("path_macs", "scores_for", "split_at", "tails_for", "tune_tails"),
]
