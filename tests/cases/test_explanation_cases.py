"""Explanations: equal to what they are defined as, for models as people write them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaiprune as xp
from tests.cases.nets import images, net
from xaiprune.explain import completeness, integrated_gradients
from xaiprune.explain.relevance import propagate

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def head(channels: int = 8) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


def test_relevance_of_reused_and_in_place_modules():
    """captum#1082, #199, #200, #201, #546, #792; zennit#236, PR#71, PR#171; innvestigate#192."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.t, self.n, self.o = nn.ConvTranspose2d(8, 6, 3, 2), nn.BatchNorm2d(6), nn.Linear(6, 5)
            self.r, self.p, self.i = nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Identity()
            for tensor in (self.n.running_mean, self.n.weight.data, self.n.bias.data):
                tensor.uniform_()
            self.n.running_var.uniform_(0.5, 1.5)

        def forward(self, x):
            y = self.r(self.a(x))
            for _ in range(3):
                z = self.i(self.b(y))
                z += y
                y = self.r(z)
            return self.o(self.r(self.n(self.t(self.p(y)))).mean((2, 3)))

    model, x = Model().eval(), images(3, 3, 16, 16)
    targets = model(x).argmax(1)
    relevance, ledger = propagate(model, x, targets, composite="epsilon 0")
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf).gather(1, targets[:, None]).sum(), leaf)
    assert (relevance - x * gradient).abs().max() <= 1e-6
    assert ledger.error.max() <= 1e-5


HANDLED = [nn.Hardtanh(), nn.ReflectionPad2d(1), nn.ZeroPad2d(1), nn.Upsample(scale_factor=2), nn.PixelShuffle(2)]
HANDLED += [nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.PReLU(), nn.PReLU(8), nn.Softplus(), nn.GLU(1), nn.RMSNorm(14)]
HANDLED += [nn.LogSigmoid(), nn.LocalResponseNorm(3), nn.Softsign(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Tanhshrink()]
HANDLED += [nn.ELU(), nn.CELU(), nn.SELU(), nn.Mish(), nn.SiLU(), nn.Hardswish(), nn.Hardshrink(), nn.Softshrink()]
HANDLED += [nn.RReLU(), nn.Threshold(0.1, 0.3), nn.Hardtanh(0.1, 2), nn.ConstantPad2d(1, 0.5), nn.PixelUnshuffle(2)]
REFUSED = [
    nn.Softmax(1),
    nn.LogSoftmax(1),
    nn.FractionalMaxPool2d(2, output_size=7),
    nn.LPPool2d(3, 2),
]


def around(layer: nn.Module, x: torch.Tensor) -> nn.Module:
    channels = layer(nn.Conv2d(3, 8, 3)(x)).shape[1]
    return nn.Sequential(nn.Conv2d(3, 8, 3), layer, *head(channels)).eval()


@pytest.mark.parametrize("layer", HANDLED, ids=str)
def test_relevance_through_layers_that_are_known(layer):
    """captum#546, #563, #1180, #1238."""
    model, x = around(layer, images()).double(), images().double()
    relevance, ledger = propagate(model, x, torch.tensor([0, 1]), composite="epsilon 0")
    assert relevance.shape == x.shape
    assert ledger.error.max() <= 1e-9
    assert relevance.any()


@pytest.mark.parametrize("layer", REFUSED, ids=str)
def test_relevance_refuses_other_layers_by_name(layer):
    """captum#563, #1238, #1180."""
    with pytest.raises(ValueError, match=r"layer '1': .*(take one that explains attention|gradients alone)"):
        xp.explain.lrp(around(layer, images()), images())


@pytest.mark.parametrize("name", ["saliency", "integrated gradients", "occlusion", "shapley", "lrp"])
def test_a_model_that_changes_its_input_in_place(name):
    """captum PR#201 and others."""
    inner = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head())
    model, x = net(lambda m, x: m.a(x.sub_(0.5).div_(0.25)), inner), images()
    given = x.clone()
    found = xp.explain.METHODS[name](model, given)
    scaled = (x - 0.5) / 0.25
    wanted = xp.explain.METHODS[name](inner, scaled, inner(scaled).argmax(1))
    assert torch.equal(given, x)
    if name == "saliency":
        assert torch.allclose(found, wanted / 0.25, rtol=1e-4)
    assert found.abs().max() <= 20 * wanted.abs().max()


@pytest.mark.parametrize("out", [lambda y: {"logits": y}, lambda y: (y, y)], ids=["dictionary", "pair"])
def test_outputs_that_are_no_tensor_are_refused_with_the_way_out(out):
    """pytorch-grad-cam#481, #121, #216, captum#928."""
    model = net(lambda m, x: out(m.a(x)), nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head()))
    with pytest.raises(ValueError, match="output"):
        xp.explain.saliency(model, images())
    with pytest.raises(ValueError, match="output"):
        xp.measure.accuracy(model, xp.data.Split(images(), torch.zeros(2, dtype=torch.long)))


@pytest.mark.parametrize("baseline", [0.0, 0.5, 1.0])
def test_integrated_gradients_are_complete_from_any_baseline(baseline):
    """captum#1334, #351, ig#3, sauron#15."""
    layers = [nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3), nn.Tanh(), *head()]
    model, x = nn.Sequential(*layers).eval(), images(4, 3, 16, 16)
    heat = integrated_gradients(model, x, baseline=baseline)
    assert completeness(model, x, None, heat, baseline=baseline).max() <= 1e-3
