"""The table ``criteria_quantity`` of lessons 02, 05 and 06: the same criteria of the loss and of the logit.

Every draw scores on other images of the calibration split; 2,000 validation images judge, which chose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import zoo
from xaiprune.data import Split, fashion_mnist, mnist
from xaiprune.prune import UnitGroup, cut, find_heads, find_neurons, find_units, plan, recalibrate, score

#: Images that judge, and images that batch normalisation is measured on anew.
JUDGED, RECALIBRATED = 2000, 400
#: Criterion and quantity. Relevance is of the logit alone; its composite depends on the network.
TAYLOR, FISHER = (("taylor", "loss"), ("taylor", "logit")), (("fisher", "loss"), ("fisher", "logit"))
GRADIENTS = (("integrated gradients", "loss"), ("integrated gradients", "logit"))


@dataclass(frozen=True)
class Case:
    """A network, its units, and what is asked of it.

    Attributes
    ----------
    checkpoint : str
    load : callable
        ``(split, limit) -> Split``, the images.
    units : callable
        ``(model, example) -> list of UnitGroup``.
    ratios : tuple of float
        Shares of the units that go.
    draws : int
    scope : str
        Of the plan.
    """

    checkpoint: str
    load: Callable[..., Split]
    units: Callable[[nn.Module, torch.Tensor], list[UnitGroup]]
    ratios: tuple[float, ...]
    draws: int
    scope: str = "global"


CASES = {
    "LeNet-5": Case("lenet-5", mnist, find_units, (0.2, 0.4, 0.5, 0.6), 10),
    "MobileNet": Case("mobilenet-fashion-mnist", fashion_mnist, find_units, (0.3, 0.5), 5, "uniform"),
    "ViT heads": Case("vit-fashion-mnist", fashion_mnist, lambda model, _: find_heads(model), (0.4,), 5),
    "ViT neurons": Case("vit-fashion-mnist", fashion_mnist, lambda model, _: find_neurons(model), (0.4,), 5),
}
#: What each network is asked by how many images; integrated gradients take ten passes for every group.
ASKED = {
    ("LeNet-5", 50): (*TAYLOR, *FISHER, *GRADIENTS, ("relevance", "logit")),
    ("MobileNet", 50): (*TAYLOR, ("relevance", "logit")),
    ("ViT neurons", 50): (*TAYLOR, ("attnlrp", "logit")),
    ("ViT heads", 50): (*TAYLOR, ("attnlrp", "logit")),
    ("LeNet-5", 500): (*TAYLOR, *FISHER, ("relevance", "logit"), ("random", None)),
    ("MobileNet", 20): GRADIENTS,
}


def drawn(split: Split, draw: int, count: int) -> Split:
    """Some images of a split, others in every draw."""
    order = torch.randperm(len(split.targets), generator=torch.Generator().manual_seed(draw))[:count]
    return Split(split.inputs[order], split.targets[order])


def quantity_rows(network: str, images: int, draw: int, at: Setting = WHOLE) -> list[dict]:
    """Accuracy without tuning by each criterion of each quantity; batch normalisation is measured anew."""
    case = CASES[network]
    model, calibration = at.network(zoo.load(case.checkpoint)), at.split(case.load, "calibration")
    judged = at.split(case.load, "validation", JUDGED)
    evidence = drawn(calibration, draw, images)
    units, rows = case.units(model, calibration.inputs[:1]), []
    for criterion, of in ASKED[network, images]:
        scores = score(model, units, criterion, evidence, of=of, seed=draw)
        for ratio in at.some(case.ratios):
            smaller = cut(model, plan(scores, ratio=ratio, scope=case.scope))
            smaller = recalibrate(smaller, calibration.inputs[:RECALIBRATED]) if network == "MobileNet" else smaller
            name = f"{criterion} of the {of}" if of else criterion
            row = {"network": network, "criterion": criterion, "of": of, "method": name}
            row |= {"images": images, "draw": draw, "ratio": ratio}
            rows.append(row | {"accuracy": at.judge(smaller, judged)})
    return rows


TABLES = [
    Table(
        "criteria_quantity",
        quantity_rows,
        [(*asked, draw) for asked in ASKED for draw in range(CASES[asked[0]].draws)],
        code=("criteria by attribution", "criteria of slices", "gates"),
        checkpoints=tuple(dict.fromkeys(f"{case.checkpoint}-seed0.safetensors" for case in CASES.values())),
        tried=[("LeNet-5", 50, 0), ("MobileNet", 50, 0), ("ViT neurons", 50, 0)],
        at=Setting(images=8, count=1, blocks=2),
    )
]
