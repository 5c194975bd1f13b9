"""Headlines of lesson 10: recipes."""

from __future__ import annotations

from ...experiments.controls import Headline

_ROWS = [
    Headline(
        name="two-cuts",
        lesson="10",
        item=12,
        sentence="with three epochs in all, two cuts with training between them keep most",
        table="orders",
        column="order",
        method="prune, distil, prune, distil, quantize",
        controls=(
            "prune, distil, quantize",
            "prune, tune on labels, quantize",
        ),
        key="test",
        unit="seed",
        claimed=4,
    ),
]
