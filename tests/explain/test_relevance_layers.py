"""Relevance of layers and operations: closed forms in float64, zennit, gradient x input, two ways to write it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from xaiprune import zoo
from xaiprune.explain.relevance import BIASES, COMPOSITES, epsilon, inner_relevance, lrp, propagate, uniform

pytestmark = pytest.mark.filterwarnings("ignore")

F = nn.functional
IMAGES = torch.rand(3, 1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2])


class Net(nn.Module):
    """Layers ``a``, ``b``, ... , a function of them and of eight features in two channels, and a head."""

    def __init__(self, function, *layers: nn.Module, width: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.function = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Unflatten(1, (4, 2))), function
        for name, layer in zip("abcdef", layers):
            self.add_module(name, layer)
        self.head = nn.Linear(width, 3)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.6)

    def forward(self, images):
        return self.head(self.function(self, self.stem(images)).flatten(1))


def net(function, *layers: nn.Module, width: int = 8) -> nn.Module:
    return Net(function, *layers, width=width).double().eval()


def around(layer: nn.Module, width: int = 8):
    """What a layer reads and gives in a network, and the relevance of both."""
    model = net(lambda net, x: net.a(x), layer, width=width)
    x = model.stem(IMAGES).detach()
    found = [inner_relevance(model, IMAGES, TARGETS, name, composite="epsilon 0") for name in ("stem", "a")]
    return x, model.a(x).detach(), *found, model


THROUGH_ZERO = [nn.PReLU(), nn.PReLU(4), nn.ELU(), nn.CELU(), nn.SELU(), nn.Mish(), nn.SiLU(), nn.Softsign(), nn.Tanh()]
THROUGH_ZERO += [nn.Hardswish(), nn.Hardshrink(0.1), nn.Softshrink(0.1), nn.Tanhshrink(), nn.RReLU(), nn.GELU("tanh")]
THROUGH_ZERO += [nn.RMSNorm(2), nn.RMSNorm((4, 2)), nn.LocalResponseNorm(3)]


@pytest.mark.parametrize("layer", THROUGH_ZERO, ids=str)
def test_what_is_zero_at_zero_passes_on_what_it_gets(layer):
    _, y, before, after, model = around(layer)
    alive = y != 0
    torch.testing.assert_close(before[alive], after[alive], rtol=1e-9, atol=1e-12)
    assert propagate(model, IMAGES, TARGETS, composite="epsilon 0")[1].error.max() < 1e-9


SHIFTED = [nn.Softplus(), nn.LogSigmoid(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Threshold(0.1, 0.4), nn.Hardtanh(0.1, 1)]


@pytest.mark.parametrize("layer", SHIFTED, ids=str)
def test_what_is_not_zero_at_zero_keeps_that_as_a_bias(layer):
    _, y, before, after, model = around(layer)
    zero = layer.double()(torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(before, after * (y - zero) / y, rtol=1e-9, atol=1e-12)
    entry = next(e for e in propagate(model, IMAGES, TARGETS, composite="epsilon 0")[1].entries if e.name == "a")
    torch.testing.assert_close(entry.bias, (after * zero / y).flatten(1).sum(1), rtol=1e-9, atol=1e-12)
    for bias in BIASES:
        assert propagate(model, IMAGES, TARGETS, composite=uniform(epsilon()).with_bias(bias))[1].error.max() < 1e-9


@pytest.mark.parametrize("groups", [1, 2, 4], ids=["one group", "two groups", "InstanceNorm"])
def test_group_normalisation_is_centring_and_a_constant_factor(groups):
    """Ali et al. 2022, the LN-rule: x_i (delta_ij - 1/n) / sum_i' x_i' (delta_i'j - 1/n) of R_j; with a bias."""
    layer = nn.InstanceNorm1d(4, affine=True) if groups == 4 else nn.GroupNorm(groups, 4)
    x, _, before, after, model = around(layer)
    size, weight, bias = 8 // groups, layer.weight.detach(), layer.bias.detach()
    centring = torch.eye(size, dtype=torch.float64) - 1 / size
    for image, group in itertools.product(range(3), range(groups)):
        place = slice(group * 4 // groups, (group + 1) * 4 // groups)
        inner, found, given = (values[image, place].flatten() for values in (x, before, after))
        scale = weight[place].repeat_interleave(2) / (inner.var(unbiased=False) + layer.eps).sqrt()
        z = (centring @ inner) * scale + bias[place].repeat_interleave(2)
        wanted = sum(inner * centring[:, j] * scale[j] / z[j] * given[j] for j in range(size))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    for treatment in BIASES:
        composite = uniform(epsilon()).with_bias(treatment)
        assert propagate(model, IMAGES, TARGETS, composite=composite)[1].error.max() < 1e-9


def test_instance_normalisation_with_running_statistics_is_batch_normalisation():
    one, other = nn.InstanceNorm1d(4, affine=True, track_running_stats=True), nn.BatchNorm1d(4)
    for layer in (one, other):
        layer.running_mean.copy_(torch.arange(4.0) / 4)
        layer.running_var.copy_(torch.arange(1.0, 5))
    model, second = net(lambda net, x: net.a(x), one), net(lambda net, x: net.a(x), other)
    found, wanted = (propagate(each, IMAGES, TARGETS, composite="epsilon 0")[0] for each in (model, second))
    torch.testing.assert_close(found, wanted)


def test_glu_gives_all_to_the_half_that_is_gated():
    _, _, before, after, model = around(nn.GLU(1), width=4)
    torch.testing.assert_close(before[:, :2], after)
    assert not before[:, 2:].any()
    assert propagate(model, IMAGES, TARGETS)[1].error.max() < 1e-9


@pytest.mark.parametrize(
    "layer", [nn.ELU(), nn.SELU(), nn.CELU(), nn.Mish(), nn.SiLU(), nn.Softsign(), nn.PReLU()], ids=str
)
def test_zennit_agrees_on_activations(layer):
    from zennit.composites import LayerMapComposite
    from zennit.rules import Epsilon, Pass
    from zennit.types import Linear

    model = net(lambda net, x: net.a(x), layer)
    with LayerMapComposite([(Linear, Epsilon(1e-6)), (type(layer), Pass())]).context(model) as hooked:
        pixels = IMAGES.clone().requires_grad_()
        output = hooked(pixels)
        (expected,) = torch.autograd.grad(output, pixels, grad_outputs=F.one_hot(TARGETS, 3) * output.detach())
    found = propagate(model, IMAGES, TARGETS, composite="epsilon 1e-06")[0]
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("layer", [nn.PReLU(4), nn.Threshold(0, 0), nn.Hardtanh(-9, 9), nn.RReLU()], ids=str)
def test_straight_lines_through_zero_are_gradient_x_input(layer):
    model, pixels = net(lambda net, x: net.a(x), layer), IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(pixels).gather(1, TARGETS[:, None]).sum(), pixels)
    torch.testing.assert_close(propagate(model, IMAGES, TARGETS, composite="epsilon 0")[0], IMAGES * gradient)


def tokens(*layers):
    """A function of signals q, k, v (3, 4, 2) that three layers give."""
    return lambda function: net(lambda net, x: function(net.a(x), net.b(x), net.c(x)), *map(Plain, layers))


class Plain(nn.Linear):
    def __init__(self, width: int):
        super().__init__(2, width)


def attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores if mask is None else scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()
ALIKE = {
    "fused": (F.scaled_dot_product_attention, attention),
    "causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: attention(q, k, v, CAUSAL),
    ),
    "masked by addition": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.zeros(4, 4).double().masked_fill(~CAUSAL, -1e30)),
        lambda q, k, v: attention(q, k, v, CAUSAL),
    ),
    "grouped queries": (
        lambda q, k, v: F.scaled_dot_product_attention(
            q.reshape(3, 4, 2, 1), *(each[:, :2].reshape(3, 2, 2, 1) for each in (k, v)), enable_gqa=True
        ).reshape(3, 4, 2),
        lambda q, k, v: attention(
            q.reshape(3, 4, 2, 1), *(each[:, [0, 0, 1, 1]].reshape(3, 4, 2, 1) for each in (k, v))
        ).reshape(3, 4, 2),
    ),
    "einsum": (
        lambda q, k, v: torch.einsum("nij,njd->nid", torch.einsum("nid,njd->nij", q, k).softmax(-1), v),
        lambda q, k, v: (q @ k.mT).softmax(-1) @ v,
    ),
    "product": (lambda q, k, v: torch.einsum("nid,nid->nid", q, k) + v, lambda q, k, v: q * k + v),
    "addcmul": (lambda q, k, v: torch.addcmul(v, q, k, value=2), lambda q, k, v: v + 2 * (q * k)),
    "baddbmm": (lambda q, k, v: torch.baddbmm(q, k @ v.mT, v), lambda q, k, v: q + (k @ v.mT) @ v),
    "power": (lambda q, k, v: q.pow(3) + k, lambda q, k, v: q * q.square() + k),
    "GLU": (lambda q, k, v: F.glu(torch.cat([q, k], 1), 1) + v, lambda q, k, v: q * k.sigmoid() + v),
    "RMSNorm by hand": (
        lambda q, k, v: q * torch.rsqrt(q.pow(2).mean(-1, keepdim=True) + 1e-6) + k,
        lambda q, k, v: F.rms_norm(q, (2,), eps=1e-6) + k,
    ),
    "norm by hand": (
        lambda q, k, v: q / (q.norm(dim=-1, keepdim=True) + 0.0) + k,
        lambda q, k, v: F.normalize(q, dim=-1) + k,
    ),
    "LayerNorm by hand": (
        lambda q, k, v: (q - q.mean(-1, True)) / torch.sqrt(q.var(-1, unbiased=False, keepdim=True) + 1e-5) + k,
        lambda q, k, v: F.layer_norm(q, (2,)) + k,
    ),
    "choice": (lambda q, k, v: torch.where(q > 0, q, 0.3) + k, lambda q, k, v: q.masked_fill(q <= 0, 0.3) + k),
    "bounds": (lambda q, k, v: torch.maximum(q, torch.zeros(2).double()) + k, lambda q, k, v: q.clamp(min=0) + k),
}


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "attnlrp-plus"])
@pytest.mark.parametrize("name", ALIKE)
def test_two_ways_to_write_it_give_the_same(name, composite):
    found, wanted = (propagate(tokens(2, 2, 2)(each), IMAGES, TARGETS, composite=composite) for each in ALIKE[name])
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found[1].output, wanted[1].output)
    assert found[1].error.max() < 1e-9


def test_a_product_of_signals_gives_half_to_each():
    """Achtibat et al. 2024, proposition 3.3."""
    model = tokens(2, 2, 2)(lambda q, k, v: q * k)
    after = (
        model.head.weight[TARGETS] * (model.a(model.stem(IMAGES)) * model.b(model.stem(IMAGES))).flatten(1)
    ).detach()
    for name in "ab":
        found = inner_relevance(model, IMAGES, TARGETS, name, composite="epsilon 0")
        torch.testing.assert_close(found.flatten(1), after / 2)


WEIGHTS = {
    "linear": lambda net, x: F.linear(x, net.a.weight, net.a.bias),
    "matmul": lambda net, x: x @ net.a.weight.T + net.a.bias,
    "addmm": lambda net, x: torch.addmm(net.a.bias, x.reshape(-1, 2), net.a.weight.t()).view(3, 4, 2),
    "einsum": lambda net, x: torch.einsum("nti,oi->nto", x, net.a.weight) + net.a.bias,
    "left": lambda net, x: (net.a.weight @ x.mT).mT + net.a.bias,
    "one long list": lambda net, x: net.a(x.flatten(0, 1)).unflatten(0, (3, 4)),
    "tokens first": lambda net, x: net.a(x.transpose(0, 1)).permute(1, 0, 2),
}


@pytest.mark.parametrize("composite", ["epsilon 0", "gamma 0.25", "z-plus", "epsilon-alpha-beta"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_follow_the_composite_however_they_are_written(name, composite):
    model, plain = net(WEIGHTS[name], nn.Linear(2, 2)), net(lambda net, x: net.a(x), nn.Linear(2, 2))
    without = name in ("matmul", "einsum", "left")  # their bias is a constant of its own
    for bias in ("absorb", "redistribute"):
        chosen = COMPOSITES[composite].with_bias(bias)
        if without:
            nn.init.zeros_(model.a.bias)
            nn.init.zeros_(plain.a.bias)
        found, wanted = (propagate(each, IMAGES, TARGETS, composite=chosen) for each in (model, plain))
        torch.testing.assert_close(found[0], wanted[0])
        torch.testing.assert_close(found[1].bias, wanted[1].bias)
        assert found[1].error.max() < 1e-9


@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp-gamma"])
def test_packed_attention_is_the_converted_one(composite, bias):
    """``nn.MultiheadAttention`` as it is, and the same network with its attention laid open by hand."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    hidden = VisionTransformer(16, 8, 2, 2, 12, 24, num_classes=3).eval()
    for parameter in hidden.parameters():
        nn.init.normal_(parameter, std=0.3)
    images, shown = torch.rand(3, 3, 16, 16).double(), zoo.from_torchvision(hidden).double()
    chosen = COMPOSITES[composite].with_bias(bias)
    (found, books), (wanted, _) = (propagate(m, images, TARGETS, composite=chosen) for m in (hidden.double(), shown))
    assert books.error.max() < 1e-9
    if bias == "absorb":
        assert (found - wanted).abs().max() <= 1e-7 * wanted.abs().max()


PADDED = torch.tensor([[False] * 4, [False, False, True, True], [False, False, False, True]])
CALLS = {
    "plain": ({}, {}),
    "no bias": ({"bias": False}, {}),
    "added keys": ({"add_bias_kv": True, "add_zero_attn": True}, {"key_padding_mask": PADDED, "attn_mask": ~CAUSAL}),
    "other widths": ({"kdim": 2, "vdim": 2}, {}),
    "padding": ({}, {"key_padding_mask": PADDED}),
    "causal": ({}, {"attn_mask": ~CAUSAL, "is_causal": True}),
    "a mask for each head": ({}, {"attn_mask": torch.arange(96.0).view(6, 4, 4).sin().double()}),
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_multi_head_attention_keeps_the_books(name, need_weights, batch_first):
    options, given = CALLS[name]

    def run(net, x):
        q, other = net.b(x), x if "kdim" in options else net.b(x)
        parts = (q, other, other) if batch_first else (q.transpose(0, 1), *(other.transpose(0, 1),) * 2)
        found = net.a(*parts, need_weights=need_weights, **given)[0]
        return found if batch_first else found.transpose(0, 1)

    model = net(run, nn.MultiheadAttention(4, 2, batch_first=batch_first, **options), nn.Linear(2, 4), width=16)
    for composite in ("attnlrp", "cp-lrp"):
        found, ledger = propagate(model, IMAGES, TARGETS, composite=composite)
        assert ledger.error.max() < 1e-9
        torch.testing.assert_close(ledger.output, model(IMAGES)[range(3), TARGETS])
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("batch_first", [True, False])
def test_images_of_a_batch_do_not_mix(batch_first, bias):
    """Also where tokens come first and there are as many as images."""

    def run(net, x):
        x = net.b(x)[:, :3] if batch_first else net.b(x)[:, :3].transpose(0, 1)
        return net.a(x, x).transpose(0, 1) if not batch_first else net.a(x, x)

    torch.manual_seed(0)
    block = nn.Transformer(4, 2, 1, 1, 8, batch_first=batch_first, activation="gelu", norm_first=True)
    model, composite = net(run, block, nn.Linear(2, 4), width=12), COMPOSITES["attnlrp"].with_bias(bias)
    together, ledger = propagate(model, IMAGES, TARGETS, composite=composite)
    assert ledger.error.max() < 1e-9
    for image in range(3):
        alone = propagate(model, IMAGES[image : image + 1], TARGETS[image : image + 1], composite=composite)
        torch.testing.assert_close(together[image : image + 1], alone[0], rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(ledger.bias[image : image + 1], alone[1].bias, rtol=1e-7, atol=1e-10)


def test_images_that_cannot_be_told_apart_are_explained_one_at_a_time():
    def mixed(net, x):
        rows = x.permute(2, 1, 0).reshape(2, -1, 1)
        return F.group_norm(rows, 1).reshape(2, 4, -1).permute(2, 1, 0)

    model = net(mixed)
    with pytest.raises(ValueError, match=r"3 images cannot be told apart.*one image at a time \(batch_size=1\)"):
        lrp(model, IMAGES)
    assert lrp(model, IMAGES, batch_size=1).shape == (3, 3, 4)


class HandMade(nn.Module):
    """GELU by its formula, as GPT-2 has it."""

    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))


class InPlace(nn.Module):
    def forward(self, x):
        return x.mul_(x.sigmoid())


@pytest.mark.parametrize(("made", "known"), [(HandMade(), nn.GELU("tanh")), (InPlace(), nn.SiLU())])
def test_activations_that_others_wrote_pass_on_what_they_get(made, known):
    found, wanted = (propagate(net(lambda net, x: net.a(x), each), IMAGES, TARGETS)[0] for each in (made, known))
    torch.testing.assert_close(found, wanted)


def test_a_layer_that_is_read_with_and_without_its_normalisation_has_two_lines():

    def twice(net, x):
        x = net.a(x)
        return x + net.b(x).relu()

    model = net(twice, nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))
    nn.init.uniform_(model.b.running_mean)
    for composite in ("epsilon-plus", "gamma 0.25", "epsilon 0"):
        ledger = propagate(model, IMAGES, TARGETS, composite=composite)[1]
        assert ledger.error.max() < 1e-9
        assert [entry.name for entry in ledger.entries] == ["head", "a", "a", "stem.1"]


class Silent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.exp()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@torch.jit.script
def scripted(x):
    return torch.exp(x) * x


def through_a_view(x):
    some = x[:, :2]
    x.relu_()
    return torch.cat([some, x[:, 2:]], 1)


def of_a_view(x):
    x[:, :2].relu_()
    return x


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda net, x: net.a(x)[0], "lstm hides its gates; write the cell out"),
        (lambda net, x: x / (x + 2), r"divides by a signal that is no size .*divide by its .detach\(\)"),
        (lambda net, x: x.reciprocal(), "divides by a signal"),
        (lambda net, x: 2**x, "softmax by hand take torch.softmax"),
        (lambda net, x: x.exp() / x.exp().sum(), "for a softmax by hand take torch.softmax"),
        (lambda net, x: x.abs() ** x, "has a signal as its exponent"),
        (lambda net, x: x.clamp(min=x.mean()), "has bounds that depend on the input"),
        (lambda net, x: x.log_softmax(1), "explain the logits before it"),
        (lambda net, x: F.grid_sample(x[:, None], x[:, None, :, :]), "samples at places that depend on the input"),
        (lambda net, x: torch.fft.fft(x).real, "fft_fft has no rule"),
        (lambda net, x: Silent.apply(x) + 1, "SilentBackward made, which is code that relevance cannot follow"),
        (lambda net, x: scripted(x) + 1, "which is code that relevance cannot follow"),
        (lambda net, x: through_a_view(x), "reads a tensor that relu of layer .* changed in place"),
        (lambda net, x: of_a_view(x), "reads a tensor that relu of layer .* changed in place"),
        (lambda net, x: x.index_fill_(1, torch.tensor([0]), 0), "make it with torch.cat, torch.stack or torch.where"),
        (lambda net, x: torch.zeros(3, 4, 2).double().copy_(x), "make it with torch.cat"),
        (lambda net, x: x.softmax(1), "only through this softmax, which composite 'epsilon-plus' takes as given"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_way_out(function, message):
    model = net(function, nn.LSTM(2, 2, batch_first=True))
    with pytest.raises(ValueError, match=message):
        propagate(model, IMAGES, TARGETS)


def test_a_gate_at_the_end_is_refused_and_one_inside_is_an_activation():
    model = net(lambda net, x: net.a(x.flatten(1)).sigmoid(), nn.Linear(8, 8))
    assert propagate(model, IMAGES, TARGETS)[0].any()
    with pytest.raises(ValueError, match="output is a gate"):
        propagate(nn.Sequential(model, nn.Sigmoid()).eval(), IMAGES, TARGETS)
    with pytest.raises(ValueError, match="no tensor"):
        propagate(Wrapped(model).eval(), IMAGES, TARGETS)


def test_compiled_models_run_as_they_were_written_and_scripted_ones_are_refused():
    model = net(lambda net, x: net.a(x), nn.GELU())
    wanted = propagate(model, IMAGES, TARGETS)[0]
    assert torch.equal(propagate(torch.compile(model, backend="eager"), IMAGES, TARGETS)[0], wanted)
    assert torch.equal(propagate(nn.DataParallel(model).eval(), IMAGES, TARGETS)[0], wanted)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double().eval()
    for made in (torch.jit.script(plain), torch.jit.trace(plain, IMAGES)):
        with pytest.raises(ValueError, match="is a scripted module, whose operations relevance cannot follow"):
            propagate(made, IMAGES, TARGETS)


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return {"logits": self.model(x)}


def test_a_function_whose_gradient_relevance_should_follow_says_so():
    class Doubled(torch.autograd.Function):
        passes_relevance = True

        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    plain = net(lambda m, x: m.a(2 * x), nn.Linear(2, 2))
    own = net(lambda m, x: m.a(Doubled.apply(x)), nn.Linear(2, 2))
    own.load_state_dict(plain.state_dict())
    found, expected = (lrp(model, IMAGES, TARGETS, composite="epsilon 0") for model in (own, plain))
    torch.testing.assert_close(found, expected)
