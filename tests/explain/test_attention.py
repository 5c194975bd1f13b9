"""Attention explained: AttnLRP and CP-LRP against a plain reference, the ledger, rollout, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionTransformer

import xaiprune as xp
from tests.zoo.test_vit import IMAGES, small
from xaiprune import data, explain, zoo
from xaiprune.explain import METHODS, attention_weights, chefer, curves, heatmaps, lrp, rollout
from xaiprune.explain.relevance import COMPOSITES, inner_relevance, propagate
from xaiprune.nn import vit


def over(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    return torch.where(below == 0, 0.0, above / below)


class Reference:
    """Relevance of a transformer written out operation by operation, without autograd: epsilon of 1e-6 in all layers.

    ``rest`` collects what each kind of operation did not pass on; ``redistribute`` gives inputs what biases have.
    """

    def __init__(self, model: vit.VisionTransformer, attention: bool, redistribute: bool = False):
        self.model, self.attention, self.redistribute = model.double(), attention, redistribute
        self.rest = dict.fromkeys(("biases", "softmax", "position", "class_token"), 0.0)

    def dense(self, layer, x, relevance):
        z = x @ layer.weight.T + layer.bias
        share = over(relevance, z + 1e-6 * z.sign())
        return x * self.handed_on(x, share @ layer.weight, share * layer.bias)

    def handed_on(self, x, gradient, taken):
        if not self.redistribute:
            self.note("biases", taken)
            return gradient
        sizes = (x * gradient).abs().flatten(1).sum(1)
        factor = (taken.flatten(1).sum(1) / sizes).view(-1, *(1,) * (x.ndim - 1))
        return gradient + gradient.abs() * x.sign() * factor

    def norm(self, layer, x, relevance):
        centred = x - x.mean(-1, keepdim=True)
        scale = layer.weight / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        share = over(relevance, centred * scale + layer.bias)
        centring = (torch.eye(x.shape[-1]) - 1 / x.shape[-1]).double()
        return x * (self.handed_on(centred, share * scale, share * layer.bias) @ centring)

    def note(self, name, taken):
        self.rest[name] = self.rest[name] + taken.flatten(1).sum(1)

    def attend(self, layer, x, relevance):
        def heads(part):
            return part(x).unflatten(-1, (-1, layer.width)).transpose(1, 2)

        query, key, value = heads(layer.query), heads(layer.key), heads(layer.value)
        scores = torch.einsum("nhid,nhjd->nhij", query, key)
        weights = (scores / layer.width**0.5).softmax(-1)
        mixed = torch.einsum("nhij,nhjd->nhid", weights, value)
        relevance = self.dense(layer.output, mixed.transpose(1, 2).flatten(2), relevance)
        relevance = relevance.unflatten(-1, (-1, layer.width)).transpose(1, 2)
        share, half = over(relevance, mixed), 0.5 if self.attention else 1.0
        of_value = half * value * torch.einsum("nhij,nhid->nhjd", weights, share)
        total = self.dense(layer.value, x, of_value.transpose(1, 2).flatten(2))
        if not self.attention:
            return total
        of_weights = 0.5 * weights * torch.einsum("nhid,nhjd->nhij", share, value)
        of_scores = scores / layer.width**0.5 * (of_weights - weights * of_weights.sum(-1, keepdim=True))
        self.note("softmax", of_weights.sum((1, 2, 3))[:, None] - of_scores.sum((1, 2, 3))[:, None])
        share = over(of_scores, scores)
        of_query = 0.5 * query * torch.einsum("nhij,nhjd->nhid", share, key)
        of_key = 0.5 * key * torch.einsum("nhij,nhid->nhjd", share, query)
        total = total + self.dense(layer.query, x, of_query.transpose(1, 2).flatten(2))
        return total + self.dense(layer.key, x, of_key.transpose(1, 2).flatten(2))

    def mlp(self, layers, x, relevance):
        hidden = layers[0](x)
        return self.dense(layers[0], x, self.dense(layers[2], nn.functional.gelu(hidden), relevance))

    def __call__(self, images, targets):
        model, images = self.model, images.double()
        size = model.patches.stride[0]
        pixels = nn.functional.unfold(images, size, stride=size).transpose(1, 2)
        stem = nn.Linear(pixels.shape[-1], model.patches.out_channels).double()
        stem.weight, stem.bias = nn.Parameter(model.patches.weight.flatten(1)), model.patches.bias
        patches = stem(pixels)
        tokens = torch.cat([model.class_token.weight.expand(len(images), -1, -1), patches], 1)
        places, states = tokens + model.position.weight, []
        x = places
        for block in model.blocks:
            middle = x + block.attention(block.norm1(x))
            states.append((block, x, middle))
            x = middle + block.mlp(block.norm2(middle))
        logits = model.head(model.norm(x)[:, 0])
        start = torch.zeros_like(logits).scatter(1, targets[:, None], logits.gather(1, targets[:, None]))
        relevance = torch.zeros_like(x)
        relevance[:, 0] = self.dense(model.head, model.norm(x)[:, 0], start)
        relevance = self.norm(model.norm, x, relevance)
        for block, before, middle in reversed(states):
            added = block.mlp(block.norm2(middle))
            mine = over(relevance * added, middle + added)
            through = self.mlp(block.mlp, block.norm2(middle), mine)
            relevance = over(relevance * middle, middle + added) + self.norm(block.norm2, middle, through)
            added = block.attention(block.norm1(before))
            mine = over(relevance * added, before + added)
            through = self.attend(block.attention, block.norm1(before), mine)
            relevance = over(relevance * before, before + added) + self.norm(block.norm1, before, through)
        share = over(relevance, places)
        self.note("position", share * model.position.weight)
        self.note("class_token", (share * tokens)[:, :1])
        found = self.dense(stem, pixels, (share * tokens)[:, 1:])
        return nn.functional.fold(found.transpose(1, 2), images.shape[2:], size, stride=size)


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp"])
@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
@pytest.mark.parametrize("shipped", [False, True])
def test_relevance_is_that_of_a_plain_reference(composite, bias, shipped):
    model = zoo.load("vit-fashion-mnist") if shipped else small()
    images = data.fashion_mnist("validation", 4).inputs if shipped else IMAGES
    targets = torch.arange(len(images))
    found, ledger = propagate(model, images, targets, composite=COMPOSITES[composite].with_bias(bias))
    sums = ledger.sums()
    reference = Reference(model, COMPOSITES[composite].attention, bias == "redistribute")
    with torch.no_grad():
        wanted = reference(images, targets)
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    for name, value in reference.rest.items():
        assert (sums[name] - value).abs().max() <= 1e-4 * ledger.output.abs().max(), name


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "attnlrp-gamma", "attnlrp-plus"])
@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
def test_the_books_close(composite, bias):
    model, some = zoo.load("vit-fashion-mnist"), data.fashion_mnist("validation", 50)
    _, ledger = propagate(model, some.inputs, some.targets, composite=COMPOSITES[composite].with_bias(bias))
    assert ledger.error.max() <= 1e-4
    assert ledger.redistributed.any() == (bias == "redistribute")
    sums = ledger.sums()
    assert list(sums)[:1] == ["input"]
    assert {"position", "class_token", "biases", "softmax", "nowhere"} < set(sums)
    torch.testing.assert_close(sum(sums.values()), ledger.output, rtol=1e-3, atol=1e-3)
    if composite == "cp-lrp":
        assert not sums["softmax"].any()
    else:
        assert sums["softmax"].abs().min() > 0


def test_relevance_of_an_inner_layer_is_conserved_from_there():
    model, targets = small(), torch.tensor([0, 1, 2])
    found = inner_relevance(model, IMAGES, targets, "blocks.0", composite="cp-lrp")
    assert found.shape == (3, 5, 12)
    _, ledger = propagate(model, IMAGES, targets, composite="cp-lrp")
    behind = [entry for entry in ledger.entries if entry.name.startswith(("blocks.1", "norm", "head"))]
    taken = sum(entry.bias + entry.kept for entry in behind)
    torch.testing.assert_close(found.sum((1, 2)) + taken, ledger.output, rtol=1e-4, atol=1e-4)


def test_a_token_model_without_weights_in_its_attention_has_its_softmax_as_a_gate():
    """With the softmax as a gate nothing passes to queries and keys."""
    model = small()
    _, ledger = propagate(model, IMAGES, torch.tensor([0, 1, 2]), composite="cp-lrp")
    names = {entry.name for entry in ledger.entries}
    assert "blocks.0.attention.value" in names
    assert not {"blocks.0.attention.query", "blocks.0.attention.key"} & names


def test_layers_side_by_side_with_constants_keep_the_books():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(torch.cat([x.flatten(1), torch.ones(len(x), 2)], dim=1))

    torch.manual_seed(0)
    model, images = Beside().eval(), torch.rand(3, 1, 2, 2)
    relevance, ledger = propagate(model, images, torch.tensor([0, 1, 0]), composite="epsilon 0")
    weight = model.head.weight.detach()[[0, 1, 0]]
    torch.testing.assert_close(relevance.flatten(1), images.flatten(1) * weight[:, :4])
    torch.testing.assert_close(ledger.sums()["the model itself"], weight[:, 4:].sum(1))
    assert ledger.error.max() < 1e-5


def test_rollout_is_the_product_of_mean_attention():
    model = small()
    weights = list(attention_weights(model, IMAGES).values())
    assert [tuple(w.shape) for w in weights] == [(3, 3, 5, 5)] * 2
    assert torch.allclose(weights[0].sum(-1), torch.ones(()))
    eye = torch.eye(5)
    first, second = (0.5 * (w.mean(1) + eye) for w in weights)
    wanted = (second @ first)[:, 0, 1:].view(3, 2, 2)
    found = rollout(model, IMAGES)
    assert found.shape == (3, 8, 8)
    torch.testing.assert_close(found[:, ::4, ::4] * 16, wanted)
    torch.testing.assert_close(found.sum((1, 2)), wanted.sum((1, 2)))


def test_chefers_map_differs_between_classes_and_leaves_no_trace():
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one, other = (chefer(model, IMAGES, torch.full((3,), label)) for label in (0, 1))
    assert one.min() >= 0
    assert (one - other).abs().max() > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_every_method_takes_the_transformer():
    model = small()
    for name in METHODS:
        options = {"patch": 4} if name == "shapley" else {"window": 4, "stride": 4} if name == "occlusion" else {}
        found = heatmaps(model, IMAGES, torch.tensor([0, 1, 2]), name, **options)
        assert found.shape == (3, 8, 8), name
        assert torch.isfinite(found).all(), name


def test_hidden_attention_is_refused_by_name_but_by_relevance():
    hidden = TorchvisionTransformer(32, 8, 1, 3, 48, 96).eval()
    images = torch.rand(1, 3, 32, 32)
    for method in ("rollout", "chefer approximated"):
        with pytest.raises(ValueError, match=r"model \(VisionTransformer\) shows no attention.*zoo.from_torchvision"):
            heatmaps(hidden, images, None, method)
    assert torch.isfinite(lrp(hidden, images, composite="attnlrp")).all()


def test_tokens_that_are_no_square_of_patches_are_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.Softmax(-1)

        def forward(self, x):
            tokens = x.flatten(2)[:, :, :4]
            return self.weights((tokens.mT @ tokens)[:, None]).mean((1, 3))

    with pytest.raises(ValueError, match=r"4 tokens, which is no square of patches of a 8 x 8 image"):
        rollout(Odd().eval(), IMAGES)


def test_attnlrp_is_more_faithful_than_the_others_on_the_shipped_model():
    model, some = zoo.load("vit-fashion-mnist"), data.fashion_mnist("validation", 100)
    targets = xp.measure.predict(model, some.inputs).argmax(1)
    value = {
        name: curves(model, some.inputs, targets, heatmaps(model, some.inputs, targets, name)).faithfulness
        for name in ("attnlrp", "rollout", "gradient x input")
    }
    for name in ("rollout", "gradient x input"):
        low = explain.bootstrap(value["attnlrp"] - value[name])[1]
        assert low > 0, name
