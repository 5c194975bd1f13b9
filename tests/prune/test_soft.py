"""Soft coefficients: the constraint is exact, the searches are held to brute force, bad input is refused."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xaiprune.data import Split
from xaiprune.measure import ACCURACY, PSNR, Metric, psnr
from xaiprune.prune import ParameterCount, cut, cut_error, find_units, plan, score, soft
from xaiprune.training import classification_loss, fit, reconstruction_loss


@pytest.fixture
def problem(tiny, digits):
    """A problem of the tiny autoencoder at half its parameters."""
    split = Split(digits, torch.zeros(16, dtype=torch.long))
    scores = score(tiny, find_units(tiny, digits[:1]), "fisher", split, loss=reconstruction_loss)
    return soft.SoftProblem(tiny, scores, digits, target_sparsity=0.5, epsilon=0.03)


@pytest.fixture(scope="module")
def real(autoencoder, autoencoder_scores):
    """A function that makes problems of the shipped autoencoder."""
    from xaiprune import data

    images = data.mnist("validation", 64).inputs
    return lambda rho, epsilon=0.01: soft.SoftProblem(autoencoder, autoencoder_scores, images, rho, epsilon)


@settings(max_examples=80, deadline=None)
@given(shares=st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_sparsity_counted_is_sparsity_measured(autoencoder, autoencoder_scores, shares):
    count = ParameterCount(autoencoder, autoencoder_scores.groups)
    removed = np.floor(np.array(shares) * (count.sizes - 1)).astype(int)
    names = [group.name for group in autoencoder_scores.groups]
    chosen = plan(autoencoder_scores, coefficients=dict(zip(names, removed / count.sizes)))
    left = sum(parameter.numel() for parameter in cut(autoencoder, chosen).parameters())
    assert round(float(count.left(removed.astype(float)))) == left


def test_sparsity_of_many_plans_at_once_is_that_of_each(problem):
    counts = np.random.default_rng(0).integers(0, problem.sizes, (50, 7))
    assert np.allclose(problem.sparsity(counts), [problem.sparsity(row) for row in counts])


def test_combinations_are_all_that_meet_the_constraint(problem):
    levels = [0, 0.5, 1]
    expected = set()
    for alphas in itertools.product(levels, repeat=7):
        counts = problem.counts(alphas)
        if abs(problem.sparsity(counts) - problem.target_sparsity) <= problem.epsilon:
            expected.add(tuple(counts.tolist()))
    assert set(map(tuple, soft.combinations(problem, levels).tolist())) == expected


def test_the_grid_finds_the_best_of_all_combinations(problem, tiny, digits):
    result = soft.grid_search(problem, 3, progress=False)
    counts = soft.combinations(problem, 3)
    values = [psnr(cut(tiny, problem.plan(row)), Split(digits, None), in_sample=True) for row in counts]
    assert result.value == pytest.approx(max(values))
    assert result.evaluations == len(counts)
    assert result.plan == problem.plan(counts[int(np.argmax(values))])


def test_an_interrupted_grid_loses_nothing(problem, tmp_path, monkeypatch):
    table = tmp_path / "grid.json"
    calls = []
    measure = soft.SoftProblem.value_of_plan

    def interrupted(self, chosen):
        calls.append(chosen)
        if len(calls) == 21:
            raise KeyboardInterrupt
        return measure(self, chosen)

    monkeypatch.setattr(soft.SoftProblem, "value_of_plan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        soft.grid_search(problem, 3, table=table, progress=False, chunk=5)
    assert table.exists()
    monkeypatch.setattr(soft.SoftProblem, "value_of_plan", measure)
    fresh = soft.SoftProblem(
        problem.model, problem.scores, problem.data.inputs, problem.target_sparsity, problem.epsilon
    )
    counted = []
    monkeypatch.setattr(
        soft.SoftProblem, "value_of_plan", lambda self, chosen: (counted.append(chosen), measure(self, chosen))[1]
    )
    resumed = soft.grid_search(fresh, 3, table=table, progress=False)
    total = len(soft.combinations(problem, 3))
    assert len(counted) <= total - 15 + 1  # three whole chunks were kept; one more identifies the table
    clean = soft.SoftProblem(
        problem.model, problem.scores, problem.data.inputs, problem.target_sparsity, problem.epsilon
    )
    whole = soft.grid_search(clean, 3, progress=False)
    assert (resumed.value, resumed.plan, resumed.evaluations) == (whole.value, whole.plan, whole.evaluations)


def test_a_table_of_another_problem_is_refused(problem, tiny, digits, tmp_path):
    table = tmp_path / "grid.json"
    soft.grid_search(problem, 2, table=table, progress=False)
    other = soft.SoftProblem(tiny, problem.scores, digits[:8], problem.target_sparsity, problem.epsilon)
    with pytest.raises(ValueError, match="belongs to another model, other data or another ranking"):
        soft.grid_search(other, 2, table=table, progress=False)


def test_a_grid_without_any_combination_says_so(problem):
    with pytest.raises(ValueError, match="take more levels"):
        soft.grid_search(problem, [0, 0.01], progress=False)


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.85])
def test_descend_and_relax_meet_the_constraint_and_beat_uniform(real, rho):
    results = [soft.descend(real(rho)), soft.relax(real(rho))]
    floor = soft.uniform(real(rho)).value
    for result in results:
        assert abs(result.sparsity - rho) <= 0.01
        assert result.value > floor + 1
        assert 0 <= min(result.coefficients.values()) <= max(result.coefficients.values()) < 1


def test_a_result_can_be_checked_from_its_plan(real, autoencoder):
    problem = real(0.7)
    result = soft.relax(problem, steps=10)
    smaller = cut(autoencoder, result.plan)
    assert psnr(smaller, Split(problem.data.inputs, None), in_sample=True) == pytest.approx(result.value, abs=1e-6)
    total = sum(p.numel() for p in autoencoder.parameters())
    assert result.sparsity == pytest.approx(1 - sum(p.numel() for p in smaller.parameters()) / total)
    assert result.evaluations == 10 * 3 + 1
    assert cut_error(autoencoder, result.plan, problem.data.inputs) <= 1e-5
    assert str(result).startswith(f"relax: {result.value:.2f} dB at S = ")


def test_descend_counts_every_forward_pass(real, monkeypatch):
    problem, calls = real(0.7), []
    measure = soft.SoftProblem.value_of_plan
    monkeypatch.setattr(
        soft.SoftProblem, "value_of_plan", lambda self, chosen: (calls.append(chosen), measure(self, chosen))[1]
    )
    result = soft.descend(problem)
    assert result.evaluations == len(calls) == problem.evaluations
    assert [row["value"] for row in result.history] == sorted(row["value"] for row in result.history)
    assert all(row["price"] != row["price"] or row["price"] > 0 for row in result.history)  # NaN in the first row


def test_a_step_below_half_a_unit_gives_a_zero_gradient(real):
    problem = real(0.7)
    middle = soft.onto_surface(problem, np.zeros(7))
    on_a_unit = problem.counts(middle) / problem.sizes
    assert not soft.finite_differences(problem, on_a_unit, 0.001).any()
    assert soft.finite_differences(problem, on_a_unit, 0.08).all()


def test_the_gradient_of_the_relaxation_is_that_of_its_differences(problem):
    problem.model.double()
    images = problem.data.inputs.double()
    alphas = torch.full((7,), 0.4, dtype=torch.float64)

    def value(a):
        return (soft.gated(problem, soft.gates(problem, a, 0.1))(images) - images).square().mean()

    assert torch.autograd.gradcheck(value, alphas.requires_grad_(), eps=1e-6, atol=1e-9, rtol=1e-4)


def test_narrow_gates_are_the_hard_plan(real):
    problem = real(0.7)
    coefficients = problem.counts([0.5] * 7) / problem.sizes
    wide = problem.sizes.max()
    hard = []
    for name, size, alpha in zip(problem.names, problem.sizes, coefficients):
        gate = torch.ones(int(size))
        gate[problem.scores.order(name)[: round(alpha * size)]] = 0
        hard.append(gate)
    with torch.no_grad():
        rebuilt = soft.gated(problem, hard)(problem.data.inputs)
        expected = cut(problem.model, problem.plan(problem.counts(coefficients)))(problem.data.inputs)
    assert torch.allclose(rebuilt, expected, atol=1e-5)
    soft_gates = soft.gates(problem, torch.tensor(coefficients), 1e-9)
    assert all(((gate > 0.5) == (target > 0.5)).all() for gate, target in zip(soft_gates, hard))
    assert len(soft_gates[2]) == wide


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7, 0.85, 0.95])
def test_the_surface_and_its_hard_plans_have_the_wanted_sparsity(real, rho):
    problem = real(rho)
    for seed in range(5):
        start = np.random.default_rng(seed).random(7)
        there = soft.onto_surface(problem, start)
        assert problem.sparsity(there * problem.sizes) == pytest.approx(problem.target, abs=1e-6)
        assert problem.meets(soft.harden(problem, there))


def test_every_baseline_meets_the_constraint(real, autoencoder):
    problem = real(0.5)
    ranking = score(autoencoder, list(problem.groups), "l2")
    results = [soft.uniform(problem), soft.by_norm(problem), soft.at_random(problem, 3)]
    results += [soft.all_or_nothing(problem), soft.global_ranking(problem, ranking)]
    assert all(abs(result.sparsity - 0.5) <= 0.01 for result in results)
    assert soft.all_or_nothing(real(0.7)) is None


@pytest.mark.parametrize(("rho", "seed"), [(0.85, 93), (0.85, 533), (0.7, 290), (0.5, 872), (0.5, 875), (0.9, 120)])
def test_a_draw_that_rounds_to_beside_the_band_takes_one_unit_more(real, rho, seed):
    assert abs(soft.at_random(real(rho), seed).sparsity - rho) <= 0.01


def test_group_losses_are_what_one_group_costs(problem, tiny, digits):
    rows = soft.group_losses(problem, levels=(0.5, 1.0))
    assert len(rows) == 14
    full = psnr(tiny, Split(digits, None))
    row = next(row for row in rows if row["group"] == "latent" and row["alpha"] == 0.5)
    smaller = cut(tiny, plan(problem.scores, coefficients={"latent": 0.5}))
    assert row["loss"] == pytest.approx(full - psnr(smaller, Split(digits, None), in_sample=True))
    total, left = (sum(p.numel() for p in model.parameters()) for model in (tiny, smaller))
    assert row["parameters"] == total - left


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": torch.rand(4, 1, 28, 28) * 255}, ValueError, "divide them by 255"),
        ({"data": torch.zeros(0, 1, 28, 28)}, ValueError, "data is empty"),
        ({"data": torch.rand(4, 3, 28, 28)}, ValueError, "do not run through the model"),
        ({"data": torch.rand(4, 1, 30, 30)}, ValueError, "do not run through the model"),
        ({"target_sparsity": 70}, ValueError, r"target_sparsity must be in \(0, 1\), got 70; did you mean 0.7"),
        ({"target_sparsity": 0}, ValueError, r"target_sparsity must be in \(0, 1\)"),
        ({"target_sparsity": 0.999}, ValueError, r"cannot be reached.*the nearest reachable is 0\.9\d"),
        ({"epsilon": 0}, ValueError, "epsilon must be positive"),
    ],
)
def test_bad_problems_are_refused(problem, change, error, message):
    arguments = {"data": problem.data.inputs, "target_sparsity": 0.5, "epsilon": 0.01} | change
    with pytest.raises(error, match=message):
        soft.SoftProblem(problem.model, problem.scores, **arguments)


def test_a_classifier_is_no_autoencoder():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.Linear(8, 2)).eval()
    scores = score(model, find_units(model, torch.rand(1, 1, 4, 4)), "l2")
    with pytest.raises(ValueError, match="the model must reproduce its input"):
        soft.SoftProblem(model, scores, torch.rand(2, 1, 4, 4), 0.5)


def test_a_model_in_training_mode_is_refused(problem):
    model = copy.deepcopy(problem.model).train()
    with pytest.raises(ValueError, match="training mode"):
        soft.SoftProblem(model, problem.scores, problem.data.inputs, 0.5)


def test_an_epsilon_finer_than_units_names_the_nearest_sparsity(problem):
    narrow = soft.SoftProblem(problem.model, problem.scores, problem.data.inputs, 0.5, epsilon=1e-7)
    with pytest.raises(ValueError, match=r"the method ended at S = 0\.\d{4}, outside"):
        soft.uniform(narrow)


def test_coefficients_outside_their_range_are_refused(problem):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        problem.counts([1.5] + [0] * 6)
    with pytest.raises(ValueError, match="did you mean 'encoder"):
        problem.counts({"encoder": 0.5})
    for search in (soft.descend, soft.relax):
        with pytest.raises(ValueError, match="start must be coefficients or 'uniform'"):
            search(problem, start="unifrom")
        with pytest.raises(ValueError, match=r"did you mean 0\.4"):
            search(problem, start=[40] + [0] * 6)
        with pytest.raises(ValueError, match="coefficients must be 7, one for each group, got 1"):
            search(problem, start=[0.5])
        with pytest.raises(ValueError, match="did you mean 'latent"):
            search(problem, start={"lat": 0.5})
    assert problem.evaluations == 0


def test_scores_of_another_architecture_are_refused(problem, autoencoder):
    with pytest.raises(
        ValueError, match=r"the groups do not fit the model: encoder\.conv1\.weight should have 4 entries"
    ):
        soft.SoftProblem(autoencoder, problem.scores, problem.data.inputs, 0.5)


def test_a_table_of_another_ranking_or_of_nonsense_is_refused(problem, tmp_path):
    table = tmp_path / "grid.json"
    soft.grid_search(problem, 2, table=table, progress=False)
    turned = soft.SoftProblem(
        problem.model, problem.scores.reversed(), problem.data.inputs, problem.target_sparsity, problem.epsilon
    )
    with pytest.raises(ValueError, match="another ranking"):
        soft.grid_search(turned, 2, table=table, progress=False)
    table.write_text("[1, 2")
    with pytest.raises(ValueError, match=r"grid\.json is no table of a sweep"):
        soft.grid_search(problem, 2, table=table, progress=False)


def test_another_grid_in_the_same_table_keeps_what_was_there(problem, tmp_path):
    table = tmp_path / "grid.json"
    soft.grid_search(problem, 3, table=table, progress=False)
    before = {tuple(key) for key, _ in json.loads(table.read_text())["rows"]}
    fresh = soft.SoftProblem(
        problem.model, problem.scores, problem.data.inputs, problem.target_sparsity, problem.epsilon
    )
    soft.grid_search(fresh, 2, table=table, progress=False)
    assert before <= {tuple(key) for key, _ in json.loads(table.read_text())["rows"]}


@pytest.fixture(scope="module")
def lines():
    """A classifier of points and its problem: which side of a line."""
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    split = Split(x, (x[:, 0] + x[:, 1] > 0).long())
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 24), torch.nn.ReLU(), torch.nn.Linear(24, 24), torch.nn.ReLU(), torch.nn.Linear(24, 2)
    )
    fit(model, split, classification_loss, epochs=30, lr=1e-2, batch_size=50, progress=False)
    scores = score(model.eval(), find_units(model, x[:1]), "l2")
    return lambda **options: soft.SoftProblem(model, scores, split, 0.5, 0.05, **({"metric": ACCURACY} | options))


SEARCHES = {
    "grid": lambda p: soft.grid_search(p, 5, progress=False),
    "descend": soft.descend,
    "relax": lambda p: soft.relax(p, steps=20),
    "uniform": soft.uniform,
    "norms": soft.by_norm,
    "random": lambda p: soft.at_random(p, 0),
    "ranking": lambda p: soft.global_ranking(p, p.scores),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_every_search_takes_a_classifier_and_its_accuracy(lines, search):
    problem = lines()
    assert problem.intact > 95
    result = search(problem)
    assert result.value == ACCURACY(cut(problem.model, result.plan), problem.data, in_sample=True)
    assert f"{result.value:.2f} % at S = " in str(result)
    assert abs(result.sparsity - 0.5) <= 0.05


def test_where_less_is_better_the_searches_find_the_least(lines):
    wrong = Metric("errors [%]", lambda m, s: 100 - ACCURACY(m, s), -1, smooth=lambda m, s: -ACCURACY.smooth(m, s))
    for name in ("grid", "descend", "relax"):
        more, less = SEARCHES[name](lines()), SEARCHES[name](lines(metric=wrong))
        assert less.value == pytest.approx(100 - more.value)
        assert less.plan == more.plan


def test_a_metric_without_a_smooth_form_is_searched_but_not_relaxed(lines):
    rough = Metric("accuracy [%]", ACCURACY.function)
    assert soft.descend(lines(metric=rough)).value == soft.descend(lines()).value
    with pytest.raises(ValueError, match=r"has no smooth form.*smooth=function.*descend or grid_search"):
        soft.relax(lines(metric=rough))


def test_the_smooth_form_of_psnr_is_psnr_itself(tiny, digits):
    split = Split(digits, None)
    assert PSNR.smooth(tiny, split).item() == pytest.approx(psnr(tiny, split), rel=1e-6)
