"""The pole on a cart: its equations, its reward, and soft coefficients with reward as the metric."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from xaiprune import prune
from xaiprune.zoo import cartpole
from xaiprune.zoo.cartpole import REWARD, balanced, starts, step


class Constant(nn.Module):
    """A push that does not look."""

    def __init__(self, push: float):
        super().__init__()
        self.push = push

    def forward(self, states):
        return torch.full((len(states), 1), self.push)


@pytest.fixture(scope="module")
def policy() -> cartpole.Policy:
    return cartpole.train_policy(rounds=100)


def test_one_step_by_hand():
    """The equations of motion as two linear ones in the two accelerations, solved in float64."""
    place, speed, angle, turning, push = 0.3, -0.2, 0.15, 0.7, 4.0
    mass, half, total = cartpole.POLE, cartpole.HALF, cartpole.CART + cartpole.POLE
    moved = torch.linalg.solve(
        torch.tensor([[total, mass * half * math.cos(angle)], [math.cos(angle), 4 / 3 * half]], dtype=torch.float64),
        torch.tensor(
            [push + mass * half * turning**2 * math.sin(angle), cartpole.GRAVITY * math.sin(angle)], dtype=torch.float64
        ),
    )
    faster, swing = moved.tolist()
    found = step(torch.tensor([[place, speed, angle, turning]], dtype=torch.float64), torch.tensor([push]))
    wanted = [place + 0.02 * speed, speed + 0.02 * faster, angle + 0.02 * turning, turning + 0.02 * swing]
    assert found[0].tolist() == pytest.approx(wanted, rel=1e-12)


def test_a_pole_that_is_let_go_falls_and_symmetry_holds():
    states = torch.tensor([[0.0, 0.0, 0.05, 0.0]])
    left = right = states
    for _ in range(30):
        right, left = step(right, torch.tensor([1.0])), -step(-left, torch.tensor([-1.0]))
    torch.testing.assert_close(left, right)
    still = step(torch.zeros(1, 4), torch.zeros(1))
    assert torch.equal(still, torch.zeros(1, 4))


def test_reward_counts_steps_until_the_pole_falls():
    split = starts(50)
    for push in (0.0, 1.0, -1.0):
        assert balanced(Constant(push), split) < 100
    one = starts(1)
    states, count = one.inputs, 0
    while True:
        states = step(states, torch.tensor([0.0]))
        if states[0, 0].abs() > cartpole.EDGE or states[0, 2].abs() > cartpole.FALLEN:
            break
        count += 1
    assert balanced(Constant(0.0), one) == count
    assert torch.equal(starts(5, 3).inputs, starts(5, 3).inputs)
    assert not torch.equal(starts(5, 3).inputs, starts(5, 4).inputs)


def test_a_policy_learns_to_balance(policy):
    assert cartpole.REWARD(policy, starts(100, 99)) > 480
    assert balanced(cartpole.Policy().eval(), starts(100, 99)) < 200


def test_soft_coefficients_with_reward(policy):
    split = starts(32, 7)
    units = prune.find_units(policy, split.inputs[:1])
    problem = prune.soft.SoftProblem(policy, prune.score(policy, units, "l2"), split, 0.5, 0.02, metric=REWARD)
    assert problem.intact == balanced(policy, split)
    best = prune.soft.grid_search(problem, 9, progress=False)
    assert abs(best.sparsity - 0.5) <= 0.02
    assert best.value == balanced(prune.cut(policy, best.plan), split, in_sample=True)
    assert f"{best.value:.2f} steps balanced of 500 at S" in str(best)
    wide = prune.soft.SoftProblem(policy, problem.scores, split, 0.5, 0.05, metric=REWARD)
    for found in (prune.soft.descend(problem), prune.soft.relax(wide, steps=30)):
        assert abs(found.sparsity - 0.5) <= 0.05
        assert found.value == balanced(prune.cut(policy, found.plan), split, in_sample=True)
    with prune.masked(policy, best.plan):
        assert balanced(policy, split, in_sample=True) == pytest.approx(best.value, abs=1.0)
