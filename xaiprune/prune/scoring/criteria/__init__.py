"""Criteria: ways to say how much a unit matters.

A criterion is a row of data: ``CRITERIA.add(Criterion("mine", function))`` for channels and neurons, with
``weights=function`` for single weights. A function takes an :class:`Evidence` and returns one number per unit of each
group.
"""

from __future__ import annotations

from ....core import Registry
from . import attribution, blocks, heads, memory, slices, statistics, weights
from .ablation import ablation
from .evidence import Criterion, Evidence, at_random
from .reading import apart
from .yeom import YEOM

_OWNED, _READ = "over every slice that the unit owns", "summed over all places where the unit is read"
_DATA, _GRADIENTS = frozenset({"data"}), frozenset({"data", "gradients"})

CRITERIA: Registry[Criterion] = Registry(
    "a criterion",
    Criterion,
    (
        *(
            Criterion(
                name, slices.norm(power), frozenset(), weights.magnitude, blocks.norm(power), stated, memory.norm(power)
            )
            for name, power, stated in (
                ("l1", 1, f"sum of |w| {_OWNED}"),
                ("l2", 2, f"norm of w {_OWNED}"),
                ("magnitude", 2, "the same as l2"),
            )
        ),
        Criterion("bn-scale", statistics.batch_norm_scale, stated="mean |scale| of the group's batch normalisations"),
        Criterion("activation", slices.activation, _DATA, None, blocks.activation, f"mean over images of |a| {_READ}"),
        Criterion("variance", statistics.variance, _DATA, stated=f"over images and positions, {_READ}"),
        Criterion(
            "gradient",
            attribution.gradient,
            _GRADIENTS,
            attribution.weight_gradient,
            stated=f"mean over images of |gradient| {_READ}",
        ),
        Criterion(
            "taylor",
            apart(slices.taylor),
            _GRADIENTS,
            weights.taylor,
            blocks.taylor,
            f"loss: mean over images of |d|, d = a x gradient {_READ}",
            memory.taylor,
        ),
        Criterion(
            "fisher",
            apart(slices.fisher),
            _GRADIENTS,
            weights.fisher,
            blocks.fisher,
            "loss: half the mean over images of d squared, with taylor's d",
        ),
        Criterion(
            "relevance",
            attribution.relevance("epsilon-plus"),
            _GRADIENTS,
            attribution.weight_relevance,
            stated=f"mean over images of |relevance| {_READ}, as a share of its group",
        ),
        *(
            Criterion(name, attribution.relevance(name), _GRADIENTS, stated=f"relevance by the composite {name}")
            for name in ("attnlrp", "attnlrp-gamma", "cp-lrp", "z-plus")
        ),
        Criterion("attention-entropy", heads.entropy, _DATA, stated="heads: log T less the entropy of a row, in nats"),
        Criterion("confidence", heads.confidence, _DATA, stated="heads: largest weight of a row"),
        Criterion(
            "integrated-gradients",
            attribution.integrated_gradients,
            _GRADIENTS,
            stated=f"mean over images of |integral| {_READ}, in logits",
        ),
        Criterion("shapley", attribution.shapley, _DATA, stated="loss taken off, mean over 10 orders"),
        Criterion("ablation", None, _DATA, blocks=ablation, stated="loss gained by its absence", memory=ablation),
        Criterion("obd", None, _GRADIENTS, weights.obd),
        Criterion("obs", None, _GRADIENTS, weights.obs),
        Criterion(
            "random", at_random, weights=at_random, blocks=at_random, stated="uniform in [0, 1)", memory=at_random
        ),
    ),
)

__all__ = ["CRITERIA", "YEOM", "Criterion", "Evidence"]
