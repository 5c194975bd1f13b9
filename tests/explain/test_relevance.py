"""Relevance propagation: every rule against loops over contributions and against zennit, and books that balance."""

from __future__ import annotations

import copy
import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from xaiprune import data, zoo
from xaiprune.explain.relevance import (
    BIASES,
    COMPOSITES,
    Composite,
    Where,
    alpha_beta,
    epsilon,
    flat,
    gamma,
    inner_relevance,
    lrp,
    modified_gradients,
    products,
    propagate,
    uniform,
    z_box,
    z_plus,
)

RULES = {
    "epsilon": epsilon(0.01),
    "gamma": gamma(0.3),
    "z-plus": z_plus(),
    "alpha-beta": alpha_beta(1.5, 0.5),
}


def divided(rule: str, x, weight, bias, relevance, treatment: str = "absorb"):
    """Relevance of the inputs of one dense layer for one image, contribution by contribution, from the papers' sums."""
    found, taken = torch.zeros_like(x), 0.0
    for j in range(len(weight)):
        parts = [(x[i] * weight[j, i]).item() for i in range(len(x))]
        b, r = bias[j].item(), relevance[j].item()
        z = sum(parts) + b
        if treatment == "zero":
            found += without_bias(rule, parts, r, z)
            continue
        up, down = sum(max(p, 0) for p in parts) + max(b, 0), sum(min(p, 0) for p in parts) + min(b, 0)
        for i, part in enumerate([*parts, b]):
            if rule == "epsilon":
                share = part / (z + (0.01 if z >= 0 else -0.01))
            elif rule == "z-plus":
                share = max(part, 0) / up if up else 0
            elif rule == "alpha-beta":
                share = (1.5 * max(part, 0) / up if up else 0) - (0.5 * min(part, 0) / down if down else 0)
            else:
                favoured = part + 0.3 * (max(part, 0) if z > 0 else min(part, 0))
                share = favoured / (z + 0.3 * (up if z > 0 else down))
            if i < len(parts):
                found[i] += share * r
            else:
                taken += share * r
    if treatment != "redistribute" or not found.any():
        return found
    return found + found.abs() / found.abs().sum() * taken


def without_bias(rule: str, parts: list[float], r: float, z: float) -> torch.Tensor:
    """One output's relevance divided among contributions whose sum leaves the bias out; z, with it, has the sign."""
    if rule == "gamma":
        counted = [([p + 0.3 * (max(p, 0) if z > 0 else min(p, 0)) for p in parts], r)]
    else:
        up, down = [max(p, 0) for p in parts], [min(p, 0) for p in parts]
        counted = {"epsilon": [(parts, r)], "z-plus": [(up, r)], "alpha-beta": [(up, 1.5 * r), (down, -0.5 * r)]}[rule]
    found, stabilizer = torch.zeros(len(parts), dtype=torch.float64), 0.01 if rule == "epsilon" else 1e-6
    for some, mine in counted:
        if total := sum(some):
            found += torch.tensor(some) * mine / (total + (stabilizer if total > 0 else -stabilizer))
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("signed", [False, True], ids=["inputs of one sign", "inputs of both signs"])
def test_rules_follow_their_sums_through_two_layers(rule, bias, signed):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()
    images = torch.rand(4, 1, 2, 3, dtype=torch.float64) - (0.5 if signed else 0)
    targets = torch.tensor([0, 1, 2, 0])
    found, ledger = propagate(model, images, targets, composite=uniform(RULES[rule]).with_bias(bias))
    assert ledger.error.max() < 1e-12
    assert ledger.bias.any() if bias == "absorb" else ledger.redistributed.any(), "the books tell what was bias"
    for image, target, heat in zip(images, targets, found):
        inner = model[1](image.reshape(1, -1))[0].detach()
        output = model[3](inner.relu()).detach()
        start = torch.zeros(3, dtype=torch.float64)
        start[target] = output[target]
        middle = divided(rule, inner.relu(), model[3].weight, model[3].bias, start, bias)
        expected = divided(rule, image.flatten(), model[1].weight, model[1].bias, middle, bias)
        assert torch.allclose(heat.flatten(), expected, atol=1e-12)


def test_z_box_and_flat_follow_their_sums():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double().eval()
    images, targets = torch.rand(4, 1, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    for rule in (z_box(-0.5, 1.25), flat()):
        composite = Composite("first", ((Where(first=True), rule), (Where(), epsilon())))
        found, _ = propagate(model, images, targets, composite=composite)
        for image, target, heat in zip(images, targets, found):
            x, w = image.flatten(), weight[target]
            parts = x * w + 0.5 * w.clamp(min=0) - 1.25 * w.clamp(max=0) if rule.name == "z-box" else torch.ones_like(x)
            relevance = w @ x + bias[target]
            assert torch.allclose(heat.flatten(), parts / parts.sum() * relevance, atol=1e-12)


def torchvision_model(name: str, size: int = 64, **options) -> nn.Module:
    """A model of torchvision with statistics of random images and affine parameters that are not trivial."""
    from torchvision import models

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(models, name)(weights=None, **options).train()
    if name.startswith("vgg"):  # 120 of its 133 million weights are in layers of one kind
        model.classifier[0], model.classifier[3] = nn.Linear(25088, 64), nn.Linear(64, 64)
        model.classifier[6] = nn.Linear(64, 1000)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        model(torch.rand(8, 3, size, size))
    return model.eval()


FAMILIES = ("vgg11_bn", "resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0")


@pytest.mark.parametrize("name", FAMILIES)
def test_books_balance_on_torchvisions_models(name):
    model, images = torchvision_model(name), torch.rand(2, 3, 64, 64)
    targets = model(images).argmax(1)
    some = [COMPOSITES[key] for key in ("epsilon-plus", "epsilon-gamma-box", "gamma 0.25")]
    for composite in (*some, some[0].with_bias("zero"), some[0].with_bias("redistribute")):
        for kind in (torch.float32, torch.float64):
            heat, ledger = propagate(model.to(kind), images.to(kind), targets, composite=composite)
            assert torch.isfinite(heat).all()
            assert ledger.error.max() < (1e-4 if kind == torch.float32 else 1e-9)
            chosen = model(images.to(kind)).gather(1, targets[:, None])[:, 0]
            assert torch.allclose(ledger.output, chosen, rtol=1e-4)
    model.float()


@pytest.mark.parametrize("composite", ["epsilon 0", "epsilon-plus", "gamma 0.25", "z-plus"])
def test_without_biases_relevance_is_conserved(composite):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.ReLU6()),
        *(nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(216, 10, bias=False)),
    ).eval()
    images = torch.rand(8, 1, 28, 28)
    heat, ledger = propagate(model, images, model(images).argmax(1), composite=composite)
    assert ((ledger.inputs - ledger.output).abs() / ledger.output.abs()).max() < 1e-4
    assert torch.allclose(heat.sum((1, 2, 3)), ledger.output, rtol=1e-4)
    assert ledger.bias.abs().max() == 0


def test_epsilon_zero_on_relus_is_gradient_times_input():
    model, images = zoo.load("lenet-5").double(), torch.rand(3, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(images)[:, 3].sum(), images)
    found, _ = propagate(model, images.detach(), torch.full((3,), 3), composite="epsilon 0")
    assert torch.allclose(found, (images * gradient).detach(), atol=1e-10)


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "resnet18"])
@pytest.mark.parametrize("rule", ["epsilon", "z-plus", "gamma"])
def test_zennit_agrees(name, rule):
    """On models whose batch normalisation is folded for zennit: its own canonizer leaves eps of 1e-5 in every layer."""
    from zennit import layer, rules, types
    from zennit.composites import LayerMapComposite
    from zennit.torchvision import ResNetCanonizer

    def fold(module):
        children = list(module.named_children())
        for (one, first), (other, second) in itertools.pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, one, fuse_conv_bn_eval(first, second))
                setattr(module, other, nn.Identity())
        for _, child in children:
            fold(child)

    model = torchvision_model(name).double()
    folded = copy.deepcopy(model)
    fold(folded)
    for module in folded.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    targets = model(images).argmax(1)
    theirs = {"epsilon": rules.Epsilon(1e-6), "z-plus": rules.ZPlus(1e-9), "gamma": rules.Gamma(0.25, 1e-9)}[rule]
    ours = {"epsilon": epsilon(1e-6), "z-plus": z_plus(), "gamma": gamma(0.25)}[rule]
    rows = [(types.Activation, rules.Pass()), ((types.AvgPool, layer.Sum), rules.Norm(1e-9)), (types.Linear, theirs)]
    flat_rows = [(kind, hook) for kinds, hook in rows for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
    with LayerMapComposite(flat_rows, canonizers=[ResNetCanonizer()]).context(folded) as hooked:
        pixels = images.clone().requires_grad_()
        output = hooked(pixels)
        start = nn.functional.one_hot(targets, 1000) * output.detach()
        (expected,) = torch.autograd.grad(output, pixels, grad_outputs=start)
    found, _ = propagate(model, images, targets, composite=uniform(ours))
    assert (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("rule", ["epsilon", "z-plus", "gamma", "alpha-beta"])
def test_zennit_agrees_when_biases_are_left_out(rule):
    """Also where sums without their bias come near zero, so that relevance explodes: there, too, rules are the same."""
    from zennit import rules, types
    from zennit.composites import LayerMapComposite

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU6()]
    model = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10), nn.ReLU(), nn.Linear(10, 4))
    model, images = model.double().eval(), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    for layer in (0, 3, 7, 9):
        nn.init.uniform_(model[layer].bias, -0.3, 0.3)
    targets = torch.tensor([0, 1, 3])
    theirs, ours = {
        "epsilon": (rules.Epsilon(zero_params="bias"), epsilon(1e-6)),
        "z-plus": (rules.ZPlus(zero_params="bias"), z_plus()),
        "gamma": (rules.Gamma(zero_params="bias"), gamma(0.25)),
        "alpha-beta": (rules.AlphaBeta(zero_params="bias"), alpha_beta()),
    }[rule]
    rows = [(types.Activation, rules.Pass()), (types.AvgPool, rules.Norm(1e-9)), (types.Linear, theirs)]
    with LayerMapComposite(rows).context(model) as hooked:
        pixels = images.clone().requires_grad_()
        output = hooked(pixels)
        start = nn.functional.one_hot(targets, 4) * output.detach()
        (expected,) = torch.autograd.grad(output, pixels, grad_outputs=start)
    for bias in BIASES:
        found, _ = propagate(model, images, targets, composite=uniform(ours).with_bias(bias))
        close = (found - expected).flatten(1).norm(dim=1) < 1e-4 * expected.flatten(1).norm(dim=1)
        assert close.all() == (bias == "zero"), bias


def test_redistributed_relevance_arrives():
    """Where biases have a third of the logit or more, all of it is at the pixels, and the books tell both."""
    model, images = torchvision_model("resnet18"), torch.rand(2, 3, 64, 64)
    targets = model(images).argmax(1)
    absorbed = propagate(model, images, targets)[1]
    found, ledger = propagate(model, images, targets, composite=COMPOSITES["epsilon-plus"].with_bias("redistribute"))
    assert (absorbed.bias / absorbed.output).min() > 0.3
    assert torch.allclose(found.sum((1, 2, 3)), ledger.output, rtol=1e-4)
    assert ledger.redistributed.min() > 0
    assert ledger.rows()[3]["redistributed"] > 0


def test_relevance_arrives_in_a_network_that_others_trained():
    """All but a thousandth of EfficientNet-Lite0's logits goes to its biases, until these are redistributed."""
    model, prepare = zoo.load("efficientnet-lite0"), zoo.preprocessing("efficientnet-lite0")
    images = data.objects("test", limit=1, size=0.6, grounds=["gravel"], preprocessing=prepare).inputs
    targets, composite = model(images).argmax(1), COMPOSITES["epsilon-plus"]
    shares = {}
    for bias in BIASES:
        _, ledger = propagate(model, images, targets, composite=composite.with_bias(bias))
        assert ledger.error.max() < 1e-4
        shares[bias] = (ledger.inputs / ledger.output).item()
    assert abs(shares["absorb"]) < 0.001
    assert shares["zero"] < 0.5, "most of it only biases made"
    assert shares["redistribute"] == pytest.approx(1, abs=1e-4)
    assert "biases would have had" in repr(ledger)


def test_what_only_a_bias_made_stays_with_it():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    nn.init.ones_(model[1].bias)
    for bias in ("zero", "redistribute"):
        for rule in (epsilon(), z_plus()):
            composite = uniform(rule).with_bias(bias)
            found, ledger = propagate(model, torch.zeros(1, 1, 2, 2), torch.tensor([0]), composite=composite)
            assert not found.any()
            assert ledger.sums()["biases"].item() == pytest.approx(1, rel=1e-5)


def test_folding_is_exact():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(2704, 3)]
    model = nn.Sequential(*layers).double()
    model(torch.rand(8, 1, 28, 28, dtype=torch.float64))
    model.eval()
    folded = nn.Sequential(fuse_conv_bn_eval(model[0], model[1]), *model[2:]).eval()
    images, targets = torch.rand(3, 1, 28, 28, dtype=torch.float64), torch.tensor([0, 1, 2])
    for composite, bias in itertools.product(COMPOSITES.values(), ("absorb", "redistribute")):
        chosen = composite.with_bias(bias)
        one, other = (propagate(each, images, targets, composite=chosen)[0] for each in (model, folded))
        assert torch.allclose(one, other, atol=1e-12)


class Transposed(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups, bias=False)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(6 * 81, 3)

    def forward(self, images):
        return self.head(self.norm(self.up(images)).relu().flatten(1))


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_fold_too(groups):
    torch.manual_seed(0)
    model = Transposed(groups).double()
    model(torch.rand(8, 4, 4, 4, dtype=torch.float64))
    images = torch.rand(2, 4, 4, 4, dtype=torch.float64)
    _, ledger = propagate(model.eval(), images, torch.tensor([0, 1]), composite="gamma 0.25")
    assert ledger.error.max() < 1e-12
    assert {entry.kind for entry in ledger.entries} == {"dense", "convolution"}


class Gated(nn.Module):
    """A convolution whose channels are gated, as squeeze-and-excite does it."""

    def __init__(self):
        super().__init__()
        self.features, self.gate, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, images):
        values = self.features(images).relu()
        scale = self.gate(values.mean((2, 3))).sigmoid()
        return self.head((values * scale[:, :, None, None]).mean((2, 3)))


def test_gates_get_no_relevance():
    torch.manual_seed(0)
    model, images = Gated().eval(), torch.rand(2, 1, 28, 28)
    _, ledger = propagate(model, images, torch.tensor([0, 1]))
    assert [entry.name for entry in ledger.entries] == ["head", "features"]
    assert ledger.error.max() < 1e-5


class Constants(nn.Module):
    """Sums with constants on either side, products with constants, cuts and joins."""

    def __init__(self):
        super().__init__()
        self.head, self.shift = nn.Linear(784, 3), nn.Parameter(torch.tensor(0.3))

    def forward(self, images):
        x = 2 - (images - 0.5) / 0.25
        x = torch.add(x, self.shift, alpha=2)
        left, right = x.flatten(1).chunk(2, dim=1)
        return self.head(torch.cat([left * 3, right], 1))


def test_added_constants_are_in_the_books():
    torch.manual_seed(0)
    model, images = Constants().double().eval(), torch.rand(2, 1, 28, 28, dtype=torch.float64)
    heat, ledger = propagate(model, images, torch.tensor([0, 1]), composite="epsilon 0")
    assert ledger.error.max() < 1e-12
    assert [entry.kind for entry in ledger.entries] == ["dense", "constant", "constant", "constant"]
    pixels = images.clone().requires_grad_()
    chosen = model(pixels).gather(1, torch.tensor([[0], [1]]))
    (gradient,) = torch.autograd.grad(chosen.sum(), pixels)
    assert torch.allclose(heat, images * gradient, atol=1e-12)


@pytest.mark.parametrize("function", [nn.SiLU(), nn.Hardswish(), nn.ReLU6(), nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.1)])
def test_activations_pass_on_what_they_get(function):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 20, bias=False), function, nn.Linear(20, 3, bias=False)).eval()
    images = 3 * torch.rand(4, 1, 28, 28)
    _, ledger = propagate(model, images, torch.tensor([0, 1, 2, 0]), composite="epsilon 0")
    assert torch.allclose(ledger.inputs, ledger.output, rtol=1e-4, atol=1e-5)


def test_the_ledger_is_a_waterfall():
    model, images = zoo.load("lenet-5"), torch.rand(4, 1, 28, 28)
    _, ledger = propagate(model, images, torch.tensor([0, 1, 2, 3]))
    rows = ledger.rows()
    assert [row["layer"] for row in rows] == ["output", "fc3", "fc2", "fc1", "conv2", "conv1", "input"]
    assert rows[0]["left"] == pytest.approx(ledger.output.mean().item())
    assert rows[-2]["left"] == pytest.approx(rows[-1]["left"], rel=1e-4)
    for before, row in itertools.pairwise(rows[:-1]):
        assert row["left"] == pytest.approx(before["left"] - row["bias"] - row["kept"])
    assert rows[1]["rule"] == "epsilon 1e-06"
    assert rows[-2]["rule"] == "z-plus"
    # independently: the sum of the relevance of each layer's inputs, in this chain, is what is left
    inner = inner_relevance(model, images, torch.tensor([0, 1, 2, 3]), "relu3").sum(1).mean().item()
    assert rows[2]["left"] == pytest.approx(inner, rel=1e-4)
    assert ledger.rows(2)[0]["left"] == pytest.approx(ledger.output[2].item())
    assert "Ledger of 4 images" in repr(ledger)


def test_composites_choose_by_kind_name_and_depth():
    model, images = zoo.load("lenet-5"), torch.rand(1, 1, 28, 28)
    rows = ((Where(name="fc1"), gamma(1)), (Where(depth=(0, 0.3)), z_plus()), (Where(), epsilon()))
    _, ledger = propagate(model, images, torch.tensor([0]), composite=Composite("mine", rows))
    chosen = {entry.name: entry.rule().name for entry in ledger.entries}
    last = "epsilon 1e-06"
    assert chosen == {"fc3": last, "fc2": last, "fc1": "gamma 1", "conv2": "z-plus", "conv1": "z-plus"}


def test_weights_have_relevance_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()
    images = torch.rand(4, 1, 2, 3, dtype=torch.float64) - 0.5
    for rule, bias in itertools.product(RULES.values(), BIASES):
        with modified_gradients(model, uniform(rule).with_bias(bias)) as trace:
            weights = [model[1].weight.requires_grad_(), model[3].weight.requires_grad_()]
            pixels = trace.watch(images)
            chosen = model(pixels)[:, 1].sum()
        of_pixels, first, last = torch.autograd.grad(chosen, [pixels, *weights])
        # what passes through a layer's weights is what reaches its inputs
        assert torch.allclose((weights[0] * first).sum(), (images * of_pixels).sum(), atol=1e-12)
        assert torch.isfinite(last).all()


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("name", ["epsilon-plus-flat", "gamma 0.25", "epsilon-alpha-beta"])
def test_images_that_are_worked_on_apart_give_the_same(name, bias, monkeypatch):
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU6(), nn.Flatten()]
    model = nn.Sequential(*convolutions, nn.Linear(24, 3)).double().eval()
    images, targets = torch.rand(5, 2, 6, 6).double() - 0.5, torch.tensor([0, 1, 2, 0, 1])
    images[2] = 0  # one whose outputs only the biases made
    found = []
    for size in (products._PIECE, 1):
        monkeypatch.setattr(products, "_PIECE", size)
        with modified_gradients(model, COMPOSITES[name].with_bias(bias)) as trace:
            weight = model[2].weight.requires_grad_()
            pixels = trace.watch(images)
            output = model(pixels).gather(1, targets[:, None])[:, 0]
            of_pixels, of_weight = torch.autograd.grad(output.sum(), [pixels, weight])
        relevance = trace.relevance(pixels, of_pixels)
        ledger = trace.ledger(output, relevance)
        found.append([relevance, of_weight, torch.stack([*ledger.sums().values()]), ledger.redistributed])
        assert ledger.error.max() < 1e-9
    for whole, apart in zip(*found):
        assert torch.allclose(whole, apart, rtol=1e-9, atol=1e-12)


def test_inner_relevance_of_a_folded_convolution_is_refused():
    model, images = torchvision_model("resnet18"), torch.rand(1, 3, 64, 64)
    assert inner_relevance(model, images, None, "layer1.0.bn1").shape == (1, 64, 16, 16)
    with pytest.raises(ValueError, match=r"layer 'layer1.0.conv1': its output has no part"):
        inner_relevance(model, images, None, "layer1.0.conv1")
    with pytest.raises(ValueError, match="layer must be the name of a module"):
        inner_relevance(model, images, None, "nowhere")


class Misused(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.layer, self.head, self._forward = nn.Conv2d(1, 4, 3), nn.Linear(2704, 3), forward

    def forward(self, images):
        return self.head(self._forward(self.layer(images)).flatten(1))


def stale(x):
    x.relu_()
    return x


def written(x):
    x[:, 0] = 0
    return x


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: x.cumsum(1), "cumsum has no rule for relevance"),
        (lambda x: x / x, "divides by a signal that is no size"),
        (lambda x: torch.div(x, other=x), "divides by a signal that is no size"),
        (lambda x: 1 / x, "divides by a signal that is no size"),
        (stale, r"reads a tensor that relu of layer 'the model itself' changed in place"),
        (written, "changes a tensor in place"),
        (torch.sigmoid, "is a gate"),
    ],
)
def test_what_relevance_cannot_pass_is_refused_by_name(forward, message):
    model = Misused(forward).eval()
    if message == "is a gate":
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 3), nn.Softmax(1)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        lrp(model, torch.rand(1, 1, 28, 28))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_in_place_activations_whose_value_is_used_are_fine():
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 3)]
    model = nn.Sequential(*layers).eval()
    images = torch.rand(2, 1, 28, 28)
    plain = lrp(model, images)
    model[2].inplace = True
    assert torch.equal(lrp(model, images), plain)


class Skipping(nn.Module):
    """The pixels are read by a convolution and by a sum beside it."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(1, 1, 3, padding="same"), nn.Linear(784, 10)

    def forward(self, images):
        return self.head((self.layer(images) + images).flatten(1))


class Keywords(nn.Module):
    """Operands that are given by name."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(1, 2, 3, padding="same"), nn.Linear(1568, 3)

    def forward(self, images):
        x = self.layer(images)
        x = torch.add(x, other=nn.functional.gelu(input=x), alpha=2)
        return self.head(torch.rsub(torch.sub(x, other=0.2), other=0.1, alpha=3).flatten(1))


def test_operands_by_name_are_seen():
    torch.manual_seed(0)
    model, images = Keywords().double().eval(), torch.rand(2, 1, 28, 28, dtype=torch.float64)
    for composite in ("epsilon 0", "epsilon-plus-box"):
        _, ledger = propagate(model, images, torch.tensor([0, 1]), composite=composite)
        assert ledger.error.max() < 1e-12
    with torch.no_grad():
        assert torch.isfinite(lrp(model, images, torch.tensor([0, 1]))).all()


def test_bad_requests_are_named():
    model, images = zoo.load("lenet-5"), torch.rand(2, 1, 28, 28)
    with pytest.raises(ValueError, match="composite must be one of epsilon 0"):
        lrp(model, images, composite="zplus")
    with pytest.raises(ValueError, match="model is in training mode"):
        lrp(model.train(), images)
    model.eval()
    with pytest.raises(ValueError, match="targets must be from 0 to 9, got 10"):
        lrp(model, images, torch.tensor([3, 10]))
    with pytest.raises(ValueError, match=r"add the batch axis with images\[None\]"):
        lrp(model, images[0])
    with pytest.raises(ValueError, match="images is empty"):
        lrp(model, images[:0])
    with pytest.raises(ValueError, match="for pixels from 0 to 1, got"):
        lrp(model, 2 * images, composite="epsilon-gamma-box")
    with pytest.raises(ValueError, match="targets must be classes"):
        lrp(model, images, torch.rand(2, 10))
    with pytest.raises(ValueError, match="reads the pixels themselves, but composite 'epsilon-plus-box'"):
        lrp(Constants().eval(), images, composite="epsilon-plus-box")
    with pytest.raises(ValueError, match="reads the pixels themselves"):
        lrp(Skipping().eval(), images, composite="epsilon-plus-flat")


def test_treatments_of_biases_have_names():
    composite = COMPOSITES["epsilon-plus"]
    assert composite.bias == "absorb"
    assert composite.with_bias("absorb") == composite
    assert composite.with_bias("zero").name == "epsilon-plus, bias zero"
    assert composite.with_bias("zero").with_bias("absorb") == composite
    for make in (composite.with_bias, lambda bias: Composite("mine", composite.rows, bias=bias)):
        with pytest.raises(ValueError, match="bias must be one of absorb, zero, redistribute, got 'ignore'"):
            make("ignore")


def test_rules_and_composites_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match="epsilon must be 0 or more"):
        epsilon(-1)
    with pytest.raises(ValueError, match="gamma must be 0 or more"):
        gamma(-0.1)
    with pytest.raises(ValueError, match="alpha - beta must be 1"):
        alpha_beta(2, 2)
    with pytest.raises(ValueError, match="low, high must be low below high"):
        z_box(1, 0)
    with pytest.raises(ValueError, match="the last row must be"):
        Composite("mine", ((Where("dense"), epsilon()),))
    with pytest.raises(ValueError, match="z-box is for pixels"):
        Composite("mine", ((Where(), z_box()),))
