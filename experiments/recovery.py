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
import functools
import json
import time
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import core, deploy, distill, dynamic, explain, quantize, zoo
from xaiprune.data import GROUNDS, Composites, Scenes, Split, scenes
from xaiprune.measure import predict
from xaiprune.prune import Plan, cut, find_units, load_cut, plan, reconstruct, save_cut, score, stored_statistics

MODEL, PRUNED = "efficientnet-lite0", "efficientnet-lite0-pruned"
#: The layer after which everything may be cut and learns.
LAST_KEPT = "blocks.11"
#: What may go: the channels inside of the last blocks, and those of the head.
GROUPS = (*(f"blocks.{number}.expand.conv" for number in range(12, 16)), "head.conv")
#: The share of these units that goes, and a multiple that the others are, for speed.
RATIO, ROUND_TO = 0.5, 8
#: Every seventh thing without a label is for choosing.
HELD_BACK = 7
#: Composites of each thing: to score on, to learn from, to choose by, to calibrate on, to judge by.
SCORED, LEARNED, CHOSEN, CALIBRATED, JUDGED = 1, 80, 8, 2, 20
#: Composites for least squares.
SOLVED = 2000
TRAINING = {"lr": 1e-3, "batch_size": 32, "progress": False}
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
    things = [thing for place, thing in enumerate(scenes("unlabelled").cutouts) if (place % HELD_BACK == 0) == (purpose == "choosing")]
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
            made, found = composites(purpose, each, seed), {"inputs": [], "labels": [], "groups": []}
            rows = range(len(made) if self.at.images is None else min(self.at.images, len(made)))
            for begin in rows[::16]:
                some = made.make(rows[begin : begin + 16])
                found["inputs"].append(self.run(some.inputs))
                found["labels"] += some.labels
                found["groups"] += some.groups.tolist()
            found["inputs"] = torch.cat(found["inputs"])
            core.save_atomically(path, lambda temporary: torch.save(found, temporary))
        return torch.load(path)

    @torch.no_grad()
    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        """The half that stays."""
        return self.trunk(pictures)

    def tail(self, smaller: nn.Module) -> nn.Module:
        """The half of a cut network that learns; it shares its weights."""
        return dynamic.split_at(smaller, LAST_KEPT).tail

    @functools.cached_property
    def calibration(self) -> Split:
        """Pictures to score on, with the answers of the original in place of labels."""
        pictures = drawn("learning", SCORED, 1, self.at).inputs
        return Split(pictures, predict(self.model, pictures).argmax(1))

    def planned(self, criterion: str, ratio: float, seed: int = 0) -> Plan:
        """Which units go."""
        scores = score(self.model, self.units, criterion, self.calibration, seed=seed).only(*GROUPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the nearest number that is a multiple
            chosen = plan(scores, ratio=ratio, round_to=ROUND_TO)
        return Plan(tuple(self.units), chosen.removed)


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
        pictures = known.features("learning", LEARNED, 2)["inputs"][:SOLVED]
        reconstruct(known.tail(smaller), known.teacher, chosen, pictures)
        rows.append(row | {"step": "reconstructed"} | judged(smaller, at))
    teach(smaller, seed, at, f"{criterion}-{ratio}", epochs=epochs)
    rows.append(row | {"step": "recovered"} | judged(smaller, at))
    rows[-1]["minutes"] = round((time.perf_counter() - start) / 60, 1)
    if (criterion, ratio, epochs, seed) == SHIPPED:
        ship(smaller, chosen, rows[-1], at)
    return rows


def teach(smaller: nn.Module, seed: int, at: Setting, name: str, **options) -> list[dict]:
    """Distil from the original, without labels, with the statistics of batch normalisation as they are."""
    known = setup(at)
    student = known.tail(smaller)
    with stored_statistics(student):
        return distill.distill(
            known.teacher,
            student,
            Split(known.features("learning", LEARNED, 2)["inputs"], None),
            None,
            loss=LOSS,
            layers=LAYERS,
            alpha=1.0,
            temperature=TEMPERATURE,
            seed=seed,
            resume=unfinished(f"{PRUNED}-{name}-{options['epochs']}-{seed}.pt", CODE),
            **at.trained(TRAINING | options),
        )


def judged(smaller: nn.Module, at: Setting) -> dict:
    """Size; answers for the composites that choose, and for those that judge, beside the original's."""
    known, tail = setup(at), setup(at).tail(smaller)
    row = {"parameters": sum(parameter.numel() for parameter in smaller.parameters())}
    chosen = known.features("choosing", CHOSEN, 3)
    row |= compared(*(predict(half, chosen["inputs"], 100) for half in (known.teacher, tail)))
    test = known.features("judging", JUDGED, 4)
    both = [predict(half, test["inputs"], 100) for half in (known.teacher, tail)]
    return row | {f"{name}, test": value for name, value in (compared(*both) | accuracies(*both, test)).items()}


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
    return {name: round(value, 2) for name, value in (row | {"more": middle, "from": low, "to": high}).items()}


def ship(smaller: nn.Module, chosen: Plan, row: dict, at: Setting) -> None:
    """Write plan, weights in half precision, and how they were made."""
    path = at.checkpoints / f"{PRUNED}-seed{row['seed']}"
    save_cut(copy.deepcopy(smaller).half(), chosen, path)
    smaller.load_state_dict(load_cut(zoo.EfficientNetLite, path).state_dict())


CODE = ("EfficientNet-Lite0", "composites", "criteria of slices", "distillation", "reconstruction", "stored statistics")
SHIPPED = ("taylor", RATIO, 8, 0)
