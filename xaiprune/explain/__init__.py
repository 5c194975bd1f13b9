"""Explanations: where the evidence is, whether a heatmap deserves trust, and how far it drifts under compression."""

from . import relevance
from .attention import attention_weights, gradient_rollout, rollout, watching
from .clever_hans import TESTS, decoupled, mass, stamp, tag_mask, tagged
from .drift import Drift, NoEvidence, drift, drift_columns, drift_from, likeness, rank_correlation, top_overlap
from .faithful import Curves, curves
from .gradients import completeness, gradient_x_input, integrated_gradients, saliency, smoothgrad
from .methods import IMAGE, METHODS, Method, heatmaps
from .perturbation import occlusion, shapley
from .relevance import lrp
from .resampling import bootstrap
from .sanity import CONTROLS, Verdict, gate, reinitialised
from .shifts import SHIFTS, Shift, answers, class_means, watch
from .target import explained

__all__ = [
    "CONTROLS",
    "IMAGE",
    "METHODS",
    "SHIFTS",
    "TESTS",
    "Curves",
    "Drift",
    "Method",
    "NoEvidence",
    "Shift",
    "Verdict",
    "answers",
    "attention_weights",
    "bootstrap",
    "class_means",
    "completeness",
    "curves",
    "decoupled",
    "drift",
    "drift_columns",
    "drift_from",
    "explained",
    "gate",
    "gradient_rollout",
    "gradient_x_input",
    "heatmaps",
    "integrated_gradients",
    "likeness",
    "lrp",
    "mass",
    "occlusion",
    "rank_correlation",
    "reinitialised",
    "relevance",
    "rollout",
    "saliency",
    "shapley",
    "smoothgrad",
    "stamp",
    "tag_mask",
    "tagged",
    "top_overlap",
    "watch",
    "watching",
]
