"""Headlines of lesson 02: explanations."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline

_headline = partial(Headline, lesson="02")
_ROWS = [
    _headline(
        name="taylor-of-the-logit",
        sentence="Taylor's criterion keeps more of LeNet-5 when it asks for the logit",
        table="criteria_quantity",
        method="taylor of the logit",
        controls=("taylor of the loss",),
        key="accuracy",
        unit="draw",
        where={"network": "LeNet-5", "images": 50},
        by=("ratio",),
        claimed=1.2,
        item=1,
        quoted="from 1,000 images 99.4, 99.2, 97.0, 87.0 % beside 99.4, 98.0, 86.0, 83.8",
    ),
    _headline(
        name="relevance-of-the-logit",
        once="relevance is best on both sides",
        sentence="beside Taylor of the same logit, relevance keeps at most a point more of LeNet-5",
        table="criteria_quantity",
        method="relevance of the logit",
        controls=("taylor of the logit", "taylor of the loss"),
        key="accuracy",
        unit="draw",
        where={"network": "LeNet-5", "images": 50},
        by=("ratio",),
        claimed=1.2,
        item=1,
        quoted="from 1,000 images the same four numbers",
    ),
    _headline(
        name="lrp-on-moons-and-circles",
        once="LRP above Taylor and gradient, intervals apart",
        sentence="on moons and circles LRP keeps at most half a point more than the kit's Taylor of the logit",
        table="toy",
        column="criterion",
        method="lrp",
        controls=("taylor of the logit, this kit", "taylor of the logit", "gradient, this kit", "weight", "taylor"),
        key="values",
        unit="net",
        where={"per_class": 10},
        by=("data",),
        claimed=8.5,
        item=1,
        quoted="100 % in all draws for both on the logit, 57 to 99.6 for the loss",
    ),
    _headline(
        name="weights-by-saliency",
        item=13,
        sentence="with images that contradict the tag, weights by saliency beat weights by the loss and by chance",
        table="reweighting",
        method="saliency, 3 rounds",
        controls=("trained on", "saliency, shuffled", "ink", "loss, 1 round", "loss, 3 rounds", "cut, trained on"),
        key="tag elsewhere",
        unit="seed",
        where={"contradicting": 0.05},
        claimed=10,
    ),
    _headline(
        name="weights-beside-the-known-tag",
        item=13,
        once="weights by saliency repair the training data best",
        sentence="weights that know the tag do as well, and images without the tie do better",
        table="reweighting",
        method="saliency, 3 rounds",
        controls=("balanced weights", "balanced images"),
        key="tag elsewhere",
        unit="seed",
        where={"contradicting": 0.05},
        claimed=5,
    ),
]
