"""The headlines of the lessons, each with the controls that decide about it."""

from __future__ import annotations

from ..core import Registry
from ..experiments.controls import Headline

_ROWS = [
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
