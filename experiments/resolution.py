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
from typing import NamedTuple

import torch
from torch import nn

from experiments.setting import Setting
from xaiprune import data, zoo
from xaiprune.data import Split
from xaiprune.explain import HARMLESS
from xaiprune.measure import predict
from xaiprune.prune import cut, find_units, plan, score

LITE = "efficientnet-lite0"
#: Rulers are chosen on one split with some seeds, and reported on another with others.
STAGES = {"choice": ("validation", 0), "report": ("test", 100)}
RATIOS = (0.02, 0.05, 0.1)
#: Pictures that a judgement is made of, how many such sets are drawn, and how often networks are drawn for intervals.
SET, SETS, DRAWS = 50, 40, 500
#: Networks a side that learned with the tag and without it, and how each is trained.
LEARNERS, TRAINING = 5, {"epochs": 3, "lr": 3e-3, "progress": False}
#: Images that each of them sees, and the class that the tag goes with.
SEEN, TAGGED = 6000, 8


class Contest(NamedTuple):
    """Networks that a ruler has to tell apart by their drift from an original, and the pictures to do it on."""

    original: nn.Module
    images: torch.Tensor
    changed: Sequence[nn.Module]
    same: Sequence[nn.Module]


# Networks


@functools.cache
def pictures(network: str, split: str, at: Setting) -> Split:
    """Pictures of a split: a hundred composites, or five hundred small images."""
    if network == LITE:
        return data.objects(split, at.few(100), seed=STAGES["report"][1], preprocessing=zoo.preprocessing(LITE))
    return at.split(data.fashion_mnist if "fashion" in network else data.mnist, split, 500)


def harmless(model: nn.Module, images: torch.Tensor, seed: int, at: Setting) -> list[nn.Module]:
    """Harmless changes with seeds of their own, without the kinds that turn more than 2 % of the answers."""
    answers, found = predict(model, images).argmax(1), []
    for kind in HARMLESS.values():
        if kind.fits(model, images):
            draws = range(seed, seed + min(at.few(3), kind.seeds))
            mine = [kind.change(copy.deepcopy(model), images, draw) for draw in draws]
            kept = [(predict(one, images).argmax(1) == answers).double().mean() for one in mine]
            found += mine if sum(kept) / len(kept) >= 0.98 else []
    return found


def cuts(model: nn.Module, evidence: Split, ratio: float, criterion: str, seeds: Sequence[int]) -> list[nn.Module]:
    """Cuts of a share of the units, each ranked on 200 other images."""
    units, found = find_units(model, evidence.inputs[:1]), []
    for seed in seeds:
        drawn = torch.randperm(len(evidence.inputs), generator=torch.Generator().manual_seed(seed))[:200]
        some = Split(evidence.inputs[drawn], evidence.targets[drawn])
        found.append(cut(model, plan(score(model, units, criterion, some), ratio=ratio)))
    return found
