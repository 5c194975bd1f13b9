"""Tables of lesson 05: pruned checkpoints, peers, criteria, and the explanation budget.

``mobilenet_pruned`` writes ``data/checkpoints/mobilenet-pruned-seed*`` too.
"""

from __future__ import annotations

import functools
import itertools
import time

import torch
import torch_pruning as tp
from torch import nn

from experiments.setting import WHOLE, Setting
from experiments.table import Table, unfinished
from xaiprune import deploy, distill, measure, zoo
from xaiprune.data import Split, fashion_mnist
from xaiprune.explain import drift_from, reinitialised
from xaiprune.prune import (
    Costs,
    Cutting,
    ExplanationBudget,
    Plan,
    Scores,
    cut,
    find_blocks,
    find_units,
    load_cut,
    mac_costs,
    plan,
    prune_within_budget,
    recalibrate,
    save_cut,
    score,
    shrink,
)
from xaiprune.training import classification_loss, flip_and_shift, tune

MODEL, PRUNED, SEEDS = "mobilenet-fashion-mnist", "mobilenet-pruned", (0, 1, 2)
#: How many training images all that is compared by many runs is tuned on.
SUBSET = 10_000

#: The shipped models: whole blocks first, then widths in steps.
BLOCKS = 5
HEADLINE = {"cost_target": 0.45, "steps": 2, "schedule": "iterative", "epochs": 1, "last_epochs": 16}
#: Widths stay multiples of this, for speed.
ROUND_TO = 16

CRITERIA = (
    *("l1", "l2", "bn-scale", "taylor", "fisher"),
    *("activation", "variance", "relevance", "integrated gradients", "random"),
)
RATIOS, DRAWS = (0.1, 0.2, 0.3, 0.5), 20

#: Share of the operations that is left, for the comparison with the peers.
PEERS_AT = 0.5
OURS = {"integrated gradients": None, "taylor": None, "taylor, ranks": "rank", "fisher": None, "relevance": None}
#: How many of the calibration images a seed draws to score on: the net has hardly any gradient left on its own training
#: images.
EVIDENCE = 500
#: torch-pruning's Hessian keeps the gradient of the last image alone; mended, it gets the mean over all.
PEERS = {
    "GroupMagnitude": tp.importance.GroupMagnitudeImportance,
    "GroupTaylor": tp.importance.GroupTaylorImportance,
    "GroupHessian": tp.importance.GroupHessianImportance,
    "GroupHessian mended": tp.importance.GroupHessianImportance,
}
TUNING = {"epochs": 3, "lr": 2e-3, "augment": flip_and_shift, "progress": False}
#: The control of Liu et al. 2019: one of our cuts whose weights are drawn anew, trained as long as cuts are tuned.
FRESH, WIDTHS_OF = "new weights", "taylor, ranks"

#: The explanation budget: on how many validation images it is judged, the frontier's targets, and the one with seeds.
JUDGED, TARGETS, AT = 200, (0.6, 0.4, 0.25), 0.4
METHODS = ("labels", "distilled", "distilled, budget")

#: What the shipped models depend on.
CODE = ("explanation budget", "recovery", "shrinking")


def splits(at: Setting = WHOLE) -> tuple[nn.Module, Split, Split, Split]:
    """The model, and its calibration, validation and test splits."""
    names = ("calibration", "validation", "test")
    return at.network(zoo.load(MODEL)), *(at.split(fashion_mnist, name) for name in names)


@functools.cache
def subset(at: Setting) -> Split:
    """The first training images."""
    return at.split(fashion_mnist, "train", SUBSET)


def pruned(seed: int, at: Setting = WHOLE) -> list[dict]:
    """One of the shipped models: five blocks by ablation, then two steps of width within a budget, distilled.

    The budget decides which groups are closed, once, for the whole way; ``shrink`` then scores and cuts the others.
    """
    start = time.perf_counter()
    model, calibration, validation, test = splits(at)
    units, blocks = (find(model, calibration.inputs[:1]) for find in (find_units, find_blocks))
    shallow = plan(score(model, blocks, "ablation", calibration), k=BLOCKS if at.whole else 1)
    shallow = Plan(tuple(units + blocks), shallow.removed)
    shorter = recalibrate(cut(model, shallow), calibration.inputs)
    budgeted = held_plan(shorter, HEADLINE["cost_target"], calibration, validation, at)
    closed = set(budgeted["rows"][-1]["closed"])

    def rescale(scores: Scores, costs: Costs) -> Scores:
        return scores.normalised("rank").only(*(name for name in scores.values if name not in closed))

    done = shrink(
        shorter,
        at.split(fashion_mnist, "train"),
        validation,
        calibration=calibration,
        criterion="taylor",
        cutting=Cutting(rescale=rescale, round_to=ROUND_TO),
        loss=distill.distillation_loss(at.teacher(model, calibration.inputs)),
        metric=at.metric,
        lr=3e-3,
        augment=flip_and_shift,
        seed=seed,
        resume=unfinished(f"{PRUNED}-{seed}.pt", CODE),
        progress=False,
        **at.trained(HEADLINE),
    )
    save_cut(done.model, shallow.then(done.plan), checkpoint(seed, at))
    row = {"seed": seed, "blocks": at.judge(shorter, validation), "macs": share_of_macs(done.model, model)}
    row |= {"closed": sorted(closed), "reached": budgeted["reached"]}
    row |= {"validation": at.judge(done.model, validation, in_sample=True), "test": at.judge(done.model, test)}
    return [row | {"minutes": round((time.perf_counter() - start) / 60, 1), "steps": done.rows}]


def held_plan(model: nn.Module, target: float, calibration: Split, validation: Split, at: Setting) -> dict:
    """Taylor by ranks within a budget: half of the drift that the ranking's own plan spends before it is tuned."""
    scores, costs = ranked(model, calibration)
    plain = plan(scores, cost_target=target, costs=costs, round_to=ROUND_TO)
    judged = validation.first(at.few(JUDGED))
    spent = ExplanationBudget(model, judged, max_drift=1.0, method="lrp").spent(
        recalibrate(cut(model, plain), calibration.inputs)
    )
    budget = ExplanationBudget(model, judged, max_drift=spent["drift"] / 2, method="lrp")
    done = prune_within_budget(
        model,
        scores,
        costs,
        target,
        budget,
        recover=lambda smaller: recalibrate(smaller, calibration.inputs[:400]),
        round_to=ROUND_TO,
    )
    found = {"plan": done.plan, "bound": budget.max_drift, "reached": done.reached}
    return found | {"rows": done.rows, "prices": done.prices}


def ranked(model: nn.Module, calibration: Split) -> tuple[Scores, Costs]:
    """Taylor's scores of the widths by ranks, and what each unit costs in operations."""
    units = find_units(model, calibration.inputs[:1])
    scores = score(model, units, "taylor", calibration).normalised("rank")
    return scores, mac_costs(model, units, calibration.inputs)


def checkpoint(seed: int, at: Setting = WHOLE):
    """Path of a shipped pruned model, without its ending."""
    return at.checkpoints / f"{PRUNED}-seed{seed}"


def load_pruned(seed: int) -> nn.Module:
    """A shipped pruned model."""
    return load_cut(zoo.mobilenet, checkpoint(seed))


def share_of_macs(smaller: nn.Module, model: nn.Module) -> float:
    """Operations that are left."""
    image = torch.zeros(1, 1, 28, 28)
    return round(measure.macs(smaller, image) / measure.macs(model, image), 4)


def criterion_rows(criterion: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Validation accuracy of cuts without tuning, the same share of every group; ``seed`` is for random alone."""
    model, calibration, validation, _ = splits(at)
    scores = score(model, find_units(model, calibration.inputs[:1]), criterion, calibration, seed=seed)
    rows = []
    for ratio in at.some(RATIOS):
        smaller = cut(model, plan(scores, ratio=ratio, scope="uniform"))
        row = {"criterion": criterion, "seed": seed, "ratio": ratio, "macs": share_of_macs(smaller, model)}
        row["cut"] = at.judge(smaller, validation)
        row["recalibrated"] = at.judge(recalibrate(smaller, calibration.inputs), validation)
        rows.append(row)
    return rows


def peer_row(method: str, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Accuracy at half the operations, before and after the same tuning, of our criteria, peers and new weights."""
    model, calibration, validation, test = splits(at)
    drawn = torch.randperm(len(calibration.targets), generator=torch.Generator().manual_seed(seed))[: at.few(EVIDENCE)]
    evidence = Split(calibration.inputs[drawn], calibration.targets[drawn])
    smaller = cut_at(model, method, evidence, seed)
    row = {"seed": seed, "method": method, "macs": share_of_macs(smaller, model)}
    for step in ("cut", "recalibrated", "tuned"):
        if step == "recalibrated":
            recalibrate(smaller, evidence.inputs)
        if step == "tuned":
            tune(smaller, subset(at), validation, metric=at.metric, seed=seed, **at.trained(TUNING))
        row |= {step: at.judge(smaller, validation, in_sample=step == "tuned")}
        row |= {f"{step}, test": at.judge(smaller, test)}
    return [row]


def cut_at(model: nn.Module, method: str, evidence: Split, seed: int) -> nn.Module:
    """Cut to half of the operations by a method's name."""
    if method == FRESH:
        return reinitialised(ours_at(model, WIDTHS_OF, evidence), seed)
    return (ours_at if method in OURS else peer_at)(model, method, evidence)


def ours_at(model: nn.Module, method: str, evidence: Split) -> nn.Module:
    """Cut to the same operations by one of our criteria."""
    units = find_units(model, evidence.inputs[:1])
    scores = score(model, units, method.partition(",")[0], evidence)
    how = OURS[method]
    scope = "uniform" if how is None else "global"
    scores = scores if how is None else scores.normalised(how)
    return cut(model, plan(scores, cost_target=PEERS_AT, costs=mac_costs(model, units, evidence.inputs), scope=scope))


def peer_at(model: nn.Module, method: str, evidence: Split) -> nn.Module:
    """Cut to the same operations by torch-pruning: its share of channels is found by halving an interval."""
    low, high, best = 0.0, 0.95, None
    gradients = _gradients(model, method, evidence)
    for _ in range(10):
        middle = (low + high) / 2
        candidate = zoo.load(MODEL)
        for parameter, gradient in zip(candidate.parameters(), gradients):
            parameter.grad = gradient.clone()
        tp.pruner.MetaPruner(
            candidate,
            torch.zeros(1, 1, 28, 28),
            importance=PEERS[method](),
            pruning_ratio=middle,
            ignored_layers=[candidate.classifier[1]],
        ).step()
        if share_of_macs(candidate, model) <= PEERS_AT:
            high, best = middle, candidate
        else:
            low = middle
    return best.eval()


def _gradients(model: nn.Module, name: str, evidence: Split) -> list[torch.Tensor]:
    """What Taylor and Hessian importance read of each parameter: the mean gradient, or its square by images."""
    found = [torch.zeros_like(parameter) for parameter in model.parameters()]
    size = 1 if name.startswith("GroupHessian") else 200
    for images, labels in zip(evidence.inputs.split(size), evidence.targets.split(size)):
        value = classification_loss(model, images, labels)
        gradients = torch.autograd.grad(value, list(model.parameters()))
        for total, gradient in zip(found, gradients):
            if name == "GroupHessian":
                total.copy_(gradient.square())  # what remains of accumulate_grad
            elif name == "GroupHessian mended":
                total += gradient.square() / len(evidence.targets)
            else:
                total += gradient * len(labels) / len(evidence.targets)
    return found


def budget_row(method: str, target: float, seed: int, at: Setting = WHOLE) -> list[dict]:
    """One point of the frontier: Taylor by ranks, tuned on the subset, with or without a bound on the drift.

    The bound is half of what the ranking's own plan spends before it is tuned.
    """
    model, calibration, validation, test = splits(at)
    row = {"seed": seed, "method": method, "target": target}
    if method == "distilled, budget":
        found = held_plan(model, target, calibration, validation, at)
        chosen = found["plan"]
        row |= {key: found[key] for key in ("bound", "reached", "rows", "prices")}
    else:
        scores, costs = ranked(model, calibration)
        chosen = plan(scores, cost_target=target, costs=costs, round_to=ROUND_TO)
    smaller = recalibrate(cut(model, chosen), calibration.inputs)
    row |= {"macs": share_of_macs(smaller, model), "recalibrated": at.judge(smaller, test)}
    teacher = at.teacher(model, calibration.inputs)
    loss = classification_loss if method == "labels" else distill.distillation_loss(teacher)
    tune(smaller, subset(at), validation, loss=loss, metric=at.metric, seed=seed, **at.trained(TUNING))
    drift = drift_from(model, test.inputs[: at.few(1000)], method="lrp")(smaller).values
    save_cut(smaller, chosen, _frontier_file(method, target, seed))
    row |= {"accuracy": at.judge(smaller, test), "drift": round(drift.mean().item(), 5)}
    return [row | {"median": round(drift.median().item(), 5), "drifts": [round(d, 4) for d in drift.tolist()]}]


def _frontier_file(method: str, target: float, seed: int):
    return unfinished(f"frontier-{method.replace(', ', '-')}-{target}-{seed}", CODE)


def timed(rows: list[dict]) -> list[dict]:
    """The rows of the frontier with the latency of one image in ONNX Runtime, in ms, all models in turn."""
    model = zoo.load(MODEL)
    models = {"original": model}
    for row in rows:
        key = row["method"], row["target"], row["seed"]
        models[key] = load_cut(zoo.mobilenet, _frontier_file(*key))
    image = fashion_mnist("calibration").inputs[:1]
    times = deploy.runtime_latencies(models, image, ["ONNX Runtime"], repeats=60)
    latency = {name: round(times[name, "ONNX Runtime"].median, 4) for name in models}
    whole = {"method": "original", "target": 1.0, "macs": 1.0, "drift": 0.0, "latency": latency["original"]}
    whole["accuracy"] = WHOLE.judge(model, fashion_mnist("test"))
    return [whole] + [row | {"latency": latency[row["method"], row["target"], row["seed"]]} for row in rows]


def runtime_rows(batch: int, at: Setting = WHOLE) -> list[dict]:
    """Latency of the original and of the first shipped model in every runtime, in ms."""
    models = {"original": zoo.load(MODEL), "pruned": load_pruned(0)}
    times = deploy.runtime_latencies(models, fashion_mnist("calibration").inputs[:batch])
    return [
        {"model": name, "runtime": runtime, "batch": batch, "median": round(taken.median, 3)}
        | dict(zip(("low", "high"), (round(value, 3) for value in taken.quartiles)))
        for (name, runtime), taken in times.items()
    ]


def runtime_calls(batch: int, at: Setting) -> list[dict]:
    """In place of times: the order in which models are timed, and what they answer."""
    models, images = {"original": zoo.load(MODEL), "pruned": load_pruned(0)}, fashion_mnist("calibration", batch).inputs
    calls: list[str] = []
    counted = {name: lambda batch, name=name: calls.append(name) for name in models}
    taken = measure.latencies(counted, images, repeats=at.few(40))
    with torch.no_grad():
        logits = {name: model(images).flatten().tolist() for name, model in models.items()}
    return [{"model": name, "calls": calls, "runs": taken[name].taken, "logits": logits[name]} for name in models]


_CRITERIA = [(name, 0) for name in CRITERIA if name != "random"] + [("random", seed) for seed in range(DRAWS)]
_POINTS = [(method, target, 0) for method, target in itertools.product(METHODS, TARGETS)]
_POINTS += [(method, AT, seed) for method, seed in itertools.product(METHODS[1:], SEEDS[1:])]
_FILE, _SHIPPED = f"{MODEL}-seed0.safetensors", tuple(f"{PRUNED}-seed{seed}.safetensors" for seed in SEEDS)
_FEW_STEPS = Setting(images=48, count=8, blocks=3, training={"epochs": 1, "batch_size": 8})
TABLES = [
    Table(
        "mobilenet_pruned",
        pruned,
        [(seed,) for seed in SEEDS],
        code=CODE,
        checkpoints=(_FILE, *_SHIPPED),
        tried=[(0,)],
        at=Setting(images=128, count=4, blocks=5, training={"epochs": 1, "last_epochs": 1}),
        tolerance=0.01,
    ),
    Table(
        "mobilenet_runtimes",
        runtime_rows,
        [(1,), (64,)],
        code=("latency",),
        checkpoints=(_FILE, *_SHIPPED),
        tried=[(1,)],
        at=Setting(count=3),
        probed=runtime_calls,
    ),
    Table(
        "mobilenet_budget",
        budget_row,
        _POINTS,
        code=("criteria of slices", "explanation budget", "recovery"),
        checkpoints=(_FILE,),
        tried=[(method, AT, 0) for method in METHODS],
        at=_FEW_STEPS,
        tolerance=0.01,
        finish=timed,
    ),
    Table(
        "mobilenet_peers",
        peer_row,
        list(itertools.product([*OURS, *PEERS, FRESH], SEEDS)),
        code=("criteria of slices", "plans by cost", "recovery"),
        checkpoints=(_FILE,),
        tried=[(name, 0) for name in (*OURS, FRESH)],
        at=_FEW_STEPS,
        tolerance=0.01,
    ),
    Table(
        "mobilenet_criteria",
        criterion_rows,
        _CRITERIA,
        code=(
            *("criteria by attribution", "criteria by statistics", "criteria of slices", "gates"),
            "reading of models",
        ),
        checkpoints=(_FILE,),
        tried=[(name, 0) for name in CRITERIA],
        at=Setting(images=8, count=1, blocks=3),
    ),
]
