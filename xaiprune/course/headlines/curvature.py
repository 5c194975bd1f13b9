"""Headlines of lesson 03: curvature."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline

_headline = partial(Headline, lesson="03")
_ROWS = [
    _headline(
        name="obd",
        item=8,
        sentence="without tuning OBD keeps more than magnitude, on average over 80, 90 and 95 %",
        table="one_shot",
        method="obd",
        controls=("l1", "fisher", "taylor", "obd, 100 probes", "random"),
        key="test",
        unit="seed",
        rows=lambda rows: [row for row in rows if row["ratio"] >= 0.8],
        by=("ratio",),
        claimed=10,
        quoted="at 0.8 / 0.9 / 0.95, one net: 100 probes 86.8 / 74.8 / 61.1, 1,000 probes 94.1 / 88.9 / 67.0, "
        "magnitude 93.0 / 60.6 / 28.6.",
    ),
    _headline(
        name="obs-beside-tuned-magnitude",
        item=8,
        once="OBS is far better than magnitude",
        sentence="OBS alone is behind magnitude with ten epochs on the images that OBS was given",
        table="one_shot",
        method="obs",
        controls=("l1, 10 epochs", "l1"),
        key="test",
        unit="seed",
        where={"ratio": 0.95},
        claimed=47,
        quoted="79 % beside 32 %, before the images were counted.",
    ),
    _headline(
        name="obs-with-the-same-tuning",
        item=8,
        sentence="with ten epochs each on the same images OBS stays ahead of magnitude and OBD",
        table="one_shot",
        method="obs, 10 epochs",
        controls=("l1, 10 epochs", "obd, 10 epochs"),
        key="test",
        unit="seed",
        where={"ratio": 0.95},
        claimed=47,
    ),
]
