"""Single weights: plans of them, torch's own masks, sensitivity, schedules, and what zeros are worth."""

from __future__ import annotations

import itertools

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn.utils import prune as torch_prune

from xaiprune import data, training, zoo
from xaiprune.data import Split
from xaiprune.measure import ACCURACY, Metric, accuracy
from xaiprune.prune import (
    KINDS,
    SCHEDULES,
    WHOLE,
    ParameterCount,
    Plan,
    Scores,
    allocate_ratios,
    break_even,
    cliffs,
    cut,
    cut_error,
    find_units,
    find_weights,
    gradient_flow,
    keep_zeros,
    load_cut,
    masked,
    plan,
    prune_and_tune,
    ratios,
    read_masks,
    save_cut,
    scan,
    score,
    sparse_latency,
    suits_magnitude,
    to_sparse,
    weight_profile,
    write_masks,
)
from xaiprune.prune.studies.weight_profile import NORMAL_HALF
from xaiprune.prune.units import weight_group
from xaiprune.training import classification_loss, fit


@pytest.fixture
def net() -> nn.Sequential:
    """A convolution and two dense layers, untrained."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 12), nn.ReLU(), nn.Linear(12, 10))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def lenet():
    """The shipped LeNet-300-100; tests must leave it as it is."""
    return zoo.load("lenet-300-100")


def weights_of(*values) -> Scores:
    """Scores of single weights: tensors a, b, c ... of the given values."""
    tensors = {chr(ord("a") + n): torch.tensor(v, dtype=torch.float64) for n, v in enumerate(values)}
    groups = tuple(weight_group(name, "Linear", tuple(v.shape)) for name, v in tensors.items())
    return Scores("test", groups, {name: v.flatten() for name, v in tensors.items()})


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_units_are_the_entries_of_weight_tensors(net):
    groups = find_weights(net)
    assert [(g.name, g.size, g.shape) for g in groups] == [
        ("0.weight", 100, (4, 1, 5, 5)),
        ("3.weight", 1728, (12, 144)),
        ("5.weight", 120, (10, 12)),
    ]
    assert all(group.kind is KINDS["weights"] for group in groups)
    assert str(groups[1]) == "3.weight: 1728 units, inside 3\n  3 (Linear) holds 1728 weights, one per unit"
    assert [g.name for g in find_weights(net, layers=["3"])] == ["3.weight"]


def test_attention_has_weights_and_embeddings_and_norms_do_not():
    model = nn.ModuleDict(
        {"attend": nn.MultiheadAttention(8, 2), "norm": nn.LayerNorm([3, 8]), "words": nn.Embedding(9, 8)}
    )
    assert [group.name for group in find_weights(model)] == ["attend.in_proj_weight", "attend.out_proj.weight"]


def test_what_cannot_be_found_is_said(net):
    with pytest.raises(ValueError, match="layers names '33', which has no prunable weight; did you mean '3'"):
        find_weights(net, layers=["33"])
    with pytest.raises(ValueError, match="the model has no prunable weight"):
        find_weights(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
        find_weights("net")


@settings(max_examples=60, deadline=None)
@given(ratio=st.floats(0, 0.99), seed=st.integers(0, 99), scope=st.sampled_from(["global", "uniform"]))
def test_exactly_the_asked_number_of_weights_goes_and_ties_go_by_index(ratio, seed, scope):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(3, 4), (5, 2), (2, 2)]
    scores = weights_of(*[torch.randint(0, 3, size, generator=generator).tolist() for size in sizes])
    wanted = int(ratio * 26 + 0.5)
    if wanted > 26 - 3:
        return
    chosen = plan(scores, ratio=ratio, scope=scope)
    assert len(chosen) == wanted
    for name, units in chosen.removed.items():
        gone, values = set(units.tolist()), scores[name].tolist()
        stays = set(range(len(values))) - gone
        assert max((values[n], n) for n in gone) < min((values[n], n) for n in stays)


def test_a_threshold_takes_what_is_below_it_and_leaves_the_best():
    scores = weights_of([[1.0, 2.0], [3.0, 4.0]], [[0.5, 0.6]])
    assert {n: u.tolist() for n, u in plan(scores, threshold=2.0).removed.items()} == {"a": [0], "b": [0]}
    assert {n: u.tolist() for n, u in plan(scores, threshold={"a": 3.5}).removed.items()} == {"a": [0, 1, 2]}
    with pytest.raises(ValueError, match=r"threshold removes nothing: the lowest score is 0\.5"):
        plan(scores, threshold=0.1)
    with pytest.raises(ValueError, match="threshold names group 'c', which does not exist; there are a, b"):
        plan(scores, threshold={"c": 1.0})
    with pytest.raises(ValueError, match="threshold must be a number, got nan"):
        plan(scores, threshold=float("nan"))


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 6)])
def test_n_of_m_keeps_the_best_n_of_every_m_inputs(n, m):
    generator = torch.Generator().manual_seed(0)
    dense, convolution = torch.rand(5, 12, generator=generator), torch.rand(3, 12, 2, 2, generator=generator)
    chosen = plan(weights_of(dense.tolist(), convolution.tolist()), pattern=(n, m))
    for name, tensor in (("a", dense), ("b", convolution)):
        stays = torch.ones(tensor.numel(), dtype=torch.bool)
        stays[torch.tensor(chosen.removed[name])] = False
        rows, kept = (t.view(tensor.shape).movedim(1, -1).reshape(-1, m) for t in (tensor, stays))
        assert (kept.sum(1) == n).all()
        assert (rows.masked_fill(~kept, 9).min(1).values >= rows.masked_fill(kept, -9).max(1).values).all()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ((4, 2), r"pattern must be two whole numbers \(n, m\) with 0 < n < m"),
        ((0, 4), "0 < n < m"),
        ((2, 4.0), "whole numbers"),
        ((2, 5), "pattern 2:5 does not fit 'a': 5 does not divide its 12 inputs"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        plan(weights_of(torch.rand(2, 12).tolist()), pattern=pattern)


def test_a_pattern_is_for_single_weights(net):
    channels = score(net, find_units(net, torch.rand(1, 1, 28, 28)), "l1")
    with pytest.raises(ValueError, match=r"pattern is for single weights; '0' holds channels"):
        plan(channels, pattern=(2, 4))
    with pytest.raises(ValueError, match="zeros in a tensor take no parameter away"):
        ParameterCount(net, find_weights(net))


def test_criteria_say_which_units_they_rank(net):
    with pytest.raises(ValueError, match="criterion 'activation' does not rank single weights"):
        score(net, find_weights(net), "activation", data.mnist("calibration", 4))
    with pytest.raises(ValueError, match="criterion 'obd' does not rank channels and neurons"):
        score(net, find_units(net, torch.rand(1, 1, 28, 28)), "obd", data.mnist("calibration", 4))


def test_mask_and_cut_of_weights_compute_the_same_and_leave_no_trace(net, digits):
    chosen = plan(score(net, find_weights(net), "l1"), ratio=0.6)
    before = state(net)
    assert cut_error(net, chosen, digits) == 0
    assert same(before, state(net))
    zeros = sum(int((p == 0).sum()) for p in cut(net, chosen).parameters())
    assert zeros == len(chosen)
    with pytest.raises(RuntimeError), masked(net, chosen):
        raise RuntimeError
    assert same(before, state(net))


def test_a_plan_of_weights_is_small_as_json_and_comes_back(lenet, tmp_path):
    chosen = plan(score(lenet, find_weights(lenet), "l1"), ratio=0.9)
    chosen.save(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").stat().st_size < 60_000  # a bit per weight, zipped
    assert Plan.load(tmp_path / "plan.json") == chosen
    save_cut(cut(lenet, chosen), chosen, tmp_path / "cut")
    assert same(state(load_cut(zoo.lenet_300_100, tmp_path / "cut")), state(cut(lenet, chosen)))
    with pytest.raises(ValueError, match="text is not a plan"):
        Plan.from_json(chosen.to_json().replace("eJ", "!!"))


def test_torchs_masks_are_read_as_a_plan_and_a_plan_is_written_as_them(net):
    plain = state(net)
    torch_prune.l1_unstructured(net[3], "weight", amount=0.5)
    torch_prune.random_unstructured(net[5], "weight", amount=20)
    chosen = read_masks(net)
    assert chosen.kept == {"3.weight": 864, "5.weight": 100}
    with pytest.raises(ValueError, match=r"'3' is pruned by torch\.nn\.utils\.prune"):
        find_weights(net)
    for layer in (net[3], net[5]):
        torch_prune.remove(layer, "weight")
    pruned = state(net)
    net.load_state_dict(plain)
    assert same(state(cut(net, chosen)), pruned)
    ours = plan(score(net, find_weights(net, ["3"]), "l1"), ratio=0.5)
    assert set(ours.removed["3.weight"]) == set(chosen.removed["3.weight"])
    assert write_masks(net, chosen) is net
    assert torch_prune.is_pruned(net)
    assert read_masks(net) == chosen


def test_masks_that_make_no_sense_are_refused_and_nothing_changes(net):
    with pytest.raises(ValueError, match="model has no masks"):
        read_masks(net)
    channels = plan(score(net, find_units(net, torch.rand(1, 1, 28, 28)), "l1"), k=2)
    with pytest.raises(ValueError, match="plan removes channels and neurons"):
        write_masks(net, channels)
    other = nn.Sequential(nn.Linear(3, 3), *net[1:3], nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"the plan does not fit the model: 0\.weight should have shape"):
        write_masks(other, plan(score(net, find_weights(net), "l1"), ratio=0.5))
    assert not torch_prune.is_pruned(other)


def test_the_scan_measures_each_layer_alone_and_all_together(net):
    split = data.mnist("validation", 60)
    scores = score(net, find_weights(net), "l1")
    rows = scan(net, scores, split, ratios=[0.5, 0.9], progress=False)
    assert [row["group"] for row in rows[::3]] == ["0.weight", "3.weight", "5.weight", WHOLE]
    for row in rows:
        chosen = plan(scores if row["group"] == WHOLE else scores.only(row["group"]), ratio=row["ratio"])
        assert row["value"] == accuracy(cut(net, chosen), split)
        assert row["lost"] == pytest.approx(accuracy(net, split) - row["value"])
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert scan(net, scores, split, ratios=[0.5, 0.9], progress=False) == rows


def test_an_interrupted_scan_keeps_what_is_finished(net, tmp_path):
    split, calls = data.mnist("validation", 60), []
    scores = score(net, find_weights(net), "l1")

    def stopping(model, split):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return accuracy(model, split)

    table = tmp_path / "scan.json"
    arguments = {"ratios": [0.5, 0.9], "table": table, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        scan(net, scores, split, metric=Metric("accuracy [%]", stopping), **arguments)
    rows = scan(net, scores, split, metric=Metric("accuracy [%]", stopping), **arguments)
    assert len(calls) == 5 + 1 + 8 - 3  # once more the unpruned model, and what was not finished
    assert rows == scan(net, scores, split, ratios=[0.5, 0.9], progress=False)
    with pytest.raises(ValueError, match="belongs to another model, other data or another ranking"):
        scan(net, scores.reversed(), split, **arguments)


def test_scans_that_make_no_sense_are_refused(net):
    split, scores = data.mnist("validation", 4), score(net, find_weights(net), "l1")
    with pytest.raises(ValueError, match=r"ratios must lie in \(0, 1\), got 40"):
        scan(net, scores, split, ratios=[40])
    with pytest.raises(ValueError, match=r"ratios must lie in \(0, 1\), got none"):
        scan(net, scores, split, ratios=[])
    with pytest.raises(ValueError, match="split is empty"):
        scan(net, scores, Split(split.inputs[:0], split.targets[:0]))


def rows_of(**curves) -> list[dict]:
    """Rows of a scan from lists of losses at ratios 0, 0.25, 0.5, 0.75."""
    return [
        {"group": name, "ratio": n / 4, "units": 100, "value": -lost, "lost": lost}
        for name, losses in curves.items()
        for n, lost in enumerate(losses)
    ]


def test_a_cliff_is_where_the_next_step_loses_too_much():
    rows = rows_of(steep=[0, 5, 6, 7], late=[0, 0, 1, 9], flat=[0, 1, 2, 3])
    assert cliffs(rows) == {"steep": 0.0, "late": 0.5, "flat": None}
    assert cliffs(rows, points=0.5)["flat"] == 0.0
    with pytest.raises(ValueError, match="points must be positive"):
        cliffs(rows, points=0)


def test_an_allocation_takes_from_the_flat_layer_and_meets_the_ratio():
    scores = weights_of(torch.rand(10, 10).tolist(), torch.rand(10, 10).tolist())
    rows = rows_of(a=[0, 0, 0, 0.1], b=[0, 10, 20, 30])
    assert allocate_ratios(scores, rows, 0.3).kept == {"a": 40, "b": 100}
    for ratio in (0.1, 0.5, 0.9, 0.98):
        chosen = allocate_ratios(scores, rows, ratio)
        assert len(chosen) == round(200 * ratio)
        assert min(chosen.kept.values()) >= 1
    with pytest.raises(ValueError, match="rows hold no scan of group 'b'"):
        allocate_ratios(scores, rows_of(a=[0, 0, 0, 0]), 0.3)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(SCHEDULES)), final=st.floats(0.01, 0.99), steps=st.integers(1, 30))
def test_schedules_start_at_nothing_end_at_the_goal_and_never_fall(name, final, steps):
    rising = ratios(name, final, steps)
    assert SCHEDULES[name](0.0, final) == 0
    assert rising[-1] == pytest.approx(final)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(rising))
    assert 0 < rising[0] <= final + 1e-12


def test_the_schedules_are_the_published_ones():
    assert ratios("gradual", 0.8, 2) == pytest.approx([0.8 - 0.8 / 8, 0.8])
    left = [1 - ratio for ratio in ratios("iterative", 0.875, 3)]
    assert left == pytest.approx([0.5, 0.25, 0.125])
    assert ratios("one-shot", 0.9, 3) == [0.9] * 3
    for arguments, message in (
        (("cubic", 0.5, 2), "schedule must be one of"),
        (("gradual", 95, 2), "did you mean 0.95"),
        (("gradual", 0.5, 0), "steps must be"),
    ):
        with pytest.raises(ValueError, match=message):
            ratios(*arguments)


def test_held_weights_stay_zero_through_training(net):
    train = data.mnist("train", 256)
    chosen = plan(score(net, find_weights(net), "l1"), ratio=0.8)
    before = state(net)
    with keep_zeros(net, chosen):
        fit(net, train, classification_loss, epochs=2, lr=1e-2, batch_size=64, progress=False)
    for name, gone in chosen.removed.items():
        assert (net.state_dict()[name].flatten()[torch.tensor(gone)] == 0).all()
        stays = np.setdiff1d(np.arange(before[name].numel()), gone)
        assert (net.state_dict()[name].flatten()[stays] != before[name].flatten()[stays]).any()
    assert not any(p._backward_hooks for p in net.parameters())
    channels = plan(score(net, find_units(net, torch.rand(1, 1, 28, 28)), "l1"), k=2)
    with pytest.raises(ValueError, match="cut the model and train the smaller one"), keep_zeros(net, channels):
        pass


def tuned(net, **options):
    train, validation = data.mnist("train", 640), data.mnist("validation", 200)
    return prune_and_tune(net, train, validation, progress=False, **({"ratio": 0.8, "steps": 3, "lr": 5e-3} | options))


def test_pruning_and_tuning_reaches_its_ratio_and_what_goes_stays_gone(net):
    result = tuned(net)
    assert [row["ratio"] for row in result.rows] == pytest.approx(ratios("gradual", 0.8, 3), abs=1e-3)
    assert sum(int((net.state_dict()[n] == 0).sum()) for n in ("0.weight", "3.weight", "5.weight")) >= len(result.plan)
    assert len(result.plan) == round(0.8 * 1948)
    assert result.rows[-1]["after"] == accuracy(net, data.mnist("validation", 200))
    assert not result.stopped


def test_it_stops_where_the_metric_no_longer_recovers_and_goes_back(net):
    fit(net, data.mnist("train", 2560), classification_loss, epochs=3, lr=5e-3, progress=False)
    result = tuned(net, ratio=0.995, steps=6, tolerance=3.0)
    assert result.stopped
    assert [row["recovered"] for row in result.rows] == [True] * (len(result.rows) - 1) + [False]
    assert len(result.plan) == pytest.approx(result.rows[-2]["ratio"] * 1948)
    assert accuracy(net, data.mnist("validation", 200), in_sample=True) == result.rows[-2]["after"]


def test_an_interrupted_run_resumes_to_the_same_end(net, tmp_path, monkeypatch):
    import copy

    from xaiprune.prune.loops import schedules

    whole = copy.deepcopy(net)
    expected = tuned(whole)
    real, calls = training.fit, []

    def stopping(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(schedules, "fit", stopping)
    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        tuned(net, resume=file)
    with pytest.raises(ValueError, match="written by a call with another ratio"):
        tuned(net, resume=file, ratio=0.5)
    result = tuned(net, resume=file)
    assert result.rows == expected.rows
    assert result.plan == expected.plan
    assert same(state(net), state(whole))
    assert not file.exists()


def test_the_profile_knows_normal_uniform_and_heavy_tails():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 300), nn.Linear(300, 300))
    with torch.no_grad():
        model[0].weight.normal_()
        model[1].weight.uniform_(-1, 1)
        model[2].weight.normal_().pow_(3)
    normal, uniform, heavy, whole = weight_profile(model)
    assert normal["kurtosis"] == pytest.approx(0, abs=0.1)
    assert uniform["kurtosis"] == pytest.approx(-1.2, abs=0.02)
    assert heavy["kurtosis"] > 10
    assert normal["half_energy"] == pytest.approx(0.0716, abs=0.002)
    assert uniform["half_energy"] == pytest.approx(0.125, abs=0.002)
    assert normal["near_zero"] == pytest.approx(0.0797, abs=0.003)
    assert whole["weights"] == 270_000
    assert suits_magnitude([heavy])[0]
    assert not suits_magnitude([uniform])[0]


def test_the_profile_counts_dead_units(net, digits):
    before = weight_profile(net, Split(digits, torch.zeros(16)))[1]["dead"]
    with torch.no_grad():
        net[3].bias[:] = -100
        net[3].bias[:2] = 100
    rows = weight_profile(net, Split(digits, torch.zeros(16)))
    assert rows[1]["dead"] == 10 > before
    assert rows[1]["units"] == 12
    assert rows[2]["dead"] is None
    dead, reason = suits_magnitude(rows)
    assert dead
    assert "units are dead" in reason


def test_the_smaller_half_of_a_normal_distribution_holds_what_the_constant_says():
    middle = stats.norm.ppf(0.75)
    assert pytest.approx(0.5 - 2 * middle * stats.norm.pdf(middle), abs=5e-5) == NORMAL_HALF


def test_gradient_flow_is_the_pull_per_entry(net):
    split = data.mnist("calibration", 32)
    rows = gradient_flow(net, split)
    classification_loss(net, *split).backward()
    assert [row["layer"] for row in rows] == ["0", "3", "5"]
    assert rows[1]["weight"] == pytest.approx(net[3].weight.grad.square().mean().sqrt().item(), rel=1e-5)
    assert rows[2]["bias"] == pytest.approx(net[5].bias.grad.square().mean().sqrt().item(), rel=1e-5)
    with pytest.raises(ValueError, match="not finite"):
        gradient_flow(net, split, lambda model, images, labels: model(images).sum() * float("inf"))


def test_a_sparse_model_computes_the_same(lenet, digits):
    pruned = cut(lenet, plan(score(lenet, find_weights(lenet), "l1"), ratio=0.9))
    with torch.no_grad():
        assert torch.allclose(to_sparse(pruned)(digits), pruned(digits), atol=1e-5)
    with pytest.raises(ValueError, match="torch has no sparse convolution"):
        to_sparse(nn.Sequential(nn.Conv2d(1, 1, 3)))


def test_the_break_even_lies_where_the_times_cross():
    rows = [{"sparsity": s, "dense": 1.0, "csr": t} for s, t in ((0.5, 4.0), (0.8, 2.0), (0.9, 0.5), (0.99, 0.1))]
    assert break_even(rows) == pytest.approx(0.85)
    assert break_even(rows[:2]) is None
    assert break_even(rows[2:]) == 0.9
    [row] = sparse_latency(20, 30, 4, sparsities=[0.9], repeats=2)
    assert row["dense"] > 0
    assert row["csr"] > 0
    with pytest.raises(ValueError, match="sparsities must lie"):
        sparse_latency(sparsities=[90])


def test_the_shipped_classifiers_reach_what_their_cards_say():
    for name, least in (("lenet-300-100", 98.2), ("lenet-5", 99.0)):
        card = zoo.card(name)
        assert card["test"] >= least
        assert ACCURACY(zoo.load(name), data.mnist("test")) == pytest.approx(card["test"], abs=0.02)
