"""The headlines of the lessons, each with the controls that decide about it."""

from __future__ import annotations

from ..core import Registry
from ..experiments.controls import Headline

_ROWS = [
    Headline(
        name="taylor-of-the-logit",
        lesson="02",
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
    Headline(
        name="relevance-of-the-logit",
        lesson="02",
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
    Headline(
        name="lrp-on-moons-and-circles",
        lesson="02",
        sentence="on moons and circles LRP keeps at most half a point more than Taylor of the logit",
        table="toy",
        column="criterion",
        method="lrp",
        controls=("taylor of the logit", "gradient, this kit", "weight", "taylor"),
        key="values",
        unit="net",
        where={"per_class": 10},
        by=("data",),
        claimed=8.5,
        item=1,
        quoted="100 % in all draws for both on the logit, 57 to 99.6 for the loss",
    ),
    Headline(
        name="taylor-beside-chance",
        lesson="05",
        sentence="half of the channels chosen by Taylor leave more of the accuracy than a random half",
        table="mobilenet_criteria",
        column="criterion",
        method="taylor",
        controls=("random",),
        key="recalibrated",
        unit="seed",
        where={"ratio": 0.5},
        claimed=10,
        item=1,
    ),
]
#: Headlines by their names.
HEADLINES: Registry[Headline] = Registry("a headline", Headline, _ROWS)
