"""Dynamic pruning: each image runs what its likely classes need."""

from .build import class_scores, class_sets, fit_branch, scores_for, tails_for, tune_tails
from .halves import Halves, behind, split_at
from .routing import EXIT, Branch, Dynamic, choose_threshold, frozen, leaving, path_latencies, path_macs

__all__ = [
    *("EXIT", "Branch", "Dynamic", "Halves", "behind", "choose_threshold", "class_scores", "class_sets"),
    *("fit_branch", "frozen", "leaving", "path_latencies", "path_macs", "scores_for", "split_at", "tails_for"),
    "tune_tails",
]
