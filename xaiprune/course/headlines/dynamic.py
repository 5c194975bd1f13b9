"""Headlines of lesson 09: dynamic networks."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline

_headline = partial(Headline, lesson="09")
_ROWS = [
    _headline(
        name="exits-beside-static",
        item=12,
        sentence="with a tail of 0.8 the exit is ahead of the static network of the same mean operations",
        table="dynamic",
        method="exits, tail of 0.8",
        controls=("static",),
        key="test",
        unit="seed",
        claimed=0.6,
    ),
    _headline(
        name="tails-by-class",
        item=12,
        once="a tail that keeps what its classes need pays",
        sentence="four tails by class are behind one tail for all",
        table="dynamic",
        method="exits, tails by class",
        controls=("exits, smaller tail", "static", "exits, tails alike"),
        key="test",
        unit="seed",
        claimed=0.2,
    ),
]
