"""Distillation, scores and metrics: a number that could not have come out otherwise is no number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaiprune as xp
from tests.cases.nets import images, net
from xaiprune.distill import distill, distillation_loss, freeze, soft_targets
from xaiprune.quantize import calibrate

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_soft_targets_are_a_mean_over_images_times_the_square_of_the_temperature(temperature):
    """distiller#122, keras-io#869, LD#74, knowledge-distillation-pytorch#48."""
    a, b = torch.randn(2, 8, 5, dtype=torch.float64)
    p, q = (b / temperature).softmax(1), (a / temperature).log_softmax(1)
    wanted = temperature**2 * (p * (p.log() - q)).sum(1).mean()
    assert soft_targets(a, b, temperature).item() == pytest.approx(wanted.item(), rel=1e-5)


def single() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)).eval()


def test_one_logit_is_learned_or_refused():
    """mdistiller#60, TorchDistiller#3, torchdistill#211, temperature_scaling#32."""
    teacher, student, x = freeze(single()), single(), images(64, 6)
    before = student[0].weight.clone()
    refused = None
    try:
        distill(teacher, student, xp.data.Split(x, torch.zeros(64).long()), None, epochs=2, batch_size=16)
    except ValueError as error:
        refused = str(error)
    assert "logit" in refused if refused else not torch.equal(before, student[0].weight)


@pytest.mark.parametrize("shape", [(8, 5, 4, 4), (8, 7, 5)], ids=["maps", "sequences"])
def test_maps_and_sequences_weigh_like_cross_entropy(shape):
    """sparseml PR#592, DIST_KD#2, mdistiller#14, MambaInLlama#11: right with a stated axis, or refused."""
    a, b = torch.randn(shape), torch.randn(shape)
    flat = [value.movedim(1, -1).reshape(-1, 5) if len(shape) == 4 else value.reshape(-1, 5) for value in (a, b)]
    assert soft_targets(a, b).item() == pytest.approx(soft_targets(*flat).item(), rel=1e-5)


def partly_training() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 5)).eval()
    model[1].train()
    return model


X, Y = images(16, 3, 16, 16), torch.arange(16) % 5
CALLS = {
    "teach": lambda m: distillation_loss(m.requires_grad_(False))(partly_training().eval(), X, Y),
    "calibrate": lambda m: calibrate(m, X),
    "score": lambda m: xp.score(m, xp.find_units(m, X[:1]), "taylor", xp.data.Split(X, Y)),
    "explain": lambda m: xp.explain.saliency(m, X),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_model_of_which_a_part_is_in_training_mode_is_refused(call):
    """sparseml PR#2191, vrvlive#2, TaCL#11."""
    model = partly_training()
    before = model[1].running_mean.clone()
    with pytest.raises(ValueError, match="training mode"):
        call(model)
    assert torch.equal(before, model[1].running_mean)


GRADIENTS = ("activation", "gradient", "taylor", "fisher", "relevance", "integrated gradients")


@pytest.mark.parametrize(
    "criterion",
    ["l1", "variance", "shapley", *GRADIENTS],
)
def test_scores_of_a_model_of_tokens(criterion):
    """captum#766, pytorch/ao#1133."""
    model = net(lambda m, i: m.c(m.b(m.a(i)).relu().mean(1)), nn.Embedding(20, 8), nn.Linear(8, 12), nn.Linear(12, 3))
    data = xp.data.Split(torch.randint(0, 20, (10, 7)), torch.randint(0, 3, (10,)))
    units = xp.find_units(model, data[0][:1])
    assert torch.isfinite(xp.score(model, units, criterion, data)["b"]).all()


def test_labels_whose_shape_cannot_be_meant_are_refused():
    """Question-and-answer threads on (N, 1) labels."""
    model, x = nn.Linear(6, 5).eval(), torch.randn(100, 6)
    right = model(x).argmax(1)
    assert xp.measure.accuracy(model, xp.data.Split(x, right)) == 100
    with pytest.raises(ValueError, match=r"labels|targets"):
        xp.measure.accuracy(model, xp.data.Split(x, right[:, None]))
    with pytest.raises(ValueError, match=r"labels|targets"):
        xp.measure.accuracy(model, xp.data.Split(x[:5], torch.ones(5, 5, dtype=torch.long)))
