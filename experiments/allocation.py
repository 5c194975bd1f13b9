"""Tables of lesson 05 that try its ways to spend a budget: on which layers, and by which price.

Every draw scores, scans and prices on other images; the images that judge took part in no choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import nn

from experiments.criteria import drawn
from experiments.mobilenet import (
    AT,
    JUDGED,
    MODEL,
    ROUND_TO,
    SEEDS,
    TUNING,
    ranked,
    share_of_macs,
    splits,
    subset,
)
from experiments.setting import LOSS, WHOLE, Setting
from experiments.table import Table
from xaiprune import zoo
from xaiprune.data import Split, fashion_mnist
from xaiprune.distill import distillation_loss
from xaiprune.explain import drift_from, drift_scale
from xaiprune.measure import Metric
from xaiprune.prune import (
    Costs,
    Plan,
    Scores,
    allocate_ratios,
    cut,
    find_units,
    lowest,
    mac_costs,
    plan,
    recalibrate,
    scan,
    score,
)
from xaiprune.prune.planning import plans_by_cost
from xaiprune.training import tune

#: The first validation images judge, the others may choose. Prices are judged by fewer answers and heatmaps.
JUDGES, ANSWERED, EXPLAINED, SCALED, PRICED = 2000, 1000, 200, 24, 100
#: Calibration images that a draw scores on; others that its scan looks at, and the scan that the lesson had first.
SCORED, SCANNED, FEW = 500, 200, 50
#: Images that batch normalisation is measured on anew, where a choice is made and where a plan is judged.
ROUGHLY, RECALIBRATED = 200, 400
SHARE, RATIOS = 0.6, (0.25, 0.5)
#: Groups that are closed, as the explanation budget closed at 40 %; draws of chance beside each.
CLOSED, CHANCES = 4, 1
ALLOCATIONS, SCANS, PRICES = 10, 1, 5


class Drawn:
    """One draw: the network, what its units score and cost, and the images that choose and that judge."""

    def __init__(self, draw: int, at: Setting):
        self.at, self.model, self.calibration = at, at.network(zoo.load(MODEL)), at.split(fashion_mnist, "calibration")
        every = drawn(self.calibration, draw, len(self.calibration.targets))
        half = min(SCORED, len(every.targets) // 2)
        self.choosing = Split(*(part[half:] for part in every))
        validation = at.split(fashion_mnist, "validation")
        edge = min(JUDGES, len(validation.targets) // 2)
        self.judging = validation.first(edge)
        self.priced = drawn(Split(*(part[edge:] for part in validation)), draw, at.few(PRICED))
        self.units = find_units(self.model, self.calibration.inputs[:1])
        self.costs: Costs = mac_costs(self.model, self.units, self.calibration.inputs)
        self.scores: Scores = score(self.model, self.units, "taylor", every.first(half))

    def smaller(self, chosen: Plan, count: int = RECALIBRATED) -> nn.Module:
        """Cut, with batch normalisation measured anew."""
        return recalibrate(cut(self.model, chosen), self.calibration.inputs[:count])


def allocation_rows(draw: int, scanned: str, at: Setting = WHOLE) -> list[dict]:
    """Accuracy without tuning at 60 % of the operations, by where the same scores are spent."""
    here = Drawn(draw, at)
    ranks, share = here.scores.normalised("rank"), {"cost_target": SHARE, "costs": here.costs}
    if scanned == "roughly":
        few = scan(here.model, here.scores, here.choosing.first(at.few(FEW)), ratios=RATIOS, progress=False)
        plans = {"ranks": plan(ranks, **share), "uniform": plan(here.scores, scope="uniform", **share)}
        plans["sensitivity"] = _allocated(here, few)
    else:
        metrics = {"sensitivity, re-calibrated": at.metric, "sensitivity of the loss, re-calibrated": LOSS}
        found = _scans(here, here.choosing.first(at.few(SCANNED)), metrics)
        plans = {name: _allocated(here, rows) for name, rows in found.items()}
    rows = []
    for method, chosen in plans.items():
        row = {"method": method, "draw": draw, "macs": round(here.costs.share(chosen), 4)}
        rows.append(row | {"accuracy": at.judge(here.smaller(chosen), here.judging)})
    return rows


def _scans(here: Drawn, split: Split, metrics: dict[str, Metric]) -> dict[str, list[dict]]:
    """What every group loses alone, with batch normalisation measured anew: rows as ``scan`` gives them, by metric."""
    found = {name: [] for name in metrics}
    intact = {name: metric(here.model, split) for name, metric in metrics.items()}
    for group in here.units:
        for ratio in (0.0, *RATIOS):
            smaller = here.model
            if ratio:
                smaller = here.smaller(lowest(here.scores, {group.name: round(ratio * group.size)}), ROUGHLY)
            for name, metric in metrics.items():
                lost = metric.better * (intact[name] - metric(smaller, split))
                found[name].append({"group": group.name, "ratio": ratio, "lost": lost})
    return found


def _allocated(here: Drawn, scanned: list[dict]) -> Plan:
    """The first plan by a scan that leaves no more than the share."""
    tries = (allocate_ratios(here.scores, scanned, thousandths / 1000) for thousandths in range(200, 900, 5))
    return next(found for found in tries if here.costs.share(found) <= SHARE)


def price_rows(draw: int, at: Setting = WHOLE) -> list[dict]:
    """Drift and accuracy at 40 % of the operations before tuning, with the four dearest groups closed, by two prices.

    The controls close none, the first four, or four at random.
    """
    here = Drawn(draw, at)
    ranks = here.scores.normalised("rank")
    drift, count = drift_from(here.model, here.priced.inputs, method="lrp"), _count(at)
    spends = {"drift": lambda smaller: drift(smaller).value, "loss": _lost(here.model, here.priced)}
    prices = _prices(here.model, ranks, here.costs, here.calibration, spends, at)
    closed = {"ranks": ()} | {way: sorted(price, key=price.get)[-count:] for way, price in prices.items()}
    names = list(prices["loss"])
    closed["first groups"] = names[:count]
    generator = torch.Generator().manual_seed(draw)
    for chance in range(at.few(CHANCES)):
        order = torch.randperm(len(names), generator=generator)[:count].tolist()
        closed[f"chance {chance}"] = [names[place] for place in order]
    judge = drift_from(here.model, here.judging.inputs[: at.few(EXPLAINED)], method="lrp")
    scale = drift_scale(here.model, here.judging.inputs[: at.few(SCALED)], method="lrp") if at.whole else None
    rows = []
    for way, names in closed.items():
        chosen = _without(ranks, here.costs, names, at)
        row = {"method": way.rstrip(" 012"), "draw": draw, "closed": sorted(names)}
        row |= {"macs": round(here.costs.share(chosen), 4)}
        row |= _judged(here.smaller(chosen), here.judging.first(at.few(ANSWERED)), judge, at)
        row |= {"place": scale and round(scale.place_of(row["mean"]), 5)}
        rows.append(row | {"prices": {name: round(price, 6) for name, price in prices.get(way, {}).items()}})
    return rows


def _count(at: Setting) -> int:
    """Groups that are closed."""
    return CLOSED if at.whole else 1


def _prices(model: nn.Module, ranks: Scores, costs: Costs, calibration: Split, spends: dict, at: Setting) -> dict:
    """Way -> group -> what it spends for each share of the operations that it saves.

    Each group is cut alone as the ranking's plan for the target cuts it.
    """
    goal, found = _without(ranks, costs, (), at), {way: {} for way in spends}
    for name in goal.removed:
        alone = Plan(goal.groups, {name: goal.removed[name]})
        saved, smaller = 1 - costs.share(alone), recalibrate(cut(model, alone), calibration.inputs[:ROUGHLY])
        for way, spent in spends.items():
            found[way][name] = spent(smaller) / saved
    return found


def _lost(model: nn.Module, split: Split) -> Callable[[nn.Module], float]:
    """By how much a smaller model's loss is above the model's."""
    intact = LOSS(model, split)
    return lambda smaller: LOSS(smaller, split) - intact


def _without(ranks: Scores, costs: Costs, closed: Collection[str], at: Setting) -> Plan:
    """The ranking's plan for the target, where some groups lose nothing."""
    names = [group.name for group in ranks.groups if group.name not in closed]
    found = plans_by_cost(ranks.only(*names), costs, round_to=ROUND_TO)(AT if at.whole else 0.7)
    return Plan(ranks.groups, found.removed)


def _judged(smaller: nn.Module, split: Split, compared: Callable, at: Setting) -> dict:
    drift = compared(smaller)
    return {"median": round(drift.value, 5), "mean": round(drift.mean, 5), "accuracy": at.judge(smaller, split)}


def tuned_row(seed: int, at: Setting = WHOLE) -> list[dict]:
    """The control of the explanation budget at 40 %, tuned and judged as ``mobilenet_budget`` has it.

    As many groups are closed as the budget closed there: the dearest by loss, on the same validation images.
    """
    model, calibration, validation, test = splits(at)
    ranks, costs = ranked(model, calibration)
    spends = {"loss": _lost(model, validation.first(at.few(JUDGED)))}
    price = _prices(model, ranks, costs, calibration, spends, at)["loss"]
    closed = sorted(price, key=price.get)[-_count(at) :]
    smaller = recalibrate(cut(model, _without(ranks, costs, closed, at)), calibration.inputs)
    row = {"method": "distilled, prices by loss", "seed": seed, "closed": sorted(closed)}
    row |= {"macs": share_of_macs(smaller, model), "recalibrated": at.judge(smaller, test)}
    loss = distillation_loss(at.teacher(model, calibration.inputs))
    tune(smaller, subset(at), validation, loss=loss, metric=at.metric, seed=seed, **at.trained(TUNING))
    drift = drift_from(model, test.inputs[: at.few(1000)], method="lrp")(smaller).values
    row |= {"accuracy": at.judge(smaller, test), "drift": round(drift.mean().item(), 5)}
    return [row | {"median": round(drift.median().item(), 5), "drifts": [round(d, 4) for d in drift.tolist()]}]


_CODE, _FILES = ("criteria of slices", "explanation budget", "plans by cost"), (f"{MODEL}-seed0.safetensors",)
_AT = Setting(images=32, count=2, blocks=2)
TABLES = [
    Table(
        "mobilenet_allocation",
        allocation_rows,
        [(draw, "roughly") for draw in range(ALLOCATIONS)] + [(draw, "re-calibrated") for draw in range(SCANS)],
        code=_CODE[::2],
        checkpoints=_FILES,
        tried=[(0, "roughly"), (0, "re-calibrated")],
        at=_AT,
    ),
    Table(
        "mobilenet_prices",
        price_rows,
        [(draw,) for draw in range(PRICES)],
        code=_CODE,
        checkpoints=_FILES,
        tried=[(0,)],
        at=Setting(images=32, count=2, blocks=5),
        tolerance=0.01,
    ),
    Table(
        "mobilenet_prices_tuned",
        tuned_row,
        [(seed,) for seed in SEEDS],
        code=("criteria of slices", "explanation budget", "recovery"),
        checkpoints=_FILES,
        tried=[(0,)],
        at=Setting(images=48, count=8, blocks=3, training={"epochs": 1, "batch_size": 8}),
        tolerance=0.01,
    ),
]
