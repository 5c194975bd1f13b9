"""The measurements beside the sweep of soft coefficients: codes, random draws, parts of two owners."""

import pytest
import torch

from experiments import soft as sweeps
from experiments import soft_limits, soft_tuned
from experiments.setting import Setting
from xaiprune import data
from xaiprune.measure import predict, psnr
from xaiprune.prune import cut, plan

AT = Setting(images=16, count=2, training={"epochs": 1, "batch_size": 8})


@pytest.fixture(scope="module")
def problems():
    return sweeps.problem_factory(0, AT)


def test_a_code_that_is_left_alone_has_not_moved_and_one_that_lost_numbers_keeps_the_others_places(problems):
    model, by, _ = problems
    test = data.mnist("test", 16)
    nothing = plan(by["fisher"], coefficients={})
    same = soft_tuned.codes(model, model, nothing, test)
    assert same == {"moved": 0.0, "numbers": 32, "old decoder": round(psnr(model, test), 4)}
    half = plan(by["fisher"], coefficients={"latent": 0.5})
    found = predict(soft_tuned.Encoding(cut(model, half), half).eval(), test.inputs)
    expected = predict(soft_tuned.Encoding(model).eval(), test.inputs)
    expected[:, half.removed["latent"].copy()] = 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_random_search_spends_what_it_may_and_gives_back_its_best(problems):
    _, _, problem_at = problems
    problem = problem_at(0.7)
    best = soft_tuned.drawn(problem, 6)
    assert best.evaluations == problem.evaluations == 6
    assert best.value == max(problem.known.values())


def test_two_owners_leave_the_other_part_as_it_was(problems):
    model, by, _ = problems
    halves = [plan(by["fisher"], coefficients={f"{side}.hidden": 0.5}) for side in ("encoder", "decoder")]
    joined = soft_limits._apart(model, halves, data.mnist("train", 32), 0, AT)
    assert joined.encoder.hidden.out_features == joined.decoder.hidden.out_features == 128
    assert joined.latent.out_features == 32
    assert psnr(joined, data.mnist("test", 16)) > 10
