"""Criteria: ways to say how much a unit matters.

A criterion is a row of data: ``CRITERIA["mine"] = Criterion("mine", function)`` for channels and neurons, with
``weights=function`` for single weights. A function takes an :class:`Evidence` and returns one number per unit of each
group.
"""

from __future__ import annotations

from . import attribution, slices, weights
from .evidence import Criterion, Evidence, at_random
from .reading import apart
from .yeom import YEOM

_DATA, _GRADIENTS = frozenset({"data"}), frozenset({"data", "gradients"})

CRITERIA: dict[str, Criterion] = {
    row.name: row
    for row in (
        Criterion("l1", slices.norm(1), weights=weights.magnitude),
        Criterion("l2", slices.norm(2), weights=weights.magnitude),
        Criterion("magnitude", slices.norm(2), weights=weights.magnitude),
        Criterion("activation", slices.activation, _DATA),
        Criterion("gradient", attribution.gradient, _GRADIENTS, attribution.weight_gradient),
        Criterion("taylor", apart(slices.taylor), _GRADIENTS, weights.taylor),
        Criterion("fisher", apart(slices.fisher), _GRADIENTS, weights.fisher),
        Criterion("relevance", attribution.relevance("epsilon-plus"), _GRADIENTS, attribution.weight_relevance),
        Criterion("integrated-gradients", attribution.integrated_gradients, _GRADIENTS),
        Criterion("shapley", attribution.shapley, _DATA),
        Criterion("obd", None, _GRADIENTS, weights.obd),
        Criterion("obs", None, _GRADIENTS, weights.obs),
        Criterion("random", at_random, weights=at_random),
    )
}

__all__ = ["CRITERIA", "YEOM", "Criterion", "Evidence"]
