"""Batch normalisation folded into the layer before it: the same function, and nothing folded that may not be."""

import pytest
import torch
import torchvision
from torch import nn

from xaiprune import deploy
from xaiprune.deploy import onnx
from xaiprune.graph import BATCH_NORMS, fold_batch_norm

LAYERS = {
    "conv1d": (nn.Conv1d(3, 4, 3, bias=False), nn.BatchNorm1d(4), (5, 3, 9)),
    "conv2d": (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (5, 4, 7, 7)),
    "conv3d": (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (5, 2, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), (5, 3, 5, 5)),
    "linear": (nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4, affine=False), (5, 6)),
}


def lively(model: nn.Module) -> nn.Module:
    """Float64, with normalisations that change scale and shift."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 3)
            if module.affine:
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.normal_(module.bias)
    return model.double().eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, BATCH_NORMS) for module in model.modules())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_folded_layer_computes_the_same_and_the_model_stays(kind):
    layer, norm, shape = LAYERS[kind]
    model, x = lively(nn.Sequential(layer, norm, nn.ReLU())), torch.randn(shape, dtype=torch.float64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norm(model)
    assert norms(folded) == 0
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-12)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_weights_are_those_of_the_closed_form():
    model = lively(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)))
    conv, norm = model
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = fold_batch_norm(model)[0]
    torch.testing.assert_close(folded.weight, conv.weight * gain[:, None, None, None])
    torch.testing.assert_close(folded.bias, (conv.bias - norm.running_mean) * gain + norm.bias)


@pytest.mark.parametrize("build", ["mobilenet_v2", "resnet18", "densenet121", "shufflenet_v2_x0_5"])
def test_torchvisions_models_stay_the_same_function(build):
    model = lively(getattr(torchvision.models, build)(weights=None))
    folded, x = fold_batch_norm(model), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        found, expected = folded(x), model(x)
    assert type(folded) is type(model)
    assert (found - expected).abs().max() < 1e-9 * expected.abs().max()
    assert norms(folded) < norms(model)
    assert (norms(folded) == 0) == (build != "densenet121")  # there half of them stand before the convolutions


class Twice(nn.Module):
    """Its convolution feeds something else too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


class Shared(Twice):
    """Two convolutions before one normalisation."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.norm(self.other(self.norm(self.conv(x))))


class Reused(Twice):
    """One convolution that runs twice, normalised once."""

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class Functional(Twice):
    """Something between the convolution and its normalisation."""

    def forward(self, x):
        return self.norm(self.conv(x).relu())


@pytest.mark.parametrize("build", [Twice, Shared, Reused, Functional])
def test_what_cannot_be_folded_stays(build):
    model, x = lively(build()), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    folded = fold_batch_norm(model)
    assert norms(folded) == 1
    torch.testing.assert_close(folded(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize("place", [0, 1])
def test_a_masked_layer_is_not_folded(place):
    model, x = lively(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))), torch.randn(2, 3, 4, 4).double()
    plain = model(x)
    mask = torch.tensor([0, 1, 1, 0])[:, None, None]
    model[place].register_forward_hook(lambda module, inputs, output: output * mask)
    folded = fold_batch_norm(model)
    torch.testing.assert_close(folded(x), model(x), rtol=0, atol=0)
    assert not torch.equal(folded(x), plain)


def test_a_layer_that_computes_its_weight_is_not_folded():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)).eval()
    x = torch.randn(2, 3, 4, 4)
    folded = fold_batch_norm(model)
    assert norms(folded) == 1
    assert torch.equal(folded(x), model(x))


def test_a_normalisation_in_training_mode_stays():
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    model[1].train()
    assert norms(fold_batch_norm(model)) == 1


def test_without_stored_statistics_a_normalisation_stays():
    model = lively(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)))
    assert norms(fold_batch_norm(model)) == 1


class Branching(Twice):
    def forward(self, x):
        return self.norm(self.conv(x)) if x.sum() > 0 else x


def test_bad_input():
    with pytest.raises(ValueError, match="training mode"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    with pytest.raises(ValueError, match=r"torch.fx cannot follow the model: TraceError"):
        fold_batch_norm(Branching().eval())


class Sized(nn.Sequential):
    """Its forward asks for the size of its images, which torch.fx cannot follow."""

    def forward(self, x):
        if x.shape[2] != 8:
            raise ValueError("images must be 8 pixels high")
        return super().forward(x)


def test_onnx_takes_a_model_that_cannot_be_folded():
    torch.manual_seed(0)
    model = Sized(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 3)
    ).eval()
    with pytest.raises(ValueError, match=r"torch.fx cannot follow"):
        fold_batch_norm(model)
    x = torch.randn(7, 1, 8, 8)
    torch.testing.assert_close(deploy.prepare(model, x)(x), model(x).detach(), rtol=1e-5, atol=1e-5)
    assert model[2].inplace


def test_onnx_takes_models_with_and_without_what_can_be_folded():
    torch.manual_seed(0)
    for inner in (nn.BatchNorm2d(4), nn.Identity()):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), inner, nn.ReLU6(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 3))
        model.eval()
        x = torch.randn(7, 1, 8, 8)
        run = deploy.prepare(model, x[:1])
        torch.testing.assert_close(run(x), model(x).detach(), rtol=1e-5, atol=1e-5)
        assert model[2].inplace
        assert type(model[1]) is type(inner)


def test_the_exporter_reads_its_operators_once_and_is_left_as_it_was(monkeypatch):
    registration = pytest.importorskip("torch.onnx._internal.exporter._registration")
    before = registration.ONNXRegistry.__dict__["from_torchlib"]
    model, images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval(), torch.rand(2, 1, 8, 8)
    monkeypatch.setattr(onnx, "_OPERATORS", {})
    first = deploy.onnx_bytes(model, images)
    assert list(onnx._OPERATORS) == [deploy.OPSET]
    assert deploy.onnx_bytes(model, images) == first, "the same file from the table that is kept"
    assert registration.ONNXRegistry.__dict__["from_torchlib"] is before
    with pytest.raises(RuntimeError), onnx._operators_once():
        raise RuntimeError
    assert registration.ONNXRegistry.__dict__["from_torchlib"] is before
