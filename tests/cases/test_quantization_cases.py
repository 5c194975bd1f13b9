"""Quantization: calibration sets, values and models as people have them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.cases.nets import images, net
from xaiprune.quantize import CALIBRATORS, Config, Format, calibrate, calibrating, equalize, int8_bytes, simulate

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(8, 5)).eval()
    with torch.no_grad():
        model[0].weight[2] = 0
    return model


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


SETS = {"eight": images(8, 3, 16, 16), "one": images(1, 3, 16, 16), "constant": torch.full((8, 3, 16, 16), 0.5)}


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize("given", SETS.values(), ids=SETS)
def test_channels_of_zeros_and_small_calibration_sets(given, calibrator):
    """coremltools#2853, GPTQModel PR#1531, MCT PR#160, onnxruntime#11928, #10571, #17619."""
    model = small()
    config = Config(Format(per_channel=True), Format(scheme="affine", calibrator=calibrator))
    assert error(simulate(model, calibrate(model, given), config)(given), model(given)) < 0.1


def test_equalizing_with_channels_of_zeros():
    """aimet#2543, MCT PR#160."""
    model, x = small(), images()
    assert (equalize(model)(x) - model(x)).abs().max() < 1e-6


def test_weights_that_are_all_zero_are_named():
    """onnxruntime PR#23749."""
    model = small()
    with torch.no_grad():
        model[2].weight.zero_()
    with pytest.raises(ValueError, match="'2'"):
        simulate(model, calibrate(model, images()))


@pytest.mark.parametrize("verb", [calibrate, int8_bytes])
def test_photographs_normalised_before_the_model(verb):
    """All recipes of torchvision."""
    verb(small(), (images(8, 3, 16, 16) - 0.45) / 0.22)
    with pytest.raises(ValueError, match="images must be finite"):
        verb(small(), images(8, 3, 16, 16) / 0)


def test_normalised_photographs_through_a_loop_of_ones_own():
    """All recipes of torchvision."""
    model, x = small(), (images(8, 3, 16, 16) - 0.45) / 0.22
    assert error(simulate(model, _seen(model, x))(x), model(x)) < 0.02


@pytest.mark.parametrize("layer", [nn.Linear(6, 3), nn.Conv1d(3, 4, 3)], ids=["table", "sequence"])
def test_tables_and_sequences(layer):
    """onnxruntime's examples."""
    calibrate(layer.eval(), images(8, 6) if isinstance(layer, nn.Linear) else images(8, 3, 20))


def looping(keyword: bool) -> nn.Module:
    def forward(m, x):
        y = m.a(x).relu()
        for _ in range(3):
            y = (y + m.b(y)).relu()
        return m.c(input=y.mean((2, 3))) if keyword else m.c(y.mean((2, 3)))

    return net(forward, nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5))


@pytest.mark.parametrize("keyword", [False, True])
def test_layers_that_run_several_times_or_by_keyword(keyword):
    """nncf#213, PR#1715, distiller PR#239, transformers#37905."""
    model, x = looping(keyword), images(8, 3, 16, 16)
    assert error(simulate(model, calibrate(model, x))(x), model(x)) < 0.02


def test_tied_weights_stay_tied():
    """transformers#37905, auto-round#100."""
    model = net(lambda m, x: m.b(m.a(x).relu()), nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False))
    model.b.weight = model.a.weight
    x = images(8, 16)
    quantized = simulate(model, _seen(model, x))
    assert error(quantized(x), model(x)) < 0.05
    assert torch.equal(quantized.a.weight, quantized.b.weight)


def _seen(model: nn.Module, x: torch.Tensor) -> dict:
    with calibrating(model) as seen, torch.no_grad():
        model(x)
    return seen
