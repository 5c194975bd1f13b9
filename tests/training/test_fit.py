"""Training: repeatable and resumable."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xaiprune.data import Split
from xaiprune.training import classification_loss, fit


def classifier():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


@pytest.fixture
def task():
    """A classifier that draws, and 64 points for it."""
    torch.manual_seed(0)
    return classifier(), Split(torch.rand(64, 4), torch.randint(0, 3, (64,)))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_training_lowers_the_loss(task):
    model, split = task
    history = fit(model, split, classification_loss, epochs=20, lr=0.05, batch_size=16, progress=False)
    assert len(history) == 20
    assert history[-1]["loss"] < history[0]["loss"]


def test_an_interrupted_training_resumes_where_it_stopped(task, tmp_path, interrupted):
    model, split = task
    other, broken = copy.deepcopy(model), copy.deepcopy(model)
    options = {"epochs": 6, "lr": 0.05, "batch_size": 16, "progress": False, "seed": 3}
    fit(model, split, classification_loss, **options)
    expected = weights(model)

    steps = len(split.inputs) // 16
    with interrupted(2 * steps + 1):
        fit(broken, split, classification_loss, **options, resume=tmp_path / "state.pt")
    assert (tmp_path / "state.pt").exists()
    history = fit(other, split, classification_loss, **options, resume=tmp_path / "state.pt")
    assert torch.equal(weights(other), expected)
    assert len(history) == 6
    assert not (tmp_path / "state.pt").exists()


def test_the_seed_alone_says_what_is_drawn(task):
    model, split = task
    found = []
    for draws, seed in ((0, 3), (5, 3), (5, 4)):
        again = copy.deepcopy(model)
        torch.rand(draws)
        before = torch.get_rng_state()
        fit(again, split, classification_loss, epochs=2, lr=0.05, batch_size=16, progress=False, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights(again))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_too_few_images_and_a_diverging_loss_are_refused(task):
    model, split = task
    with pytest.raises(ValueError, match="train holds 64 inputs, less than one batch of 128"):
        fit(model, split, classification_loss, epochs=1, lr=0.1)
    with pytest.raises(ValueError, match="the loss is nan in epoch 0: try a smaller lr"):
        fit(model, split, lambda m, x, y: m(x).sum() * float("nan"), epochs=1, lr=0.1, batch_size=16, progress=False)
