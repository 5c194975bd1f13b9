"""Every public function that takes data takes them in any form, and gives the same."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from functools import cache, partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import xaiprune
from tests.zoo.test_vit import small
from xaiprune import curvature, distill, dynamic, explain, measure, pipeline, prune, quantize, training, widgets
from xaiprune.core import fingerprint
from xaiprune.data import Split
from xaiprune.measure import ACCURACY, PSNR
from xaiprune.prune import soft
from xaiprune.training import classification_loss

LOSS = classification_loss
CLASSES = 4


def pictures(count: int = 24, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % CLASSES)


FORMS = {
    "a split": lambda split: split,
    "a pair of tensors": lambda split: tuple(split),
    "a dataset": lambda split: TensorDataset(*split),
    "a loader": lambda split: DataLoader(TensorDataset(*split), batch_size=8),
    "a list of batches": lambda split: list(zip(split.inputs.split(8), split.targets.split(8))),
}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(80, CLASSES)).eval()


def mirror() -> nn.Sequential:
    """A small model that gives pictures."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1)).eval()


def one_number() -> nn.Sequential:
    return nn.Sequential(network(), nn.Linear(CLASSES, 1)).eval()


def units(model: nn.Module | None = None) -> list:
    return prune.find_units(network() if model is None else model, pictures().inputs[:1])


def ranked(criterion: str = "l1", model: nn.Module | None = None) -> prune.Scores:
    model = network() if model is None else model
    return prune.score(model, units(model), criterion)


def routed() -> dynamic.Dynamic:
    trunk, tail = dynamic.split_at(network(), "2")
    torch.manual_seed(0)
    return dynamic.Dynamic(trunk, dynamic.Branch(6, CLASSES, 4).eval(), [tail], [tuple(range(CLASSES))], 0.5)


def trained(function, *arguments, **options):
    """What a function that trains leaves: the model, and the rows without seconds."""
    model = arguments[0] if not isinstance(arguments[0], distill.Objective) else arguments[1]
    found = function(*arguments, **LEARN | options)
    rows = found if isinstance(found, list) else found.rows
    return getattr(found, "model", model), [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def taught(data):
    student = network(1)
    rows = distill.distill(distill.freeze(network()), student, data, data, **LEARN)
    return student, [row["validation"] for row in rows]


def rebuilt(data):
    model, plan = network(), prune.plan(ranked(), k=2)
    return prune.reconstruct(prune.cut(model, plan), model, plan, data, batch_size=8)


def masks(data):
    model = network()
    found = prune.learn_masks(model, units(), data, prune.mac_costs(model, units(), pictures().inputs), **TO_HALF)
    return found.values


def cards(data, found=measure.scorecards):
    model = {"a": network()} if found is measure.scorecards else network()
    card = found(model, data, ACCURACY, repeats=1)
    return (card[0] if isinstance(card, list) else card).values["metric"]


def tails(data):
    behind = dynamic.groups_behind(network(), units(), "2")
    by_class = dynamic.class_scores(network(), behind, pictures(), classes=CLASSES, criterion="l1")
    return dynamic.cut_tails(network(), "2", [(0, 1), (2, 3)], by_class, data, cost_target=0.8)


def recipe(data, folder, call):
    given = dict.fromkeys(("train", "validation"), data) | {"calibration": pictures(seed=1)}  # test images judge
    usual = {"folder": folder, "repeats": 1, "explained": 2, "progress": False}
    steps = (pipeline.Prune(k=2),)
    if call == "search":
        space = pipeline.choices([pipeline.Prune(k=2)])
        return pipeline.search(network(), given, space, trials=1, **usual).best.model
    done = pipeline.compress(network(), given, steps, **usual)
    if call == "report":
        return (
            pipeline.report(done, given | {"test": data}, folder / "report.html")
            .read_text()
            .partition("Where it looks")[2]
            .partition("<h2>")[0]
        )
    return done.model


def shown(kind, *arguments, **options):
    """The picture of an explorer as it opens."""
    explorer = kind(*arguments, **options)
    return explorer.draw(explorer.view)


LEARN = {"epochs": 2, "lr": 1e-2, "batch_size": 8, "progress": False}
TO_HALF = {"cost_target": 0.5, "epochs": 1, "batch_size": 8, "progress": False}
NAME = "3.weight"
#: By exported name: what it gives for data of some form.
CALLS = {
    "ACCURACY": lambda data: ACCURACY(network(), data),
    "PSNR": lambda data: PSNR(mirror(), data),
    "accuracy": lambda data: measure.accuracy(network(), data),
    "psnr": lambda data: measure.psnr(mirror(), data),
    "MSE": lambda data: measure.MSE(one_number(), data),
    "mean_squared_error": lambda data: measure.mean_squared_error(one_number(), data),
    "scorecard": partial(cards, found=measure.scorecard),
    "scorecards": cards,
    "fit": lambda data: trained(training.fit, network(), data, LOSS),
    "tune": lambda data: trained(training.tune, network(), data, data),
    "HessianProduct": lambda data: curvature.HessianProduct(network(), data, LOSS, [NAME])(
        {NAME: torch.ones(5, 6, 3, 3)}
    ),
    "check_request": lambda data: curvature.check_request(network(), data, None),
    "exact_hessian": lambda data: curvature.exact_hessian(network(), data, LOSS, names=["3.bias"]),
    "fisher_diagonal": lambda data: curvature.fisher_diagonal(network(), data, LOSS),
    "gauss_newton_diagonal": lambda data: curvature.gauss_newton_diagonal(network(), data),
    "gradient_moments": lambda data: curvature.gradient_moments(network(), data, LOSS, power=1),
    "hessian_diagonal": lambda data: curvature.hessian_diagonal(network(), data, LOSS, names=[NAME]),
    "hessian_trace": lambda data: curvature.hessian_trace(network(), data, LOSS, names=["3.bias"], most=4),
    "measured_rises": lambda data: curvature.measured_rises(network(), data, LOSS, "3.bias"),
    "top_eigenvalue": lambda data: curvature.top_eigenvalue(network(), data, LOSS, names=[NAME])[0],
    "accuracy_and_confidence": lambda data: explain.accuracy_and_confidence(network(), data),
    "decorrelate": lambda data: explain.decorrelate(data, torch.arange(24) % 2 == 0, torch.eye(8).bool()),
    "tag_class": lambda data: explain.tag_class(data, 1, "own"),
    "watch": lambda data: explain.watch(network(), data, "noise", [0.5], method="saliency"),
    "ExplanationBudget": lambda data: prune.ExplanationBudget(network(), data, max_drift=0.5, method="saliency").spent(
        network(1)
    ),
    "FlowRecorder": lambda data: prune.FlowRecorder(data)(network()),
    "contrast_scores": lambda data: prune.contrast_scores(network(), units(), data, pictures(seed=1)).values,
    "entry_relevance": lambda data: prune.entry_relevance(small(), data),
    "gradient_flow": lambda data: prune.gradient_flow(network(), data),
    "inverse_fisher": lambda data: prune.inverse_fisher(network(), data, LOSS, names=[NAME], block=6).blocks,
    "learn_masks": masks,
    "prune_and_tune": lambda data: trained(
        prune.prune_and_tune, network(), data, data, ratio=0.5, steps=2, criterion="taylor"
    ),
    "ratio_curve": lambda data: prune.ratio_curve(network(), ranked(), data, ratios=(0, 0.5)),
    "recalibrate": lambda data: prune.recalibrate(network(), data, batch_size=8),
    "reconstruct": rebuilt,
    "scan": lambda data: prune.scan(network(), ranked(), data, ratios=[0.5], progress=False),
    "score": lambda data: prune.score(network(), units(), "taylor", data).values,
    "shrink": lambda data: trained(prune.shrink, network(), data, data, calibration=data, cost_target=0.6, steps=1),
    "weight_profile": lambda data: prune.weight_profile(network(), data),
    "hessian_traces": lambda data: quantize.hessian_traces(network(), data, probes=2),
    "relevance_shares": lambda data: quantize.relevance_shares(network(), data),
    "sensitivity": lambda data: quantize.sensitivity(network(), {}, data, quantize.Config(quantize.Format(4), None)),
    "distill": taught,
    "transfer": lambda data: tuple(distill.transfer(distill.freeze(network()), data)),
    "choose_threshold": lambda data: dynamic.choose_threshold(routed(), data, 50.0),
    "class_scores": lambda data: dynamic.class_scores(network(), units(), data, classes=CLASSES)[0].values,
    "cut_tails": tails,
    "fit_branch": lambda data: dynamic.fit_branch(network()[:3], data, classes=CLASSES, width=4, **LEARN),
    "compress": recipe,
    "report": recipe,
    "search": recipe,
    "SoftProblem": lambda data: soft.SoftProblem(network(), ranked(), data, 0.5, 0.2, metric=ACCURACY).intact,
    "CalibrationExplorer": lambda data: shown(widgets.CalibrationExplorer, network(), pictures().inputs, data),
    "CurvatureExplorer": lambda data: shown(
        widgets.CurvatureExplorer,
        network(),
        data,
        curvature.fisher_diagonal(network(), pictures(), LOSS),
        NAME,
        stops={"ends": (0, 9)},
    ),
    "HeadExplorer": lambda data: shown(widgets.HeadExplorer, small(), data, data, criteria=("l2",)),
    "HeatmapExplorer": lambda data: shown(widgets.HeatmapExplorer, network(), data),
    "NoiseExplorer": lambda data: shown(widgets.NoiseExplorer, network(), data),
    "RouteExplorer": lambda data: shown(widgets.RouteExplorer, routed(), network(), data),
    "StructureExplorer": lambda data: shown(widgets.StructureExplorer, network(), data, data, criteria=("l1",)),
    "TemperatureExplorer": lambda data: shown(widgets.TemperatureExplorer, network(), network(1), data, tuple("abcd")),
    "ThresholdExplorer": lambda data: shown(widgets.ThresholdExplorer, network(), data),
}
#: Batches of a training are drawn: a loader and a list have their own, so that the weights are others.
DRAWN = {"fit", "tune", "learn_masks", "prune_and_tune", "shrink", "distill"}


def takers() -> dict[str, list[str]]:
    """What takes a split, by exported name, with the names of these arguments."""
    found, rooms = {}, [*xaiprune.ROOMS, "prune.soft"]
    for room in rooms:
        module = importlib.import_module(f"xaiprune.{room}")
        for name in module.__all__:
            thing = getattr(module, name)
            value = inspect.isclass(thing) and dataclasses.is_dataclass(thing)
            if not callable(thing) or value or inspect.getmodule(type(thing)) is None:
                continue
            try:
                parameters = inspect.signature(thing).parameters.values()
            except (TypeError, ValueError):
                continue
            names = [p.name for p in parameters if "Split" in str(p.annotation) and "Callable" not in str(p.annotation)]
            if names:
                found[name] = names
    return found


def test_whatever_takes_a_split_is_called_here():
    assert set(takers()) == set(CALLS)


def called(name: str, data, folder):
    call = CALLS[name]
    return call(data, folder, name) if call is recipe else call(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for each function: what a recipe keeps there for a split is found again for the same data in another form."""
    return cache(tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def usual(folder):
    """What each gives for a split, once."""
    return cache(lambda name: fingerprint(called(name, pictures(), folder(name))))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("form", list(FORMS)[1:])
def test_every_form_gives_what_the_split_gives(name, form, usual, folder):
    expected, found = usual(name), called(name, FORMS[form](pictures()), folder(name))
    if name in DRAWN and form in ("a loader", "a list of batches"):
        assert found
    else:
        assert fingerprint(found) == expected
