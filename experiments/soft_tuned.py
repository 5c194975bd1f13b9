"""What is left of a search's lead after tuning, beside as many random draws and norms inside the groups.

Everything is chosen on the 256 validation images of the table ``soft`` and judged on 2,000 test images. Each
number of epochs is a training of its own, on the first 10,000 training images.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools

import torch
from torch import nn

from experiments import soft as sweeps
from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import data
from xaiprune.measure import predict, psnr
from xaiprune.prune import Plan, cut, soft
from xaiprune.training import fit, reconstruction_loss

#: Wanted sparsity, images to tune on and to judge by, epochs, and how they are spent.
RHOS, SEEN, JUDGED, EPOCHS = (0.5, 0.7, 0.85), 10_000, 2000, (1, 6)
TRAINING = {"lr": 2e-3, "batch_size": 64, "progress": False}
#: Methods that are tuned; the others are controls of the search alone.
TUNED = ("uniform", "global fisher", "descend")


def measure(seed: int, rho: float, at: Setting = WHOLE) -> list[dict]:
    """One row per method and number of epochs; the code's numbers beside the original's.

    ``moved`` is the root of the squared distance of the codes over their variance: 0 for the same numbers. ``old
    decoder`` is the PSNR where the original's decoder reads the model's code.
    """
    model, by, problem_at = sweeps.problem_factory(seed, at)
    test, train = at.split(data.mnist, "test", JUDGED), at.split(data.mnist, "train", SEEN)
    most = at.few(350)
    by_norms = soft.SoftProblem(model, by["l2"], problem_at(rho).data, rho)
    found = {
        "uniform": soft.uniform(problem_at(rho)),
        "global fisher": soft.global_ranking(problem_at(rho), by["fisher"]),
        "descend": soft.descend(problem_at(rho), max_evaluations=most),
        "descend, norms inside": soft.descend(by_norms, max_evaluations=most),
    }
    found["random search"] = drawn(problem_at(rho), found["descend"].evaluations)
    rows = []
    for method, result in found.items():
        smaller = cut(model, result.plan)
        about = {"seed": seed, "rho": rho, "method": method, "sparsity": round(result.sparsity, 5)}
        about |= {"evaluations": result.evaluations, "validation": round(result.value, 4)}
        for epochs in (0, *(EPOCHS if method in TUNED else ())):
            tuned = trained(smaller, train, seed, epochs, at)
            row = about | {"epochs": epochs, "test": round(psnr(tuned, test), 4)}
            rows.append(row | codes(model, tuned, result.plan, test))
    return rows


def drawn(problem: soft.SoftProblem, evaluations: int) -> soft.SoftResult:
    """The best of random coefficients; draws that whole units do not let into the band are paid for, too."""
    best = None
    for seed in itertools.count():
        if problem.evaluations >= evaluations and best is not None:
            return dataclasses.replace(best, evaluations=problem.evaluations)
        try:
            found = soft.at_random(problem, seed)
        except ValueError:
            continue
        if best is None or found.value > best.value:
            best = found


def trained(model: nn.Module, train: data.Split, seed: int, epochs: int, at: Setting) -> nn.Module:
    """A copy of the model after some epochs."""
    model = copy.deepcopy(model)
    if epochs:
        fit(model, train, reconstruction_loss, seed=seed, **at.trained(TRAINING | {"epochs": epochs}))
    return model


class Encoding(nn.Module):
    """Images to the code's 32 numbers; 0 where a number was cut."""

    def __init__(self, model: nn.Module, plan: Plan | None = None):
        super().__init__()
        self.model = model
        gone = set() if plan is None else set(map(int, plan.removed.get("latent", ())))
        self.places = [place for place in range(model.latent.out_features + len(gone)) if place not in gone]
        self.width = len(self.places) + len(gone)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The codes."""
        found = self.model.latent(self.model.encoder(images))
        return found.new_zeros(len(found), self.width).index_copy_(1, torch.tensor(self.places), found)


def codes(original: nn.Module, model: nn.Module, plan: Plan, test: data.Split) -> dict[str, float]:
    """How far the code has moved, how many of its numbers are left, and how well the original's decoder reads it."""
    before, after = (predict(Encoding(*one).eval(), test.inputs) for one in ((original,), (model, plan)))
    apart = ((after - before) ** 2).sum() / ((before - before.mean(0)) ** 2).sum()
    old = nn.Sequential(Encoding(model, plan), original.decoder).eval()
    return {
        "moved": round(apart.sqrt().item(), 4),
        "numbers": model.latent.out_features,
        "old decoder": round(psnr(old, test), 4),
    }


TABLES = [
    Table(
        "soft_tuned",
        measure,
        [(seed, rho) for seed in sweeps.SEEDS for rho in RHOS],
        code=(*sweeps.CODE, "training"),
        checkpoints=tuple(f"{sweeps.MODEL}-seed{seed}.safetensors" for seed in sweeps.SEEDS),
        tried=[(0, 0.7)],
        at=Setting(images=16, count=2, training={"epochs": 1, "batch_size": 8}),
        tolerance=0.01,
    )
]
