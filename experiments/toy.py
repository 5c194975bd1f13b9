"""The table ``toy`` of lesson 02: the toy experiment of Yeom et al. 2021, with five nets on each data set."""

from __future__ import annotations

import itertools

from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import zoo
from xaiprune.core import seed_everything
from xaiprune.data import samples
from xaiprune.prune import CRITERIA, YEOM, find_units, reference_draws
from xaiprune.training import classification_loss, fit

SETS, SEEDS, DRAWS, PER_CLASS = ("moons", "circles"), (0, 1, 2, 3, 4), 50, 10
#: The authors' four by the names of their paper, and five of the kit; then those of the loss, of the logit.
KIT = ("gradient", "taylor", "fisher", "relevance", "integrated gradients")
ROWS = {
    "loss or logit": {**YEOM, **{f"{name}, this kit": CRITERIA[name] for name in KIT}},
    "the other": {
        "taylor of the logit": YEOM["taylor"].explaining("logit"),
        "taylor of the logit, this kit": CRITERIA["taylor"].explaining("logit"),
    },
}
#: Adam and one cycle in place of the authors' 10,000 epochs of gradient descent: the same training accuracy in seconds.
TRAINING = {"epochs": 30, "lr": 1e-3, "batch_size": 100}


def net(name: str, seed: int, at: Setting = WHOLE) -> nn.Module:
    """A trained network; 2,000 points, as the authors' data files have them."""
    seed_everything(seed)
    model = zoo.toy_mlp()
    fit(model, samples.toy(name), classification_loss, seed=seed, progress=False, **at.trained(TRAINING))
    return model.eval()


def rows_of(name: str, seed: int, per_class: int, criteria: str, at: Setting = WHOLE) -> list[dict]:
    """Training accuracy after 1,000 of the 3,000 hidden neurons are gone, for fresh reference samples in every draw."""
    model, points = net(name, seed, at), at.split(samples.toy, name, 2000)
    units = find_units(model, points.inputs[:1])
    found = reference_draws(
        model,
        units,
        ROWS[criteria],
        lambda size, draw: samples.toy(name, 2 * size, draw),
        lambda model: at.judge(model, points),
        sizes=(per_class,),
        draws=at.few(DRAWS),
        progress=False,
        k=1000,
    )
    about = {"data": name, "net": seed, "unpruned": at.judge(model, points)}
    return [about | row for row in found]


TABLES = [
    Table(
        "toy",
        rows_of,
        [(*net, PER_CLASS, criteria) for criteria in ROWS for net in itertools.product(SETS, SEEDS)]
        + [(name, 0, size, "loss or logit") for name in SETS for size in (1, 2, 5, 50)],
        code=(
            *("criteria by attribution", "criteria of slices", "criterion of Yeom et al.", "gates"),
            *("reading of models", "reference draws", "relevance propagation", "toy networks", "training"),
        ),
        tried=[(name, 0, 5, "loss or logit") for name in SETS] + [("moons", 0, 5, "the other")],
        at=Setting(images=100, count=2, training={"epochs": 2}),
        processes=2,
    )
]
