"""Explanations: where the evidence is, whether a heatmap deserves trust, and how far it drifts under compression."""

from . import relevance
from .attention import attention_weights, gradient_rollout, rollout, watching_attention
from .clever_hans import TESTS, add_tag, decorrelate, sample_weights, spot_share, tag_class, tag_mask
from .columns import drift_column, drift_columns, place_column
from .controls import CONTROL_METHODS
from .drift import Drift, drift, drift_from, drift_place, drift_value
from .faithful import Curves, curves, road
from .gradients import completeness, gradient_x_input, integrated_gradients, saliency, smoothgrad
from .ground_truth import asked_share, ground_reliance, pointing, relevance_mass, two_object_share
from .imputation import imputed
from .judge import MEASURES, GroundTruth, Measure, judge
from .likeness import LIKENESSES, Likeness, NoEvidenceError, heatmap_drift, rank_correlation, top_overlap
from .methods import IMAGE, METHODS, Method, heatmaps
from .perturbation import coarse_occlusion, occlusion, shapley
from .relevance import lrp
from .resampling import bootstrap
from .sanity import CONTROLS, Verdict, gate, reinitialised
from .scale import HARMLESS, RULER, Harmless, Noise, Scale, drift_scale
from .shifts import SHIFTS, Shift, accuracy_and_confidence, class_means, watch
from .target import explained_output

__all__ = [
    "CONTROLS",
    "CONTROL_METHODS",
    "HARMLESS",
    "IMAGE",
    "LIKENESSES",
    "MEASURES",
    "METHODS",
    "RULER",
    "SHIFTS",
    "TESTS",
    "Curves",
    "Drift",
    "GroundTruth",
    "Harmless",
    "Likeness",
    "Measure",
    "Method",
    "NoEvidenceError",
    "Noise",
    "Scale",
    "Shift",
    "Verdict",
    "accuracy_and_confidence",
    "add_tag",
    "asked_share",
    "attention_weights",
    "bootstrap",
    "class_means",
    "coarse_occlusion",
    "completeness",
    "curves",
    "decorrelate",
    "drift",
    "drift_column",
    "drift_columns",
    "drift_from",
    "drift_place",
    "drift_scale",
    "drift_value",
    "explained_output",
    "gate",
    "gradient_rollout",
    "gradient_x_input",
    "ground_reliance",
    "heatmap_drift",
    "heatmaps",
    "imputed",
    "integrated_gradients",
    "judge",
    "lrp",
    "occlusion",
    "place_column",
    "pointing",
    "rank_correlation",
    "reinitialised",
    "relevance",
    "relevance_mass",
    "road",
    "rollout",
    "saliency",
    "sample_weights",
    "shapley",
    "smoothgrad",
    "spot_share",
    "tag_class",
    "tag_mask",
    "top_overlap",
    "two_object_share",
    "watch",
    "watching_attention",
]
