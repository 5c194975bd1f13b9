"""The tables ``one_shot`` and ``tuned`` of lesson 03: pruning without and with tuning, for five nets."""

from __future__ import annotations

import copy
import itertools

import torch
from scipy import stats
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import core, curvature, data, explain, zoo
from xaiprune.prune import Scores, cut, find_weights, keep_zeros, plan, prune_and_tune, score
from xaiprune.prune.scoring import obd_obs
from xaiprune.training import classification_loss, fit, random_shift

MODEL = "lenet-300-100"
SEEDS = (0, 1, 2, 3, 4)
RATIOS = (0.5, 0.8, 0.9, 0.95)
#: Methods that only mask, by their criterion; OBS also moves the weights that stay.
MASKING = ("l1", "taylor", "fisher", "obd", "random")
#: OBD with the diagonal by Hutchinson's estimator in place of the exact one.
PROBES = (100, 1000)
#: Epochs on the images that OBS has its Fisher from, for those methods that are tuned; the rate was chosen on the
#: validation split of training seed 0.
EPOCHS, ON_THE_SAME = (1, 10), {"lr": 1e-2, "batch_size": 100, "progress": False}
#: How the weights are pruned and tuned in turn: chosen on the validation split of training seed 0.
TUNING = {"ratio": 0.95, "schedule": "gradual", "steps": 10, "epochs": 3, "last_epochs": 60, "lr": 3e-3}


def one_shot(seed: int, at: Setting = WHOLE) -> list[dict]:
    """Accuracy after one cut: one row per method and ratio; evidence from the 1,000 calibration images.

    OBS judges the weights in turn or all at once; its update is made after a choice by magnitude, too. Magnitude, OBD
    and OBS are also tuned on the images that the evidence is from.
    """
    model = zoo.load(MODEL, seed)
    units, calibration = find_weights(model), at.split(data.mnist, "calibration")
    splits = {name: at.split(data.mnist, name) for name in ("validation", "test")}
    names = [group.name for group in units]
    inverse = obd_obs.inverse_fisher(model, calibration, classification_loss, names=names)
    rankings = {method: score(model, units, method, calibration) for method in MASKING}
    rankings["reversed l1"] = rankings["l1"].reversed()
    for probes in PROBES:
        few = curvature.hessian_diagonal(model, calibration, classification_loss, probes=at.few(probes), names=names)
        rankings[f"obd, {probes:,} probes"] = _ranked(obd_obs.obd(model, few).values, units)
    surgery = {
        "obs": _ranked(obd_obs.obs_in_turn(model, inverse), units),
        "obs, all at once": _ranked(obd_obs.obs(model, inverse), units),
        "l1, then the others answer": rankings["l1"],
    }
    rows = [{"seed": seed, "method": "unpruned", "ratio": 0.0, **_judged(model, splits, at)}]
    for (method, scores), ratio in itertools.product((rankings | surgery).items(), at.some(RATIOS)):
        chosen = plan(scores, ratio=ratio)
        pruned = obd_obs.surgery(model, chosen, inverse) if method in surgery else cut(model, chosen)
        about = {"seed": seed, "method": method, "ratio": ratio}
        rows.append(about | _judged(pruned, splits, at))
        if method in ("l1", "obd", "obs"):
            for epochs in EPOCHS:
                again = copy.deepcopy(pruned)
                with keep_zeros(again, chosen):
                    fit(
                        again,
                        calibration,
                        classification_loss,
                        epochs=at.few(epochs),
                        seed=seed,
                        **at.trained(ON_THE_SAME),
                    )
                told = f"{method}, {epochs} epoch{'s' if epochs > 1 else ''}"
                rows.append(about | {"method": told} | _judged(again, splits, at))
    return rows


def _judged(model: nn.Module, splits: dict[str, data.Split], at: Setting) -> dict[str, float]:
    return {name: at.judge(model, split) for name, split in splits.items()}


def _ranked(values: dict, units: list) -> Scores:
    return Scores("by curvature", tuple(units), {name: part.flatten() for name, part in values.items()})


def curvatures(seed: int, at: Setting = WHOLE) -> list[dict]:
    """Ways to the curvature of a net of 970 weights beside its exact Hessian, after five epochs and near a minimum.

    ``pairs`` is how often a way to judge weights orders two of the first layer as their measured rises do, in per cent;
    ``rank`` and ``size`` compare a diagonal with the Hessian's: Spearman's correlation, and the share of its sum.
    """
    core.seed_everything(seed)
    small = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 16), nn.Tanh(), nn.Linear(16, 10))
    calibration = at.split(data.mnist, "calibration")
    fit(
        small,
        at.split(data.mnist, "train", 10_000),
        classification_loss,
        seed=seed,
        **at.trained({"epochs": 5, "lr": 1e-2, "progress": False}),
    )
    rows = _compared(small, calibration, {"seed": seed, "state": "after five epochs"}, at)
    settings = at.trained({"epochs": at.few(400), "lr": 2e-2, "batch_size": 1000, "progress": False})
    fit(small, calibration, classification_loss, seed=seed, **settings)
    return rows + _compared(small, calibration, {"seed": seed, "state": "near a minimum"}, at)


def _compared(small: nn.Module, calibration: data.Split, about: dict, at: Setting) -> list[dict]:
    parameters = {name: part.detach().double() for name, part in small.named_parameters()}
    weights = torch.cat([part.flatten() for part in parameters.values()])
    first = slice(0, small[2].weight.numel())
    rises = curvature.measured_rises(small, calibration, classification_loss, "2.weight").flatten().double()
    hessian = curvature.exact_hessian(small, calibration, classification_loss)
    exact = hessian.diagonal().double()
    ask = (small, calibration, classification_loss)
    diagonals = {
        "empirical Fisher": curvature.fisher_diagonal(*ask),
        "Gauss-Newton": curvature.gauss_newton_diagonal(small, calibration),
        **{f"{n:,} probes": curvature.hessian_diagonal(*ask, probes=at.few(n)) for n in PROBES},
    }
    diagonals = {name: torch.cat([part.flatten() for part in parts.values()]) for name, parts in diagonals.items()}
    diagonals["exact"] = exact
    gradient = torch.autograd.grad(classification_loss(small, *calibration), list(small.parameters()))
    gradient = torch.cat([part.flatten() for part in gradient]).double()
    judged = {"magnitude": weights.abs(), "exact, with the gradient": exact * weights**2 / 2 - gradient * weights}
    judged |= {name: diagonal.clamp(min=0) * weights**2 / 2 for name, diagonal in diagonals.items()}
    rows = []
    for name, values in judged.items():
        pairs = 50 + 50 * float(stats.kendalltau(values[first], rises).statistic)
        row = about | {"method": name, "pairs": round(pairs, 2)}
        if name in diagonals:
            row["rank"] = round(float(stats.spearmanr(diagonals[name], exact).statistic), 4)
            row["size"] = round((diagonals[name].sum() / exact.sum()).item(), 4)
        rows.append(row)
    return rows


def tuned(seed: int, criterion: str, at: Setting = WHOLE) -> list[dict]:
    """Accuracy with tuning after every step, as ``TUNING`` says; one row, of the last step."""
    model, settings = zoo.load(MODEL, seed), at.trained(TUNING)
    result = prune_and_tune(
        model,
        at.split(data.mnist, "train"),
        at.split(data.mnist, "validation"),
        criterion=criterion,
        augment=random_shift,
        metric=at.metric,
        seed=seed,
        progress=False,
        resume=unfinished(f"tuned-{seed}-{criterion}.pt", CODE),
        **settings,
    )
    last = result.rows[-1]
    row = {"seed": seed, "method": f"tuned {criterion}", "ratio": round(last["ratio"], 4)}
    row |= {"validation": round(last["after"], 3), "test": at.judge(model, at.split(data.mnist, "test"))}
    return [row | {"steps": result.rows}]


def same_tuning(seed: int, at: Setting = WHOLE) -> list[dict]:
    """What five epochs give to nets of which 95 % went in steps, at once, or not at all; and how far the reasons moved.

    Beside them: the same net untuned at several ratios, and a net of another training seed.
    """
    train, validation, test = (at.split(data.mnist, name) for name in ("train", "validation", "test"))
    original, images = zoo.load(MODEL, seed), validation.inputs[: at.few(200)]
    rulers = {"coarse": explain.drift_from(original, images), "path": explain.drift_from(original, images, method=PATH)}
    nets: dict[str, nn.Module] = {"another seed": zoo.load(MODEL, (seed + 1) % len(SEEDS))}
    scores = score(original, find_weights(original), "l1")
    for ratio in at.some(RATIOS):
        nets[f"untuned, {ratio:.0%}"] = cut(original, plan(scores, ratio=ratio))
    for name, schedule in SAME.items():
        nets[name] = zoo.load(MODEL, seed)
        settings = {"augment": random_shift, "seed": seed, **at.trained({"lr": 2e-3, "progress": False})}
        if schedule is None:
            fit(nets[name], train, classification_loss, **settings | {"epochs": at.few(5)})
        else:
            prune_and_tune(nets[name], train, validation, ratio=0.95, metric=at.metric, **schedule | settings)
    rows = []
    for name, net in nets.items():
        row = {"seed": seed, "method": name, "test": at.judge(net, test)}
        row["place"] = round(explain.drift_place(rulers["coarse"], net), 4) if at.whole else 0.0
        rows.append(
            row | {f"drift, {kind}": round(explain.drift_value(compared, net), 4) for kind, compared in rulers.items()}
        )
    return rows


CODE = ("criteria of weights", "pruning schedules", "training")
#: Ways to spend five epochs, as keywords of ``prune_and_tune``; None prunes nothing.
SAME = {
    "in five steps": {"steps": 5, "epochs": 1},
    "at once": {"schedule": "one-shot", "steps": 1, "epochs": 5},
    "dense": None,
}
#: A second ruler, beside the default.
PATH = "integrated gradients"
FILES = tuple(f"{MODEL}-seed{seed}.safetensors" for seed in SEEDS)
TABLES = [
    Table(
        "one_shot",
        one_shot,
        [(seed,) for seed in SEEDS],
        code=("Hessian", "OBD and OBS", "criteria of weights", "per-sample gradients", "training"),
        checkpoints=FILES,
        tried=[(0,)],
        at=Setting(images=16, count=1, training={"batch_size": 8}),
        tolerance=0.01,
        processes=2,
    ),
    Table(
        "curvatures",
        curvatures,
        [(seed,) for seed in SEEDS],
        code=("Hessian", "OBD and OBS", "exact Hessian", "per-sample gradients", "training"),
        tried=[(0,)],
        at=Setting(images=32, count=2, training={"batch_size": 16}),
        tolerance=0.01,
        processes=2,
    ),
    Table(
        "same_tuning",
        same_tuning,
        [(seed,) for seed in SEEDS],
        code=("criteria of weights", "drift", "drift scale", "pruning schedules", "training"),
        checkpoints=FILES,
        tried=[(0,)],
        at=Setting(images=256, count=5, training={"epochs": 1}),
        tolerance=0.01,
        processes=2,
    ),
    Table(
        "tuned",
        tuned,
        [*((seed, "l1") for seed in SEEDS), (0, "random")],
        code=CODE,
        checkpoints=FILES,
        tried=[(0, "l1"), (0, "random")],
        at=Setting(images=512, training={"steps": 3, "epochs": 1, "last_epochs": 1}),
        tolerance=0.01,
        processes=2,
    ),
]
