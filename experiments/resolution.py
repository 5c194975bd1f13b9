"""What drift can tell: which method of explanation and which likeness hear a change of reasons, and what they miss.

``drift_resolution`` asks of each ruler, a method with a likeness, how well it tells (a) Taylor cuts from harmless
changes and (b) networks that learned a wrong reason from networks that learned the same task without it, on pictures
whose answer all of them keep. Rulers are chosen by the rows of stage "choice"; those of stage "report" are of other
pictures and other seeds. ``drift_places`` says where known changes lie between noise and chance.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import data, explain, quantize, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split
from xaiprune.explain import HARMLESS, LIKENESSES, METHODS, Method, Scale, drift_scale, heatmap_drift
from xaiprune.measure import accuracy, predict
from xaiprune.prune import cut, find_units, plan, score
from xaiprune.training import classification_loss, fit

LITE, MOBILENET = "efficientnet-lite0", "mobilenet-fashion-mnist"
#: Rulers are chosen on one split with some seeds, and reported on another with others.
STAGES = {"choice": ("validation", 0), "report": ("test", 100)}
#: Pictures of each stage: composites, which take a second each, and small ones.
COMPOSITES, SMALL = {"choice": 16, "report": 56}, 400
#: Ratios of Taylor cuts, and how many of each are cut, ranked on other pictures; of the large network fewer.
CUTS = {0.02: 3, 0.05: 3, 0.1: 3}
LITE_CUTS = {"choice": {0.05: 3}, "report": {0.05: 3}}
#: Draws of each harmless kind.
DRAWN = 2
#: Images that a criterion ranks units on.
EVIDENCE = {LITE: 48}
#: Pictures that one judgement is made of, how many such sets are drawn, and how often networks are, for intervals.
SET, SETS, DRAWS = 50, 40, 500
#: Networks a side that learn with and without the tag, what they see, and the class that it goes with.
LEARNERS, SEEN, TAGGED = 5, 6000, 8
TRAINING = {"lr": 3e-3, "progress": False}
#: Pictures whose drift is placed.
PLACED = 24
#: Magnitude cuts that are asked for their place.
RUINED = (0.3, 0.4, 0.5)


# Methods: free of patents, and no more than ten times as long as a gradient.


def gradient_x_activation(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gradient times activation, summed over channels, at the last layer with maps of 8 x 8 places or more."""
    last, maps = [], []

    def look(layer, inputs, found):
        if isinstance(found, torch.Tensor) and found.ndim == 4 and min(found.shape[2:]) >= 8:
            last[:] = [found]

    hooks = [layer.register_forward_hook(look) for layer in model.modules() if not list(layer.children())]
    try:
        for some, answers in zip(images.split(16), targets.split(16)):
            explained = model(some.clone().requires_grad_()).gather(1, answers[:, None]).sum()
            [gradient] = torch.autograd.grad(explained, last[0])
            summed = (last[0] * gradient).detach().sum(1, keepdim=True)
            maps.append(nn.functional.interpolate(summed, images.shape[2:])[:, 0])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(maps)


#: Each with the passes through the network that a picture takes; a gradient is counted as three.
TRIED: dict[str, tuple[Method, int]] = {
    "gradient x input": (METHODS["gradient x input"], 3),
    "gradient x activation": (Method("gradient x activation", gradient_x_activation), 3),
    "coarse occlusion": (METHODS["coarse occlusion"], 17),
}
#: Not a ruler of heatmaps: how far the logits moved, which any ruler has to beat.
LOGITS = "logits"


def logit_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Root mean square of the difference of centred logits, for each picture, beside the spread of the original's."""
    one, other = (values - values.mean(1, keepdim=True) for values in (one, other))
    return ((one - other).square().mean(1).sqrt() / one.std()).double()


# Networks


@functools.cache
def original(network: str) -> nn.Module:
    """A network of the zoo; "lenet-5" is one of the course's architecture that is trained here, without the tag."""
    return zoo.load(network)


@functools.cache
def pictures(network: str, stage: str, at: Setting, right: bool = False) -> torch.Tensor:
    """Pictures to judge on; of composites also those alone that the original answers rightly.

    Of all composites even noise of 0.1 % turns more answers than a harmless change may.
    """
    split, seed = STAGES[stage]
    if network == LITE:
        count = at.few(COMPOSITES[stage])
        made = data.objects(split, count * (2 if right else 1), seed=seed, preprocessing=zoo.preprocessing(LITE))
        return made.rows(made.right(predict(original(LITE), made.inputs))).inputs[:count] if right else made.inputs
    return at.split(small(network), split, SMALL).inputs


def judged(network: str, stage: str, at: Setting) -> torch.Tensor:
    """Pictures for cuts and noise: at the report composites that the original answers rightly."""
    return pictures(network, stage, at, right=network == LITE and stage == "report")


def small(network: str):
    """Where a small network's pictures come from."""
    return data.mnist if network == "lenet-300-100" else data.fashion_mnist


def evidence(network: str, at: Setting) -> Split:
    """Pictures with labels that nothing is judged on, for criteria and ranges."""
    if network == LITE:
        made = data.objects("train", at.few(3 * EVIDENCE[LITE]), seed=7, preprocessing=zoo.preprocessing(LITE))
        return Split(made.inputs, made.targets)
    return at.split(small(network), "calibration", 1000)


@functools.cache
def scored(network: str, criterion: str, seed: int, at: Setting):
    """Scores of all units on some of these pictures."""
    model, known = original(network), evidence(network, at)
    drawn = torch.randperm(len(known.inputs), generator=torch.Generator().manual_seed(seed))[
        : EVIDENCE.get(network, 200)
    ]
    units = find_units(model, known.inputs[:1])
    return score(model, units, criterion, Split(known.inputs[drawn], known.targets[drawn]))


def cuts(network: str, criterion: str, ratio: float, seeds: Sequence[int], at: Setting) -> list[nn.Module]:
    """Cuts of a share of the units, each ranked on other pictures."""
    return [cut(original(network), plan(scored(network, criterion, seed, at), ratio=ratio)) for seed in seeds]


@functools.cache
def harmless(network: str, stage: str, at: Setting) -> tuple[list[nn.Module], dict[str, float]]:
    """Harmless changes with seeds of their own, without the kinds that turn more than 2 % of the answers."""
    model, images, seed = original(network), judged(network, stage, at), STAGES[stage][1] + 50
    answers, found, turned = predict(model, images).argmax(1), [], {}
    for kind in HARMLESS.values():
        if kind.fits(model, images):
            draws = range(seed, seed + min(at.few(DRAWN), kind.seeds))
            mine = [kind.change(copy.deepcopy(model), images, draw) for draw in draws]
            gone = [(predict(one, images).argmax(1) != answers).double().mean().item() for one in mine]
            turned[kind.name] = round(sum(gone) / len(gone), 4)
            found += mine if turned[kind.name] <= 0.02 else []
    return found, turned


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


def told_apart(
    model: nn.Module, images: torch.Tensor, changed: Sequence[nn.Module], same: Sequence[nn.Module], method: str
) -> list[dict]:
    """A row for each likeness, on the pictures whose answer all keep."""
    told = predict(model, images)
    answers = told.argmax(1)
    outputs = {network: predict(network, images) for network in (*changed, *same)}
    kept = torch.stack([found.argmax(1) == answers for found in outputs.values()]).all(0)
    count = int(kept.sum())
    if method == LOGITS:
        sides = [
            torch.stack([logit_distance(told[kept], outputs[network][kept]) for network in side]).numpy()
            for side in (changed, same)
        ]
        return [{"likeness": "", "passes": 1, "pictures": count, **resolution(*sides)}]
    row, passes = TRIED[method]
    asked = (images[kept], answers[kept])
    reference = row(model, *asked)
    maps = [[row(network, *asked) for network in side] for side in (changed, same)]
    rows = []
    for name in LIKENESSES:
        if name == "insertion" and images.shape[1] == 3:
            continue  # 22 more passes a map
        sides = [
            torch.stack([heatmap_drift(reference, found, method, name, (model, *asked))[0] for found in side]).numpy()
            for side in maps
        ]
        rows.append({"likeness": name, "passes": passes, "pictures": count, **resolution(*sides)})
    return rows


def cuts_and_noise(network: str, stage: str, method: str, at: Setting = WHOLE) -> list[dict]:
    """(a) Taylor cuts of three ratios against harmless changes."""
    same, turned = harmless(network, stage, at)
    images, rows = judged(network, stage, at), []
    for ratio, count in (LITE_CUTS[stage] if network == LITE else CUTS).items():
        seeds = range(STAGES[stage][1], STAGES[stage][1] + at.few(count))
        changed = cuts(network, "taylor", ratio, seeds, at)
        head = {"task": f"Taylor cut of {ratio:.0%}", "network": network, "stage": stage, "method": method}
        rows += [{**head, **row} for row in told_apart(original(network), images, changed, same, method)]
    return [{**row, "turned": turned} for row in rows]


def reasons(start: str, stage: str, method: str, at: Setting = WHOLE) -> list[dict]:
    """(b) Networks that learned a tag against networks that learned the same without, on pictures without it."""
    base, tagged, plain, found = learners(start, stage, at)
    images = pictures("lenet-5", stage, at)
    head = {"task": f"tag, {start}", "network": "lenet-5", "stage": stage, "method": method}
    return [{**head, **row, "accuracy": found} for row in told_apart(base, images, tagged, plain, method)]


# Places


@functools.cache
def scale(network: str, method: str, likeness: str, at: Setting) -> Scale:
    """Noise and chance, on pictures and with seeds that no change is judged by."""
    row = TRIED[method][0]
    return drift_scale(original(network), pictures(network, "choice", at, True)[:50], method=row, likeness=likeness)


def int8(network: str, at: Setting) -> nn.Module:
    """Weights and activations in 8 bits, per channel."""
    model = original(network)
    return quantize.simulate(model, quantize.calibrate(model, evidence(network, at).inputs[:32]), quantize.INT8)


def places(network: str, method: str, likeness: str, at: Setting = WHOLE) -> list[dict]:
    """Where known changes lie: harmless ones with fresh seeds, 8 bits, Taylor cuts, cuts that ruin the answers."""
    model, images = original(network), pictures(network, "report", at, True)[:PLACED]
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
#: Not a full design: on the composites of the report there is the chosen method alone, beside the logits.
PARTS = [("reasons", "tuned", stage, method) for stage in STAGES for method in _FEW]
PARTS += [("cuts", LITE, "choice", method) for method in _FEW] + [
    ("cuts", LITE, "report", method) for method in _FEW[:2]
]
PARTS += [("cuts", "lenet-300-100", stage, method) for stage in STAGES for method in _FEW[:3]]
CODE = ("drift", "drift scale", "training")
TABLES = [
    Table(
        "drift_resolution",
        measured,
        PARTS,
        code=CODE,
        checkpoints=(f"{LITE}-seed0.safetensors", "lenet-300-100-seed0.safetensors"),
        tried=[("reasons", "tuned", "choice", method) for method in ("coarse occlusion", LOGITS)]
        + [("cuts", "lenet-300-100", "choice", "gradient x input")],
        at=Setting(images=200, count=2, training={"epochs": 6, "batch_size": 25}),
        tolerance=0.05,
    ),
    Table(
        "drift_places",
        places,
        [(network, *explain.RULER) for network in (LITE, MOBILENET)],
        code=CODE,
        checkpoints=(f"{LITE}-seed0.safetensors", f"{MOBILENET}-seed0.safetensors"),
        tried=[("lenet-300-100", *explain.RULER)],
        at=Setting(images=40, count=20),
        tolerance=0.05,
    ),
]
