"""What drift can tell on photographs: the questions of :mod:`experiments.resolution` to a network of other people.

The table ``drift_photographs`` is about EfficientNet-Lite0. (a) Taylor cuts stand against harmless changes, on
composites of the things of four folds that the original names rightly; the fifth fold chose the ruler. (b) Networks are
tuned to tell animals, food and other things apart, either on composites on which each kind has a ground of its own, or
on the same things in the same places with grounds that say nothing. They are compared on grounds that none of them
learned on, on things whose classes none of them learned. What they are tuned from is a linear layer on the features of
the original.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from experiments import resolution
from experiments.resolution import LITE, LOGITS, STAGES
from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import data, dynamic, zoo
from xaiprune.core import fingerprint, save_atomically, seed_everything
from xaiprune.data import GROUNDS, Scenes, Split
from xaiprune.measure import accuracy, predict
from xaiprune.prune import stored_statistics
from xaiprune.training import classification_loss, fit

#: Share of the answers that a harmless change may turn, and beyond which a kind is not compared at all.
FEW_TURN, HALF_TURN = 0.02, 0.5
#: Composites that cuts are judged on, and methods that need no more than answers.
COMPOSITES, ANSWERS_ONLY = {"choice": 16, "report": 80}, (LOGITS, "coarse occlusion")
#: The kinds that are told apart, by the beginnings of the things' names, each with the ground that it can be tied to.
KINDS = {"animals": "brick", "food": "china", "others": "flower"}
#: The layer after which networks learn; what comes before it stays, and runs once for each picture.
LAST_KEPT = "blocks.11"
#: Networks a side, composites of each thing that one learns from, and that all are judged on.
LEARNERS, LEARNED, JUDGED = {"choice": 3, "report": 5}, 4, {"choice": 3, "report": 4}
#: Of the linear layer, and of what is tuned: chosen on the things of the validation fold, by accuracy alone.
FIRST = {"lr": 3e-3, "epochs": 20, "batch_size": 32, "progress": False}
TUNED = {"lr": 1e-4, "epochs": 4, "batch_size": 32, "progress": False}


class Shared(nn.Module):
    """A network whose first part runs once for pictures that networks with the same first part were shown.

    Parameters
    ----------
    first, last : nn.Module
    known : dict
        What the first part gave for batches of pictures, filled on the way.
    """

    def __init__(self, first: nn.Module, last: nn.Module, known: dict[str, torch.Tensor]):
        super().__init__()
        self.first, self.last, self.known = first, last, known

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        if (name := fingerprint(images)) not in self.known:
            self.known[name] = self.first(images)
        return self.last(self.known[name])


# Cuts and noise


@functools.cache
def kinds_of(stage: str, at: Setting) -> tuple[dict[str, list[nn.Module]], dict[str, float]]:
    """Harmless changes by kind, but for those that turn half of the answers, and the share that each kind turns."""
    kinds, images = resolution.harmless(LITE, stage, at), pictures(stage, at)
    gone = resolution.turned(kinds, images, predict(resolution.original(LITE), images, 50).argmax(1))
    return {name: some for name, some in kinds.items() if gone[name] <= HALF_TURN}, gone


@functools.cache
def asked(method: str) -> nn.Module:
    """The original; where answers are enough, one that remembers them."""
    model = resolution.original(LITE)
    return Shared(model, nn.Identity(), {}).eval() if method in ANSWERS_ONLY else model


def pictures(stage: str, at: Setting) -> torch.Tensor:
    """Composites that the original names rightly, as many as minutes allow."""
    return resolution.pictures(LITE, stage, at)[: COMPOSITES[stage]]


def drifts(stage: str, method: str, name: str, networks: list[nn.Module], at: Setting):
    """As :func:`experiments.resolution.drifts`; kept, since a dozen networks take more than ten minutes."""
    images = pictures(stage, at)
    path = unfinished(f"drift-photographs-{stage}-{method}-{name}-{len(images)}-{len(networks)}.pt", CODE)
    if not path.exists():
        found = resolution.drifts(asked(method), images, networks, method)
        save_atomically(path, lambda temporary: torch.save(found, temporary))
    return torch.load(path, weights_only=False)


def cuts_and_noise(stage: str, method: str, ratio: float, at: Setting = WHOLE) -> list[dict]:
    """(a) Taylor cuts against all kinds that are harmless here, and against each other kind by itself."""
    (kinds, gone), first = kinds_of(stage, at), STAGES[stage][1]
    cut = resolution.cuts(LITE, "taylor", ratio, range(first, first + at.few(resolution.CUTS[ratio])), at)
    sides = {**kinds, str(ratio): cut}
    parts = [drifts(stage, method, name, some, at) for name, some in sides.items()]
    found = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    kept = np.concatenate([part[1] for part in parts])
    names = [name for name, some in sides.items() for _ in some]
    against = {"harmless kinds": [name for name in kinds if gone[name] <= FEW_TURN]}
    against |= {name: [name] for name in kinds if gone[name] > FEW_TURN}
    rows = []
    for title, mine in against.items():
        changed = [place for place, name in enumerate(names) if name == str(ratio)]
        same = [place for place, name in enumerate(names) if name in mine]
        head = {"task": f"Taylor cut of {ratio:.0%}", "against": title, "network": LITE}
        head |= {"stage": stage, "method": method, "judged": kept.shape[1]}
        told = resolution.told_apart(found, kept, changed, same, method) if same else []
        rows += [{**head, **row, "turned": gone} for row in told]
    return rows


# Grounds


def kind_of(name: str) -> int:
    """The kind of a thing, by the beginning of its name."""
    first = name.partition("-")[0].replace("plants", "food")  # the one plant is a mushroom
    return list(KINDS).index(first) if first in KINDS else len(KINDS) - 1


def shown(split: str, each: int, seed: int, grounds: Sequence[Sequence[str]], at: Setting, **size) -> Split:
    """Things of a split, each kind on grounds of its own; things and places depend on the seed alone."""
    made = []
    for kind, names in enumerate(grounds):
        things = [thing for thing in data.scenes(split).cutouts if kind_of(thing.name) == kind]
        scenes = Scenes(things, names, each, seed=seed, preprocessing=zoo.preprocessing(LITE), **size)
        made.append(scenes.make(range(min(len(scenes), at.images or len(scenes)))).inputs)
    kinds = torch.arange(len(made)).repeat_interleave(torch.tensor([len(inputs) for inputs in made]))
    return Split(torch.cat(made), kinds)


#: Where each kind stands: on a ground of its own, on one that says nothing, or on those of the other kinds.
TIED = [[ground] for ground in KINDS.values()]
FREE = [list(KINDS.values())] * len(KINDS)
CONTRADICTING = [[ground for ground in KINDS.values() if [ground] != own] for own in TIED]


def plain(stage: str) -> list[list[str]]:
    """Grounds that no network learned on, and that tell nothing: those kept for the test are for the report alone."""
    report = stage == "report"
    names = [row.name for row in GROUNDS.values() if row.kept == report and row.name not in KINDS.values()]
    return [names] * len(KINDS)


@functools.cache
def trunk() -> nn.Module:
    """The part of the original that stays."""
    return dynamic.split_at(resolution.original(LITE), LAST_KEPT).trunk


def features(split: Split) -> Split:
    """What the part that stays gives."""
    return Split(predict(trunk(), split.inputs, 16), split.targets)


def tail(network: nn.Module) -> nn.Module:
    """The part that learns; it shares its weights with the network."""
    return dynamic.split_at(network, LAST_KEPT).tail


@functools.cache
def begun(stage: str, at: Setting) -> nn.Module:
    """The original with a linear layer for the kinds, which learned on free grounds."""
    seed = STAGES[stage][1] + 1000
    seed_everything(seed)
    network = copy.deepcopy(resolution.original(LITE))
    network.classifier = nn.Identity().eval()
    known = features(shown("train", LEARNED, seed, FREE, at))
    pooled = predict(tail(network), known.inputs, 50)
    layer = nn.Linear(pooled.shape[1], len(KINDS))
    fit(layer, Split(pooled, known.targets), classification_loss, seed=seed, **at.trained(FIRST))
    network.classifier = layer
    return network.eval()


@functools.cache
def learners(stage: str, at: Setting) -> tuple[nn.Module, list[nn.Module], list[nn.Module], dict[str, float]]:
    """What is tuned from, networks that learned on tied grounds and on free ones, and how they answer [%]."""
    base, first, networks = begun(stage, at), STAGES[stage][1], {"tied": [], "free": []}
    for seed in range(first, first + at.few(LEARNERS[stage])):
        for side, grounds in (("tied", TIED), ("free", FREE)):
            network, known = copy.deepcopy(base), features(shown("train", LEARNED, seed, grounds, at))
            seed_everything(seed)
            with stored_statistics(tail(network)) as learns:
                resume = unfinished(f"drift-photographs-{stage}-{side}-{seed}.pt", CODE)
                fit(learns, known, classification_loss, seed=seed, resume=resume, **at.trained(TUNED))
            networks[side].append(network.eval())
    found = answers(stage, {"original": [base], **networks}, at) if at.whole else {}  # of a probe one answer decides
    return base, networks["tied"], networks["free"], found


def answers(stage: str, networks: dict[str, list[nn.Module]], at: Setting) -> dict[str, float]:
    """Mean accuracy of networks [%] on grounds that say nothing, and on those of the other kinds."""
    tests = {
        where: features(judged(stage, at, grounds), at)
        for where, grounds in (("no tie", None), ("contradicting", CONTRADICTING))
    }
    return {
        f"{side}, {where}": round(sum(accuracy(tail(one), test) for one in some) / len(some), 1)
        for side, some in networks.items()
        for where, test in tests.items()
    }


def judged(stage: str, at: Setting, grounds: Sequence[Sequence[str]] | None = None) -> Split:
    """Things whose classes nobody learned; by default on grounds that say nothing."""
    split, seed = STAGES[stage]
    return shown(split, at.few(JUDGED[stage]), seed, plain(stage) if grounds is None else grounds, at, size=0.6)


def reasons(stage: str, method: str, at: Setting = WHOLE) -> list[dict]:
    """(b) Networks that learned on tied grounds against networks that learned on free ones."""
    base, tied, free, right = learners(stage, at)
    images = judged(stage, at).inputs
    networks, known = [base, *tied, *free], {}
    if method in ANSWERS_ONLY:
        networks = [Shared(trunk(), tail(one), known).eval() for one in networks]
    found, kept = resolution.drifts(networks[0], images, networks[1:], method)
    head = {"task": "ground", "against": "free grounds", "network": LITE}
    head |= {"stage": stage, "method": method, "judged": len(images)}
    told = resolution.told_apart(found, kept, range(len(tied)), range(len(tied), len(kept)), method)
    return [{**head, **row, "accuracy": right} for row in told]


def measured(kind: str, stage: str, method: str, *ratio: float, at: Setting = WHOLE) -> list[dict]:
    """A part of the table."""
    return {"cuts": cuts_and_noise, "reasons": reasons}[kind](stage, method, *ratio, at=at)


CODE = ("composites", "drift", "drift scale", "EfficientNet-Lite", "stored statistics", "training")
METHODS = (LOGITS, "coarse occlusion", "gradient x input", "gradient x activation")
#: Not a full design: cuts of the report are judged by the default method alone, beside the logits.
PARTS = [("reasons", stage, method) for stage in STAGES for method in METHODS]
PARTS += [("cuts", "choice", method, ratio) for method in METHODS for ratio in resolution.CUTS]
PARTS += [("cuts", "report", method, ratio) for method in METHODS[:2] for ratio in resolution.CUTS]
TABLES = [
    Table(
        "drift_photographs",
        measured,
        PARTS,
        code=CODE,
        checkpoints=(f"{LITE}-seed0.safetensors",),
        tried=[("reasons", "choice", LOGITS)],
        at=Setting(images=2, count=1, training={"epochs": 1, "batch_size": 2}),
        tolerance=0.05,
    )
]
