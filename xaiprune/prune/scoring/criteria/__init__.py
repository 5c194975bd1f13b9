"""Criteria: ways to say how much a unit matters.

A criterion is a row of data: ``Criterion("mine", {"channels": function})``, with a function for each kind of units that
it ranks. It goes wherever the name of one of these goes, and ``CRITERIA.add`` makes its own name known. A function
takes an :class:`Evidence` and returns one number per unit of each group.
"""

from __future__ import annotations

from ...units import ANY, BLOCKS, CHANNELS, HEADS, MEMORY, WEIGHTS
from . import attribution, formulas, heads, statistics, weights
from .ablation import _ablation
from .evidence import CRITERIA, QUANTITIES, Criterion, Evidence, _at_random
from .yeom import YEOM

_OWNED, _READ = "over every slice that the unit owns", "summed over all places where the unit is read"
_BOTH = QUANTITIES  # the loss first: what is taken where none is asked for

for _row in (
    Criterion("l1", {ANY: formulas._norm(1)}, f"sum of |w| {_OWNED}"),
    Criterion("l2", {ANY: formulas._norm(2)}, f"norm of w {_OWNED}"),
    Criterion("magnitude", {ANY: formulas._norm(2)}, "the same as l2"),
    Criterion("bn-scale", {CHANNELS: statistics._batch_norm_scale}, "mean |scale| of the group's batch normalisations"),
    Criterion("activation", {ANY: formulas._activation}, f"mean over images of |a| {_READ}", reads="data"),
    Criterion("variance", {CHANNELS: statistics._variance}, f"over images and positions, {_READ}", reads="data"),
    Criterion(
        "gradient",
        {CHANNELS: attribution.gradient, WEIGHTS: attribution.weight_gradient},
        f"mean over images of |gradient| {_READ}",
        reads="gradients",
        of=_BOTH,
    ),
    Criterion(
        "taylor",
        {ANY: formulas._taylor, WEIGHTS: weights._taylor, MEMORY: formulas._shrinking},
        f"mean over images of |d|, d = a x gradient of the loss or logit {_READ}",
        reads="gradients",
        of=_BOTH,
    ),
    Criterion(
        "fisher",
        {ANY: formulas._fisher, WEIGHTS: weights._fisher},
        "half the mean over images of d squared, with taylor's d",
        reads="gradients",
        of=_BOTH,
    ),
    Criterion(
        "relevance",
        {CHANNELS: attribution.relevance("epsilon-plus"), WEIGHTS: attribution.weight_relevance},
        f"mean over images of |relevance| {_READ}, as a share of its group",
        reads="gradients",
        of="logit",
    ),
    *(
        Criterion(
            name,
            {CHANNELS: attribution.relevance(name)},
            f"relevance by the composite {name}",
            reads="gradients",
            of="logit",
        )
        for name in ("attnlrp", "attnlrp-gamma", "cp-lrp", "z-plus")
    ),
    Criterion("attention-entropy", {HEADS: heads._entropy}, "log T less the entropy of a row, in nats", reads="data"),
    Criterion("confidence", {HEADS: heads._confidence}, "largest weight of a row", reads="data"),
    Criterion(
        "integrated gradients",
        {CHANNELS: attribution.integrated_gradients},
        f"mean over images of |integral| {_READ}, in logits",
        reads="gradients",
        of=_BOTH[::-1],
    ),
    Criterion("shapley", {CHANNELS: attribution.shapley}, "loss taken off, mean over 10 orders", "data", _BOTH),
    Criterion("ablation", {BLOCKS: _ablation, MEMORY: _ablation}, "loss gained by its absence", "data", _BOTH),
    Criterion("obd", {WEIGHTS: weights.obd}, "loss: h w^2 / 2, h on the Hessian's diagonal", "gradients", "loss"),
    Criterion("obs", {WEIGHTS: weights.obs}, "loss gained at its turn, the others answering", "gradients", "loss"),
    Criterion("random", {ANY: _at_random}, "uniform in [0, 1)"),
):
    CRITERIA.add(_row)

__all__ = ["CRITERIA", "QUANTITIES", "YEOM", "Criterion", "Evidence", "attribution"]
