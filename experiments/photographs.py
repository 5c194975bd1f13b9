"""The table ``objects`` of the page on photographs: EfficientNet-Lite0 on every ground, with things of two sizes."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import data, explain, zoo
from xaiprune.graph import fold_batch_norm
from xaiprune.measure import predict

MODEL, EACH, BATCH = "efficientnet-lite0", 20, 59
#: Grounds on which things are shown at 80 % of the picture as well.
LARGE = ("white", "grey", "grass", "gravel")


def rows_of(ground: str, size: float, at: Setting = WHOLE) -> list[dict]:
    """Answers that count as right [%], each with its 95 % interval over groups of things, and how sure they were."""
    model = fold_batch_norm(zoo.load(MODEL))  # the same outputs in two thirds of the time
    scenes = data.scenes("all", each=EACH, size=size, grounds=[ground], preprocessing=zoo.preprocessing(MODEL))
    right, surprise, groups = {1: [], 5: []}, [], []
    count = len(scenes) if at.images is None else at.images
    for start in range(0, count, BATCH):
        made = scenes.make(range(start, min(start + BATCH, count)))
        logits = predict(model, made.inputs)
        surprise.append(cross_entropy(logits, made.targets, reduction="none"))
        groups.append(made.groups)
        for top, found in right.items():
            found.append(made.right(logits, top).double())
    row = {"ground": ground, "size": size, "pictures": count}
    for top, found in right.items():
        value, *ends = explain.bootstrap(100 * torch.cat(found), groups=torch.cat(groups))
        row |= {f"top-{top}": round(value, 1), f"top-{top} interval": [round(end, 1) for end in ends]}
    return [row | {"cross-entropy": round(torch.cat(surprise).mean().item(), 3)}]


TABLES = [
    Table(
        "objects",
        rows_of,
        [(ground, 0.6) for ground in data.GROUNDS] + [(ground, 0.8) for ground in LARGE],
        code=("composites", "EfficientNet-Lite", "preprocessing"),
        checkpoints=(f"{MODEL}-seed0.safetensors",),
        tried=[("brick", 0.6), ("flower", 0.8)],
        at=Setting(images=10),
        tolerance=0.01,
    )
]
