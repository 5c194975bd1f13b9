"""Recovery without labels: least squares behind a cut, and statistics that training leaves alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaiprune import prune, training


def network(*, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 4, 3, stride=2, bias=bias)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


def cut_by(model: nn.Module, images: torch.Tensor, removed: dict) -> tuple[nn.Module, prune.Plan]:
    plan = prune.Plan(tuple(prune.find_units(model, images[:1])), removed)
    return prune.cut(model, plan), plan


IMAGES = torch.rand(40, 3, 9, 9, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gets_the_weights_of_least_squares(bias):
    model = network(bias=bias)
    smaller, plan = cut_by(model, IMAGES, {"0": [1, 4]})
    before = copy.deepcopy(smaller)
    assert prune.reconstruct(smaller, model, plan, IMAGES, ridge=0, batch_size=7) is smaller
    with torch.no_grad():
        read = F.unfold(smaller[:3](IMAGES), 3, stride=2).movedim(1, -1).flatten(0, 1).double().numpy()
        gave = model[:4](IMAGES).movedim(1, -1).flatten(0, 2).double().numpy()
    read = np.hstack([read, np.ones((len(read), 1))]) if bias else read
    wanted, *_ = np.linalg.lstsq(read, gave, rcond=None)
    found = smaller[3].weight.detach().flatten(1).T.numpy()
    assert np.abs(found - wanted[: len(found)]).max() < 1e-4
    if bias:
        assert np.abs(smaller[3].bias.detach().numpy() - wanted[-1]).max() < 1e-4
    for place in (0, 7):
        assert torch.equal(smaller[place].weight, before[place].weight)


def test_batches_make_no_difference_and_later_layers_see_earlier_ones():
    model = network()
    cut, plan = cut_by(model, IMAGES, {"0": [1, 4], "3": [2]})
    smaller = [copy.deepcopy(cut) for _ in range(3)]
    prune.reconstruct(smaller[0], model, plan, IMAGES, batch_size=3)
    prune.reconstruct(smaller[1], model, plan, IMAGES)
    for one, other in zip(smaller[0].parameters(), smaller[1].parameters()):
        assert torch.allclose(one, other, atol=1e-4)
    with torch.no_grad():  # the last layer alone, behind the repaired one: nothing is left to repair
        again = copy.deepcopy(smaller[0])
        prune.reconstruct(again, model, plan, IMAGES)
        apart = [(net(IMAGES) - model(IMAGES)).square().mean() for net in (smaller[2], smaller[0], again)]
    assert apart[1] < 0.5 * apart[0]
    assert apart[2] <= apart[1] * 1.01


def test_a_channel_that_others_can_say_is_not_missed():
    model = network()
    with torch.no_grad():
        for layer in (model[0], model[1]):
            layer.weight[5], layer.bias[5] = layer.weight[2], layer.bias[2]
        smaller, plan = cut_by(model, IMAGES, {"0": [5]})
        assert (smaller(IMAGES) - model(IMAGES)).abs().max() > 1e-2
        prune.reconstruct(smaller, model, plan, IMAGES, ridge=1e-9)
        assert (smaller(IMAGES) - model(IMAGES)).abs().max() < 1e-4


def test_the_pull_keeps_the_weights_where_images_say_nothing():
    model = network()
    smaller, plan = cut_by(model, IMAGES, {"0": [0]})
    before = copy.deepcopy(smaller)
    prune.reconstruct(smaller, model, plan, IMAGES, ridge=1e9)
    assert torch.allclose(smaller[3].weight, before[3].weight, atol=1e-4)
    with pytest.raises(ValueError, match="'3' open; give more images, or a larger ridge"):
        prune.reconstruct(smaller, model, plan, torch.zeros(2, 3, 9, 9), ridge=0)


def test_reconstruction_refuses_what_it_cannot_do():
    model = network()
    smaller, plan = cut_by(model, IMAGES, {"0": [0]})
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        prune.reconstruct(copy.deepcopy(model), model, prune.Plan(plan.groups, {}), IMAGES)
    with pytest.raises(ValueError, match="ridge must be at least 0"):
        prune.reconstruct(smaller, model, plan, IMAGES, ridge=-1)
    with pytest.raises(ValueError, match="inputs"):
        prune.reconstruct(smaller, model, plan, IMAGES[:0])
    with pytest.raises(ValueError, match="smaller"):
        prune.reconstruct(smaller.train(), model, plan, IMAGES)


def test_stored_statistics_stay_while_all_else_learns():
    model, images = network(), IMAGES * 3 + 1
    split, before = (images, torch.arange(40) % 5), copy.deepcopy(model)
    with prune.stored_statistics(model):
        training.fit(
            model,
            split,
            training.classification_loss,
            epochs=2,
            batch_size=8,
            lr=1e-2,
            progress=False,
            lr_schedule=None,
        )
        model.train()
        given = model[:2](images)
    folded = F.batch_norm(model[0](images), before[1].running_mean, before[1].running_var, *model[1].parameters())
    assert torch.allclose(given, folded, atol=1e-5)
    assert torch.equal(model[1].running_mean, before[1].running_mean)
    assert torch.equal(model[1].num_batches_tracked, before[1].num_batches_tracked)
    assert not torch.equal(model[1].weight, before[1].weight)
    model.train()(images)
    assert not torch.equal(model[1].running_mean, before[1].running_mean)
    with pytest.raises(ValueError, match="no batch normalisation"), prune.stored_statistics(nn.Linear(2, 2)):
        pass


def test_stored_statistics_leave_modes_and_hooks_as_they_were():
    def fails(model):
        with prune.stored_statistics(model):
            model(IMAGES)
            assert [model[place].training for place in (0, 1)] == [True, False]
            raise KeyError

    model = network().train()
    with pytest.raises(KeyError):
        fails(model)
    assert model[1].training
    assert not model[1]._forward_pre_hooks
