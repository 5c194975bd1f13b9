"""Tables of lesson 06 about explanations: which of them are faithful beside their controls, what closing a head or a
block costs, and how far the pruned transformers are from the original's reasons.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import nn

from experiments import vit
from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import prune, zoo
from xaiprune.data import fashion_mnist
from xaiprune.explain import (
    CONTROL_METHODS,
    METHODS,
    Method,
    at_resolution,
    attention_weights,
    drift_from,
    drift_scale,
    faithfulness,
    lit_pixels,
)
from xaiprune.measure import macs, predict

#: Images whose explanations are judged; parts of a patch-level map.
JUDGED, GRID = 200, (7, 7)
MEASURED = ("faithfulness", "ROAD")
#: Methods as fine as pixels, and as patches; with the options that make them affordable.
PIXELS = ("attnlrp", "attnlrp gamma", "cp-lrp", "cp-lrp gamma", "gradient x input")
PATCHES = ("rollout", "chefer approximated")
BLIND = ("the image itself", "random among lit pixels", "edges", "centre", "random")
#: Methods that are asked with new weights, too; and what is compared at the resolution of patches.
ANEW = ("attnlrp", "attnlrp gamma", "cp-lrp gamma", *PATCHES)
CLASS_TESTED = ("attnlrp", "attnlrp gamma", "cp-lrp gamma", "gradient x input", *PATCHES, "class mean x image")
COARSE = ("attnlrp", "attnlrp gamma", "cp-lrp gamma", *BLIND[:4])
BLANK = "re-initialised network"

#: Images that attention, relevance and plans are measured on; that closed heads and blocks are judged on; for drift.
SCORED, CLOSED, DRIFTED, SCALED = 500, 1000, 100, 40
#: Shares of the operations: whole blocks against heads and neurons.
BLOCKS = (1, 2, 3)
FINER = ("taylor", "random")
LEARNED_ON = 1200
RULERS = {"default": {}, "attnlrp": {"method": "attnlrp"}}


def _told(name: str, change) -> Method:
    """A patch-level method that is told where the black pixels are."""

    def function(model, images, targets=None):
        return change(METHODS[name](model, images, targets), images)

    return function


@functools.cache
def _class_means() -> torch.Tensor:
    known = fashion_mnist("calibration", SCORED)
    means = torch.stack([known.inputs[known.targets == label].mean(0) for label in range(10)])
    return (means - means.mean(0))[:, 0]


def _template(model: nn.Module, images: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """The image times what is typical of the class among images: it knows classes, and no network."""
    classes = predict(model, images).argmax(1) if targets is None else targets
    return images[:, 0] * _class_means()[classes]


@functools.cache
def methods() -> dict[str, Method]:
    """All rows by name: methods, controls, and patch-level methods that are told where the black pixels are."""
    rows = [*(METHODS[name] for name in PIXELS + PATCHES), *(CONTROL_METHODS[name] for name in BLIND)]
    blank = CONTROL_METHODS[BLANK]
    blanks = [replace(blank, name=f"{name}, {BLANK}", options={"method": name}) for name in ANEW]
    coarse = [at_resolution(row, GRID) for row in rows if row.name in COARSE]
    told = [Method("class mean x image", _template)]
    for name in PATCHES:
        told.append(Method(f"{name}, among lit pixels", _told(name, lambda maps, x: maps * lit_pixels(x))))
        told.append(Method(f"{name} x image", _told(name, lambda maps, x: maps * x[:, 0])))
    return {row.name: row for row in [*rows, *coarse, *told, *blanks]}


def explained(name: str, at: Setting = WHOLE) -> list[dict]:
    """One method or control by all measures, a value for each image."""
    model, some = zoo.load(vit.MODEL), at.split(fashion_mnist, "validation", JUDGED)
    options = {"measures": MEASURED, "controls": (), "class_tested": name in CLASS_TESTED}
    found = faithfulness(model, some.inputs, None, [methods()[name]], **options)
    row = {measure.replace(" ", "_").lower(): _short(values) for measure, values in found.values[name].items()}
    return [{"method": name, "control": name in BLIND or BLANK in name or name.startswith(BLIND)} | row]


def heads(block: int, at: Setting = WHOLE) -> list[dict]:
    """The heads of a block, each closed alone: how sharply it looks, its relevance, and what that costs each image."""
    model = zoo.load(vit.MODEL)
    groups = prune.find_heads(model)
    known, judged = at.split(fashion_mnist, "calibration", SCORED), at.split(fashion_mnist, "validation", CLOSED)
    seen = list(attention_weights(model, known.inputs).values())[block][:, :, 0, 1:].double()
    patches = torch.special.entr(seen / seen.sum(-1, keepdim=True)).sum(-1).exp().mean(0)
    shares = prune.score(model, groups, "attnlrp", known)[groups[block].name]
    whole, rows = predict(model, judged.inputs), []
    for number, (looks, share) in enumerate(zip(patches.tolist(), shares.tolist())):
        with prune.masked(model, prune.Plan(tuple(groups), {groups[block].name: [number]})):
            closed = predict(model, judged.inputs)
        turned, right = closed.argmax(1) != whole.argmax(1), closed.argmax(1) == judged.targets
        rise = [nn.functional.cross_entropy(each, judged.targets, reduction="none") for each in (closed, whole)]
        row = {"method": f"block {block}, head {number}", "block": block, "head": number, "patches": round(looks, 3)}
        row |= {"relevance": round(share, 4), "turned": _share(turned), "right": _share(right)}
        rows.append(row | {"loss": _short(rise[0] - rise[1])})
    return rows


def blocks(method: str, count: int, at: Setting = WHOLE) -> list[dict]:
    """Whole blocks out, or as many operations less inside of all: which images are still answered rightly, untuned."""
    model = zoo.load(vit.MODEL)
    known, judged = at.split(fashion_mnist, "calibration", SCORED), at.split(fashion_mnist, "validation", CLOSED)
    image, target, removed = known.inputs[:1], 1 - count / 6, {}
    if method == "blocks":
        units = prune.find_blocks(model, image)
        missed = prune.score(model, units, "ablation", known)
        chosen = prune.plan(missed, k=count) if count else prune.Plan(tuple(units), {})
        removed = {name: gone.tolist() for name, gone in chosen.removed.items()}
    else:
        units, costs = vit.units_and_costs(model)
        if method == "masks":
            train = at.split(fashion_mnist, "train", LEARNED_ON)
            options = at.trained({"progress": False})
            scores = prune.learn_masks(model, units, train, costs, cost_target=target, **options).scores
        else:
            scores = prune.score(model, units, method, known, seed=0).normalised("mean")
        chosen = prune.plan(scores, cost_target=target, costs=costs)
    smaller = prune.cut(model, chosen)
    outputs = predict(smaller, judged.inputs)
    row = {"method": method, "count": count, "macs": round(macs(smaller, image) / macs(model, image), 4)}
    row |= {"loss": round(nn.functional.cross_entropy(outputs, judged.targets).item(), 4), "removed": removed}
    return [row | {"right": (outputs.argmax(1) == judged.targets).int().tolist()}]


def drifted(method: str, seed: int, state: str, at: Setting = WHOLE) -> list[dict]:
    """How far one pruned model is from the original's reasons, right after the cut or after tuning; or the scale."""
    model, some = zoo.load(vit.MODEL), at.split(fashion_mnist, "test", DRIFTED)
    if method == "scale":
        scale = drift_scale(model, some.inputs[:SCALED], **RULERS[state])
        told = {"noise": scale.noise, "chance": scale.chance}
        return [{"method": method, "seed": seed, "state": state} | {name: _short(ends) for name, ends in told.items()}]
    if state == "tuned":
        smaller = vit.load_pruned(method, seed)
    elif method in vit.METHODS:
        smaller = prune.cut(model, prune.Plan.load(vit.checkpoint(method, seed).with_suffix(".json")))
    else:
        units, costs = vit.units_and_costs(model)
        scores = prune.score(model, units, method, at.split(fashion_mnist, "calibration", SCORED), seed=seed)
        smaller = prune.cut(model, prune.plan(scores.normalised("mean"), cost_target=vit.TARGET, costs=costs))
    turned = predict(smaller, some.inputs).argmax(1) != predict(model, some.inputs).argmax(1)
    row = {"method": method, "seed": seed, "state": state, "turned": turned.int().tolist()}
    for name, ruler in RULERS.items():
        row[name] = _short(drift_from(model, some.inputs, **ruler)(smaller).values)
    return [row]


def _share(values: torch.Tensor) -> float:
    return round(values.double().mean().item(), 4)


def _short(values) -> list[float]:
    return [round(float(value), 3) for value in values]


_FILE = f"{vit.MODEL}-seed0.safetensors"
_CUT = [(method, seed, state) for state in ("cut", "tuned") for method in vit.METHODS for seed in vit.SEEDS]
TABLES = [
    Table(
        "vit_faithful",
        explained,
        [(name,) for name in methods()],
        code=("faithfulness", "ground truth", "relevance propagation"),
        checkpoints=(_FILE,),
        tried=[
            (name,)
            for name in ("attnlrp", "cp-lrp gamma, re-initialised network", "rollout x image", "chefer approximated")
        ],
        at=Setting(images=2),
        tolerance=0.02,
    ),
    Table(
        "vit_heads",
        heads,
        [(block,) for block in range(6)],
        code=("gates", "criteria by attribution"),
        checkpoints=(_FILE,),
        tried=[(0,), (4,)],
        at=Setting(images=16),
    ),
    Table(
        "vit_blocks",
        blocks,
        [("blocks", 0), *((name, count) for count in BLOCKS for name in ("blocks", "masks", *FINER))],
        code=("gates", "learned masks", "plans by cost"),
        checkpoints=(_FILE,),
        tried=[("blocks", 1), ("masks", 1), ("taylor", 3)],
        at=Setting(images=32, training={"epochs": 1, "batch_size": 16}),
    ),
    Table(
        "vit_drift",
        drifted,
        [
            *_CUT,
            ("taylor", 0, "cut"),
            *(("random", seed, "cut") for seed in vit.SEEDS),
            *(("scale", 0, ruler) for ruler in RULERS),
        ],
        code=("drift", "drift scale", "relevance propagation", "gates"),
        checkpoints=(_FILE, *(f"{vit.checkpoint(*part[:2]).name}.safetensors" for part in _CUT[6:])),
        tried=[("scale", 0, "attnlrp"), ("masks", 0, "tuned"), ("relevance", 0, "cut")],
        at=Setting(images=4),
        tolerance=0.02,
    ),
]
