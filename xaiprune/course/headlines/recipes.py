"""Headlines of lesson 10: recipes."""

from __future__ import annotations

from ...experiments.controls import Headline

_ROWS = [
    Headline(
        name="rounding-while-training",
        lesson="10",
        item=12,
        once="cut in two steps, the mean is best",
        sentence="trained while its weights are rounded, the cut network keeps most",
        table="orders",
        column="order",
        method="prune, distil while quantizing",
        controls=(
            "prune, distil, prune, distil, quantize",
            "prune, distil, quantize",
            "prune, tune on labels, quantize",
            "new weights, distil, quantize",
        ),
        key="test",
        unit="seed",
        claimed=1,
    ),
]
