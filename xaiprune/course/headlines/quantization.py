"""Headlines of lesson 07: quantization."""

from __future__ import annotations

from ...experiments.controls import Headline

_ROWS = [
    Headline(
        name="range-by-error",
        lesson="07",
        item=10,
        sentence="in 4 bits ranges by squared error leave more right than the extremes do",
        table="quantization_sets",
        column="calibrator",
        method="mse",
        controls=("min-max",),
        key="accuracy",
        unit="seed",
        where={"kind": "random", "count": 256},
        claimed=5,
        quoted="on 600 images: min-max 66.7, entropy as here 81.7, with Migacz's levels 66.2, with the grid's 85.2 %.",
    ),
]
