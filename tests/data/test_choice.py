"""What was chosen on some images is not judged by them without a word."""

from __future__ import annotations

import copy
import inspect
import pickle
from functools import cache

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import xaiprune as xp
from xaiprune import curvature, data, distill, dynamic, explain, measure, pipeline, prune, quantize, training
from xaiprune.core import fingerprint
from xaiprune.data import Choice, Split, choosing, chosen_on, ids_of, mark
from xaiprune.measure import ACCURACY
from xaiprune.prune import soft

LOSS = training.classification_loss
QUIET = {"progress": False}


def pictures(seed: int = 0, count: int = 24) -> Split:
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % 4)


CHOSE, OTHERS, HALVES = pictures(0), pictures(1), torch.arange(24) // 12


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(80, 4)).eval()


def units(model: nn.Module) -> list:
    return prune.find_units(model, CHOSE.inputs[:1])


def scores(criterion: str = "taylor", split: object = CHOSE) -> prune.Scores:
    return prune.score(network(), units(network()), criterion, split)


@cache
def small() -> nn.Module:
    return prune.cut(network(), prune.plan(scores(), ratio=0.3))


def squares() -> list[data.Cutout]:
    """Four things in two groups."""
    pixels, mask = np.full((20, 20, 3), 200, np.uint8), np.ones((20, 20), bool)
    return [data.Cutout(f"thing {number}", pixels, mask, [number], group=number % 2) for number in range(4)]


def took_part(thing: object, split: Split = CHOSE) -> bool:
    return any(which.all() for which in chosen_on(thing).shared(split.ids).values())


# ids


FORMS = {
    "noise": lambda split: split.replaced(inputs=split.inputs + torch.randn_like(split.inputs)),
    "a shift": lambda split: split.replaced(inputs=measure.shifted(split.inputs)),
    "other targets": lambda split: split.replaced(targets=split.targets + 1),
    "the first": lambda split: split.first(len(split.inputs)),
    "all rows": lambda split: split.rows(range(len(split.inputs))),
    "rows by truth": lambda split: split.rows(torch.ones(len(split.inputs), dtype=torch.bool)),
    "pickle": lambda split: pickle.loads(pickle.dumps(split)),
    "a deep copy": copy.deepcopy,
    "a process": lambda split: joblib.Parallel(2)([joblib.delayed(_same)(split)])[0],
    "thinned": lambda split: measure.fairness.thinned(split, keep=1.0),
    "paired": lambda split: measure.fairness.paired(split, torch.zeros(len(split.inputs), dtype=torch.int64)),
    "a tag": lambda split: explain.tag_class(split, 0, "own"),
    "tags elsewhere": lambda split: explain.decorrelate(split, torch.arange(len(split.inputs)) < 3, explain.tag_mask()),
}


def _same(split: Split) -> Split:
    return split


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("asked", [False, True], ids=["not asked for", "asked for"])
def test_ids_stay_whatever_is_made_of_the_images(form, asked):
    split = Split(torch.rand(6, 1, 28, 28), torch.arange(6) % 2)
    ids = data.split._content_ids(split.inputs)
    assert not asked or torch.equal(split.ids, ids)
    noisy = FORMS["noise"](split)
    assert torch.equal(FORMS[form](split).ids, ids)
    assert torch.equal(FORMS[form](noisy).ids, ids), "of what was made of them too"


@pytest.mark.parametrize("shift", explain.SHIFTS)
def test_shifts_and_augmentations_keep_ids(shift):
    split = data.mnist("validation", 3)
    moved = split.replaced(inputs=explain.SHIFTS[shift].images(split.inputs, 1))
    assert torch.equal(moved.ids, data.mnist("validation", 3).ids)
    for augment in training.augment.AUGMENTATIONS.values():
        made = split.replaced(inputs=augment(split.inputs, torch.Generator()))
        assert torch.equal(made.ids, split.ids)


def test_a_draw_of_each_class_keeps_ids():
    split = FORMS["noise"](Split(torch.rand(8, 2), torch.arange(8) % 2))
    drawn = data.samples.balanced(split, 2)
    assert set(drawn.ids.tolist()) < set(split.ids.tolist())


@given(st.lists(st.integers(0, 5), min_size=1), st.booleans())
def test_rows_have_their_own_ids(rows, asked):
    split = Split(torch.arange(12.0).view(6, 2), torch.arange(6))
    assert not asked or split.ids is not None
    assert split.rows(rows).ids.tolist() == [split.ids[row].item() for row in rows]


def test_an_id_tells_type_shape_and_content():
    some = torch.zeros(2, 4)
    different = [some, some + 1, some.double(), some.view(2, 2, 2), some.bfloat16()]
    assert len({data.Split(one, None).ids[0].item() for one in different}) == len(different)
    assert len(some) == len(Split(some, None).ids)
    assert torch.equal(Split(some.t().contiguous().t(), None).ids, Split(some, None).ids)


def test_a_split_is_a_pair_and_refuses_wrong_ids():
    inputs, targets = split = Split(torch.rand(3, 2), torch.arange(3), ids=[7, 8, 9])
    assert (split.inputs is inputs, len(split), split.ids.tolist()) == (True, 2, [7, 8, 9])
    assert fingerprint(split) == fingerprint((inputs, targets))
    with pytest.raises(ValueError, match="ids must be one for each of 3 inputs, got 2"):
        Split(inputs, targets, ids=[1, 2])
    with pytest.raises(ValueError, match="inputs must be 3, one made from each"):
        split.replaced(inputs=inputs[:2], targets=None)


class _Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*CHOSE))


def test_all_forms_of_data_have_the_same_ids_and_bare_iterables_none():
    batches = list(zip(CHOSE.inputs.split(8), CHOSE.targets.split(8)))
    dataset = TensorDataset(*CHOSE)
    for form in (tuple(CHOSE), CHOSE.inputs, dataset, DataLoader(dataset, 7), batches, data.batches(CHOSE)):
        assert torch.equal(ids_of(form), CHOSE.ids)
    before = torch.random.get_rng_state()
    assert set(ids_of(DataLoader(dataset, 8, shuffle=True)).tolist()) == set(CHOSE.ids.tolist())
    assert torch.equal(before, torch.random.get_rng_state())
    for bare in (iter(batches), (batch for batch in batches), _Stream()):
        assert ids_of(bare) is None
    assert data.as_split(iter(batches)).ids is None
    assert data.as_split(iter(batches)).first(3).ids is None


def test_composites_are_known_by_picture_thing_and_group():
    one = data.Scenes(squares(), ["white"], each=1, size=0.5)
    made, other = one.make(), one.on("grey").make()
    assert made.ids.shape == (len(one), 3)
    things = Choice.on(made.rows([0]), "scores")
    assert things.shared(other.ids)["scores"].sum() == sum(other.groups == made.groups[0])
    assert torch.equal(pickle.loads(pickle.dumps(made)).rows([1]).ids, made.ids[1:2])
    assert torch.equal(one.ids, made.ids[:, 1:]), "the data set need not draw them"
    assert Choice.on(one, "scores").shared(other.ids)["scores"].all()
    assert Choice.on(made.inputs, "scores").shared(made.ids)["scores"].all(), "by the pictures alone"
    assert not Choice.on(made.inputs, "scores").shared(other.ids)
    first, second = data.Scenes(squares(), ["grey"], each=2, size=0.4).make_two()
    chosen = Choice.on(second.rows([0]), "scores").shared(first.ids)["scores"]
    assert chosen[0], "by the thing beside it"


# what chooses


def problem() -> soft.SoftProblem:
    return soft.SoftProblem(network(), scores("l1"), CHOSE, 0.5, 0.1, metric=ACCURACY)


def dynamic_network() -> dynamic.Dynamic:
    trunk, tail = dynamic.split_at(network(), "2")
    return dynamic.Dynamic(trunk, dynamic.Branch(6, 4, 4), [tail], [range(4)], 0.5)


def budget() -> prune.ExplanationBudget:
    return prune.ExplanationBudget(network(), CHOSE, max_drop=100.0)


def costs() -> prune.Costs:
    return prune.mac_costs(network(), units(network()), CHOSE.inputs[:1])


def trained(function, *last, **options) -> nn.Module:
    model = network()
    function(*last, model, OTHERS, CHOSE, epochs=1, batch_size=8, **QUIET, **options)
    return model


def searched(folder) -> nn.Module:
    parts = {"train": OTHERS, "validation": CHOSE, "calibration": OTHERS}
    options = {"explained": 10, "repeats": 1, **QUIET}
    return pipeline.search(
        network(), parts, pipeline.choices([pipeline.Prune(k=2)]), folder=folder, trials=1, **options
    )


CHOOSES = {
    "scores": scores,
    "some of the scores": lambda: scores().only("0").reversed().normalised("rank").per({"0": torch.ones(6)}),
    "a plan": lambda: prune.plan(scores(), ratio=0.3),
    "a plan by cost": lambda: prune.plan(scores(), cost_target=0.6, costs=costs()),
    "a plan after a plan": lambda: prune.Plan(tuple(units(network())), {}).then(prune.plan(scores(), k=2)),
    "a cut": small,
    "half of a cut": lambda: dynamic.split_at(small(), "2").tail,
    "a shipped cut": lambda: xp.deploy.Frozen(small(), CHOSE.inputs),
    "a sensitivity": lambda: prune.scan(network(), scores("l1"), CHOSE, ratios=(0.4,), **QUIET),
    "a plan by sensitivity": lambda: prune.allocate_ratios(
        scores("l1"), prune.scan(network(), scores("l1"), CHOSE, ratios=(0.4,), **QUIET), 0.3
    ),
    "cliffs": lambda: prune.cliffs(prune.scan(network(), scores("l1"), CHOSE, ratios=(0.4,), **QUIET), 1e-9),
    "masks": lambda: (
        prune.learn_masks(network(), units(network()), CHOSE, costs(), cost_target=0.5, epochs=1, **QUIET).scores
    ),
    "a budget": lambda: prune.prune_within_budget(network(), scores("l1"), costs(), 0.7, budget()).plan,
    "a budget on the way": lambda: (
        prune.shrink(
            network(), OTHERS, OTHERS, cost_target=0.7, calibration=OTHERS, steps=1, epochs=0, budget=budget(), **QUIET
        ).model
    ),
    "a step to stop at": lambda: trained(prune.prune_and_tune, ratio=0.3, steps=1, tolerance=100.0),
    "coefficients": lambda: soft.descend(problem(), "uniform", max_evaluations=4).coefficients,
    "the best of a grid": lambda: soft.grid_search(problem(), 3, **QUIET).plan,
    "a relaxation": lambda: soft.relax(problem(), steps=2),
    "one of the problem's plans": lambda: problem().plan([1, 1]),
    "the epoch": lambda: trained(training.tune),
    "the student's epoch": lambda: trained(distill.distill, distill.freeze(network())),
    "ranges": lambda: quantize.simulate(network(), quantize.calibrate(network(), CHOSE.inputs)),
    "an integer file": lambda: xp.deploy.Frozen(network(), CHOSE.inputs, quantize.int8_bytes(network(), CHOSE.inputs)),
    "roundings": lambda: quantize.adaround(
        network(),
        quantize.simulate(network(), {}, quantize.Config(quantize.Format(4), None)),
        CHOSE.inputs,
        iterations=2,
        **QUIET,
    ),
    "biases": lambda: quantize.correct_bias(
        network(), quantize.simulate(network(), {}, quantize.Config(quantize.Format(4), None)), CHOSE.inputs
    ),
    "absorbed biases": lambda: quantize.absorb_bias(network(), CHOSE.inputs),
    "layers' sensitivity": lambda: quantize.sensitivity(
        network(), {}, CHOSE, quantize.Config(quantize.Format(4), None), **QUIET
    ),
    "bits": lambda: quantize.with_bits(quantize.Config(), mixed(quantize.hessian_traces(network(), CHOSE, probes=2))),
    "a threshold": lambda: dynamic.choose_threshold(dynamic_network(), CHOSE, lost=50),
    "a network with a threshold": lambda: with_threshold(dynamic.choose_threshold(dynamic_network(), CHOSE, lost=50)),
    "scores of classes": lambda: dynamic.set_scores(
        dynamic.class_scores(network(), units(network()), CHOSE, classes=4), (0, 1, 2, 3)
    ),
    "surgery": lambda: prune.surgery(
        network(),
        prune.plan(prune.score(network(), prune.find_weights(network()), "l1"), k=9),
        prune.inverse_fisher(network(), CHOSE, LOSS, names=[group.name for group in prune.find_weights(network())]),
    ),
}


def mixed(traces: dict) -> dict:
    model = network()
    sizes = {name: layer.weight.numel() for name, layer in quantize.quantized_layers(model).items()}
    return quantize.allocate_bits(quantize.losses_by_trace(traces, quantize.weight_errors(model)), sizes, 5)


def with_threshold(threshold: float) -> dynamic.Dynamic:
    model = dynamic_network()
    model.threshold = threshold
    return model


@pytest.mark.parametrize("name", CHOOSES)
def test_what_is_chosen_carries_the_ids(name):
    found = CHOOSES[name]()
    assert took_part(found)
    if name != "a budget on the way":
        assert not took_part(found, OTHERS)
    if not isinstance(found, xp.deploy.Frozen):
        assert chosen_on(copy.deepcopy(found)) == chosen_on(found)
    if isinstance(found, nn.Module):
        with pytest.raises(ValueError, match=r"24 of 24 inputs took part in choosing what is judged \("):
            measure.accuracy(found, CHOSE)


@pytest.mark.parametrize("criterion", [name for name, row in prune.CRITERIA.items() if row.reads != "weights"])
def test_every_criterion_that_reads_images_marks_its_scores(criterion):
    vit, row = xp.nn.small_transformer().eval(), prune.CRITERIA[criterion]
    found = {"channels": units(network()), "weights": prune.find_weights(network())}
    found |= {"heads": prune.find_heads(vit), "blocks": prune.find_blocks(vit, torch.zeros(1, 1, 28, 28))}
    kind, groups = next((kind, groups) for kind, groups in found.items() if row.ranks(groups[0].kind))
    model, split = (network(), CHOSE) if kind in ("channels", "weights") else (vit, data.mnist("calibration", 4))
    assert took_part(prune.score(model, groups, criterion, split), split)


def test_a_search_marks_its_best_and_a_recipe_what_it_read(tmp_path):
    best = searched(tmp_path).best
    choice = chosen_on(best.model)
    assert choice.shared(CHOSE.ids)["the recipe"].all()
    assert choice.shared(OTHERS.ids)["scores by taylor"].all()
    pipeline.save_stage(best.stage, tmp_path / "stage")
    assert chosen_on(pipeline.load_stage(network(), tmp_path / "stage", CHOSE.inputs[:1]).model) == choice
    assert chosen_on(searched(tmp_path).best.model) == choice, "also where all stages were kept"


def test_training_and_what_reads_weights_alone_choose_nothing():
    model = network()
    training.fit(model, CHOSE, LOSS, epochs=1, batch_size=8, **QUIET)
    prune.recalibrate(model, CHOSE.inputs)
    for thing in (model, scores("l1"), soft.uniform(problem()), trained(prune.prune_and_tune, ratio=0.3, steps=1)):
        assert not chosen_on(thing)
    assert measure.accuracy(model, CHOSE) >= 0


# the mark


def test_a_mask_is_marked_inside_of_its_with_only():
    model, plan = network(), prune.plan(scores(), k=3)
    before = [dict(vars(module)) for module in model.modules()]
    with prune.masked(model, plan):
        assert took_part(model)
    assert not chosen_on(model)
    assert [vars(module).keys() for module in model.modules()] == [one.keys() for one in before]


def test_a_mark_changes_neither_state_nor_identity():
    model, twin = network(), network()
    mark(model, data=CHOSE, what="scores")
    assert fingerprint(model) == fingerprint(twin)
    assert model.state_dict().keys() == twin.state_dict().keys()
    assert repr(model) == repr(twin)
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        measure.calibration_error.Tempered(model, 2),
    ):
        assert took_part(again)
    number = mark(0.25, data=CHOSE, what="a threshold")
    assert (number, fingerprint(number), (torch.tensor([0.2, 0.3]) < number).tolist()) == (0.25, "0.25", [True, False])


def test_a_plan_and_a_cut_are_saved_with_their_mark(tmp_path):
    plan = prune.plan(scores(), ratio=0.3)
    plain = prune.Plan(plan.groups, plan.removed)
    assert plan == plain
    assert hash(plan) == hash(plain), "they remove the same"
    assert "chosen_on" not in plain.to_json()
    plan.save(tmp_path / "plan.json")
    assert chosen_on(prune.Plan.load(tmp_path / "plan.json")) == chosen_on(plan)
    tuned = prune.cut(network(), plan)
    training.tune(tuned, OTHERS, OTHERS, epochs=1, batch_size=8, **QUIET)
    prune.save_cut(tuned, plan, tmp_path / "small")
    loaded = prune.load_cut(network, tmp_path / "small")
    for split, what in ((CHOSE, "scores by taylor"), (OTHERS, "the epoch that was kept")):
        with pytest.raises(ValueError, match=f"split: 24 of 24 inputs took part in .* \\({what}: 24\\)"):
            measure.accuracy(loaded, split)


def test_choices_merge_by_what_was_chosen():
    one, two = (Choice({"scores": np.array(ids)}) for ids in ([1, 2], [2, 3]))
    both = one | two | Choice(unknown=("ranges",))
    assert repr(both) == "Choice(scores: 3 ids, ranges: not known)"
    assert Choice.from_json(both.to_json()) == both
    assert one | Choice() == one == Choice() | one
    assert not Choice()


# the guard


def heat() -> torch.Tensor:
    return torch.rand(24, 8, 8, generator=torch.Generator().manual_seed(0))


def composites(split: Split) -> data.Composites:
    told = {"labels": [(0,)] * 24, "objects": [f"{split.ids[0]} {n}" for n in range(24)], "grounds": ["plain"] * 24}
    told |= {"groups": split.ids, "shown": torch.ones(24, dtype=torch.bool)}
    return data.Composites(*split, masks=torch.arange(64).view(8, 8).expand(24, 8, 8) < 20, **told)


#: Half of each picture.
LEFT = (torch.arange(8) < 4).expand(24, 8, 8)
#: Every public function that measures a model on images: ``(model, split, **options) -> result``.
JUDGES = {
    "measure.accuracy": measure.accuracy,
    "measure.mean_squared_error": lambda model, split, **o: measure.mean_squared_error(
        model, split.replaced(targets=torch.zeros(len(split.inputs), 4)), **o
    ),
    "measure.psnr": lambda model, split, **o: measure.psnr(_Picture(model), split, **o),
    "measure.Metric.__call__": ACCURACY,
    "measure.scorecards": lambda model, split, **o: xp.scorecards({"a": model}, split, ACCURACY, repeats=1, **o),
    "measure.scorecard": lambda model, split, **o: xp.scorecard(model, split, ACCURACY, repeats=1, **o),
    "measure.fairness.fairness_of": lambda m, split, **o: measure.fairness.fairness_of(m, split, HALVES, **o),
    "explain.drift": lambda model, split, **o: explain.drift(network(), model, split.inputs, **o),
    "explain.drift_from": lambda model, split, **o: explain.drift_from(network(), split.inputs)(model, **o),
    "explain.drift_scale": lambda model, split, **o: explain.drift_scale(model, split.inputs, **o),
    "explain.gate": lambda model, split, **o: explain.gate(model, split.inputs, methods="saliency", steps=4, **o),
    "explain.curves": lambda model, split, **o: explain.curves(model, split.inputs, None, heat(), steps=2, **o),
    "explain.road": lambda model, split, **o: explain.road(model, split.inputs, None, heat(), steps=2, **o),
    "explain.class_test": lambda m, split, **o: explain.class_test(m, split.inputs, None, "saliency", steps=2, **o),
    "explain.faithfulness": lambda m, split, **o: explain.faithfulness(
        m, split.inputs, None, ["saliency"], controls=["random"], class_tested=False, **o
    ),
    "explain.judge": lambda model, split, **o: explain.judge(model, composites(split), ["saliency"], **o),
    "explain.two_object_share": lambda m, split, **o: explain.two_object_share(
        m, split.inputs, (split.targets,) * 2, (LEFT, ~LEFT), "saliency", **o
    ),
    "explain.ground_reliance": lambda m, split, **o: explain.ground_reliance(
        m, split.inputs, split.inputs, LEFT, None, "saliency", **o
    ),
    "explain.watch": lambda m, split, **o: explain.watch(m, split, "noise", [0.1], method="saliency", **o),
    "explain.accuracy_and_confidence": explain.accuracy_and_confidence,
    "prune.ratio_curve": lambda model, split, **o: prune.ratio_curve(
        mark(network(), model), scores("l1"), split, ratios=(0, 0.3), **o
    ),
}


class _Picture(nn.Module):
    """Gives a picture, whatever the model says."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 0.5


def test_every_public_function_that_judges_is_tried_here():
    rooms = (measure, measure.fairness, measure.calibration_error, explain, prune, soft, quantize, dynamic, pipeline)
    for room in (*rooms, distill, curvature):
        for name in getattr(room, "__all__", vars(room)):
            if _judges(getattr(room, name)):
                assert f"{room.__name__.removeprefix('xaiprune.')}.{name}" in JUDGES
    assert _judges(measure.Metric.__call__)


def _judges(function: object) -> bool:
    return inspect.isroutine(function) and "in_sample" in inspect.signature(function).parameters


@pytest.mark.parametrize("name", JUDGES)
def test_images_that_chose_do_not_judge(name):
    judge = JUDGES[name]
    with pytest.raises(ValueError, match=r"(split|images|objects): 24 of 24 inputs took part .*in_sample=True"):
        judge(small(), CHOSE)
    plain = repr(judge(small(), OTHERS))
    assert "in sample" not in plain
    found = judge(small(), CHOSE, in_sample=True)
    assert isinstance(found, float | torch.Tensor) or "in sample" in repr(found)
    with choosing():
        judge(small(), CHOSE)
    with pytest.raises(ValueError, match="took part"):
        judge(small(), CHOSE)


def test_pictures_of_two_objects_are_asked_too():
    with pytest.raises(ValueError, match="pairs: 24 of 24 inputs took part"):
        explain.judge(small(), composites(OTHERS), ["saliency"], pairs=(composites(CHOSE),) * 2)


def test_images_that_are_made_of_those_that_chose_do_not_judge_either():
    for name in ("noise", "a shift"):
        with pytest.raises(ValueError, match="took part"):
            measure.accuracy(small(), FORMS[name](CHOSE))
    both = Split(torch.cat([CHOSE.inputs[:5], OTHERS.inputs]), torch.cat([CHOSE.targets[:5], OTHERS.targets]))
    with pytest.raises(ValueError, match="split: 5 of 29 inputs took part"):
        measure.accuracy(small(), both)


def test_where_ids_cannot_be_had_the_result_says_so():
    batches = [tuple(OTHERS)]
    [card] = xp.scorecards({"cut": small()}, iter(batches), ACCURACY, repeats=1)
    assert "cut: not known whether these images took part in the choice" in str(card)
    assert "not known whether" in xp.compare([card])._repr_html_()
    chosen = prune.cut(network(), prune.plan(scores(split=iter([tuple(CHOSE)])), k=2))
    assert repr(chosen_on(chosen)) == "Choice(scores by taylor: not known)"
    [card] = xp.scorecards({"cut": chosen}, OTHERS, ACCURACY, repeats=1)
    assert "not known" in str(card)
    [card] = xp.scorecards({"whole": network()}, iter(batches), ACCURACY, repeats=1)
    assert "not known" not in str(card), "nothing was chosen"


def test_a_table_says_which_of_its_models_is_in_sample():
    cards = xp.scorecards({"whole": network(), "cut": small()}, CHOSE, ACCURACY, repeats=1, in_sample=True)
    table = xp.compare(cards)
    assert "cut: in sample" in str(table)
    assert "cut: in sample" in table._repr_html_()
    assert "whole: in sample" not in str(table)


def test_further_columns_are_guarded_by_their_own_images():
    columns = explain.drift_columns(network(), CHOSE.inputs, method="saliency", place=False)
    with pytest.raises(ValueError, match="images: 24 of 24"):
        xp.scorecards({"cut": small()}, OTHERS, ACCURACY, repeats=1, extra=columns)
    [card] = xp.scorecards({"cut": small()}, OTHERS, ACCURACY, repeats=1, extra=columns, in_sample=True)
    assert "cut: in sample" in str(card)


def test_a_metric_of_ones_own_is_guarded():
    right = measure.Metric("right", lambda model, split: 1.0)
    with pytest.raises(ValueError, match="took part"):
        right(small(), CHOSE)
    assert right(small(), CHOSE, in_sample=True) == 1.0
