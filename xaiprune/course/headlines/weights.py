"""Headlines of lesson 01: pruning single weights."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline

_headline = partial(Headline, lesson="01")
_ROWS = [
    _headline(
        name="steps-beside-one-cut",
        item=9,
        once="steps with tuning keep 98.7 % where one cut keeps 32 %",
        sentence="with the same five epochs, five steps are ahead of one cut, by less than half a point",
        table="same_tuning",
        method="in five steps",
        controls=("at once",),
        key="test",
        unit="seed",
        claimed=66,
        quoted="one shot and the same 5 epochs 97.98 %, gradual 98.08 %.",
    ),
    _headline(
        name="pruning-moves-the-reasons",
        item=9,
        once="tuning has given you another model",
        sentence="it is the pruning that moves the reasons: the same epochs without it hardly do",
        table="same_tuning",
        method="in five steps",
        controls=("dense",),
        key="place",
        unit="seed",
        claimed=0.2,
        quoted="likeness of the dense net with the same tuning 0.70, of the pruned one untuned 0.03, tuned 0.20.",
    ),
]
