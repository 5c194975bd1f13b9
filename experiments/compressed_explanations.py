"""Does compression make explanations better or worse: heatmaps of compressed networks beside the original's.

Each part is one method on one compressed network, with a value for every picture, so that differences to the original
are paired. The class that is explained stays the one that the original answers; only pictures that it answers rightly
are explained. Networks are cut, tuned and quantized without labels, on pictures that judge nothing.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from experiments.ground_truth import explained
from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import core, data, distill, explain, quantize, zoo
from xaiprune.data import Composites, Split
from xaiprune.explain import (
    CONTROL_METHODS,
    HARMLESS,
    MEASURES,
    METHODS,
    Measure,
    Method,
    NoEvidenceError,
    Scale,
    two_object_share,
)
from xaiprune.graph import fold_batch_norm
from xaiprune.measure import predict
from xaiprune.prune import (
    cut,
    find_heads,
    find_neurons,
    find_units,
    find_weights,
    keep_zeros,
    plan,
    running_norms,
    score,
    stored_statistics,
)

LITE, VIT = "efficientnet-lite0", "vit-fashion-mnist"
#: What judges: all labelled things, on the grounds that are kept for it.
GROUNDS, SIZE, SEED = ("grass", "gravel"), 0.6, 5
#: Pictures that are answered; of these the first that the original answers rightly are explained; pictures of two
#: objects; the first for coarse occlusion and for ROAD, which run the network many times.
ANSWERED = {LITE: 118, VIT: 400}
EXPLAINED = {LITE: 40, VIT: 100}
PAIRS = 16
OCCLUDED = {LITE: 20, VIT: 100}
ROAD = {VIT: 50}
#: Pictures to score units and to find ranges on, and to tune on: things without labels, images of other splits.
SCORED = {LITE: 48, VIT: 200}
LEARNED = {LITE: 192, VIT: 2000}
TUNING = {LITE: {"lr": 3e-4, "batch_size": 16}, VIT: {"lr": 1e-3, "batch_size": 64}}
TEMPERATURE = 2.0

#: Criteria by what the field calls them; single weights go by their size alone.
CRITERIA = {"magnitude": "l2", "taylor": "taylor", "relevance": "relevance", "random": "random"}
OF_THE_TRANSFORMER = {"relevance": "attnlrp"}
WEIGHTS = "single weights"
#: Single weights, by size and at random.
OF_SINGLE = {WEIGHTS: "l1", "random single weights": "random"}
#: Formats of weights, and of what layers read; four bits are of weights alone.
QUANTIZED = {
    "int8 per tensor": quantize.Config(),
    "int8 per channel": quantize.INT8,
    "4-bit weights": quantize.Config(quantize.FORMATS["int4 per channel"], None),
}
RUINED = "re-initialised"
#: A change is what is done, how much of it, whether the network is tuned after it, and the seed of what is drawn.
Change = tuple[str, float, bool, int]
FIELDS = ("kind", "amount", "tuned", "seed")
ORIGINAL: Change = ("none", 0.0, False, 0)
TUNED_ALONE: Change = ("none", 0.0, True, 0)

ANSWERS, TWO, DRIFT = "answers", "two objects", "drift"
#: Options that make methods affordable at 224 x 224 pixels; the first two see all changes.
OPTIONS = {
    "gradient x input": {"batch_size": 4},
    "coarse occlusion": {"batch_size": 4},
    "saliency": {"batch_size": 4},
    "smoothgrad": {"samples": 8, "batch_size": 4},
    "integrated gradients": {"steps": 8, "batch_size": 4},
    "lrp": {"batch_size": 4},
    "lrp by gamma": {"batch_size": 4, "composite": "gamma 0.25"},
}
BOTH = tuple(OPTIONS)[:2]
OTHERS = tuple(OPTIONS)[2:]
BLIND = ("random", "the image itself", "centre")
#: The first method on other pictures: what was found on the first ones has to be found again.
AGAIN = "gradient x input, other pictures"
#: Those that are asked for both classes of two objects.
ASKED = ("gradient x input", "lrp", *BLIND)
#: The changes that all methods see.
FOUR: tuple[Change, ...] = (
    TUNED_ALONE,
    (WEIGHTS, 0.4, True, 0),
    ("taylor", 0.2, True, 0),
    ("int8 per tensor", 0.0, False, 0),
)


def method(name: str) -> Method:
    """A method, or a control, with its options."""
    if name in CONTROL_METHODS:
        return CONTROL_METHODS[name]
    return replace(METHODS[name.removesuffix(" by gamma")], options=OPTIONS[name])


def _concentration(model, images, targets, masks, heatmaps: torch.Tensor) -> torch.Tensor:
    """Gini's index of the sizes of a heatmap: 0 for an even one, near 1 where few pixels have all."""
    sizes = heatmaps.abs().flatten(1).double().sort().values
    places = torch.arange(1, sizes.shape[1] + 1, dtype=torch.float64)
    count, total = sizes.shape[1], sizes.sum(1).clamp(min=1e-30)
    return (2 * (sizes * places).sum(1) / (count * total) - (count + 1) / count).clamp(min=0)


CONCENTRATION = Measure("concentration", _concentration)
ROAD_MEASURE = replace(MEASURES["ROAD"], options={"steps": 4, "batch_size": 100})


# Networks


@functools.cache
def original(network: str) -> nn.Module:
    """A network of the zoo."""
    return zoo.load(network)


@functools.cache
def pictures(network: str, at: Setting) -> dict:
    """What judges: pictures that are answered, those that are explained, and of composites those of two objects."""
    count, limit, model = at.few(ANSWERED[network]), at.few(EXPLAINED[network]), original(network)
    if network == VIT:
        every = at.split(data.fashion_mnist, "test", count)
        labels, groups, logits = [(each,) for each in every.targets.tolist()], torch.arange(count), None
    else:
        options = {"each": 1, "grounds": GROUNDS, "seed": SEED, "preprocessing": zoo.preprocessing(network)}
        every = data.objects(limit=count, size=SIZE, **options)
        labels, groups = every.labels, every.groups
    logits = predict(model, every.inputs, 16)
    answers = logits.argmax(1)
    right = torch.tensor([answer in named for answer, named in zip(answers.tolist(), labels)]).nonzero().flatten()
    right = right[:limit]
    known = {"answered": every.inputs, "logits": logits, "labels": labels, "right": right, "all groups": groups}
    known |= {"groups": groups[right]}
    if network == VIT:
        return known | {"explained": Split(every.inputs[right], answers[right])}
    two = tuple(explained(model, each) for each in data.two_objects(limit=at.few(PAIRS), **options))
    return known | {"explained": explained(model, every.rows(right)), "two": two}


@functools.cache
def others(network: str, at: Setting) -> Composites:
    """Other pictures of the things that judge, those that the original answers rightly."""
    options = {"each": 1, "size": SIZE, "grounds": GROUNDS, "seed": SEED + 1}
    every = data.objects(limit=at.few(ANSWERED[network]), preprocessing=zoo.preprocessing(network), **options)
    return explained(original(network), every.rows(every.right(predict(original(network), every.inputs, 16))))


@functools.cache
def unlabelled(network: str, purpose: str, at: Setting) -> torch.Tensor:
    """Pictures to score on, or to learn from: things without labels, images of the splits for it."""
    count = (SCORED if purpose == "score" else LEARNED)[network]
    if network == VIT:
        return at.split(data.fashion_mnist, "calibration" if purpose == "score" else "train", count).inputs
    seed, limit = (1, 2)[purpose == "learn"], min(count, at.images or count)
    return data.objects("unlabelled", limit=limit, seed=seed, preprocessing=zoo.preprocessing(network)).inputs


@functools.cache
def scored(network: str, kind: str, seed: int, at: Setting):
    """Scores of all units, on the original's own answers."""
    model, inputs = original(network), unlabelled(network, "score", at)
    known = Split(inputs, predict(model, inputs, 16).argmax(1))
    if kind in OF_SINGLE:
        return score(model, find_weights(model), OF_SINGLE[kind], seed=seed)
    criterion = CRITERIA[kind]
    if network == VIT:
        units, criterion = find_heads(model) + find_neurons(model), OF_THE_TRANSFORMER.get(kind, criterion)
    else:
        units = units_of(network)
    return score(model, units, criterion, known, seed=seed)


@functools.cache
def units_of(network: str):
    """Channels of a convolutional network."""
    return find_units(original(network), torch.zeros(1, 3, 64, 64))


@functools.lru_cache(maxsize=1)
def changed(network: str, kind: str, amount: float, tuned: bool, seed: int, at: Setting) -> nn.Module:
    """A compressed network; one that was tuned is kept, since that takes a minute."""
    model, chosen = original(network), None
    if kind == RUINED:
        return explain.reinitialised(model, seed)
    if kind in HARMLESS:
        return HARMLESS[kind].change(copy.deepcopy(model), unlabelled(network, "score", at), seed)
    if kind in QUANTIZED:
        return quantized(network, QUANTIZED[kind], at)
    smaller = copy.deepcopy(model)
    if kind != "none":
        chosen = plan(scored(network, kind, 0, at), ratio=amount)  # the seed is that of tuning
        smaller = cut(model, chosen)
    if tuned:
        path = _kept(f"{network}-{kind}-{amount}-{seed}.pt", at)
        if not path.exists():
            tune(network, smaller, chosen if kind in OF_SINGLE else None, seed, at)
            core.save_atomically(path, lambda part: torch.save(smaller.state_dict(), part))
        smaller.load_state_dict(torch.load(path))
    return smaller


def quantized(network: str, config: quantize.Config, at: Setting) -> nn.Module:
    """Simulated; where weights alone are coarser they are written down, so that any method reads them."""
    seen = quantize.calibrate(original(network), unlabelled(network, "score", at), bins=0)
    model = quantize.simulate(original(network), seen, config)
    if config.activations is None:
        for layer in quantize.quantized_layers(model).values():
            parametrize.remove_parametrizations(layer, "weight")
    return model


def tune(network: str, smaller: nn.Module, zeros, seed: int, at: Setting) -> None:
    """An epoch of distillation from the original, in place, without labels."""
    with contextlib.ExitStack() as stack:
        if running_norms(smaller):
            stack.enter_context(stored_statistics(smaller))
        if zeros is not None:
            stack.enter_context(keep_zeros(smaller, zeros))
        options = at.trained(TUNING[network] | {"epochs": 1, "progress": False})
        said = told(network, at)
        distill.distill(
            distill.freeze(original(network)), smaller, said, None, loss="soft targets", alpha=1.0,
            temperature=TEMPERATURE, seed=seed, **options,
        )  # fmt: skip


@functools.cache
def told(network: str, at: Setting) -> distill.Transfer:
    """What the original says of the pictures to learn from."""
    known = Split(unlabelled(network, "learn", at), None)
    return distill.transfer(distill.freeze(original(network)), known, batch_size=16)


def _kept(name: str, at: Setting) -> Path:
    """Where something that took long lies until the design, or the code behind it, is another one."""
    design = (GROUNDS, SIZE, SEED, ANSWERED, EXPLAINED, OCCLUDED, SCORED, LEARNED, TUNING, TEMPERATURE, OPTIONS)
    design = hashlib.sha256(repr(design).encode()).hexdigest()[:12]
    return unfinished(f"compressed-{design}-{at.images}-{at.count}-{name}", CODE)


# Rows


def shown(network: str, name: str, at: Setting):
    """The pictures that a method explains, with their classes."""
    some = pictures(network, at)["explained"]
    count = min(len(some.inputs), OCCLUDED[network] if name == BOTH[1] else ANSWERED[network])
    return some.first(count) if network == LITE else Split(some.inputs[:count], some.targets[:count])


@functools.cache
def reference(network: str, name: str, at: Setting) -> torch.Tensor:
    """The original's heatmaps."""
    path = _kept(f"maps-{network}-{name}.pt", at)
    if not path.exists():
        found = method(name)(_run(original(network)), *shown(network, name, at))
        core.save_atomically(path, lambda part: torch.save(found, part))
    return torch.load(path)


def _run(model: nn.Module) -> nn.Module:
    """The same function in fewer steps."""
    return fold_batch_norm(model) if running_norms(model) else model


def rows_of(
    network: str, kind: str, amount: float, tuned: bool, seed: int, name: str, at: Setting = WHOLE
) -> list[dict]:
    """A row for each measure of a method on a compressed network, with a value for each picture."""
    change = kind, amount, bool(tuned), seed
    model, known = _run(changed(network, *change, at)), pictures(network, at)
    head = dict(zip(("network", *FIELDS, "method"), (network, *change, name)))
    if name == ANSWERS:
        return [head | _answers(model, known, at)]
    if name == AGAIN:
        return _again(model, others(network, at), head)
    some = shown(network, name, at)
    maps = reference(network, name, at) if change == ORIGINAL else method(name)(model, *some)
    groups, found = {}, {}
    if network == LITE:
        found = {one: MEASURES[one](model, *some, some.masks, maps) for one in ("object mass", "pointing game")}
        if name in ASKED:
            one, other = known["two"]
            both = (one.targets, other.targets), (one.masks, other.masks)
            found[TWO], groups[TWO] = two_object_share(model, one.inputs, *both, method(name)), one.groups
    else:
        few = at.few(ROAD[network])
        found["ROAD"] = ROAD_MEASURE(model, some.inputs[:few], some.targets[:few], None, maps[:few])
    found["concentration"] = CONCENTRATION(model, *some, None, maps)
    if name not in BLIND:
        found[DRIFT] = _drift(network, name, some, maps, at)
    rows = [head | {"measure": measure, "values": _rounded(values)} for measure, values in found.items()]
    if change == ORIGINAL:
        rows = [row | {"groups": groups.get(row["measure"], known["groups"]).tolist()} for row in rows]
        rows = [row | {"groups": row["groups"][: len(row["values"])]} for row in rows]
    return rows


def _again(model: nn.Module, some: Composites, head: dict) -> list[dict]:
    maps = method(BOTH[0])(model, *some)
    stayed = _digits(predict(model, some.inputs, 16).argmax(1) == some.targets)
    found = {"object mass": MEASURES["object mass"](model, *some, some.masks, maps)}
    found["concentration"] = CONCENTRATION(model, *some, None, maps)
    head |= {"groups": some.groups.tolist(), "stayed": stayed}
    return [head | {"measure": measure, "values": _rounded(values)} for measure, values in found.items()]


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def _drift(network: str, name: str, some: Split, maps: torch.Tensor, at: Setting) -> torch.Tensor:
    likeness = explain.RULER[1] if name == explain.RULER[0] else "rank correlation"
    asked = original(network), *some
    try:
        return explain.heatmap_drift(reference(network, name, at), maps, name, likeness, asked)[0]
    except NoEvidenceError:  # a network that answers the same to everything
        return torch.ones(len(maps), dtype=torch.float64)


def _answers(model: nn.Module, known: dict, at: Setting) -> dict:
    """Whether answers are right and as the original's, a digit for each picture, and of those that are explained."""
    logits, before = predict(model, known["answered"], 16), known["logits"]
    apart = nn.functional.kl_div(logits.log_softmax(1), before.log_softmax(1), log_target=True, reduction="batchmean")
    row = {"parameters": sum(each.numel() for each in model.parameters()), "divergence": round(apart.item(), 4)}
    if not at.whole:
        return row  # a probe has so few pictures that one answer would decide
    answers, chosen = logits.argmax(1), known["right"]
    right = torch.tensor([answer in labels for answer, labels in zip(answers.tolist(), known["labels"])])
    same = answers == before.argmax(1)
    row |= {"right": _digits(right), "same": _digits(same), "stayed": _digits(same[chosen])}
    sure = logits.softmax(1)[chosen].gather(1, known["explained"].targets[:, None])[:, 0]
    return row | {"sure": round(sure.mean().item(), 4), "groups": known["all groups"].tolist()}


def _digits(truths: torch.Tensor) -> str:
    return "".join(str(int(each)) for each in truths.tolist())


def _truths(digits: str) -> torch.Tensor:
    return torch.tensor([digit == "1" for digit in digits])


# What the rows say


class Found:
    """The table as a value: differences to the original on the same pictures, with intervals over groups."""

    def __init__(self, rows: list[dict]):
        self.rows = {(*_change(row), row["network"], row["method"], row.get("measure")): row for row in rows}

    def changes(self, network: str, name: str = BOTH[0]) -> list[Change]:
        """Those that a method was asked about, without the original."""
        seen = dict.fromkeys(key[:4] for key in self.rows if key[4:6] == (network, name))
        return [change for change in seen if change != ORIGINAL]

    def values(self, network: str, change: Change, name: str, measure: str) -> torch.Tensor:
        """A value for each picture."""
        return torch.tensor(self.rows[(*change, network, name, measure)]["values"], dtype=torch.float64)

    def groups(self, network: str, name: str, measure: str) -> torch.Tensor:
        """The group of each picture."""
        return torch.tensor(self.rows[(*ORIGINAL, network, name, measure)]["groups"])

    def digits(self, network: str, change: Change, column: str) -> torch.Tensor:
        """Of answers: ``right``, ``same`` or ``stayed``."""
        return _truths(self.rows[(*change, network, ANSWERS, None)][column])

    def difference(
        self, network: str, change: Change, name: str, measure: str, *, less: Change = ORIGINAL, stayed: bool = False
    ) -> tuple[float, float, float] | None:
        """Mean difference to the original, or to another change, and its 95 % interval; None where no picture is left.

        With ``stayed`` only pictures count whose answer is still the original's.
        """
        values = self.values(network, change, name, measure) - self.values(network, less, name, measure)
        groups = self.groups(network, name, measure)
        if stayed:
            own = self.rows[(*change, network, name, measure)].get("stayed")
            kept = self.digits(network, change, "stayed")[: len(values)] if own is None else _truths(own)
            values, groups = values[kept], groups[kept]
        return explain.bootstrap(values, groups=groups) if len(values) else None

    def scale(self, network: str) -> Scale:
        """Noise and chance of the default ruler, on the pictures that are explained."""
        name, likeness = explain.RULER
        kinds = []
        for kind in HARMLESS:
            mine = [change for change in self.changes(network, name) if change[0] == kind]
            if mine:
                drifts = torch.stack([self.values(network, change, name, DRIFT) for change in mine])
                kept = torch.stack([self.digits(network, change, "stayed") for change in mine])[:, : drifts.shape[1]]
                kinds.append(explain.Noise(kind, drifts, kept))
        ruined = [change for change in self.changes(network, name) if change[0] == RUINED]
        blanks = torch.stack([self.values(network, change, name, DRIFT) for change in ruined])
        return Scale(name, likeness, tuple(kinds), blanks)


def _change(row: dict) -> Change:
    return tuple(row[field] for field in FIELDS)


# Parts, the most telling first

_HARMLESS = tuple(HARMLESS)
_SCALE = [(_HARMLESS[1], 0.0, False, 50), (RUINED, 0.0, False, 0), (_HARMLESS[0], 0.0, False, 50)]
_SCALE += [(_HARMLESS[1], 0.0, False, 51), (RUINED, 0.0, False, 1), (_HARMLESS[2], 0.0, False, 50)]
_QUANTIZED = [(kind, 0.0, False, 0) for kind in QUANTIZED]
_FIRST = [*FOUR[1:3], (WEIGHTS, 0.4, False, 0), ("taylor", 0.2, False, 0)]
_NEXT = [("taylor", 0.1, tuned, 0) for tuned in (False, True)] + [("taylor", 0.4, True, 0), ("taylor", 0.05, False, 0)]
_NEXT += [(kind, 0.1, tuned, 0) for kind in ("magnitude", "relevance", "random") for tuned in (False, True)]
_NEXT += [(WEIGHTS, ratio, True, 0) for ratio in (0.2, 0.6)]
CHANGES = list(dict.fromkeys([ORIGINAL, TUNED_ALONE, *_FIRST, *_QUANTIZED, *_SCALE, *_NEXT]))


def _parts(network: str, changes: list[Change], *names: str) -> list[tuple]:
    return [(network, *change, name) for change in changes for name in names]


_WIDE = [ORIGINAL, *FOUR]
#: What is measured again on other pictures, and tuned again in another order; few single weights went at random.
REPEATED = [TUNED_ALONE, (WEIGHTS, 0.4, True, 0), ("magnitude", 0.1, True, 0), ("taylor", 0.1, True, 0)]
REPEATED += [("random single weights", 0.002, True, 0)]
REORDERED = [(*change[:3], 1) for change in (*REPEATED, ("taylor", 0.4, True, 0))]
#: Not a full design: both networks see all changes by two methods, the large one four changes by all.
PARTS = [
    *_parts(LITE, CHANGES, ANSWERS, BOTH[0]),
    *_parts(LITE, [REPEATED[-1], *REORDERED], ANSWERS, BOTH[0]),
    *_parts(LITE, [ORIGINAL, *REPEATED, *REORDERED[:-1]], AGAIN),
    *_parts(LITE, REORDERED[:2], "lrp", "lrp by gamma"),
    *_parts(LITE, _WIDE, *OTHERS, *BLIND),
    *_parts(LITE, CHANGES, BOTH[1]),
    *_parts(VIT, CHANGES, ANSWERS, *BOTH, BLIND[1]),
]
CODE = (
    *("EfficientNet-Lite", "composites", "criteria by attribution", "criteria of slices", "criteria of weights"),
    *("distillation", "drift", "drift scale", "ground truth", "relevance propagation", "simulated quantization"),
    *("stored statistics", "training"),
)
TABLES = [
    Table(
        "compressed_explanations",
        rows_of,
        PARTS,
        code=CODE,
        checkpoints=(f"{LITE}-seed0.safetensors", f"{VIT}-seed0.safetensors"),
        tried=[
            (LITE, "8-bit weights per channel", 0.0, False, 50, BOTH[0]),
            (VIT, "taylor", 0.2, True, 0, BOTH[1]),
            (VIT, WEIGHTS, 0.4, True, 0, ANSWERS),
            (VIT, "int8 per tensor", 0.0, False, 0, BOTH[0]),
        ],
        at=Setting(images=16, count=3, training={"batch_size": 8}),
        tolerance=0.02,
    )
]
