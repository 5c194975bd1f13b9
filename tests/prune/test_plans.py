"""Plans: exact numbers, ties by index, nothing emptied, errors that name the nearest feasible k."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xaiprune.prune import Plan, Scores, UnitGroup, counts_from, find_units, lowest, plan, score


def scores_of(*values) -> Scores:
    """Scores without a model: groups a, b, c ... of the given values."""
    names = [chr(ord("a") + n) for n in range(len(values))]
    groups = tuple(UnitGroup(name, len(v), (), "channels") for name, v in zip(names, values))
    return Scores("test", groups, {n: torch.tensor(v, dtype=torch.float64) for n, v in zip(names, values)})


def removed(chosen) -> dict[str, list[int]]:
    """What goes, as plain lists."""
    return {name: units.tolist() for name, units in chosen.removed.items()}


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(sizes=sizes, seed=st.integers(0, 999), scope=st.sampled_from(["global", "uniform"]), data=st.data())
def test_exactly_k_units_go_and_no_group_is_emptied(sizes, seed, scope, data):
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randint(0, 3, (size,), generator=generator).tolist() for size in sizes]  # many ties
    most = sum(sizes) - len(sizes)
    k = data.draw(st.integers(0, most))
    chosen = plan(scores_of(*values), k=k, scope=scope)
    assert len(chosen) == k
    assert min(chosen.kept.values()) >= 1


@settings(max_examples=150, deadline=None)
@given(
    sizes=sizes, min_units=st.integers(1, 3), round_to=st.integers(1, 4), k=st.integers(0, 30), seed=st.integers(0, 999)
)
def test_floors_and_multiples_are_met_or_the_nearest_feasible_k_is_named(sizes, min_units, round_to, k, seed):
    """Feasible numbers by brute force over what may stay in each group."""
    options = [{s} | {n for n in range(1, s) if n >= min_units and n % round_to == 0} for s in sizes]
    feasible = {sum(sizes) - sum(stay) for stay in itertools.product(*options)}
    generator = torch.Generator().manual_seed(seed)
    scores = scores_of(*[torch.rand(size, generator=generator).tolist() for size in sizes])
    if round_to > min(sizes):
        with pytest.raises(ValueError, match=rf"round_to = {round_to} is larger than group '\w' of \d units"):
            plan(scores, k=k, min_units=min_units, round_to=round_to)
    elif k in feasible:
        chosen = plan(scores, k=k, min_units=min_units, round_to=round_to)
        assert len(chosen) == k
        assert all(n in option for n, option in zip(chosen.kept.values(), options))
    else:
        nearest = min(feasible, key=lambda n: (abs(n - k), n))
        with pytest.raises(ValueError, match=f"the nearest feasible k is {nearest}"):
            plan(scores, k=k, min_units=min_units, round_to=round_to)


def test_a_global_plan_takes_the_lowest_scores_first():
    chosen = plan(scores_of([5.0, 1.0, 4.0], [2.0, 3.0, 9.0]), k=3)
    assert removed(chosen) == {"a": [1], "b": [0, 1]}


def test_ties_are_broken_by_index():
    assert removed(plan(scores_of([1.0] * 4, [1.0] * 4), k=3)) == {"a": [0, 1, 2]}
    assert removed(plan(scores_of([1.0] * 4, [1.0] * 4), k=4)) == {"a": [0, 1, 2], "b": [0]}


def test_a_uniform_plan_takes_the_same_share():
    assert plan(scores_of([1.0] * 10, [9.0] * 20), ratio=0.5, scope="uniform").kept == {"a": 5, "b": 10}


def test_coefficients_take_the_rounded_share_and_leave_one():
    scores = scores_of([3.0, 1.0, 2.0, 4.0], [1.0, 2.0])
    assert removed(plan(scores, coefficients={"a": 0.5, "b": 1})) == {"a": [1, 2], "b": [0]}
    assert counts_from(scores.groups, {"a": 0.12}) == {"a": 0, "b": 0}
    assert counts_from(scores.groups, {"a": 0.125}) == {"a": 1, "b": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 40}, r"ratio must be in \[0, 1\), got 40; did you mean 0.4"),
        ({"ratio": 1}, r"ratio must be in \[0, 1\)"),
        ({"ratio": -0.1}, r"ratio must be in \[0, 1\)"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"k": -1}, "k must be a whole number"),
        ({"k": 99}, "nearest feasible k is 4"),
        ({}, "give exactly one of"),
        ({"k": 1, "ratio": 0.1}, "give exactly one of"),
        ({"k": 1, "scope": "layer"}, "scope must be one of global, uniform, got 'layer'"),
        ({"k": 1, "min_units": 0}, "min_units must be a whole number of at least 1, got 0"),
        ({"k": 1, "round_to": 1.5}, "round_to must be a whole number"),
        ({"coefficients": {"a": 1.2}}, r"coefficients must lie in \[0, 1\], got 1.2 for group 'a'"),
        ({"coefficients": {"a": 40}}, "did you mean 0.4"),
        ({"coefficients": {"a": float("nan")}}, r"must lie in \[0, 1\], got nan"),
        ({"coefficients": {"z": 0.2}}, "names group .z., which does not exist; there are a, b"),
    ],
)
def test_unclear_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(scores_of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), **arguments)


@pytest.mark.parametrize(
    ("given", "rest"),
    [("convv1", r"; did you mean 'conv1'\?$"), ("zzz", r"; there are conv1, fc2\.$")],
)
def test_an_unknown_group_is_answered_with_the_nearest_name_or_with_all(given, rest):
    groups = tuple(UnitGroup(name, 3, (), "channels") for name in ("conv1", "fc2"))
    scores = Scores("test", groups, {group.name: torch.rand(3).double() for group in groups})
    for request in ({"coefficients": {given: 0.5}}, {"threshold": {given: 0.5}}):
        with pytest.raises(ValueError, match=f"names group '{given}', which does not exist{rest}"):
            plan(scores, **request)
    with pytest.raises(ValueError, match=f"counts names group '{given}', which does not exist{rest}"):
        lowest(scores, {given: 1})


def test_where_there_is_no_group_that_is_said():
    with pytest.raises(ValueError, match="counts names group 'a', which does not exist; there is none"):
        lowest(Scores("test", (), {}), {"a": 1})
    with pytest.raises(ValueError, match="names must be among a, got none"):
        scores_of([1.0, 2.0]).only()


@settings(max_examples=100, deadline=None)
@given(
    sizes=sizes,
    min_units=st.integers(1, 3),
    round_to=st.integers(1, 4),
    ratio=st.floats(0, 0.99),
    seed=st.integers(0, 9),
)
def test_a_ratio_is_met_by_the_nearest_number_that_can_go(sizes, min_units, round_to, ratio, seed):
    """Feasible numbers by brute force over what may stay in each group."""
    options = [{s} | {n for n in range(1, s) if n >= min_units and n % round_to == 0} for s in sizes]
    feasible = {sum(sizes) - sum(stay) for stay in itertools.product(*options)}
    generator = torch.Generator().manual_seed(seed)
    scores = scores_of(*[torch.rand(size, generator=generator).tolist() for size in sizes])
    if round_to > min(sizes):
        return
    asked = int(ratio * sum(sizes) + 0.5)
    nearest = min(feasible, key=lambda n: (abs(n - asked), n))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        chosen = plan(scores, ratio=ratio, min_units=min_units, round_to=round_to)
    assert len(chosen) == nearest
    assert bool(told) == (nearest != asked or (nearest == 0 and ratio > 0))


def test_a_ratio_that_cannot_be_met_or_removes_nothing_is_told():
    scores = scores_of(list(range(64)), list(range(32)))
    with pytest.warns(
        UserWarning, match=r"ratio=0\.1 of 96 units is 10, which cannot go: 8 go, .* \(min_units=1, round_to=8"
    ):
        assert len(plan(scores, ratio=0.1, round_to=8)) == 8
    with pytest.raises(ValueError, match=r"k = 10 units cannot go .* the nearest feasible k is 8"):
        plan(scores, k=10, round_to=8)
    few = scores_of(list(range(16)))
    with pytest.warns(UserWarning, match=r"ratio=0\.01 of 16 units is less than half a unit: none goes"):
        assert len(plan(few, ratio=0.01)) == 0
    with pytest.warns(UserWarning, match=r"ratio=0\.97 of 16 units is 16, which cannot go: 15 go"):
        assert plan(few, ratio=0.97).kept == {"a": 1}
    with pytest.warns(UserWarning, match="coefficients remove nothing: none is half a unit"):
        assert len(plan(few, coefficients={"a": 0.02})) == 0


def test_a_plan_that_does_what_was_asked_says_nothing():
    few = scores_of(list(range(16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        requests = ({"ratio": 0.5}, {"ratio": 0}, {"k": 0}, {"ratio": 0.3}, {"coefficients": {"a": 0}})
        assert [len(plan(few, **request)) for request in requests] == [8, 0, 0, 5, 0]


def test_something_else_than_scores_is_refused():
    with pytest.raises(TypeError, match="scores must be a Scores"):
        plan({"a": [1]}, k=1)


def test_a_plan_is_a_value(tiny, digits):
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    one, two = plan(scores, k=5), plan(scores, k=5)
    assert one == two
    assert hash(one) == hash(two)
    assert one != plan(scores, k=6)
    assert len(one) == 5
    assert repr(one).startswith("Plan: 5 of 45 units go\n  encoder.conv1:")
    with pytest.raises(AttributeError):
        one.removed = {}


def test_a_plan_goes_through_json_unchanged(tiny, digits, tmp_path):
    chosen = plan(score(tiny, find_units(tiny, digits[:1]), "l2"), ratio=0.5)
    chosen.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == chosen
    assert {n: {a: i.tolist() for a, i in axes.items()} for n, axes in loaded.slices.items()} == {
        n: {a: i.tolist() for a, i in axes.items()} for n, axes in chosen.slices.items()
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "other"}', '{"format": "xaiprune-plan-1"}'])
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(ValueError):
        Plan.from_json(text)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ({"z": (0,)}, "group 'z', which does not exist"),
        ({"a": (3,)}, r"outside 0..2"),
        ({"a": (-1,)}, r"outside 0..2"),
        ({"a": (0, 1, 2)}, "empties group 'a'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(removed, message):
    with pytest.raises(ValueError, match=message):
        Plan((UnitGroup("a", 3, (), "channels"),), removed)


def test_scores_that_are_not_finite_name_group_and_criterion():
    with pytest.raises(ValueError, match="criterion 'test' gave group 'b' a score of NaN"):
        scores_of([1.0], [float("nan")])


def test_scores_of_the_wrong_shape_name_group_and_criterion():
    group = UnitGroup("a", 3, (), "channels")
    with pytest.raises(ValueError, match=r"gave group 'a' scores of shape \(2,\), expected \(3,\)"):
        Scores("mine", (group,), {"a": torch.zeros(2)})


def test_scores_can_be_limited_and_reversed():
    scores = scores_of([1.0, 2.0], [3.0, 4.0, 5.0])
    assert [group.name for group in scores.only("b").groups] == ["b"]
    assert scores.reversed().order("b").tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match="names must be among a, b, got z"):
        scores.only("z")


def test_one_group_alone_is_enough():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()
    [group] = find_units(model, torch.rand(1, 3))
    assert len(plan(score(model, group, "l1"), k=2)) == 2


def test_lowest_refuses_counts_and_groups_that_cannot_be():
    scores = scores_of([1.0, 2.0, 3.0, 4.0], [5.0, 6.0])
    name = scores.groups[0].name
    with pytest.raises(ValueError, match="counts must be from 0 to 4"):
        lowest(scores, {name: -1})
    with pytest.raises(ValueError, match="counts must be from 0 to 4"):
        lowest(scores, {name: 5})
    with pytest.raises(ValueError, match="counts names group 'nobody'"):
        lowest(scores, {"nobody": 1})
    with pytest.raises(ValueError, match="round_to does not go with threshold"):
        plan(scores, threshold=0.5, round_to=2)
