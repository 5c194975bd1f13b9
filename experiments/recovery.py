"""Recovery without labels of EfficientNet-Lite0: the table ``recovery``.

It writes ``data/checkpoints/efficientnet-lite0-pruned-seed0`` too, the network of fold 0. The first blocks stay as they
are, since they hold a fifth of the parameters, and run once for each picture. Of all behind them those units go that
Taylor's criterion ranks lowest, until a share of the network's parameters is left. The layers that hold most of them
then have weights of 4 bits. What stays learns the original's answers.

A fold's network learns from the things of three other folds and from those without labels, on the free grounds and on
pieces of these things; labels are for judging alone. It is judged on its own things, on the grounds that are kept. The
recipe was chosen once, by the validation things of fold 0.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import kl_div
from torch.nn.utils import parametrize

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import core, deploy, distill, dynamic, explain, quantize, zoo
from xaiprune.data import Cutout, Ground, Scenes, Split, scenes
from xaiprune.measure import predict
from xaiprune.prune import (
    Costs,
    Plan,
    computing_layers,
    cut,
    find_units,
    load_cut,
    plan,
    save_cut,
    score,
    stored_statistics,
)

MODEL, PRUNED = "efficientnet-lite0", "efficientnet-lite0-pruned"
#: The layer behind which units go and weights learn.
LAST_KEPT = "blocks.11"
#: The share of the parameters that is left, and a multiple that widths are, for speed.
LEFT, ROUND_TO = 0.97, 8
#: Layers of which weights have 4 bits, as their names begin: over half of all parameters, which lose little by it.
NARROW = ("blocks.12", "blocks.13", "blocks.14.expand", "head", "classifier")
#: An input.
EXAMPLE = torch.zeros(1, 3, 224, 224)
#: Composites: how many of each thing, its size, the seed.
ASKED = dict.fromkeys(("train", "unlabelled"), (20, (0.4, 0.9), 2)) | {"validation": (20, 0.6, 3), "test": (20, 0.6, 4)}
#: Pixels of the smallest piece of a thing that is a ground.
SMALLEST = 32
#: Pictures that go through a network at once; those that units are ranked and ranges of activations measured on.
BATCH, RANKED = 16, 256
#: What is learned from: things of other folds as well, or those without labels alone.
SEEN = {"others": ("unlabelled", "train"), "unlabelled": ("unlabelled",)}
TRAINING = {"lr": 5e-5, "batch_size": 32, "progress": False}
TEMPERATURE = 1.0
#: The largest weight beside the root of the mean square, per channel, for which 4 bits round least.
CLAMPED = 2.7
#: What tells a row's network from others', before its fold.
KINDS = ("criterion", "left", "by", "bits", "epochs")
#: The first layers lose most by 8 bits, and are no faster in integers: they stay in float.
SLOW = 3


def composites(split: str, fold: int) -> Scenes:
    """Composites of the things of a split, on its grounds; what is learned from stands on pieces of things as well."""
    each, size, seed = ASKED[split]
    made = scenes(split, fold=fold, each=each, size=size, seed=seed, preprocessing=zoo.preprocessing(MODEL))
    if split in ("validation", "test"):
        return made
    return made.on(*made.grounds, *[Ground("pieces", functools.partial(piece, made.cutouts))] * len(made.grounds))


def piece(things: Sequence[Cutout], random: np.random.RandomState) -> np.ndarray:
    """A square of a thing, turned, with its colours in another order, made as large as a composite."""
    pixels = things[random.randint(len(things))].pixels
    most = min(pixels.shape[:2])
    side = random.randint(min(most, SMALLEST), most + 1)
    top, left = (random.randint(length - side + 1) for length in pixels.shape[:2])
    crop = np.rot90(pixels[top : top + side, left : left + side], random.randint(4))[:, :, random.permutation(3)]
    image = Image.fromarray(np.ascontiguousarray(crop))
    return np.asarray(image.resize(EXAMPLE.shape[2:], Image.Resampling.BICUBIC))


@functools.cache
def original() -> nn.Module:
    """The network that is cut."""
    return zoo.load(MODEL)


def halves(model: nn.Module) -> dynamic.Halves:
    """What stays, and what learns; both share the network's weights."""
    return dynamic.split_at(model, LAST_KEPT)


def looked_at(run: Callable, split: str, fold: int, at: Setting) -> dict:
    """What a network, or a part of one, gives for composites, and what these show."""
    found, shown = {"outputs": [], "objects": [], "labels": [], "groups": []}, composites(split, fold)
    for start in range(0, len(shown) if at.whole else at.images, BATCH):
        some = shown.make(range(start, min(start + BATCH, len(shown) if at.whole else at.images)))
        found["outputs"].append(run(some.inputs))
        found["objects"] += some.objects
        found["labels"] += some.labels
        found["groups"] += some.groups.tolist()
    return found | {"outputs": torch.cat(found["outputs"])}


@functools.lru_cache(4)
def known(split: str, fold: int, at: Setting) -> dict:
    """What the layers that learn read of composites, and what the original says of them: kept, since it takes long."""
    path = unfinished(f"{LAST_KEPT}-{split}-{fold}-{at.images}.pt", ("composites", "EfficientNet-Lite"))
    if not path.exists():
        trunk, tail = halves(original())
        trunk = deploy.prepare(trunk, EXAMPLE) if at.whole else distill.freeze(trunk)
        found = looked_at(trunk, split, fold, at)
        found["original"] = predict(tail, found["outputs"], BATCH)
        core.save_atomically(path, lambda part: torch.save(found, part))
    return torch.load(path)


def learned(by: str, fold: int, at: Setting) -> Split:
    """What is learned from, with the original's answers in place of labels."""
    parts = [known(split, 0 if split == "unlabelled" else fold, at) for split in SEEN[by]]
    return Split(*(torch.cat([part[name] for part in parts]) for name in ("outputs", "original")))


def planned(criterion: str, left: float, pictures: Split) -> Plan:
    """Which units go: those that a criterion ranks lowest by the original's answers, until this share is left."""
    model, some = original(), pictures.inputs[:: -(-len(pictures.inputs) // RANKED)]
    units = dynamic.groups_behind(model, find_units(model, EXAMPLE), LAST_KEPT)
    if criterion == "none":
        return Plan(tuple(units), {})
    generator, tail = torch.Generator().manual_seed(0), halves(model).tail
    share, others = torch.rand(len(some), 1, 1, 1, generator=generator), torch.randperm(len(some), generator=generator)
    some = torch.cat([some, some.lerp(some[others], share)])  # mixtures of two have answers of many more classes
    evidence = Split(some, predict(tail, some, BATCH).argmax(1))
    scores, layers = score(tail, units, criterion, evidence), computing_layers(model, EXAMPLE)
    each = {name: layer.weight[0, 0].numel() for name, layer in quantize.quantized_layers(model).items()}
    curves = {
        layer.name: lambda reads, makes, layer=layer: each[layer.name] * makes * (1 if layer.grouped else reads)
        for layer in layers
    }
    costs = Costs(units, layers, curves, measured_in="parameters")
    return plan(scores, cost_target=left, costs=costs, round_to=ROUND_TO)


class FourBits(nn.Module):
    """Weights on a grid of 15 numbers for each output channel, of which the largest weight is the last."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Gradients pass as if nothing was rounded."""
        step = weight.detach().flatten(1).abs().amax(1).clamp(min=1e-30) / 7
        step = step.view(-1, *[1] * (weight.ndim - 1))
        return weight + ((weight / step).round() * step - weight).detach()


def narrow(model: nn.Module) -> list[str]:
    """Layers of which weights are to have 4 bits: pointwise convolutions and linear ones."""
    layers = quantize.quantized_layers(model).items()
    return [name for name, layer in layers if name.startswith(NARROW) and getattr(layer, "groups", 1) == 1]


@contextlib.contextmanager
def four_bits(layers: Collection[nn.Module]) -> Iterator[None]:
    """Inside the ``with`` weights learn on their grids, and stay on them."""
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", FourBits()).eval()
    yield
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight")


def clamped(model: nn.Module) -> list[nn.Module]:
    """The layers that are to have 4 bits, each with its largest few weights clamped."""
    layers = [quantize.quantized_layers(model)[name] for name in narrow(model)]
    for layer in layers:
        most = CLAMPED * layer.weight.data.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (layer.weight.ndim - 1))
        layer.weight.data = layer.weight.data.clamp(-most, most)
    return layers


def recovered(
    criterion: str, left: float, by: str, bits: int, epochs: int, fold: int, at: Setting = WHOLE
) -> list[dict]:
    """One way from the original to a small network, a row for each step; criterion "none" cuts nothing."""
    start, pictures = time.perf_counter(), learned(by, fold, at)
    chosen = planned(criterion, left, pictures)
    smaller = cut(original(), chosen)
    smaller.dropout.p = 0.0  # the little that is learned anew takes no noise
    part = dict(zip((*KINDS, "fold"), (criterion, left, by, bits, epochs, fold)))
    size = {"parameters": sum(parameter.numel() for parameter in smaller.parameters())}
    rows = [part | {"step": "cut"} | size | judged(smaller, fold, at)] if criterion != "none" else []
    with four_bits(clamped(smaller)) if bits == 4 else contextlib.nullcontext():
        if epochs:
            teach(smaller, pictures, "-".join(map(str, part.values())), at, epochs=epochs, seed=fold)
    if epochs:
        rows.append(part | {"step": "recovered"} | size | judged(smaller, fold, at))
        rows[-1]["minutes"] = round((time.perf_counter() - start) / 60, 1)
    if at.whole:
        if (*part.values(),) == SHIPPED:
            ship(smaller, chosen, rows[-1], at)
        content = int8(smaller, fold, by, bits)
        rows.append(part | {"step": "int8", "bytes": len(content)} | judged(content, fold, at))
    return rows


def teach(smaller: nn.Module, pictures: Split, name: str, at: Setting, **options) -> None:
    """Distil from the original, without labels, with the statistics of batch normalisation as they are."""
    student = halves(smaller).tail
    with stored_statistics(student):
        distill.distill(
            distill.freeze(halves(original()).tail),
            student,
            distill.Transfer(pictures.inputs[None], None, pictures.targets[None]),
            None,
            alpha=1.0,
            temperature=TEMPERATURE,
            resume=unfinished(f"{PRUNED}-{name}.pt", CODE),
            **at.trained(TRAINING | options),
        )


def judged(network: nn.Module | bytes, fold: int, at: Setting) -> dict:
    """Answers of a network, or of an ONNX file, beside those of the original."""
    row = {}
    for split in ("validation", "test") if fold == SHIPPED[-1] else ("test",):
        shown = known(split, fold, at)
        if isinstance(network, bytes):
            found = looked_at(deploy.runnable(network), split, fold, at)["outputs"]
        else:
            found = predict(halves(network).tail, shown["outputs"], BATCH)
        things = by_thing(shown, found)
        row |= {f"{name}, {split}": value for name, value in figures(things).items()}
    if at.whole:
        return row | {"things": things}
    return {name: value for name, value in row.items() if "divergence" in name}  # an answer of so few would decide


def by_thing(shown: dict, found: torch.Tensor) -> list[list[float]]:
    """For each thing: its group, how often the original and this network are right and agree, and the divergence."""
    answers = [logits.argmax(1) for logits in (shown["original"], found)]
    right = [[answer in labels for answer, labels in zip(some.tolist(), shown["labels"])] for some in answers]
    apart = kl_div(found.log_softmax(1), shown["original"].log_softmax(1), log_target=True, reduction="none").sum(1)
    columns = [shown["groups"], *right, (answers[0] == answers[1]).tolist(), apart.tolist()]
    values = torch.tensor(columns, dtype=torch.float64).T
    names = np.array(shown["objects"])
    return [values[torch.from_numpy(names == name)].mean(0).tolist() for name in dict.fromkeys(shown["objects"])]


def figures(things: list[list[float]]) -> dict:
    """Per cent and nats, and how much lower the accuracy is, with a 95 % interval over groups of things."""
    groups, original_, right, same, apart = torch.tensor(things, dtype=torch.float64).unbind(1)
    value, low, high = explain.bootstrap(100 * (right - original_), groups=groups.long())
    row = {"same": 100 * same.mean(), "original": 100 * original_.mean(), "accuracy": 100 * right.mean()}
    row = {name: round(float(value), 2) for name, value in row.items()}
    row |= {"difference": round(value, 2), "from": round(low, 2), "to": round(high, 2)}
    return row | {"divergence": round(apart.mean().item(), 4)}


def together(rows: list[dict]) -> list[dict]:
    """The rows, and one of all things for each step that several folds have: a thing counts as its fold judged it."""
    kinds: dict[tuple, list[dict]] = {}
    for row in rows:
        kinds.setdefault(tuple(row[name] for name in (*KINDS, "step")), []).append(row)
    every = []
    for kind, some in kinds.items():
        told = figures([thing for row in some for thing in row["things"]])
        about = dict(zip((*KINDS, "step"), kind)) | {"fold": "all", "folds": len(some)}
        every.append(about | {f"{name}, test": value for name, value in told.items()})
    rows = [{name: value for name, value in row.items() if name != "things"} for row in rows]
    return rows + [row for row in every if row["folds"] > 1]


def int8(smaller: nn.Module, fold: int = 0, by: str = "others", bits: int = 4) -> bytes:
    """An ONNX file that computes in 8 bits, some weights of 4 among them, with ranges from what is learned from."""
    first = {name: quantize.Config(None, None) for name in list(quantize.quantized_layers(smaller))[:SLOW]}
    form = quantize.Config(quantize.Format(bits, per_channel=True), quantize.INT8.activations)
    first |= dict.fromkeys(narrow(smaller) if bits == 4 else (), form)
    pictures = torch.cat([composites(split, fold).make(range(RANKED // len(SEEN[by]))).inputs for split in SEEN[by]])
    return quantize.int8_bytes(smaller, pictures, dataclasses.replace(quantize.INT8, layers=first))


def checkpoint(at: Setting = WHOLE) -> Path:
    """Path of the shipped network, without its ending."""
    return at.checkpoints / f"{PRUNED}-seed0"


def load_pruned(at: Setting = WHOLE) -> nn.Module:
    """The shipped network."""
    return load_cut(zoo.EfficientNetLite, checkpoint(at))


def ship(smaller: nn.Module, chosen: Plan, row: dict, at: Setting) -> None:
    """Write plan, with a card, and weights, in half precision; the network gets what was written."""
    path = checkpoint(at)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_cut(copy.deepcopy(smaller).half(), chosen, path)
    smaller.load_state_dict(load_pruned(at).state_dict())
    card = {
        "name": PRUNED,
        "source": f"{MODEL}: of what lies behind {LAST_KEPT}, units that hold {1 - row['left']:.0%} of all parameters "
        f"are cut; pointwise layers of {', '.join(NARROW)} have weights on grids of 4 bits",
        "how": f"taylor on the original's own answers; distillation without labels, {row['epochs']} epochs of "
        f"{ASKED['train'][0]} composites of each thing of {' and '.join(SEEN[row['by']])}; experiments/recovery.py",
        "fold": f"{row['fold']}: nothing was learned from the things of its validation and test, or from kept grounds",
        "classes": "imagenet-1k",
        "preprocessing": f"as for {MODEL}",
        "parameters": row["parameters"],
        "measured": {name: value for name, value in row.items() if "," in name},
        "licence": "Apache-2.0, as the original (efficientnet-lite0-LICENSE.txt, efficientnet-lite0-NOTICE.txt)",
        "sha256": core.sha256(path.with_name(f"{path.name}.safetensors")),
    }
    told = json.loads(path.with_name(f"{path.name}.json").read_text()) | {"card": card}
    core.save_atomically(path.with_name(f"{path.name}.json"), lambda part: part.write_text(json.dumps(told)))


CODE = ("EfficientNet-Lite", "composites", "criteria of slices", "distillation", "integer kernels", "stored statistics")
SHIPPED = ("taylor", LEFT, "others", 4, 2, 0)
#: With fold 0: nothing but 8 bits; nothing cut; a random choice; a file as small by cutting alone; nothing learned;
#: learned from the things without labels alone.
CONTROLS = [
    ("none", 1.0, "others", 8, 0, 0),
    ("none", 1.0, *SHIPPED[2:]),
    ("random", *SHIPPED[1:]),
    ("taylor", 0.667, "others", 8, 2, 0),
    (*SHIPPED[:-2], 0, 0),
    (*SHIPPED[:2], "unlabelled", *SHIPPED[3:]),
]
TABLES = [
    Table(
        "recovery",
        recovered,
        [*((*SHIPPED[:-1], fold) for fold in range(5)), *CONTROLS],
        code=CODE,
        checkpoints=(f"{MODEL}-seed0.safetensors", f"{PRUNED}-seed0.safetensors"),
        tried=[SHIPPED],
        at=Setting(images=8, training={"epochs": 1, "batch_size": 8}),
        tolerance=0.02,
        finish=together,
    ),
]
