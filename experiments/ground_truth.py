"""Methods and composites beside the exact mask of what a network that nobody here trained is shown.

Objects stand at 0.6 of the picture on three textures; of the classes that count as right the one with the highest logit
is explained. Faithfulness and ROAD run the network many times for each picture, and have fewer of them; so has ground
reliance, which makes all heatmaps anew on another texture, and is no matter of better or worse between methods.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import data, zoo
from xaiprune.data import Composites
from xaiprune.explain import (
    CONTROL_METHODS,
    MEASURES,
    METHODS,
    GroundTruth,
    Method,
    ground_reliance,
    lrp,
    two_object_share,
)
from xaiprune.explain.relevance import COMPOSITES
from xaiprune.measure import predict

MODEL, TEXTURES, SIZE = "efficientnet-lite0", ("grass", "gravel", "brick"), 0.6
#: Composites of all objects; of two objects; and for the measures that take long.
OBJECTS, PAIRS, FEW = 118, 40, 20
#: Methods without a patent, with the options that make them affordable at 224 x 224 pixels.
FREE = {
    "saliency": {"batch_size": 8},
    "gradient x input": {"batch_size": 8},
    "smoothgrad": {"samples": 10, "batch_size": 10},
    "integrated gradients": {"steps": 10, "batch_size": 10},
    "occlusion": {"window": 56, "stride": 56, "batch_size": 16},
    "coarse occlusion": {"batch_size": 16},
}
#: Composites of relevance propagation, and their treatments of biases.
TREATMENTS = {
    "epsilon-plus": ("absorb", "zero", "redistribute"),
    "epsilon 1e-06": ("absorb", "redistribute"),
    "gamma 0.25": ("absorb", "redistribute"),
    "epsilon-alpha-beta": ("absorb", "redistribute"),
}
#: Measures of the objects, and of the few.
QUICK = (MEASURES["object mass"], MEASURES["pointing game"])
SLOW = tuple(replace(MEASURES[name], options={"steps": 4, "batch_size": 16}) for name in ("faithfulness", "ROAD"))
TWO, RELIANCE = "two objects", "ground reliance"


def methods() -> dict[str, Method]:
    """All rows by name: methods, composites, controls."""
    rows = [replace(METHODS[name], options=options) for name, options in FREE.items()]
    chosen = [COMPOSITES[name].with_bias(bias) for name, biases in TREATMENTS.items() for bias in biases]
    rows += [Method(one.name, lrp, {"composite": one, "batch_size": 8}) for one in chosen]
    controls = [row for row in CONTROL_METHODS.values() if row.name != "random among lit pixels"]  # no pixel is black
    return {row.name: row for row in [*rows, *controls]}


def composites(count: int, grounds: Sequence[str], at: Setting) -> Composites:
    """The first things, each once, on one of the grounds."""
    prepare = zoo.preprocessing(MODEL)
    return data.objects(limit=at.few(count), each=1, size=SIZE, grounds=grounds, preprocessing=prepare)


@functools.cache
def pictures(at: Setting) -> tuple[nn.Module, Composites, tuple[Composites, Composites]]:
    """The network, composites of one object, and composites of two."""
    model, one = zoo.load(MODEL), composites(OBJECTS, TEXTURES, at)
    two = data.two_objects(limit=at.few(PAIRS), each=1, grounds=TEXTURES, preprocessing=zoo.preprocessing(MODEL))
    return model, explained(model, one), tuple(explained(model, each) for each in two)


def explained(model: nn.Module, some: Composites) -> Composites:
    """Composites whose target is, of the classes that count as right, the one with the highest logit."""
    logits = predict(model, some.inputs, 16)
    best = [classes[logits[row, list(classes)].argmax()] for row, classes in enumerate(some.labels)]
    return Composites(some.inputs, torch.tensor(best), **some.__dict__)


def rows_of(name: str, measures: str = "truth", at: Setting = WHOLE) -> list[dict]:
    """A row for each measure of a method, with a value for each picture."""
    method, (model, one, two) = methods()[name], pictures(at)
    few, head = FEW if at.whole else 1, {"method": name, "control": name in CONTROL_METHODS}
    if measures == RELIANCE:
        some, others = one.first(few), composites(few, TEXTURES[1:] + TEXTURES[:1], at)
        told = ground_reliance(model, some.inputs, others.inputs, some.masks, some.targets, method)
        row = {"values": _short(told["evidence"]), "answers": _short(told["answers"])}
        return [{**head, "measure": RELIANCE, "groups": some.groups.tolist(), **row}]
    heatmaps = method(model, one.inputs, one.targets)
    found = {measure.name: (one, measure(model, *one, one.masks, heatmaps)) for measure in QUICK}
    some = one.first(few)
    found |= {measure.name: (some, measure(model, *some, some.masks, heatmaps[:few])) for measure in SLOW}
    pair = [each.targets for each in two], [each.masks for each in two]
    found[TWO] = two[0], two_object_share(model, two[0].inputs, *pair, method)
    return [
        {**head, "measure": measure, "groups": seen.groups.tolist(), "values": _short(values)}
        for measure, (seen, values) in found.items()
    ]


def _short(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def found(rows: list[dict]) -> GroundTruth:
    """The table as a value, with intervals over groups."""
    values, groups = {}, {}
    for row in rows:
        values.setdefault(row["method"], {})[row["measure"]] = torch.tensor(row["values"])
        groups[row["measure"]] = torch.tensor(row["groups"])
    return GroundTruth(values, groups, tuple(dict.fromkeys(row["method"] for row in rows if row["control"])))


def chosen(judged: GroundTruth, names: Sequence[str], measure: str = "object mass") -> tuple[list[str], torch.Tensor]:
    """For each fold the method that is best on the fold after it, and its values on the fold itself, put together.

    Returns
    -------
    names, values
        One name for each fold; and shape ``(N,)``.
    """
    things = data.cutouts.labelled()
    fold = {thing.group: place for thing, place in zip(things, data.cutouts.fold_of(things))}
    of = torch.tensor([fold[group] for group in judged.groups[measure].tolist()])
    best, values = [], torch.zeros(len(of))
    for test in range(data.cutouts.FOLDS):
        validation = of == (test + 1) % data.cutouts.FOLDS
        best.append(max(names, key=lambda name: judged.values[name][measure][validation].mean().item()))
        values[of == test] = judged.values[best[-1]][measure][of == test]
    return best, values


TABLES = [
    Table(
        "ground_truth",
        rows_of,
        [(name, measures) for measures in ("truth", RELIANCE) for name in methods()],
        code=("ground truth", "relevance propagation"),
        checkpoints=("efficientnet-lite0-seed0.safetensors",),
        tried=[("epsilon-plus, bias redistribute", "truth"), ("edges", "truth"), ("edges", RELIANCE)],
        at=Setting(count=1),
        tolerance=0.02,
    )
]
