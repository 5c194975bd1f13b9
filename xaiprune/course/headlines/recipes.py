"""Headlines of lesson 10: recipes."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline

_headline = partial(Headline, lesson="10")
_ROWS = [
    _headline(
        name="rounding-while-training",
        item=12,
        once="cut in two steps, the mean is best",
        sentence="rounding while it trains, the cut is ahead of new weights; of two cuts three seeds do not show it",
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
