"""A pole on a cart, a small network that balances it, and what of it can go: reward in place of accuracy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from ..data import Split, judges
from ..measure import Metric

#: Masses of cart and pole [kg], half of the pole's length [m], gravity [m/s^2], strongest push [N], step [s].
CART, POLE, HALF, GRAVITY, PUSH, STEP = 1.0, 0.1, 0.5, 9.8, 10.0, 0.02
#: Where a run ends: position [m] and angle [rad] (12 degrees); and the most steps that are counted.
EDGE, FALLEN, LONGEST = 2.4, 0.2095, 500
#: About how large each of the four numbers of a state is, by which the network sees them.
SCALES = torch.tensor([EDGE, 3.0, FALLEN, 3.0])


def step(states: torch.Tensor, push: torch.Tensor) -> torch.Tensor:
    """The states one step later.

    The equations of Barto, Sutton and Anderson 1983 (*Neuronlike adaptive elements that can solve difficult learning
    control problems*) without friction, by Euler's method.

    Parameters
    ----------
    states : torch.Tensor
        Position, speed, angle and angular speed, shape ``(N, 4)``.
    push : torch.Tensor
        Force on the cart in newtons, shape ``(N,)``.

    Returns
    -------
    torch.Tensor
        Shape ``(N, 4)``.
    """
    place, speed, angle, turning = states.unbind(1)
    total = CART + POLE
    thrust = (push + POLE * HALF * turning.square() * angle.sin()) / total
    swing = GRAVITY * angle.sin() - angle.cos() * thrust
    swing = swing / (HALF * (4 / 3 - POLE * angle.cos().square() / total))
    faster = thrust - POLE * HALF * swing * angle.cos() / total
    return torch.stack(
        [place + STEP * speed, speed + STEP * faster, angle + STEP * turning, turning + STEP * swing], dim=1
    )


class Policy(nn.Sequential):
    """From a state (N, 4) to a push (N, 1) as a share of the strongest one.

    Parameters
    ----------
    hidden : sequence of int
        Two widths.
    """

    def __init__(self, hidden: tuple[int, int] = (32, 16)):
        one, two = hidden
        super().__init__(nn.Linear(4, one), nn.Tanh(), nn.Linear(one, two), nn.Tanh(), nn.Linear(two, 1), nn.Tanh())


def starts(count: int, seed: int = 0) -> Split:
    """Carts near the middle with poles nearly upright, as a split whose labels say nothing.

    Parameters
    ----------
    count, seed : int

    Returns
    -------
    Split
        States of shape (count, 4), and zeros.

    Examples
    --------
    >>> states, _ = xp.zoo.cartpole.starts(3)
    >>> states.shape, bool((states[:, 2].abs() <= 0.1).all())  # the pole's angle, in radians
    (torch.Size([3, 4]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    states = (2 * torch.rand(count, 4, generator=generator) - 1) * torch.tensor([1.0, 0.5, 0.1, 0.5])
    return Split(states, torch.zeros(count, dtype=torch.long))


@judges("split")
def balanced(policy: nn.Module, split: Split) -> float:
    """Reward: for how many of 500 steps the pole stays up and the cart on its track, the mean over starts.

    Parameters
    ----------
    policy : nn.Module
        From scaled states (N, 4) to pushes (N, 1), as shares of the strongest push.
    split : Split
        States that the cart starts from, shape (N, 4): place, speed, angle of the pole, and its speed.
    in_sample : bool
        As for ``measure.accuracy``.

    Returns
    -------
    float
        Steps, 0 to 500.

    Examples
    --------
    >>> starts = xp.zoo.cartpole.starts(20)
    >>> xp.zoo.cartpole.balanced(nn.Threshold(1e9, 0.0), starts) < 100  # never pushes
    True
    """
    states, up = split.inputs, torch.ones(len(split.inputs), dtype=torch.bool)
    steps = torch.zeros(len(up))
    with _one_thread(), torch.no_grad():
        for _ in range(LONGEST):
            states = step(states, PUSH * policy(states / SCALES)[:, 0])
            up &= (states[:, 0].abs() <= EDGE) & (states[:, 2].abs() <= FALLEN)
            if not up.any():
                break
            steps += up
    return steps.mean().item()


def steady(policy: Callable, split: Split, horizon: int = 60) -> torch.Tensor:
    """How quiet cart and pole stay, for gradients: the mean square of the states on the way, with its sign turned.

    Parameters
    ----------
    policy : callable
        States (N, 4) to pushes (N, 1).
    split : Split
        Starts.
    horizon : int
        Steps that are followed.

    Returns
    -------
    torch.Tensor
        A scalar; 0 where nothing moves.
    """
    states, total = split.inputs, 0.0
    for _ in range(horizon):
        states = step(states, PUSH * policy(states / SCALES)[:, 0])
        total = total + (states / SCALES).square().mean()
    return -total


REWARD = Metric("steps balanced of 500", balanced, smooth=steady)


def train_policy(hidden: tuple[int, int] = (32, 16), *, rounds: int = 150, horizon: int = 60, seed: int = 0) -> Policy:
    """A policy that was trained through the equations of motion, which can be differentiated.

    Parameters
    ----------
    hidden : tuple of int
    rounds, horizon : int
        Steps of Adam, and steps of the cart in each.
    seed : int

    Returns
    -------
    Policy
        In evaluation mode.

    Examples
    --------
    >>> policy = xp.zoo.cartpole.train_policy((8, 4), rounds=2, horizon=5)
    >>> policy(torch.zeros(3, 4)).shape
    torch.Size([3, 1])
    """
    torch.manual_seed(seed)
    policy = Policy(hidden)
    with _one_thread():
        _train(policy, rounds, horizon, seed)
    return policy.eval()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums this small only wait on a second thread, for minutes where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(policy: Policy, rounds: int, horizon: int, seed: int) -> None:
    optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
    for number in range(rounds):
        loss = -steady(policy, starts(64, seed=seed * rounds + number), horizon)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
