"""Recovery without labels of EfficientNet-Lite0: the table ``recovery``.

It writes ``data/checkpoints/efficientnet-lite0-pruned-seed0`` too. Units go from the last blocks and the head alone,
where Taylor's criterion finds most that can go. What comes before them stays as it is, so that it runs once for each
picture, and what comes after learns from its outputs.

Pictures to learn from show the 176 things without labels, on the grounds that are free. What was chosen (how much goes,
how long to train, by which losses) was chosen by the answers of the original for a seventh of these things, on other
composites. All 118 labelled things and both grounds that are kept took part in nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import core, deploy, distill, dynamic, explain, quantize, zoo
from xaiprune.data import GROUNDS, Composites, Scenes, Split, scenes
from xaiprune.measure import predict
from xaiprune.prune import Plan, cut, find_units, load_cut, plan, reconstruct, save_cut, score, stored_statistics
from xaiprune.quantize import Config, Format

MODEL, PRUNED = "efficientnet-lite0", "efficientnet-lite0-pruned"
#: The layer after which everything may be cut and learns.
LAST_KEPT = "blocks.11"
#: What may go: the channels inside of the last blocks, and those of the head.
GROUPS = (*(f"blocks.{number}.expand.conv" for number in range(12, 16)), "head.conv")
#: The share of these units that goes, and a multiple that the others are, for speed.
RATIO, ROUND_TO = 0.46, 8
#: Every seventh thing without a label is for choosing.
HELD_BACK = 7
#: Composites of each thing: to score on, to learn from, to calibrate on.
SCORED, LEARNED, CALIBRATED = 1, 40, 1
#: By which composites is chosen and judged: purpose, composites of each thing, seed.
ASKED = {"validation": ("choosing", 8, 3), "test": ("judging", 20, 4)}
#: Pictures that go through a network at once.
BATCH = 16
#: Composites for least squares.
SOLVED = 1000
TRAINING = {"lr": 3e-4, "batch_size": 32, "progress": False}
#: The first layers lose most by 8 bits, and are no faster in integers: they stay in float.
SLOW = 3
#: How ranges of activations are found: chosen with the uncut network.
INTEGERS = Config(Format(per_channel=True), Format(scheme="affine", calibrator="moving-average"))
#: Layers whose outputs are compared, and the weight of that.
LAYERS = tuple(f"blocks.{number}.project.norm" for number in range(12, 16))
LOSS = {"soft targets": 1.0, "hints": 0.5}
TEMPERATURE = 2.0


def composites(purpose: str, each: int, seed: int) -> Scenes:
    """Composites of the things without labels that are for learning, or for choosing; or of all that have labels."""
    preprocessing = zoo.preprocessing(MODEL)
    if purpose == "judging":
        kept = [row.name for row in GROUNDS.values() if row.kept]
        return scenes("all", each=each, grounds=kept, seed=seed, preprocessing=preprocessing)
    chosen, things = purpose == "choosing", enumerate(scenes("unlabelled").cutouts)
    things = [thing for place, thing in things if (place % HELD_BACK == 0) == chosen]
    free = [row.name for row in GROUNDS.values() if not row.kept]
    return Scenes(things, free, each=each, seed=seed, preprocessing=preprocessing)


def drawn(purpose: str, each: int, seed: int, at: Setting = WHOLE) -> Composites:
    """The same, made."""
    found = composites(purpose, each, seed)
    return found.make(range(len(found) if at.images is None else min(at.images, len(found))))


class Setup:
    """The original, its two halves, and what is known of pictures before anything is cut."""

    def __init__(self, at: Setting):
        self.at, self.model = at, zoo.load(MODEL)
        self.example = torch.zeros(1, 3, 224, 224)
        self.halves = dynamic.split_at(self.model, LAST_KEPT)
        self.trunk = deploy.prepare(self.halves.trunk, self.example) if at.whole else self.halves.trunk
        self.teacher = distill.freeze(self.halves.tail)
        self.units = find_units(self.model, self.example)

    def features(self, purpose: str, each: int, seed: int) -> dict:
        """What the half that stays gives for composites, and what these show; kept, since thousands take minutes."""
        path = unfinished(f"features-{purpose}-{each}-{seed}-{self.at.images}.pt", ("composites",))
        if not path.exists():
            found = seen(self.trunk, composites(purpose, each, seed), self.at.images)
            core.save_atomically(path, lambda temporary: torch.save(found, temporary))
        return torch.load(path)

    @functools.cached_property
    def answers(self) -> dict[str, torch.Tensor]:
        """What the original says of the composites that choose and of those that judge: logits."""
        return {name: predict(self.teacher, self.features(*asked)["outputs"], 100) for name, asked in ASKED.items()}

    def tail(self, smaller: nn.Module) -> nn.Module:
        """The half of a cut network that learns; it shares its weights."""
        return dynamic.split_at(smaller, LAST_KEPT).tail

    @functools.cached_property
    def calibration(self) -> Split:
        """Pictures to score on, with the answers of the original in place of labels."""
        pictures = drawn("learning", SCORED, 1, self.at).inputs
        return Split(pictures, predict(self.model, pictures, BATCH).argmax(1))

    def planned(self, criterion: str, ratio: float, seed: int = 0) -> Plan:
        """Which units go."""
        scores = score(self.model, self.units, criterion, self.calibration, seed=seed).only(*GROUPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the nearest number that is a multiple
            chosen = plan(scores, ratio=ratio, round_to=ROUND_TO)
        return Plan(tuple(self.units), chosen.removed)


@torch.no_grad()
def seen(run: Callable, found: Scenes, limit: int | None = None) -> dict:
    """What a network, or a part of one, gives for composites, and their labels and groups."""
    said = {"outputs": [], "labels": [], "groups": []}
    for some in found.batches(BATCH):
        said["outputs"].append(run(some.inputs))
        said["labels"] += some.labels
        said["groups"] += some.groups.tolist()
        if limit is not None and len(said["labels"]) >= limit:
            break
    return said | {"outputs": torch.cat(said["outputs"])}


@functools.cache
def setup(at: Setting) -> Setup:
    """Once for all rows."""
    return Setup(at)


def recovered(criterion: str, ratio: float, epochs: int, seed: int, at: Setting = WHOLE) -> list[dict]:
    """One way from the original to a recovered network, a row for each step; the longest one is the shipped network.

    Criterion "none" cuts nothing: what does the training alone change?
    """
    known, start = setup(at), time.perf_counter()
    chosen = Plan(tuple(known.units), {}) if criterion == "none" else known.planned(criterion, ratio, seed)
    smaller = cut(known.model, chosen)
    row = {"criterion": criterion, "ratio": ratio, "epochs": epochs, "seed": seed}
    rows = [row | {"step": "cut"} | judged(smaller, at)]
    if criterion != "none":
        pictures = known.features("learning", LEARNED, 2)["outputs"][:SOLVED]
        reconstruct(known.tail(smaller), known.teacher, chosen, pictures)
        rows.append(row | {"step": "reconstructed"} | judged(smaller, at))
    if epochs:
        teach(smaller, seed, at, f"{criterion}-{ratio}", epochs=epochs)
        rows.append(row | {"step": "recovered"} | judged(smaller, at))
        rows[-1]["minutes"] = round((time.perf_counter() - start) / 60, 1)
    if (shipped := (criterion, ratio, epochs, seed) == SHIPPED) and at.whole:
        ship(smaller, chosen, rows[-1], at)
    if shipped or (criterion == "none" and not epochs):
        rows.append(row | {"step": "int8"} | integers(smaller, at))
    return rows


def mixed(features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of a batch as it is; in the others a rectangle comes from another picture.

    The teacher answers for what it is shown, so that pictures need not be likely ones: CutMix (Yun et al. 2019, arXiv
    1905.04899), on features.
    """
    found, others = features.clone(), features.roll(1, 0)
    top, left, height, width = torch.randint(0, 7, (4, len(features)), generator=generator).tolist()
    for row in range(1, len(features), 2):
        part = slice(top[row], top[row] + height[row] + 1), slice(left[row], left[row] + width[row] + 1)
        found[(row, slice(None), *part)] = others[(row, slice(None), *part)]
    return found


def teach(smaller: nn.Module, seed: int, at: Setting, name: str, **options) -> list[dict]:
    """Distil from the original, without labels, with the statistics of batch normalisation as they are."""
    known = setup(at)
    student = known.tail(smaller)
    with stored_statistics(student):
        return distill.distill(
            known.teacher,
            student,
            Split(known.features("learning", LEARNED, 2)["outputs"], None),
            None,
            loss=LOSS,
            layers=LAYERS,
            alpha=1.0,
            temperature=TEMPERATURE,
            augment=mixed,
            seed=seed,
            resume=unfinished(f"{PRUNED}-{name}-{options['epochs']}-{seed}.pt", CODE),
            **at.trained(TRAINING | options),
        )


def judged(smaller: nn.Module, at: Setting) -> dict:
    """Size; answers for the composites that choose, and for those that judge, beside the original's."""
    known, tail, row = setup(at), setup(at).tail(smaller), {}
    row["parameters"] = sum(parameter.numel() for parameter in smaller.parameters())
    for name, asked in ASKED.items():
        features = known.features(*asked)
        row |= beside(name, known.answers[name], predict(tail, features["outputs"], 100), features)
    # a probe has so few pictures that one answer would decide
    return row if at.whole else {name: value for name, value in row.items() if "divergence" in name}


def integers(smaller: nn.Module, at: Setting) -> dict:
    """The same in 8 bits, in ONNX Runtime, and the bytes of the file."""
    content, row = int8(smaller, at), {}
    row["bytes"] = len(content)
    for name, asked in ASKED.items():
        found = seen(deploy.runnable(content), composites(*asked), at.images)
        row |= beside(name, setup(at).answers[name], found["outputs"], found)
    return row


def int8(smaller: nn.Module, at: Setting = WHOLE) -> bytes:
    """An ONNX file with weights and activations in 8 bits, calibrated on the things without labels."""
    first = {name: Config(None, None) for name in list(quantize.quantized_layers(smaller))[:SLOW]}
    config = dataclasses.replace(INTEGERS, layers=first)
    return quantize.int8_bytes(smaller, drawn("learning", CALIBRATED, 5, at).inputs, config)


def beside(name: str, original: torch.Tensor, found: torch.Tensor, shown: dict) -> dict:
    """Answers beside the original's; where labels are known, accuracies as well."""
    row = compared(original, found)
    if name == "test":
        row |= accuracies(original, found, shown)
    return {f"{key}, {name}": value for key, value in row.items()}


def compared(original: torch.Tensor, found: torch.Tensor) -> dict:
    """How far answers are from the original's: the same ones in per cent, and the mean divergence in nats."""
    same = 100 * (original.argmax(1) == found.argmax(1)).float().mean()
    apart = F.kl_div(found.log_softmax(1), original.log_softmax(1), log_target=True, reduction="batchmean")
    return {"same": round(same.item(), 2), "divergence": round(apart.item(), 4)}


def accuracies(original: torch.Tensor, found: torch.Tensor, test: dict) -> dict:
    """Accuracy in per cent, and how much lower than the original's, with an interval over groups of things."""
    right = [
        torch.tensor([answer in labels for answer, labels in zip(logits.argmax(1).tolist(), test["labels"])]).double()
        for logits in (original, found)
    ]
    middle, low, high = explain.bootstrap(100 * (right[1] - right[0]), groups=torch.tensor(test["groups"]))
    row = {"original": 100 * right[0].mean().item(), "accuracy": 100 * right[1].mean().item()}
    return {name: round(value, 2) for name, value in (row | {"difference": middle, "from": low, "to": high}).items()}


def checkpoint(at: Setting = WHOLE, seed: int = 0) -> Path:
    """Path of the shipped network, without its ending."""
    return at.checkpoints / f"{PRUNED}-seed{seed}"


def load_pruned(at: Setting = WHOLE) -> nn.Module:
    """The shipped network."""
    return load_cut(zoo.EfficientNetLite, checkpoint(at))


def ship(smaller: nn.Module, chosen: Plan, row: dict, at: Setting) -> None:
    """Write plan, with a card, and weights, in half precision; the network gets what was written."""
    path = checkpoint(at, row["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_cut(copy.deepcopy(smaller).half(), chosen, path)
    smaller.load_state_dict(load_pruned(at).state_dict())
    card = {
        "name": PRUNED,
        "source": f"{MODEL}: {100 * row['ratio']:g} % of the units of its last blocks and of its head are cut",
        "how": "taylor on the original's own answers; least squares; distillation without labels, "
        f"{row['epochs']} epochs of {len(composites('learning', LEARNED, 2))} composites of {HELD_BACK - 1} in "
        f"{HELD_BACK} of the things without labels; experiments/recovery.py",
        "classes": "imagenet-1k",
        "preprocessing": f"as for {MODEL}",
        "parameters": row["parameters"],
        "measured": {name: value for name, value in row.items() if "," in name},
        "licence": "Apache-2.0, as the original (efficientnet-lite0-LICENSE.txt, efficientnet-lite0-NOTICE.txt)",
        "sha256": core.sha256(path.with_name(f"{path.name}.safetensors")),
    }
    told = json.loads(path.with_name(f"{path.name}.json").read_text()) | {"card": card}
    core.save_atomically(path.with_name(f"{path.name}.json"), lambda part: part.write_text(json.dumps(told)))


CODE = ("EfficientNet-Lite", "composites", "criteria of slices", "distillation", "reconstruction", "stored statistics")
SHIPPED = ("taylor", RATIO, 5, 0)
#: A random choice, the training alone, 8 bits alone, and a smaller cut without training.
CONTROLS = ("random", RATIO, 1, 0), ("none", 0.0, 1, 0), ("none", 0.0, 0, 0), ("taylor", 0.2, 0, 0)
TABLES = [
    Table(
        "recovery",
        recovered,
        [SHIPPED, *CONTROLS],
        code=CODE,
        checkpoints=(f"{MODEL}-seed0.safetensors", f"{PRUNED}-seed0.safetensors"),
        tried=[("taylor", RATIO, 1, 0)],
        at=Setting(images=BATCH, training={"epochs": 1, "batch_size": 8}),
        tolerance=0.02,
    ),
]
