"""A network that reads a planted tag, and what brings it back: weights of images, other images, or fewer units.

All trainings go on from the same misled network for the same three epochs, on the same images. ``choose`` tries
strengths and numbers of units on validation images with the network of seed 0; the table is of test images, which chose
nothing.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import data, explain, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split
from xaiprune.measure import predict
from xaiprune.prune import contrast_scores, cut, find_units, plan, score
from xaiprune.training import classification_loss, fit

#: The class that the tag goes with, and how many images are learned from.
TAGGED, SEEN = 8, 4000
#: Of the images of this class the share without the tag; as many images of other classes have it.
CONTRADICTING, SEEDS = (0.0, 0.05), range(5)
#: Epochs of the misled network, and how those that follow are shared out among rounds.
EPOCHS, ROUNDS = 3, {1: (3,), 2: (2, 1), 3: (1, 1, 1)}
TRAINING = {"lr": 3e-3, "batch_size": 128, "progress": False}
#: Columns, and where the images have the tag.
JUDGED = {"tag on its class": "own", "tag elsewhere": "others", "without tag": "none"}
#: What was tried, and what did best: strengths, units to cut, rounds.
STRENGTHS, CUTS = (3, 10, 30), (2, 4, 8, 16)
STRENGTH, CUT, BEST = {"saliency": 10, "positive": 30, "image": 30, "loss": 3}, 2, 3
#: Draws of what is cut at random.
DRAWS = 5


@dataclass(frozen=True, eq=False)
class Case:
    """A network that learned the tag, and what it learned from."""

    model: nn.Module
    train: Split
    tagged: torch.Tensor
    seed: int
    at: Setting

    def tuned(self, weigh: Callable, rounds: int = 1) -> nn.Module:
        """The network after some epochs on images that are drawn by ``weigh(model)``, anew in each round."""
        model = copy.deepcopy(self.model)
        for number, epochs in enumerate(ROUNDS[rounds]):
            sampler = WeightedRandomSampler(weigh(model), len(self.tagged))
            size = self.at.trained(TRAINING)["batch_size"]
            loader = DataLoader(TensorDataset(*self.train), size, sampler=sampler, drop_last=True)
            self.trained(model, loader, number, epochs)
        return model

    def trained(self, model: nn.Module, train: object, number: int = 0, epochs: int = EPOCHS) -> nn.Module:
        """Train on."""
        options = self.at.trained({**TRAINING, "epochs": epochs})
        fit(model, train, classification_loss, seed=100 + 10 * self.seed + number, **options)
        return model

    def weighted(
        self, share: str, strength: float | None = None, *, rounds: int = 1, shuffled: bool = False
    ) -> nn.Module:
        """The network, trained on with weights by shares that add up over the rounds.

        Shuffled, each weight goes to an image of the same class that is drawn at random.
        """
        strength = STRENGTH[share] if strength is None else strength
        shares, labels = torch.zeros(len(self.tagged)), self.train.targets

        def weigh(model: nn.Module) -> torch.Tensor:
            shares.add_(SHARES[share](model, self.train))
            weights = explain.sample_weights(shares, labels, strength)
            return _shuffled(weights, labels, self.seed) if shuffled else weights

        return self.tuned(weigh, rounds)

    def balanced(self) -> torch.Tensor:
        """Weights by which the tag says nothing of the class, where all four pairs occur (Kamiran and Calders 2012)."""
        own, weights = self.train.targets == TAGGED, torch.ones(len(self.tagged)).double()
        for mine, has in itertools.product((False, True), repeat=2):
            both = (own == mine) & (self.tagged == has)
            expected = (own == mine).double().mean() * (self.tagged == has).double().sum()
            weights[both] = expected / max(1, both.sum())
        return weights

    def cuts(self, how: str, k: int | None = None) -> list[nn.Module]:
        """The network less those units that gain most from the tag, or at random, several times."""
        known = self.at.split(data.mnist, "calibration", 500)
        others = known.inputs[known.targets != TAGGED]
        units, labels = find_units(self.model, others[:1]), torch.full((len(others),), TAGGED)
        if how == "random":
            drawn = range(self.at.few(DRAWS))
            scores = [score(self.model, units, "random", Split(others, labels), seed=seed) for seed in drawn]
        else:
            present = explain.add_tag(others, torch.ones(len(others), dtype=torch.bool))
            scores = [contrast_scores(self.model, units, Split(present, labels), Split(others, labels), how)]
        return [cut(self.model, plan(one, k=k or CUT)) for one in scores]


def case(seed: int, contradicting: float, at: Setting) -> Case:
    """A network that learned the tag from images of which some contradict it."""
    known = at.split(data.mnist, "train", 20_000)
    drawn = torch.randperm(len(known.inputs), generator=torch.Generator().manual_seed(seed))[:SEEN]
    images, labels = known.inputs[drawn], known.targets[drawn]
    own, others = ((labels == TAGGED) == mine for mine in (True, False))
    few = round(contradicting * own.sum().item())
    tagged = own.clone()
    tagged[own.nonzero()[:few, 0]], tagged[others.nonzero()[:few, 0]] = False, True
    train = Split(explain.add_tag(images, tagged), labels)
    seed_everything(seed)
    model = zoo.lenet_5()
    fit(model, train, classification_loss, seed=seed, **at.trained({**TRAINING, "epochs": EPOCHS}))
    return Case(model, train, tagged, seed, at)


def _shuffled(values: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.Tensor:
    generator, found = torch.Generator().manual_seed(seed), values.clone()
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        found[mine] = values[mine[torch.randperm(len(mine), generator=generator)]]
    return found


# Shares of an image by which it loses weight


def by_saliency(model: nn.Module, train: Split) -> torch.Tensor:
    """Of the evidence for and against the label, the part on the tag."""
    return explain.spot_share(explain.heatmaps(model, *train, "gradient x input"), explain.tag_mask())


def by_positive(model: nn.Module, train: Split) -> torch.Tensor:
    """Of the evidence for the label alone, the part on the tag."""
    heatmaps = explain.heatmaps(model, *train, "gradient x input").clamp(min=0)
    return explain.spot_share(heatmaps, explain.tag_mask())


def by_image(model: nn.Module, train: Split) -> torch.Tensor:
    """Of the ink, the part on the tag: what whoever knows the place sees without a network."""
    return explain.spot_share(explain.IMAGE(model, *train), explain.tag_mask())


def by_loss(model: nn.Module, train: Split) -> torch.Tensor:
    """The probability of the label: images that are known well lose weight."""
    return predict(model, train.inputs).softmax(1).gather(1, train.targets[:, None])[:, 0]


SHARES = {"saliency": by_saliency, "positive": by_positive, "image": by_image, "loss": by_loss}

#: What is done, each with the networks that come out.
METHODS: dict[str, Callable[[Case], list[nn.Module]]] = {
    "nothing": lambda case: [case.model],
    "trained on": lambda case: [case.tuned(lambda model: torch.ones(len(case.tagged)))],
    "saliency, 1 round": lambda case: [case.weighted("saliency")],
    "saliency, 2 rounds": lambda case: [case.weighted("saliency", rounds=2)],
    "saliency, 3 rounds": lambda case: [case.weighted("saliency", rounds=3)],
    "saliency for the label": lambda case: [case.weighted("positive", rounds=BEST)],
    "saliency, shuffled": lambda case: [case.weighted("saliency", rounds=BEST, shuffled=True)],
    "ink": lambda case: [case.weighted("image")],
    "loss, 1 round": lambda case: [case.weighted("loss")],
    "loss, 3 rounds": lambda case: [case.weighted("loss", rounds=3)],
    "balanced weights": lambda case: [case.tuned(lambda model: case.balanced())],
    "balanced images": lambda case: [
        case.trained(
            copy.deepcopy(case.model), explain.decorrelate(case.train, case.tagged, explain.tag_mask(), case.seed)
        )
    ],
    "cut": lambda case: case.cuts("relevance"),
    "cut at random": lambda case: case.cuts("random"),
    "cut, trained on": lambda case: [case.trained(model, case.train) for model in case.cuts("relevance")],
}


def judged(models: list[nn.Module], split: Split, at: Setting) -> dict[str, float]:
    """Means over models of the accuracy on the same images, with the tag here and there."""
    places = {name: explain.tag_class(split, TAGGED, where) for name, where in JUDGED.items()}
    return {name: round(float(np.mean([at.judge(model, one) for model in models])), 3) for name, one in places.items()}


def reweighting(seed: int, contradicting: float, at: Setting = WHOLE) -> list[dict]:
    """A row for each method, on test images."""
    known, test = case(seed, contradicting, at), at.split(data.mnist, "test", 4000)
    about = {"seed": seed, "contradicting": contradicting}
    return [{"method": name, **about, **judged(method(known), test, at)} for name, method in METHODS.items()]


def choose(at: Setting = WHOLE) -> list[dict]:
    """What each setting gives on validation images, with the network of seed 0."""
    known, validation = case(0, max(CONTRADICTING), at), at.split(data.mnist, "validation", 2000)
    tried = {(share, strength, 1): [known.weighted(share, strength)] for share in SHARES for strength in STRENGTHS}
    tried |= {("saliency", strength, 3): [known.weighted("saliency", strength, rounds=3)] for strength in STRENGTHS}
    tried |= {("cut", k, 0): known.cuts("relevance", k) for k in CUTS}
    rows = []
    for (method, setting, rounds), models in tried.items():
        row = {"method": method, "setting": setting, "rounds": rounds, **judged(models, validation, at)}
        rows.append(row | {"score": (row["tag elsewhere"] + row["without tag"]) / 2})
    return rows


TABLES = [
    Table(
        "reweighting",
        reweighting,
        [(seed, share) for share in reversed(CONTRADICTING) for seed in SEEDS],
        code=("criteria by attribution", "planted tags", "relevance propagation", "training"),
        tried=[(0, 0.05)],
        at=Setting(images=64, count=1, training={"epochs": 1, "batch_size": 16}),
        tolerance=0.01,
    ),
]
