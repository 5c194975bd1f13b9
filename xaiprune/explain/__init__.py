"""Explanations: where the evidence is, whether a heatmap deserves trust, and how far it drifts under compression."""

from . import relevance
from .attention import attention_weights, chefer, rollout, watching_attention
from .clever_hans import TESTS, add_tag, decorrelate, sample_weights, spot_share, tag_class, tag_mask
from .columns import drift_column, drift_columns, place_column
from .controls import CONTROL_METHODS, NoControlError, lit_pixels, reinitialised
from .drift import Drift, drift, drift_from, drift_place, drift_value
from .faithful import Curves, curves, road
from .faithfulness import Faithfulness, at_resolution, class_test, faithfulness
from .gradients import completeness, gradient_x_input, integrated_gradients, saliency, smoothgrad
from .ground_truth import asked_share, ground_reliance, pointing, relevance_mass, two_object_share
from .imputation import imputed
from .judge import MEASURES, GroundTruth, Judged, Measure, judge
from .likeness import LIKENESSES, Likeness, NoEvidenceError, heatmap_drift, rank_correlation, top_overlap
from .methods import IMAGE, METHODS, Method, heatmaps
from .perturbation import coarse_occlusion, occlusion, shapley
from .relevance import lrp
from .resampling import bootstrap
from .sanity import CONTROLS, Verdict, gate
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
    "Faithfulness",
    "GroundTruth",
    "Harmless",
    "Judged",
    "Likeness",
    "Measure",
    "Method",
    "NoControlError",
    "NoEvidenceError",
    "Noise",
    "Scale",
    "Shift",
    "Verdict",
    "accuracy_and_confidence",
    "add_tag",
    "asked_share",
    "at_resolution",
    "attention_weights",
    "bootstrap",
    "chefer",
    "class_means",
    "class_test",
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
    "faithfulness",
    "gate",
    "gradient_x_input",
    "ground_reliance",
    "heatmap_drift",
    "heatmaps",
    "imputed",
    "integrated_gradients",
    "judge",
    "lit_pixels",
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
