"""Headlines of lesson 08: distillation."""

from __future__ import annotations

from functools import partial

from ...experiments import tables
from ...experiments.controls import Headline


def _named(rows: list[dict]) -> list[dict]:
    """Rows of temperatures with a name of each; 0 stands for labels alone."""
    return [row | {"method": f"T = {row['temperature']:g}" if row["temperature"] else "labels"} for row in rows]


def _beside_labels(rows: list[dict]) -> list[dict]:
    """Rows of students that hear no label, and those of labels alone."""
    return _named(rows + tables.where(tables.read("distillation_temperature"), temperature=0.0))


_headline = partial(Headline, lesson="08")
_ROWS = [
    _headline(
        name="taught-beside-labels",
        item=11,
        once="its student is ahead by about a point",
        sentence="taught at T = 4 they are ahead of labels alone, by about half a point",
        table="distillation_cooling",
        method="T = 4",
        controls=("labels",),
        key="test",
        unit="seed",
        claimed=1,
    ),
    _headline(
        name="cooling",
        item=11,
        once="cooling gives some of the teacher's advantage back",
        sentence="a temperature that falls from 8 to 1 is level with T = 4",
        table="distillation_cooling",
        method="T = 4",
        controls=("T cools",),
        key="test",
        unit="seed",
        claimed=0.65,
        quoted="96.12 against 96.03 over six seeds.",
    ),
    _headline(
        name="soft-targets-mobilenet",
        item=11,
        sentence="soft targets close at least a third of the gap, mean of five seeds",
        table="distillation_students",
        method="soft targets",
        controls=("labels",),
        key="test",
        unit="seed",
        claimed=1,
    ),
    _headline(
        name="hints-mobilenet",
        item=11,
        sentence="with hints they are right more often than with soft targets alone, in two seeds",
        table="distillation_students",
        method="hints",
        controls=("soft targets",),
        key="test",
        unit="seed",
        claimed=0.6,
    ),
    _headline(
        name="relevance-by-occlusion",
        item=11,
        once="asked for evidence, students are nearest by occlusion",
        sentence="asked for evidence, students are nearer by occlusion than on soft targets alone",
        table="distillation_students",
        method="relevance",
        controls=("soft targets", "hints", "attention"),
        key="occlusion",
        unit="seed",
        claimed=0.02,
    ),
    _headline(
        name="temperature-chosen",
        item=11,
        sentence="on test images its students beat those on labels alone",
        table="distillation_temperature",
        method="T = 3",
        controls=("labels",),
        key="test",
        unit="seed",
        better=-1,
        claimed=22,
        rows=_named,
    ),
    _headline(
        name="too-hot",
        item=11,
        sentence="at T = 8, labels alone are better than the teacher",
        table="distillation_temperature",
        method="labels",
        controls=("T = 8",),
        key="test",
        unit="seed",
        better=-1,
        claimed=15,
        rows=_named,
    ),
    _headline(
        name="too-hot-without-labels",
        item=11,
        sentence="without labels, too, labels alone are better than a teacher at T = 8",
        table="distillation_unlabelled",
        method="labels",
        controls=("T = 8",),
        key="test",
        unit="seed",
        better=-1,
        claimed=15,
        rows=_beside_labels,
    ),
    _headline(
        name="dist-as-published",
        item=11,
        once="the correlation loss closes far less of the gap than soft targets",
        sentence="with the weights of its paper the correlation loss is ahead of soft targets, and of labels",
        table="distillation_losses",
        method="correlation, as published",
        controls=("soft targets", "labels"),
        key="test",
        unit="seed",
        by=("student",),
        claimed=1,
    ),
    _headline(
        name="dkd-as-published",
        item=11,
        once="decoupled, the teacher's wrong classes say more",
        sentence="with the weights of its paper the decoupled loss is not ahead of soft targets",
        table="distillation_losses",
        method="decoupled, as published",
        controls=("soft targets",),
        key="test",
        unit="seed",
        by=("student",),
        claimed=1,
    ),
    _headline(
        name="robust-by-hints",
        item=11,
        once="students that are taught by features are more robust",
        sentence="under noise, students with hints are no more robust than those without",
        table="distillation_losses",
        method="soft targets and hints",
        controls=("soft targets",),
        key="noise",
        unit="seed",
        by=("student",),
        claimed=3.7,
    ),
]
