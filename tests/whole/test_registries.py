"""Every function that takes a row of a registry by its name takes an object of one's own in its place, and uses it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import xaiprune
from xaiprune import (
    data,
    deploy,
    distill,
    dynamic,
    explain,
    measure,
    pipeline,
    prune,
    quantize,
    training,
    widgets,
    zoo,
)
from xaiprune.core import Registry
from xaiprune.course import HEADLINES, claim, exercises
from xaiprune.data import Composites, Split
from xaiprune.explain import relevance, shifts
from xaiprune.measure import ACCURACY
from xaiprune.nn import VisionTransformer
from xaiprune.training import classification_loss
from xaiprune.widgets import heatmap

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(xaiprune.__path__, "xaiprune.")
    if not module.name.endswith("__main__")
]
REGISTRIES = {name: found for module in MODULES for name, found in vars(module).items() if isinstance(found, Registry)}
#: What annotations call a row that is no class of its own.
FUNCTIONS = ("Callable", "_Schedule")


def takers() -> set[str]:
    """``function(argument)`` of all public ones whose argument is annotated as a name or a row."""
    classes = (registry._fits for registry in REGISTRIES.values())
    rows = "|".join([*FUNCTIONS, *(kind.__name__ for kind in classes if isinstance(kind, type))])
    either = re.compile(rf"\bstr \| (\w+\.)?({rows})\b|\b({rows}) \| str\b")
    found = set()
    for module in MODULES:
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not callable(thing) or isinstance(thing, Registry):
                continue
            methods = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else []
            for place, function in ((name, thing), *((f"{name}.{method}", f) for method, f in methods)):
                if "._" in place or not getattr(function, "__module__", "").startswith("xaiprune."):
                    continue
                try:
                    arguments = inspect.signature(function).parameters.values()
                except ValueError:  # an exception's class has none
                    continue
                found |= {f"{place}({one.name})" for one in arguments if either.search(str(one.annotation))}
    return found


# What all of them work with: small networks with random weights, and a few images of noise.


def network() -> nn.Module:
    """Two convolutions and a dense layer for images (N, 1, 28, 28)."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 6, 5, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
    return nn.Sequential(*layers).eval()


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return VisionTransformer(dim=8, depth=1, heads=2, width=4, hidden=8).eval()


def noise(count: int = 20) -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.rand(count, 1, 28, 28, generator=generator), torch.arange(count) % 10)


class Case(NamedTuple):
    """A function that takes rows: a name it knows, and a call with the name or a row."""

    registry: str
    name: str
    call: Callable[[object], object]


QUIET = {"epochs": 1, "batch_size": 10, "progress": False}


def scored(criterion, model=None, **options):
    model = model or network()
    return prune.score(model, prune.find_units(model, noise()[0][:1]), criterion, noise(), **options)


def tuned(**options):
    return training.tune(network(), noise(), noise(), **options, **QUIET)


def with_units(function):
    """A call that hands over a model and its units first."""

    def call(row):
        model = network()
        return function(model, prune.find_units(model, torch.zeros(1, 1, 28, 28)), row)

    return call


DATA = dict.fromkeys(("train", "validation", "calibration"), noise())


def step(kind: type, argument: str, **others):
    """A call that makes and carries out a step of a recipe."""

    def call(row, folder):
        work = pipeline.Work(network(), DATA, ACCURACY, classification_loss, 0, folder / "unfinished.pt", False)
        return kind(**{argument: row}, **others).apply(pipeline.Stage(network()), work)

    call.folder = True
    return call


def by_method(row, folder):
    options = {"folder": folder, "method": row, "repeats": 1, "explained": 2, "progress": False}
    done = pipeline.compress(network(), DATA, [pipeline.Round()], **options)
    pipeline.report(done, DATA, folder / "report.html", explained=1)
    pipeline.search(network(), DATA, pipeline.choices([pipeline.Round()]), trials=1, **options)


def things(count: int = 2, right: bool = False) -> Composites:
    """Noise with a square that counts as a thing, on the left or on the right."""
    split, masks = noise(count), torch.zeros(count, 28, 28, dtype=torch.bool)
    masks[:, 8:20, (16 if right else 2) : (26 if right else 12)] = True
    names = {"labels": ((0,),) * count, "objects": ("thing",) * count, "grounds": ("noise",) * count}
    shown = torch.ones(count, dtype=torch.bool)
    return Composites(*split, masks=masks, groups=torch.arange(count), shown=shown, **names)


def judged(**rows):
    given = {"methods": ["saliency"], "measures": ["object mass"], "controls": ["centre"]} | rows
    return explain.judge(network(), things(), **given)


def faithful(**rows):
    given = {"methods": ["saliency"], "measures": ["ROAD"], "controls": ["centre"]} | rows
    return explain.faithfulness(network(), *noise(), class_tested=False, **given)


def both(row):
    one, other = things(), things(right=True)
    targets = one.targets, 1 + other.targets
    return explain.two_object_share(network(), one.inputs, targets, (one.masks, other.masks), row)


def ruled(function, *models, **options):
    """Drift of something, by saliency."""
    return function(network(), *models, noise()[0], method="saliency", **options)


def budgeted(row):
    options = {"max_drift": 0.5, "method": "saliency", "likeness": row}
    return prune.ExplanationBudget(network(), noise(), **options).spent(network())


def kinds(row):
    return ruled(explain.drift_scale, kinds=[row])


def exported(row, folder):
    deploy.export(network(), noise()[0][:2], folder / "model.pt2", row)


by_method.folder = exported.folder = True


def watched(row, argument):
    chosen = {"shift": "noise", "method": "saliency"} | {argument: row}
    explain.watch(network(), noise(), chosen["shift"], [0.1], method=chosen["method"])


def attended(row):
    relevance_of = prune.entry_relevance(transformer(), noise(4), composite=row)
    assert relevance_of


def layerwise(function):
    return lambda row: function(network(), noise(4)[0], noise(4)[1], composite=row)


def modified(row):
    model = network()
    with relevance.modified_gradients(model, row) as trace:
        model(trace.watch(noise(4)[0])).sum().backward()


def structure(**options):
    return widgets.StructureExplorer(network(), noise(), noise(), **options)


def heads(**options):
    return widgets.HeadExplorer(transformer(), noise(), noise(4), stops=[(2, 8)], **options)


def ranges(**options):
    return widgets.CalibrationExplorer(network(), noise()[0], noise(4), **options)


def of_kind(row):
    """Units of the kind, scored by a rule for it alone, and cut."""
    model, example = network(), noise()[0][:1]
    criterion = prune.Criterion("own", {row: lambda evidence: {g.name: torch.rand(g.size) for g in evidence.groups}})
    units = [replace(group, kind=row) for group in prune.find_units(model, example)]
    prune.cut(model, prune.plan(prune.score(model, units, criterion), ratio=0.3))


def scenes(grounds) -> data.Scenes:
    return data.Scenes(data.cutouts.labelled()[:2], grounds, each=1, size=0.5)


def group_of_kind(row):
    prune.UnitGroup("units", 3, (), row)
    of_kind(row)


CASES: dict[str, Case] = {
    "Scenes(grounds)": Case("GROUNDS", "brick", lambda row: [scenes(rows).make() for rows in ([row], row)]),
    "Scenes.on(grounds)": Case("GROUNDS", "brick", lambda row: scenes("white").on(row).make()),
    "scenes(grounds)": Case("GROUNDS", "brick", lambda row: data.scenes("train", grounds=[row]).make([0])),
    "objects(grounds)": Case("GROUNDS", "brick", lambda row: data.objects("train", 1, grounds=[row])),
    "two_objects(grounds)": Case("GROUNDS", "brick", lambda row: data.two_objects("train", 1, grounds=[row])),
    "claim(headline)": Case("HEADLINES", "obd", lambda row: claim(HEADLINES["obd"].sentence, True, 10, headline=row)),
    "score(criterion)": Case("CRITERIA", "taylor", scored),
    "score(loss)": Case("TASK_LOSSES", "classification", lambda row: scored("taylor", loss=row)),
    "fit(loss)": Case("TASK_LOSSES", "classification", lambda row: training.fit(network(), noise(), row, **QUIET)),
    "tune(loss)": Case("TASK_LOSSES", "classification", lambda row: tuned(loss=row)),
    "tune(metric)": Case("METRICS", "accuracy", lambda row: tuned(metric=row)),
    "distill(metric)": Case(
        "METRICS",
        "accuracy",
        lambda row: distill.distill(distill.freeze(network()), network(), noise(), noise(), metric=row, **QUIET),
    ),
    "scorecard(metric)": Case("METRICS", "accuracy", lambda row: measure.scorecard(network(), noise(), row, repeats=1)),
    "scorecards(metric)": Case(
        "METRICS", "accuracy", lambda row: measure.scorecards({"a": network()}, noise(), row, repeats=1)
    ),
    "shrink(criterion)": Case(
        "CRITERIA",
        "taylor",
        lambda row: prune.shrink(
            network(), noise(), noise(), cost_target=0.7, steps=1, calibration=noise(), criterion=row, **QUIET
        ),
    ),
    "prune_and_tune(criterion)": Case(
        "CRITERIA",
        "l1",
        lambda row: prune.prune_and_tune(network(), noise(), noise(), ratio=0.5, steps=2, criterion=row, **QUIET),
    ),
    "unit_scores(criterion)": Case(
        "CRITERIA", "taylor", with_units(lambda model, units, row: prune.unit_scores(model, units, row)(noise()))
    ),
    "contrast_scores(criterion)": Case(
        "CRITERIA",
        "taylor",
        with_units(lambda model, units, row: prune.contrast_scores(model, units, noise(), noise(), row)),
    ),
    "class_scores(criterion)": Case(
        "CRITERIA",
        "taylor",
        with_units(lambda model, units, row: dynamic.class_scores(model, units, noise(), classes=10, criterion=row)),
    ),
    "reference_draws(criteria)": Case(
        "CRITERIA",
        "taylor",
        with_units(
            lambda model, units, row: [
                prune.reference_draws(
                    model, units, rows, lambda *_: noise(), lambda model: 0.0, sizes=[1], draws=2, progress=False, k=2
                )
                for rows in ([row], {"as told": row}, row)
            ]
        ),
    ),
    "Prune(criterion)": Case("CRITERIA", "taylor", step(pipeline.Prune, "criterion", cost_target=0.7)),
    "StructureExplorer(criteria)": Case("CRITERIA", "taylor", lambda row: structure(criteria=[row])),
    "HeadExplorer(criteria)": Case("CRITERIA", "taylor", lambda row: heads(criteria=[row], method="saliency")),
    "Criterion(rules)": Case("KINDS", "channels", of_kind),
    "UnitGroup(kind)": Case("KINDS", "channels", group_of_kind),
    "ratios(schedule)": Case("SCHEDULES", "linear", lambda row: prune.ratios(row, 0.5, 2)),
    "prune_and_tune(schedule)": Case(
        "SCHEDULES",
        "linear",
        lambda row: prune.prune_and_tune(network(), noise(), noise(), ratio=0.5, steps=2, schedule=row, **QUIET),
    ),
    "shrink(schedule)": Case(
        "SCHEDULES",
        "linear",
        lambda row: prune.shrink(
            network(), noise(), noise(), cost_target=0.7, steps=2, calibration=noise(), schedule=row, **QUIET
        ),
    ),
    "Scores.normalised(how)": Case("NORMALISATIONS", "max", lambda row: scored("l1").normalised(row)),
    "Prune(units)": Case("_UNITS", "channels", step(pipeline.Prune, "units", cost_target=0.7)),
    "Prune(costs)": Case("_COSTS", "macs", step(pipeline.Prune, "costs", cost_target=0.7)),
    "Tune(augment)": Case("AUGMENTATIONS", "flip", step(pipeline.Tune, "augment", epochs=1, batch_size=10)),
    "Distill(augment)": Case("AUGMENTATIONS", "flip", step(pipeline.Distill, "augment", epochs=1, batch_size=10)),
    "TrainOptions(augment)": Case(
        "AUGMENTATIONS",
        "flip",
        lambda row: training.fit(network(), noise(), classification_loss, training.TrainOptions(augment=row, **QUIET)),
    ),
    "transfer(augment)": Case(
        "AUGMENTATIONS",
        "flip",
        lambda row: distill.transfer(distill.freeze(network()), noise(), copies=2, augment=row),
    ),
    "find_loss(loss)": Case(
        "LOSSES", "hard targets", lambda row: distill.find_loss(row).function(*torch.rand(2, 3, 4))
    ),
    "Distill(loss)": Case("LOSSES", "soft targets", step(pipeline.Distill, "loss", epochs=1, batch_size=10)),
    "distill(loss)": Case(
        "LOSSES",
        "hard targets",
        lambda row: [
            distill.distill(distill.freeze(network()), network(), noise(), None, loss=loss, **QUIET)
            for loss in (row, {row: 1.0, "soft targets": 0.5})
        ],
    ),
    "distillation_loss(loss)": Case(
        "LOSSES",
        "hard targets",
        lambda row: distill.distillation_loss(distill.freeze(network()), row)(network(), *noise()),
    ),
    "Quantize(calibrator)": Case("CALIBRATORS", "mse", step(pipeline.Quantize, "calibrator")),
    "Format(calibrator)": Case(
        "CALIBRATORS",
        "mse",
        lambda row: quantize.simulate(
            network(),
            quantize.calibrate(network(), noise()[0]),
            quantize.Config(activations=quantize.Format(scheme="affine", calibrator=row)),
        ),
    ),
    "CalibrationExplorer(calibrators)": Case(
        "CALIBRATORS", "mse", lambda row: ranges(calibrators=[row], method="saliency")
    ),
    "heatmaps(method)": Case("METHODS", "saliency", lambda row: explain.heatmaps(network(), *noise(), row)),
    "gate(methods)": Case(
        "METHODS",
        "saliency",
        lambda row: [explain.gate(network(), *noise(), rows, steps=2) for rows in ([row], row)],
    ),
    "drift(method)": Case(
        "METHODS", "saliency", lambda row: explain.drift(network(), network(), noise()[0], method=row)
    ),
    "drift_from(method)": Case(
        "METHODS", "saliency", lambda row: explain.drift_from(network(), noise()[0], method=row)(network())
    ),
    "drift_columns(method)": Case(
        "METHODS", "saliency", lambda row: explain.drift_columns(network(), *noise(), method=row)
    ),
    "drift_scale(method)": Case(
        "METHODS", "saliency", lambda row: explain.drift_scale(network(), noise()[0], method=row)
    ),
    "drift(likeness)": Case("LIKENESSES", "mass", lambda row: ruled(explain.drift, network(), likeness=row)),
    "drift_from(likeness)": Case("LIKENESSES", "mass", lambda row: ruled(explain.drift_from, likeness=row)(network())),
    "drift_scale(likeness)": Case("LIKENESSES", "mass", lambda row: ruled(explain.drift_scale, likeness=row)),
    "drift_columns(likeness)": Case(
        "LIKENESSES",
        "mass",
        lambda row: [each(network()) for each in ruled(explain.drift_columns, likeness=row).values()],
    ),
    "heatmap_drift(likeness)": Case(
        "LIKENESSES", "mass", lambda row: explain.heatmap_drift(*torch.rand(2, 5, 4, 4), "one", row)
    ),
    "drift_scale(kinds)": Case("HARMLESS", next(iter(explain.HARMLESS)), kinds),
    "ExplanationBudget(likeness)": Case("LIKENESSES", "mass", budgeted),
    "watch(method)": Case("METHODS", "saliency", lambda row: watched(row, "method")),
    "watch(shift)": Case("SHIFTS", "rotation", lambda row: watched(row, "shift")),
    "ExplanationBudget(method)": Case(
        "METHODS",
        "saliency",
        lambda row: prune.ExplanationBudget(network(), noise(), max_drift=0.5, method=row).spent(network()),
    ),
    "compress(method)": Case("METHODS", "occlusion", by_method),
    "StructureExplorer(method)": Case("METHODS", "saliency", lambda row: structure(method=row)),
    "HeadExplorer(method)": Case("METHODS", "saliency", lambda row: heads(criteria=["l2"], method=row)),
    "CalibrationExplorer(method)": Case("METHODS", "saliency", lambda row: ranges(method=row)),
    "TemperatureExplorer(method)": Case(
        "METHODS",
        "saliency",
        lambda row: widgets.TemperatureExplorer(network(), network(), noise(4), list("0123456789"), method=row),
    ),
    "HeatmapExplorer(methods)": Case(
        "METHODS", "saliency", lambda row: widgets.HeatmapExplorer(network(), noise(4), methods=[row])
    ),
    "judge(methods)": Case("METHODS", "saliency", lambda row: judged(methods=[row])),
    "judge(measures)": Case("MEASURES", "object mass", lambda row: judged(measures=[row])),
    "judge(controls)": Case("CONTROL_METHODS", "centre", lambda row: judged(controls=[row])),
    "faithfulness(methods)": Case("METHODS", "saliency", lambda row: faithful(methods=[row])),
    "faithfulness(measures)": Case("MEASURES", "faithfulness", lambda row: faithful(measures=[row])),
    "faithfulness(controls)": Case("CONTROL_METHODS", "centre", lambda row: faithful(controls=[row])),
    "at_resolution(method)": Case(
        "METHODS", "saliency", lambda row: explain.at_resolution(row, (7, 7))(network(), *noise())
    ),
    "class_test(method)": Case("METHODS", "saliency", lambda row: explain.class_test(network(), *noise(), method=row)),
    "two_object_share(method)": Case("METHODS", "saliency", both),
    "ground_reliance(method)": Case(
        "METHODS",
        "saliency",
        lambda row: explain.ground_reliance(network(), noise(2)[0], noise(2)[0], things().masks, method=row),
    ),
    "lrp(composite)": Case("COMPOSITES", "epsilon-plus", layerwise(relevance.lrp)),
    "propagate(composite)": Case("COMPOSITES", "epsilon-plus", layerwise(relevance.propagate)),
    "inner_relevance(composite)": Case(
        "COMPOSITES",
        "epsilon-plus",
        lambda row: relevance.inner_relevance(network(), noise(4)[0], None, "2", composite=row),
    ),
    "modified_gradients(composite)": Case("COMPOSITES", "epsilon-plus", modified),
    "entry_relevance(composite)": Case("COMPOSITES", "attnlrp", attended),
    "prepare(runtime)": Case("RUNTIMES", "eager", lambda row: deploy.prepare(network(), noise()[0], row)(noise()[0])),
    "runtime_latencies(runtimes)": Case(
        "RUNTIMES", "eager", lambda row: deploy.runtime_latencies({"one": network()}, noise()[0], [row], repeats=1)
    ),
    "export(form)": Case("FORMS", "torch.export", exported),
    "setting(name)": Case("SETTINGS", "fashion-mnist", lambda row: zoo.setting(row).build()),
    "check(name)": Case("EXERCISES", "grid", lambda row: exercises.check(row, 0.2)),
    "exercise(name)": Case("EXERCISES", "grid", lambda row: exercises.exercise(row, 0.2)),
}


class Used:
    """A function of one's own that counts how often it was called."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self.function(*arguments, **options)


def own(registry: str) -> tuple[object, Used]:
    """A row that no registry knows, and the function in it, which counts."""
    known = REGISTRIES[registry]
    if registry in ("SCHEDULES", "NORMALISATIONS", "_UNITS", "_COSTS", "AUGMENTATIONS", "TASK_LOSSES"):
        used = Used(
            {
                "SCHEDULES": lambda t, final: final * t,
                "NORMALISATIONS": lambda values: values / values.sum(),
                "_UNITS": prune.find_units,
                "_COSTS": prune.mac_costs,
                "AUGMENTATIONS": lambda inputs, generator: inputs,
                "TASK_LOSSES": lambda model, inputs, targets: model(inputs).square().mean(),
            }[registry]
        )
        return used, used
    if registry == "KINDS":
        used = Used(lambda *arguments: None)
        return type("Others", (type(known["channels"]),), {"name": "own", "words": "other units", "cut": used})(), used
    if registry == "COMPOSITES":
        used = Used(lambda *arguments: relevance.epsilon())
        return _counted(known["attnlrp"], used), used
    used = Used(
        {
            "GROUNDS": lambda random: np.zeros((224, 224, 3), np.uint8),
            "CRITERIA": lambda evidence: {group.name: torch.rand(group.size) for group in evidence.groups},
            "LOSSES": lambda student, teacher: (student - teacher).square().mean(),
            "METRICS": lambda model, split: 1.0,
            "CALIBRATORS": lambda seen, bits, scheme: (seen.low, seen.high),
            "HARMLESS": lambda model, images, seed: model,
            "LIKENESSES": lambda one, other: (one == other).double().mean((1, 2)),
            "METHODS": lambda model, images, targets=None: images[:, 0] - images[:, 0].mean(),
            "CONTROL_METHODS": lambda model, images, targets=None: images[:, 0],
            "MEASURES": lambda model, images, targets, masks, heatmaps: heatmaps.flatten(1).amax(1),
            "SHIFTS": lambda images, level: images + level,
            "RUNTIMES": lambda model, example: model,
            "FORMS": lambda model, example: b"a program",
            "SETTINGS": network,
            "EXERCISES": lambda answer: None,
            "HEADLINES": list,
        }[registry]
    )
    row = {
        "GROUNDS": lambda: data.Ground("own", used),
        "CRITERIA": lambda: prune.Criterion("own", {prune.ANY: used}, reads="data"),
        "LOSSES": lambda: distill.Loss(used, "logits"),
        "METRICS": lambda: measure.Metric("own", used),
        "CALIBRATORS": lambda: quantize.Calibrator("own", used),
        "METHODS": lambda: explain.Method("own", used, answers_only=True),
        "CONTROL_METHODS": lambda: explain.Method("own", used, signed=False),
        "MEASURES": lambda: explain.Measure("own", used),
        "HARMLESS": lambda: explain.Harmless("own", used),
        "LIKENESSES": lambda: explain.Likeness("own", used),
        "SHIFTS": lambda: shifts.Shift("own", "steps", used, lambda maps, level: maps),
        "RUNTIMES": lambda: deploy.Runtime("own", used),
        "FORMS": lambda: deploy.Form("own", ".pt2", "own", used, lambda path: network()),
        "SETTINGS": lambda: zoo.Setting("own", noise, tuple("0123456789"), used, network),
        "EXERCISES": lambda: exercises.Exercise("own", used, minutes=1),
        "HEADLINES": lambda: replace(HEADLINES["obd"], name="own", rows=used),
    }[registry]()
    return row, used


def _counted(composite, used):
    """The composite with a count of how often a layer's rule is asked for."""

    class Counted(type(composite)):
        def rule(self, *arguments):
            used.calls += 1
            return super().rule(*arguments)

    return Counted("own", composite.rows, attention=composite.attention)


def test_every_function_that_takes_a_row_is_tried():
    assert set(CASES) == takers() - {"Objective(loss)"}  # what ``distillation_loss`` returns


def test_every_registry_is_tried():
    tried = {case.registry for case in CASES.values()}
    assert set(REGISTRIES) - tried == {"YEOM", "RULES"}  # rows of CRITERIA, and of the heatmap explorer's menu


@pytest.mark.parametrize("place", CASES)
def test_it_takes_the_name_and_an_object_of_ones_own(place, tmp_path):
    registry, name, call = CASES[place]
    row, used = own(registry)
    assert row not in REGISTRIES[registry].values()
    for given in (name, row):
        folder = [tmp_path / type(given).__name__] if getattr(call, "folder", False) else []
        for path in folder:
            path.mkdir()
        call(given, *folder)
    assert used.calls, f"{place} never used the row"
    assert "own" not in REGISTRIES[registry], "it was used, not registered"


@pytest.mark.parametrize("place", CASES)
def test_it_refuses_what_is_neither(place, tmp_path):
    registry, _, call = CASES[place]
    folder = [tmp_path] if getattr(call, "folder", False) else []
    argument = place.partition("(")[2].rstrip(")")
    with pytest.raises(
        ValueError, match=rf"{argument} must be one of .*{next(iter(REGISTRIES[registry]))}.*'nonsense'"
    ):
        call("nonsense", *folder)
    with pytest.raises(TypeError, match=rf"{argument} must be the name of {REGISTRIES[registry].what}"):
        call(3.5, *folder)


def test_a_rule_of_ones_own_goes_into_a_composite_and_into_the_menu_of_rules():
    model, split = network(), noise(2)
    rule = relevance.gamma(0.7)
    assert heatmap.compute(model, split, 0, "lrp", rule).ledger is not None
    assert heatmap.compute(model, split, 0, explain.METHODS["lrp"], rule).ledger is not None, (
        "by its row as by its name"
    )


def test_a_recipe_tells_a_row_of_ones_own_alike_in_every_process():
    told = repr(pipeline.Tune(epochs=1, augment=training.AUGMENTATIONS["flip"]))
    assert "0x" not in told
    assert re.fullmatch(r"Tune\(epochs=1, augment=random_flip [0-9a-f]{12}\)", told)
