"""Headlines of lesson 05: structured pruning of MobileNet."""

from __future__ import annotations

from ...experiments.controls import Headline

_ROWS = [
    Headline(
        name="taylor-of-the-logit-mobilenet",
        lesson="05",
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
    Headline(
        name="integrated-gradients-after-tuning",
        lesson="05",
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
]
