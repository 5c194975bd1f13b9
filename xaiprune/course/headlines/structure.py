"""Headlines of lesson 05: structured pruning of MobileNet."""

from __future__ import annotations

from functools import partial

from ...experiments import tables
from ...experiments.controls import Headline


def _and_students(rows: list[dict]) -> list[dict]:
    """The cuts of the frontier, and lesson 08's students of a quarter of the operations, from new weights."""
    trained = tables.where(tables.read("distillation_students"), method="labels")
    return rows + [row | {"method": "new weights", "target": 0.25, "accuracy": row["test"]} for row in trained]


def _and_by_loss(rows: list[dict]) -> list[dict]:
    """The cuts of the frontier, and those whose groups were closed by their price in loss."""
    return rows + [row | {"target": 0.4} for row in tables.read("mobilenet_prices_tuned")]


_headline = partial(Headline, lesson="05")
_ROWS = [
    _headline(
        name="taylor-of-the-logit-mobilenet",
        sentence="Taylor of the logit keeps more of this MobileNet than Taylor of the loss, and than relevance",
        table="criteria_quantity",
        method="taylor of the logit",
        controls=("taylor of the loss", "relevance of the logit"),
        key="accuracy",
        unit="draw",
        where={"network": "MobileNet", "images": 50},
        by=("ratio",),
        claimed=5,
        item=1,
    ),
    _headline(
        name="allocation-by-sensitivity",
        once="by sensitivity is best, by over a point",
        sentence="over ten draws, the scan on 50 images is behind the same share everywhere",
        table="mobilenet_allocation",
        method="sensitivity",
        controls=("uniform", "ranks"),
        key="accuracy",
        unit="draw",
        claimed=2.6,
        item=4,
        quoted="92.0 on the judged 500, 90.7 on 2,000 others, behind 91.1 for uniform",
    ),
    _headline(
        name="budget-by-drift",
        once="a ranking by loss sees none of this",
        sentence="untuned, prices by drift leave no less mean drift than the ranking alone",
        table="mobilenet_prices",
        method="drift",
        controls=("loss", "ranks", "first groups", "chance"),
        key="mean",
        better=-1,
        unit="draw",
        claimed=0.3,
        item=5,
        quoted="medians 0.008, 0.012 by loss, 0.013 of the first groups, 0.022 without",
    ),
    _headline(
        name="integrated-gradients-after-tuning",
        once="integrated gradients start from over 87 %",
        sentence="after three epochs, integrated gradients are ahead of the others by less than half a point",
        table="mobilenet_peers",
        method="integrated gradients",
        controls=("taylor", "taylor, ranks", "fisher", "relevance", "GroupMagnitude", "GroupHessian mended"),
        key="tuned, test",
        unit="seed",
        claimed=1.8,
        item=4,
        quoted="first before tuning (87.9), sixth of nine after it (91.66)",
    ),
    _headline(
        name="cut-beside-new-weights",
        once="pruning and tuning beats training a small network",
        sentence="after the same three epochs the cut is ahead of new weights in the same widths",
        table="mobilenet_peers",
        method="taylor, ranks",
        controls=("new weights",),
        key="tuned, test",
        unit="seed",
        claimed=1,
        item=4,
    ),
    _headline(
        name="cut-beside-longer-training",
        once="pruning and tuning beats training a small network",
        sentence="at a quarter of the MACs, 36 epochs from new weights are ahead of the cut with its three",
        table="mobilenet_budget",
        method="labels",
        controls=("new weights",),
        key="accuracy",
        unit="seed",
        where={"target": 0.25},
        rows=_and_students,
        claimed=1,
        item=4,
        quoted="91.8 % for students of 36 epochs, 90.4 to 90.7 for cuts of three",
    ),
    _headline(
        name="budget-after-tuning",
        once="the budget saves over half of the drift",
        sentence="tuned, the typical image drifts less within the budget than by prices by loss, in three seeds",
        table="mobilenet_budget",
        method="distilled, budget",
        controls=("distilled, prices by loss", "distilled"),
        key="median",
        better=-1,
        unit="seed",
        where={"target": 0.4},
        rows=_and_by_loss,
        claimed=0.005,
        item=5,
    ),
]
