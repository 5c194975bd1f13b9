"""Quantization: calibration sets, values and models as people have them."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from tests.cases.nets import images, net
from xaiprune import deploy, graph, quantize
from xaiprune.graph.calls import call
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


class Two(nn.Module):
    """Pictures and a table."""

    def __init__(self):
        super().__init__()
        self.a, self.t, self.o = nn.Conv2d(3, 8, 3), nn.Linear(6, 8), nn.Linear(16, 3)

    def forward(self, image, table):
        return self.o(torch.cat([self.a(image).relu().mean((2, 3)), self.t(table).relu()], 1))


class OneDictionary(Two):
    """The same, for one argument that holds both."""

    def forward(self, batch):
        return super().forward(batch["image"], batch["table"])


class Words(nn.Module):
    """Tokens, mixed by a table of weights that all of them share."""

    def __init__(self):
        super().__init__()
        self.e, self.l, self.o = nn.Embedding(30, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, ids, mix=None):
        x = self.l(self.e(ids)).relu()
        return self.o((x if mix is None else mix.softmax(-1) @ x).mean(1))


class Remembering(nn.Module):
    """Sequences whose first axis is time."""

    def __init__(self):
        super().__init__()
        self.r, self.o = nn.GRU(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.o(self.r(x)[0][-1])


def stack(*layers: nn.Module, final: int = 8) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(final, 4))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 2)
    return model.eval()


def convolved(change=lambda layer: layer) -> nn.Module:
    first, second = change(nn.Conv2d(3, 8, 3)), change(nn.Conv2d(8, 8, 3))
    model = stack(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.AdaptiveAvgPool2d(1))
    model(images(4, 3, 12, 12))  # with gradients, so that a weight that is computed is no leaf
    return model


def sequences() -> nn.Module:
    layers = nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, padding="same"), nn.ReLU6()
    return stack(*layers, nn.AdaptiveAvgPool1d(1))


PICTURES, BOTH = images(8, 3, 12, 12), {"table": images(9, 6), "image": images(9, 3, 8, 8)}
TOKENS = torch.arange(90).reshape(10, 9) % 30
MASKED = functools.partial(nn.utils.prune.l1_unstructured, name="weight", amount=0.4)
KINDS = {
    "table": lambda: (stack(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU()), images(40, 6) - 0.5),
    "sequence": lambda: (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), images(10, 7, 6)),
    "channels of a sequence": lambda: (sequences(), images(20, 3, 12)),
    "tokens": lambda: (Words().eval(), TOKENS),
    "tokens and a mask for all": lambda: (Words().eval(), {"ids": TOKENS, "mix": images(9, 9)}),
    "two inputs": lambda: (Two().eval(), (BOTH["image"], BOTH["table"])),
    "two by name": lambda: (Two().eval(), BOTH),
    "one dictionary": lambda: (OneDictionary().eval(), BOTH),
    "any number of inputs": lambda: (
        net(lambda m, x, y: m.a(x).relu() + y, nn.Linear(6, 8)),
        (images(9, 6), images(9, 8)),
    ),
    "time first": lambda: (Remembering().eval(), images(7, 12, 6)),
    "by keyword": lambda: (
        net(lambda m, x: m.b(input=m.a(input=x).relu()), nn.Linear(6, 8), nn.Linear(8, 3)),
        images(9, 6),
    ),
    "weight norm": lambda: (convolved(nn.utils.parametrizations.weight_norm), PICTURES),
    "older weight norm": lambda: (convolved(nn.utils.weight_norm), PICTURES),
    "older spectral norm": lambda: (convolved(nn.utils.spectral_norm), PICTURES),
    "masks": lambda: (convolved(MASKED), PICTURES),
    "DataParallel": lambda: (nn.DataParallel(convolved()), PICTURES),
    "compiled": lambda: (torch.compile(convolved(), backend="eager"), PICTURES),
    "reflected borders": lambda: (stack(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), final=288), PICTURES),
}


def snapshot(model: nn.Module) -> list:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training, type(m)) for m in model.modules()]
    return [hooks, {name: tensor.clone() for name, tensor in model.state_dict().items()}]


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_takes_every_kind_of_input_and_of_layer(kind, tmp_path):
    """Calibrated, simulated, folded, equalized, rounded, corrected, in integers and exported."""
    model, x = KINDS[kind]()
    (hooks, state), wanted = snapshot(model), call(model, x).detach()
    quantized = simulate(model, calibrate(model, x), quantize.INT8)
    with torch.no_grad():
        said = call(quantized, x)
        assert error(said, wanted) < 0.03
        assert error(call(graph.fold_batch_norm(model), x), wanted) < 1e-5
        assert error(call(quantize.correct_bias(model, quantized, x), x), wanted) < 0.03
        four = simulate(model, {}, Config(Format(4), None))
        rounded = quantize.adaround(model, four, x, iterations=30, progress=False)
        assert error(call(rounded, x), wanted) < 0.35
        if quantize.equalizable_pairs(graph.fold_batch_norm(graph.folding.plain_weights(model))):
            assert error(call(equalize(model), x), wanted) < 1e-5
        else:
            with pytest.raises(ValueError, match="no two layers of the model follow each other"):
                equalize(model)
    assert error(call(deploy.runnable(int8_bytes(model, x)), x), said) < 0.05  # the bound that its docstring states
    assert deploy.export(model, x, tmp_path / "a.onnx").difference < 1e-5
    times = deploy.runtime_latencies({"a": model}, x, ["eager", "eager, channels last", "ONNX Runtime"], repeats=1)
    assert all(time.median > 0 for time in times.values())
    after = snapshot(model)
    assert after[0] == hooks
    assert all(torch.equal(tensor, state[name]) for name, tensor in after[1].items())


def test_one_activation_in_many_places_is_equalized_by_its_places():
    """EfficientNet-Lite: the blocks share one ReLU6."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU6()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 5, 1)

        def forward(self, x):
            return self.c(self.act(self.b(self.act(self.a(x)))))

    for model in (
        Block().eval(),
        nn.Sequential(nn.Conv2d(3, 8, 1), (act := nn.ReLU6()), nn.Conv2d(8, 5, 1), act).eval(),
    ):
        with torch.no_grad():
            for layer in quantize.quantized_layers(model).values():
                layer.weight.mul_(torch.logspace(-1, 1, len(layer.weight)).view(-1, 1, 1, 1))
                layer.bias.add_(2)
        x, equal = 4 * images(4, 3, 8, 8), equalize(model)
        assert error(equal(x), model(x)) < 1e-5
        clamps = [module for module in equal.modules() if isinstance(module, quantize.ChannelClamp)]
        assert len(clamps) == len(quantize.quantized_layers(model)) - 1
        assert quantize.channel_spread(equal, x)[0] < quantize.channel_spread(model, x)[0]


def test_a_normalisation_of_sequences_is_never_folded_into_their_features():
    """(N, C, L) against (N, L, C): where both fit, the folded model refuses what it cannot say."""
    norm = nn.BatchNorm1d(8)
    norm.running_mean.normal_()
    turned = net(lambda m, x: m.b(m.a(x).transpose(1, 2)), nn.Linear(6, 8), norm)
    x = images(4, 8, 6)
    assert error(graph.fold_batch_norm(turned)(x), turned(x)) < 1e-6
    square = nn.Sequential(nn.Linear(6, 8), norm).eval()
    assert error(deploy.prepare(square, x)(x), square(x).detach()) < 1e-5
    with pytest.raises(ValueError, match=r"'1' was folded into the features of '0'.*Put nn.Identity\(\) between"):
        graph.fold_batch_norm(square)(x)


def test_a_weight_that_another_place_of_forward_reads_stays():
    """Swin, tied heads: F.linear with the weight of a layer."""
    model = net(
        lambda m, x: m.c(m.b(m.a(x)).relu()) + m.a.weight.sum(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
    )
    model.b.running_mean.normal_()
    x = images(9, 6)
    assert error(graph.fold_batch_norm(model)(x), model(x)) < 1e-6
    assert error(simulate(model, calibrate(model, x))(x), model(x)) < 0.03


def test_what_is_done_only_where_an_argument_is_given():
    """Arguments with defaults: a graph that is traced with them is another one."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.n, self.b = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
            self.n.running_mean.normal_()

        def forward(self, x, mask=None):
            y = self.a(x)
            return self.b((self.n(y) if mask is None else y * mask).relu())

    model, x, mask = Masked().eval(), images(9, 6), images(9, 8)
    folded = graph.fold_batch_norm(model)
    for given in ((x,), (x, mask)):
        assert error(folded(*given), model(*given)) < 1e-6
        quantized = simulate(model, calibrate(model, given))
        assert error(quantize.correct_bias(model, quantized, given)(*given), model(*given)) < 0.03


@pytest.mark.parametrize("verb", [calibrate, int8_bytes])
def test_bytes_are_hinted_at(verb):
    """Pictures from 0 to 255."""
    with pytest.raises(TypeError, match=r"images must not be bytes.*divide"):
        verb(small(), torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.warns(UserWarning, match="images hold whole numbers up to .* as bytes of pictures do: divide"):
        verb(small(), (255 * images(8, 3, 16, 16)).round())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_right_or_refused(dtype):
    """Half precision: folding computes in it, quantization names the way out."""
    model, x = convolved().to(dtype), PICTURES.to(dtype)
    with torch.no_grad():
        assert error(graph.fold_batch_norm(model)(x).double(), model(x).double()) < 2e-2
    for verb in (calibrate, int8_bytes, quantize.absorb_bias):
        with pytest.raises(ValueError, match=r"call model\.float\(\) first"):
            verb(model, x)
    for verb in (equalize, quantize.weight_errors, quantize.relu_in_place_of_relu6):
        with pytest.raises(ValueError, match=r"call model\.float\(\) first"):
            verb(model)


def test_layers_that_do_not_run_stay_in_float_with_a_word():
    """nn.MultiheadAttention reads the weight of out_proj by a function."""
    model = net(lambda m, x: m.b(m.a(x, x, x, need_weights=False)[0]), nn.MultiheadAttention(8, 2), nn.Linear(8, 3))
    x = images(10, 6, 8)
    with pytest.warns(UserWarning, match=r"a\.out_proj did not run as layers .* stay in float"):
        quantized = simulate(model, calibrate(model, x))
    assert error(quantized(x), model(x)) < 0.03
    assert not hasattr(quantized.a.out_proj, "parametrizations")


def test_what_the_model_does_not_take_is_told():
    """Inputs of another form."""
    with pytest.raises(ValueError, match=r"images do not run through the model: .* Pass what it takes"):
        calibrate(small(), images(8, 5, 16, 16))
    with pytest.raises(TypeError, match="images must be a tensor whose first axis is the batch, or a tuple"):
        calibrate(small(), "photographs")
    with pytest.raises(ValueError, match=r"the file takes .*, got \(2, 7\)"):
        deploy.prepare(nn.Linear(6, 3).eval(), images(4, 6))(images(2, 7))
    with pytest.raises(ValueError, match="bfloat16, which ONNX Runtime cannot compute in"):
        deploy.onnx_bytes(nn.Linear(6, 3).eval().bfloat16(), images(4, 6).bfloat16())
