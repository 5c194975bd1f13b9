"""What drift can tell: which method of explanation and which likeness hear a change of reasons, and what they miss.

``drift_resolution`` asks of each ruler, a method with a likeness, how well it tells (a) Taylor cuts from harmless
changes and (b) networks that learned a wrong reason from networks that learned the same task without it, on pictures
whose answer all of them keep. It is about the course's small networks; :mod:`experiments.drift_photographs` asks the
same on photographs. Rulers are chosen by the rows of stage "choice"; those of stage "report" are of other pictures and
other seeds. ``drift_places`` says where known changes lie between noise and chance.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import data, explain, quantize, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split
from xaiprune.explain import HARMLESS, LIKENESSES, METHODS, Method, Scale, drift_scale, heatmap_drift
from xaiprune.graph import hooks
from xaiprune.measure import accuracy, predict
from xaiprune.prune import cut, find_units, plan, score
from xaiprune.training import classification_loss, fit

LITE, MOBILENET = "efficientnet-lite0", "mobilenet-fashion-mnist"
#: Rulers are chosen on one split with some seeds, and reported on another with others.
STAGES = {"choice": ("validation", 0), "report": ("test", 100)}
#: Small pictures of each stage.
SMALL = 400
#: Composites of each thing, and the folds whose things they show: one fold chose, all others are reported.
EACH, FOLDS = {"choice": 2, "report": 2}, {"choice": (0,), "report": (0, 2, 3, 4)}
#: Ratios of Taylor cuts, and how many of each are cut, ranked on other pictures.
CUTS = {0.02: 3, 0.05: 3, 0.1: 3}
#: Draws of each harmless kind.
DRAWN = 2
#: Images that a criterion ranks units on.
EVIDENCE = {LITE: 48}
#: Pictures that one judgement is made of, how many such sets are drawn, and how often networks are, for intervals.
SET, SETS, DRAWS = 50, 40, 500
#: Networks a side that learn with and without the tag, what they see, and the class that it goes with.
LEARNERS, SEEN, TAGGED = 5, 6000, 8
TRAINING = {"lr": 3e-3, "progress": False}
#: What rulers are chosen by: a task, and the network that it is about.
CHOSEN_BY = (
    ("Taylor cut of 5%", "lenet-300-100"),
    ("tag, tuned", "lenet-5"),
    ("Taylor cut of 5%", LITE),
    ("ground", LITE),
)
#: Pictures whose drift is placed.
PLACED = 32
#: Magnitude cuts that are asked for their place.
RUINED = (0.3, 0.4, 0.5)


# Methods: free of patents, and no more than ten times as long as a gradient.


def gradient_x_activation(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gradient times activation, summed over channels, at the last layer with maps of 8 x 8 places or more."""
    last, maps = [], []

    def look(name, inputs, found):
        if isinstance(found, torch.Tensor) and found.ndim == 4 and min(found.shape[2:]) >= 8:
            last[:] = [found]

    leaves = [name for name, layer in model.named_modules() if not list(layer.children())]
    with hooks.reading(model, leaves, look):
        for some, answers in zip(images.split(16), targets.split(16)):
            explained = model(some.clone().requires_grad_()).gather(1, answers[:, None]).sum()
            [gradient] = torch.autograd.grad(explained, last[0])
            summed = (last[0] * gradient).detach().sum(1, keepdim=True)
            maps.append(nn.functional.interpolate(summed, images.shape[2:])[:, 0])
    return torch.cat(maps)


#: Each with the passes through the network that a picture takes; a gradient is counted as three.
TRIED: dict[str, tuple[Method, int]] = {
    "gradient x input": (METHODS["gradient x input"], 3),
    "gradient x activation": (Method("gradient x activation", gradient_x_activation), 3),
    "coarse occlusion": (METHODS["coarse occlusion"], 17),
}
#: Not a ruler of heatmaps: how far the logits moved, which any ruler has to beat.
LOGITS = "logits"


def logit_distance(one: torch.Tensor, other: torch.Tensor) -> dict[str, torch.Tensor]:
    """How far centred logits are apart, for each picture.

    Once it is the root mean square of the difference, beside the spread of the original's. Once it is 1 less the cosine
    of the angle, which a network that is only surer leaves at 0, as heatmaps do by that likeness.
    """
    one, other = (values.double() - values.double().mean(1, keepdim=True) for values in (one, other))
    size = (one - other).square().mean(1).sqrt() / one.std()
    return {"": size, "cosine": 1 - nn.functional.cosine_similarity(one, other, eps=0)}


# Networks


@functools.cache
def original(network: str) -> nn.Module:
    """A network of the zoo; "lenet-5" is one of the course's architecture that is trained here, without the tag."""
    return zoo.load(network)


@functools.cache
def pictures(network: str, stage: str, at: Setting) -> torch.Tensor:
    """Pictures to judge on; of composites those that the original answers rightly.

    Of all composites even noise of 0.1 % turns more answers than a harmless change may.
    """
    split, seed = STAGES[stage]
    if network != LITE:
        return at.split(small(network), split, SMALL).inputs
    scenes = data.scenes(split, each=EACH[stage], size=0.6, seed=seed, preprocessing=zoo.preprocessing(LITE))
    things = [thing for fold in FOLDS[stage] for thing in data.scenes(split, fold=fold).cutouts]
    scenes = replace(scenes, cutouts=things)
    made = scenes.make(range(min(len(scenes), at.images or len(scenes))))
    return made.inputs[made.right(predict(original(LITE), made.inputs, 50))]


def small(network: str):
    """Where a small network's pictures come from."""
    return data.mnist if network == "lenet-300-100" else data.fashion_mnist


@functools.cache
def evidence(network: str, at: Setting) -> Split:
    """Pictures with labels that nothing is judged on, for criteria and ranges."""
    if network == LITE:  # of things without labels, with its own answers: all others can be judged
        inputs = data.objects("unlabelled", at.few(3 * EVIDENCE[LITE]), seed=7, preprocessing=zoo.preprocessing(LITE))
        inputs = inputs.inputs
        return Split(inputs, predict(original(LITE), inputs, 50).argmax(1))
    return at.split(small(network), "calibration", 1000)


@functools.cache
def units(network: str, at: Setting):
    """What can go."""
    return find_units(original(network), evidence(network, at).inputs[:1])


@functools.cache
def scored(network: str, criterion: str, seed: int, at: Setting):
    """Scores of all units on some of these pictures."""
    model, known = original(network), evidence(network, at)
    some = torch.randperm(len(known.inputs), generator=torch.Generator().manual_seed(seed))
    some = some[: EVIDENCE.get(network, 200)]
    return score(model, units(network, at), criterion, Split(known.inputs[some], known.targets[some]))


def cuts(network: str, criterion: str, ratio: float, seeds: Sequence[int], at: Setting) -> list[nn.Module]:
    """Cuts of a share of the units, each ranked on other pictures."""
    return [cut(original(network), plan(scored(network, criterion, seed, at), ratio=ratio)) for seed in seeds]


@functools.cache
def harmless(network: str, stage: str, at: Setting) -> dict[str, list[nn.Module]]:
    """Changes of the harmless kinds, with seeds of their own."""
    model, images, seed = original(network), pictures(network, stage, at), STAGES[stage][1] + 50
    return {
        kind.name: [
            kind.change(copy.deepcopy(model), images, draw)
            for draw in range(seed, seed + min(at.few(DRAWN), kind.seeds))
        ]
        for kind in HARMLESS.values()
        if kind.fits(model, images)
    }


def turned(changes: dict[str, list[nn.Module]], images: torch.Tensor, answers: torch.Tensor) -> dict[str, float]:
    """Which share of the answers each kind turns."""
    gone = {name: [predict(one, images).argmax(1) != answers for one in some] for name, some in changes.items()}
    return {name: round(torch.stack(some).double().mean().item(), 4) for name, some in gone.items()}


def trained(model: nn.Module, split: Split, seed: int, epochs: int, at: Setting) -> nn.Module:
    """A network after some epochs."""
    seed_everything(seed)
    model = copy.deepcopy(model).train()
    fit(model, split, classification_loss, seed=seed, **at.trained({**TRAINING, "epochs": epochs}))
    return model.eval()


@functools.cache
def learners(start: str, stage: str, at: Setting) -> tuple[nn.Module, list[nn.Module], list[nn.Module], dict]:
    """An original, networks that learned on with the tag, networks that learned on without, and what both answer.

    They go on from the original, "tuned", or each begins anew, "from scratch".
    """
    known, first = at.split(data.fashion_mnist, "train", 20_000), STAGES[stage][1]

    def seen(seed: int) -> Split:
        drawn = torch.randperm(len(known.inputs), generator=torch.Generator().manual_seed(seed))[:SEEN]
        return Split(known.inputs[drawn], known.targets[drawn])

    seed_everything(first + 1000)
    base = trained(zoo.lenet_5(), seen(first + 1000), first + 1000, 2, at)
    sides: dict[str, list[nn.Module]] = {"own": [], "none": []}
    for seed in range(first, first + at.few(LEARNERS)):
        for placement, mine in sides.items():
            seed_everything(seed)
            begun = base if start == "tuned" else zoo.lenet_5()
            mine.append(trained(begun, explain.tag_class(seen(seed), TAGGED, placement), seed, 3, at))
    judged = at.split(data.fashion_mnist, STAGES[stage][0], SMALL)
    tests = {where: explain.tag_class(judged, TAGGED, where) for where in ("none", "others")}
    found = {
        f"{side}, tag on {where}": round(np.mean([accuracy(model, split) for model in models]), 1)
        for side, models in zip(("with", "without"), sides.values())
        for where, split in tests.items()
    }
    return base, sides["own"], sides["none"], found


# Resolution


def resolution(changed: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """Area under the curve by which a drift tells networks of two sides: of sets of 50 pictures, and of single ones.

    Both are ``(networks, pictures)``. Intervals are over networks, drawn again on each side.
    """
    random, row = np.random.default_rng(0), {}
    drawn = [
        np.stack([random.choice(values.shape[1], min(SET, values.shape[1]), replace=False) for _ in range(SETS)])
        for values in (changed, same)
    ]
    means = [values[:, sets].mean(-1) for values, sets in zip((changed, same), drawn)]
    for name, (one, other) in {"sets": means, "single": (changed, same)}.items():
        pairs = np.array([[_above(mine, theirs) for theirs in other] for mine in one])
        rows, columns = (random.integers(0, size, (DRAWS, size)) for size in pairs.shape)
        again = [pairs[np.ix_(some, others)].mean() for some, others in zip(rows, columns)]
        low, high = np.quantile(again, [0.025, 0.975])
        row |= {name: round(pairs.mean(), 4), f"{name}_from": round(low, 4), f"{name}_to": round(high, 4)}
    return row | {"drift": round(changed.mean(), 4), "drift_same": round(same.mean(), 4)}


def _above(one: np.ndarray, other: np.ndarray) -> float:
    """How often a value of the one is above a value of the other; ties count half."""
    other = np.sort(other)
    return (np.searchsorted(other, one, "left") + np.searchsorted(other, one, "right")).mean() / (2 * len(other))


def drifts(
    model: nn.Module, images: torch.Tensor, networks: Sequence[nn.Module], method: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How far networks are from a model: for each likeness ``(networks, pictures)``; and where they keep its answer."""
    told = predict(model, images, 50)
    asked, found, kept = (images, told.argmax(1)), {}, []
    reference = None if method == LOGITS else TRIED[method][0](model, *asked)
    for network in networks:
        outputs = predict(network, images, 50)
        kept.append((outputs.argmax(1) == asked[1]).numpy())
        if method == LOGITS:
            values = logit_distance(told, outputs)
        else:
            maps = TRIED[method][0](network, *asked)
            names = [name for name in LIKENESSES if name != "insertion" or images.shape[1] == 1]  # 22 passes a map
            values = {name: heatmap_drift(reference, maps, method, name, (model, *asked))[0] for name in names}
        for name, some in values.items():
            found.setdefault(name, []).append(some.numpy())
    return {name: np.stack(some) for name, some in found.items()}, np.stack(kept)


def told_apart(
    found: dict[str, np.ndarray], kept: np.ndarray, changed: Sequence[int], same: Sequence[int], method: str
) -> list[dict]:
    """A row for each likeness: networks of two sides, by number, on the pictures whose answer all of them keep."""
    passes = 1 if method == LOGITS else TRIED[method][1]
    all_keep = kept[[*changed, *same]].all(0)
    about = {"passes": passes, "pictures": int(all_keep.sum())}
    return [
        {"likeness": name, **about, **resolution(values[changed][:, all_keep], values[same][:, all_keep])}
        for name, values in found.items()
    ]


def cuts_and_noise(network: str, stage: str, method: str, at: Setting = WHOLE) -> list[dict]:
    """(a) Taylor cuts of three ratios against harmless changes."""
    model, images, kinds = original(network), pictures(network, stage, at), harmless(network, stage, at)
    gone = turned(kinds, images, predict(model, images).argmax(1))
    same = [one for name, some in kinds.items() if gone[name] <= 0.02 for one in some]
    first = STAGES[stage][1]
    sides = {ratio: cuts(network, "taylor", ratio, range(first, first + at.few(CUTS[ratio])), at) for ratio in CUTS}
    found, kept = drifts(model, images, [*same, *(one for some in sides.values() for one in some)], method)
    rows, start = [], len(same)
    for ratio, some in sides.items():
        numbers, start = range(start, start + len(some)), start + len(some)
        head = {"task": f"Taylor cut of {ratio:.0%}", "network": network, "stage": stage, "method": method}
        told = told_apart(found, kept, numbers, range(len(same)), method)
        rows += [{**head, **row, "turned": gone} for row in told]
    return rows


def reasons(start: str, stage: str, method: str, at: Setting = WHOLE) -> list[dict]:
    """(b) Networks that learned a tag against networks that learned the same without, on pictures without it."""
    base, tagged, plain, found = learners(start, stage, at)
    images = pictures("lenet-5", stage, at)
    head = {"task": f"tag, {start}", "network": "lenet-5", "stage": stage, "method": method}
    values, kept = drifts(base, images, [*tagged, *plain], method)
    told = told_apart(values, kept, range(len(tagged)), range(len(tagged), len(kept)), method)
    return [{**head, **row, "accuracy": found} for row in told]


def choice(rows: Sequence[dict]) -> dict[tuple[str, str], list[float]]:
    """Rulers that were asked at all tasks of the choice, with their areas for sets; the best one has the highest mean.

    Against kinds that are not harmless a cut is not asked here.
    """
    asked = [row for row in rows if row["stage"] == "choice"]
    asked = [row for row in asked if row.get("against", "harmless kinds") in ("harmless kinds", "free grounds")]
    found = {}
    for row in asked:
        found.setdefault((row["method"], row["likeness"]), {})[row["task"], row["network"]] = row["sets"]
    areas = {ruler: [sets[task] for task in CHOSEN_BY] for ruler, sets in found.items() if {*CHOSEN_BY} <= {*sets}}
    return dict(sorted(areas.items(), key=lambda item: -sum(item[1])))


# Places


@functools.cache
def scale(network: str, method: str, likeness: str, at: Setting) -> Scale:
    """Noise and chance, on pictures and with seeds that no change is judged by."""
    row = TRIED[method][0]
    return drift_scale(original(network), pictures(network, "choice", at)[:50], method=row, likeness=likeness)


def drawn(network: str, at: Setting) -> torch.Tensor:
    """Some pictures of the report, to place changes on."""
    images = pictures(network, "report", at)
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:PLACED]]


def int8(network: str, at: Setting) -> nn.Module:
    """Weights and activations in 8 bits, per channel."""
    model = original(network)
    return quantize.simulate(model, quantize.calibrate(model, evidence(network, at).inputs[:32]), quantize.INT8)


def places(network: str, method: str, likeness: str, at: Setting = WHOLE) -> list[dict]:
    """Where known changes lie: harmless ones with fresh seeds, 8 bits, Taylor cuts, cuts that ruin the answers."""
    model, images = original(network), drawn(network, at)
    row, known = TRIED[method][0], scale(network, method, likeness, at)
    answers, changes = predict(model, images).argmax(1), {"int8 weights and activations": int8(network, at)}
    for kind in (kind for kind in known.kinds if not kind.name.startswith("batch")):
        changes[kind.name] = HARMLESS[kind.name].change(copy.deepcopy(model), images, STAGES["report"][1] + 70)
    changes["Taylor cut of 5%"] = cuts(network, "taylor", 0.05, [STAGES["report"][1]], at)[0]
    changes |= {f"magnitude cut of {ratio:.0%}": cuts(network, "l1", ratio, [0], at)[0] for ratio in RUINED}
    compared = explain.drift_from(model, images, method=row, likeness=likeness, scale=known)
    head = {"network": network, "method": method, "likeness": likeness, "blind": known.blind}
    head |= {"chance": round(known.chance[0], 4), "noise": known.noise and round(known.noise[0], 4)}
    head["loudest"] = known.loudest and known.loudest.name
    rows = []
    for name, changed in changes.items():
        kept = predict(changed, images).argmax(1) == answers
        try:
            values = compared(changed).values
        except explain.NoEvidenceError:  # a network that answers the same to everything
            values = torch.ones(len(images), dtype=torch.float64)
        found = {"change": name, "kept": round(kept.double().mean().item(), 4), "drift": round(values.mean().item(), 4)}
        for title, some in (("place", values), ("place_kept", values[kept])):
            told = known.place(some) if len(some) else None
            ends = (title, f"{title}_from", f"{title}_to")
            found |= dict(zip(ends, (None,) * 3 if told is None else (round(value, 4) for value in told)))
        rows.append({**head, **found})
    return rows


def measured(kind: str, *part, at: Setting = WHOLE) -> list[dict]:
    """A part of ``drift_resolution``."""
    return {"cuts": cuts_and_noise, "reasons": reasons}[kind](*part, at=at)


_FEW = (LOGITS, "coarse occlusion", "gradient x input", "gradient x activation")
PARTS = [("reasons", "tuned", stage, method) for stage in STAGES for method in _FEW]
PARTS += [("cuts", "lenet-300-100", stage, method) for stage in STAGES for method in _FEW[:3]]
CODE = ("drift", "drift scale", "training")
TABLES = [
    Table(
        "drift_resolution",
        measured,
        PARTS,
        code=CODE,
        checkpoints=("lenet-300-100-seed0.safetensors",),
        tried=[("reasons", "tuned", "choice", method) for method in ("coarse occlusion", LOGITS)]
        + [("cuts", "lenet-300-100", "choice", "gradient x input")],
        at=Setting(images=200, count=2, training={"epochs": 6, "batch_size": 25}),
        tolerance=0.05,
    ),
    Table(
        "drift_places",
        places,
        [(network, *explain.RULER) for network in (LITE, MOBILENET)],
        code=(*CODE, "composites", "EfficientNet-Lite"),
        checkpoints=(f"{LITE}-seed0.safetensors", f"{MOBILENET}-seed0.safetensors"),
        tried=[("lenet-300-100", *explain.RULER)],
        at=Setting(images=40, count=20),
        tolerance=0.05,
    ),
]
