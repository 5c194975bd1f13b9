"""The zoo's transformer, its conversion, its units, and what heads and neurons cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionTransformer
from torchvision.models import vit_b_16

import xaiprune as xp
from xaiprune import measure, zoo
from xaiprune.nn import vit
from xaiprune.prune import (
    Plan,
    cut_error,
    find_blocks,
    find_dimensions,
    find_heads,
    find_neurons,
    load_cut,
    mac_costs,
    save_cut,
)


def lively(model: nn.Module) -> nn.Module:
    """Biases, class token and normalisations that matter, in evaluation mode."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "class_token" in name or "norm" in name or "ln" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def small(**sizes) -> vit.VisionTransformer:
    """A transformer of images 8 x 8 with three heads of width 5 in each of two blocks."""
    torch.manual_seed(0)
    sizes = {"side": 8, "patch": 4, "dim": 12, "depth": 2, "heads": 3, "width": 5, "hidden": 7, "classes": 4} | sizes
    return lively(vit.VisionTransformer(**sizes))


IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def test_the_forward_pass_is_the_published_one():
    """Written out with torch's own attention, whose heads are as wide as the tokens allow."""
    model = small(heads=3, width=4)
    tokens = model.patches(IMAGES).flatten(2).transpose(1, 2)
    tokens = torch.cat([model.class_token.weight.expand(3, -1, -1), tokens], 1) + model.position.weight
    for block in model.blocks:
        theirs, ours = nn.MultiheadAttention(12, 3, batch_first=True).eval(), block.attention
        parts = (ours.query, ours.key, ours.value)
        theirs.in_proj_weight.data = torch.cat([layer.weight for layer in parts])
        theirs.in_proj_bias.data = torch.cat([layer.bias for layer in parts])
        theirs.out_proj.load_state_dict(ours.output.state_dict())
        x = block.norm1(tokens)
        mixed, weights = theirs(x, x, x, average_attn_weights=False)
        seen = []
        hook = ours.weights.register_forward_hook(lambda m, i, o, seen=seen: seen.append(o))
        torch.testing.assert_close(ours(x), mixed)
        hook.remove()
        torch.testing.assert_close(seen[0], weights)
        tokens = tokens + mixed
        tokens = tokens + block.mlp(block.norm2(tokens))
    torch.testing.assert_close(model(IMAGES), model.head(model.norm(tokens)[:, 0]))


def test_a_distillation_token_answers_beside_the_class_token():
    torch.manual_seed(0)
    model, images = vit.DistilledTransformer(dim=8, depth=2, heads=2, width=4, hidden=16), torch.rand(3, 1, 28, 28)
    by_labels, by_teacher = model.train()(images)
    assert by_labels.shape == by_teacher.shape == (3, 10)
    assert not torch.allclose(by_labels, by_teacher)
    with torch.no_grad():
        assert torch.allclose(model.eval()(images), (by_labels + by_teacher) / 2, atol=1e-6)
    assert model.position.weight.shape == (1, 51, 8)
    assert vit.small_distilled_transformer().eval()(images).shape == (3, 10)


def test_images_and_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"patch must divide the image's side of 28 pixels, got 5"):
        vit.VisionTransformer(patch=5)
    with pytest.raises(ValueError, match=r"images must be \(N, 1, 8, 8\), got \(2, 1, 8, 12\)"):
        small()(torch.rand(2, 1, 8, 12))
    assert small().grid == 2


def test_torchvisions_model_converted_gives_the_same_outputs():
    torch.manual_seed(0)
    theirs = lively(TorchvisionTransformer(32, 8, 2, 3, 48, 96, num_classes=7))
    nn.init.normal_(theirs.heads.head.weight)
    before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    images = torch.rand(3, 3, 32, 32)
    ours = zoo.from_torchvision(theirs)
    wanted = theirs(images)
    assert (ours(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert not ours.training
    xp.cut(ours, xp.plan(xp.score(ours, find_heads(ours), "random"), k=1))
    assert all(torch.equal(before[name], tensor) for name, tensor in theirs.state_dict().items())


def test_vit_b_16_converted_and_cut():
    torch.manual_seed(0)
    theirs, images = vit_b_16().eval(), torch.rand(1, 3, 224, 224)
    nn.init.normal_(theirs.heads.head.weight, std=0.1)  # torchvision starts it at zero
    with torch.no_grad():
        ours, wanted = zoo.from_torchvision(theirs), theirs(images)
        assert (ours(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)
    units = xp.find_units(ours, images)
    assert cut_error(ours, xp.plan(xp.score(ours, units, "l2"), ratio=0.3), images) <= 1e-5


def test_timms_model_converted_and_cut_if_installed():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs, images = lively(timm.create_model("vit_tiny_patch16_224", num_classes=5)), torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        ours, wanted = zoo.from_timm(theirs), theirs(images)
        assert (ours(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)
    units = xp.find_units(ours, images[:1])
    assert cut_error(ours, xp.plan(xp.score(ours, units, "l2"), ratio=0.3), images) <= 1e-5
    with pytest.raises(ValueError, match="which this zoo's transformer lacks"):
        zoo.from_timm(timm.create_model("vit_tiny_patch16_224", num_classes=5, init_values=1e-5))
    with pytest.raises(ValueError, match="global_pool='avg'"):
        zoo.from_timm(timm.create_model("vit_tiny_patch16_224", num_classes=5, global_pool="avg", fc_norm=False))


class FakeTimm(nn.Module):
    """What from_timm reads of a transformer of timm, which need not be installed for this test."""

    def __init__(self, block: type, **extra):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj, self.patch_embed.img_size = nn.Conv2d(1, 12, 4, stride=4), (8, 8)
        self.cls_token, self.pos_embed = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 5, 12))
        self.blocks = nn.ModuleList(block() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(12, eps=1e-5), nn.Linear(12, 4)
        for name, value in extra.items():
            setattr(self, name, value)


class FakeBlock(nn.Module):
    """One of its blocks."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(12, eps=1e-5), nn.LayerNorm(12, eps=1e-5)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj, self.attn.num_heads = nn.Linear(12, 36, bias=False), nn.Linear(12, 12), 3
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(12, 7), nn.Linear(7, 12)


FakeTimm.__name__ = "VisionTransformer"


def test_from_timm_reads_the_parts_by_their_names():
    torch.manual_seed(0)
    theirs = FakeTimm(FakeBlock)
    ours = zoo.from_timm(theirs)
    attention, qkv = ours.blocks[1].attention, theirs.blocks[1].attn.qkv.weight
    assert torch.equal(torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]), qkv)
    assert not attention.key.bias.any()
    assert (attention.heads, attention.width, ours.norm.eps, ours.grid) == (3, 4, 1e-5, 2)
    with pytest.raises(ValueError, match=r"model has 'scale', which this zoo's transformer lacks"):
        zoo.from_timm(FakeTimm(FakeBlock, scale=nn.Parameter(torch.ones(1))))
    with pytest.raises(ValueError, match="global_pool='avg'"):
        zoo.from_timm(FakeTimm(FakeBlock, global_pool="avg"))


def test_other_models_are_not_converted():
    with pytest.raises(TypeError, match=r"model must be torchvision's VisionTransformer, got torch.nn.*Linear"):
        zoo.from_torchvision(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"model must be timm's VisionTransformer"):
        zoo.from_timm(small())
    with pytest.raises(TypeError, match=r"VisionTransformer of the zoo, got Linear; xp.zoo.from_torchvision"):
        find_heads(nn.Linear(2, 2))
    hidden = TorchvisionTransformer(32, 8, 1, 3, 48, 96).eval()
    with pytest.raises(ValueError, match=r"is an nn.MultiheadAttention, which hides where.*xp.zoo.from_torchvision"):
        xp.find_units(hidden, torch.rand(1, 3, 32, 32))


def test_units_are_the_dimensions_then_heads_and_neurons_in_the_models_order():
    groups = xp.find_units(small(), IMAGES[:1])
    names = [group.name for group in groups]
    assert names == ["patches", *(f"blocks.{n}.{part}" for n in (0, 1) for part in ("attention", "mlp.0"))]
    assert [group.size for group in groups] == [12, 3, 7, 3, 7]
    heads = groups[1]
    assert [member.module.rpartition(".")[2] for member in heads.members] == [
        *("attention", "query", "key", "value", "output")
    ]
    assert all(np.array_equal(member.index, np.arange(15).reshape(3, 5)) for member in heads.members)
    left = xp.find_units(small(), IMAGES[:1], ignore=["blocks.0.attention", "blocks.1.mlp.0"])
    assert [group.name for group in left] == [names[0], names[2], names[3]]
    with pytest.raises(ValueError, match=r"ignore names layers that the model lacks: blocks.7"):
        xp.find_units(small(), IMAGES[:1], ignore="blocks.7")


KINDS = {"heads": find_heads, "neurons": find_neurons, "dimensions": find_dimensions}


@pytest.mark.parametrize("kind", [*KINDS, "all"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), ratio=st.floats(0.05, 0.6))
def test_mask_equals_cut(kind, seed, ratio):
    model = small()
    groups = xp.find_units(model, IMAGES[:1]) if kind == "all" else KINDS[kind](model)
    scores = xp.score(model, groups, "random", seed=seed)
    total = sum(map(len, groups))
    chosen = xp.plan(scores, k=max(1, min(int(ratio * total), total - len(groups))))
    assert cut_error(model, chosen, IMAGES) <= 1e-5
    smaller = xp.cut(model, chosen)
    for name, left in chosen.kept.items():
        if name.endswith("attention"):
            assert smaller.get_submodule(name).heads == left


def test_blocks_can_go_and_all_heads_of_one_only_with_it(tmp_path):
    model = small()
    groups, blocks = xp.find_units(model, IMAGES[:1]), find_blocks(model, IMAGES[:1])
    assert blocks[0].blocks == ("blocks.0", "blocks.1")
    chosen = Plan((*groups, *blocks), {"blocks": [1], "blocks.0.attention": [2], "patches": [3, 4]})
    assert cut_error(model, chosen, IMAGES) <= 1e-5
    save_cut(xp.cut(model, chosen), chosen, tmp_path / "small")
    again = load_cut(small, tmp_path / "small")
    assert torch.equal(again(IMAGES), xp.cut(model, chosen)(IMAGES))
    with pytest.raises(ValueError, match=r"empties group 'blocks.1.attention'.*as a unit of find_blocks"):
        Plan(tuple(groups), {"blocks.1.attention": range(3)})


def test_operations_of_the_cut_model_are_told_from_the_plan():
    model = small()
    groups = xp.find_units(model, IMAGES[:1])
    costs = mac_costs(model, groups, IMAGES)
    assert costs.fixed == 0
    assert costs.total == measure.macs(model, IMAGES[:1])
    for seed in range(5):
        chosen = xp.plan(xp.score(model, groups, "random", seed=seed), ratio=0.4)
        assert costs.of(chosen) == measure.macs(xp.cut(model, chosen), IMAGES[:1])
        counts = {name: torch.tensor(float(len(units))) for name, units in chosen.removed.items()}
        assert costs.relaxed(counts).item() == pytest.approx(costs.of(chosen))


def test_the_shipped_model_is_what_its_card_says():
    card = zoo.card("vit-fashion-mnist")
    assert card["test"] >= 91
    some = xp.data.fashion_mnist("validation", 1000)
    assert abs(xp.measure.accuracy(zoo.load("vit-fashion-mnist"), some) - card["validation"]) < 2
