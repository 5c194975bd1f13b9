"""Mask and cut: one function, no trace, really smaller, saved without pickle."""

from __future__ import annotations

import io

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xaiprune import zoo
from xaiprune.prune import Plan, cut, cut_error, find_units, load_cut, masked, plan, save_cut, score

TOLERANCE = 1e-5
TORCHVISION = ("resnet18", "vgg11_bn", "densenet121", "mobilenet_v3_small", "efficientnet_b0")


class Norms(nn.Module):
    """Every layer that normalises over units, on one path."""

    def __init__(self):
        super().__init__()
        self.conv, self.group, self.point = nn.Conv2d(3, 24, 3, padding=1), nn.GroupNorm(6, 24), nn.Conv2d(24, 16, 1)
        self.all = nn.GroupNorm(1, 16, affine=False)
        self.depth, self.batch = nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16, affine=False)
        self.wide, self.layer, self.plain = (
            nn.Linear(16, 20),
            nn.LayerNorm(20),
            nn.LayerNorm(20, elementwise_affine=False),
        )
        self.prelu, self.back, self.out = nn.PReLU(20), nn.Linear(20, 20), nn.Linear(20, 5)

    def forward(self, x):
        x = self.batch(self.depth(self.all(self.point(torch.sigmoid(self.group(self.conv(x)))))))
        x = self.wide(x.mean((2, 3)))
        return self.out(self.prelu(self.plain(x + self.back(self.layer(x)))))


def shaken(model: nn.Module) -> nn.Module:
    """Random scales, shifts and statistics, so that no layer is the identity by accident."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_state(model, before) -> bool:
    after = model.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@settings(max_examples=60, deadline=None)
@given(alphas=st.lists(st.floats(0, 1), min_size=7, max_size=7), seed=st.integers(0, 99))
def test_mask_and_cut_agree_for_any_coefficients(alphas, seed):
    torch.manual_seed(0)
    model = shaken(zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5))
    images = torch.rand(3, 1, 28, 28)
    units = find_units(model, images[:1])
    coefficients = {group.name: alpha for group, alpha in zip(units, alphas)}
    assert (
        cut_error(model, plan(score(model, units, "random", seed=seed), coefficients=coefficients), images) <= TOLERANCE
    )


@pytest.mark.parametrize("name", TORCHVISION)
def test_mask_and_cut_agree_on_torchvisions_models(name):
    torch.manual_seed(0)
    model = shaken(getattr(torchvision.models, name)())
    images = torch.rand(2, 3, 64, 64)
    units = find_units(model, images[:1])
    chosen = plan(score(model, units, "l2"), ratio=0.5)
    assert cut_error(model, chosen, images) <= TOLERANCE
    smaller = cut(model, chosen)
    assert sum(p.numel() for p in smaller.parameters()) < 0.7 * sum(p.numel() for p in model.parameters())
    assert all(kept >= 1 for kept in chosen.kept.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_restricts_the_statistics_of_layer_and_group_norm(seed):
    torch.manual_seed(0)
    model, images = shaken(Norms()), torch.randn(4, 3, 8, 8)
    units = find_units(model, images[:1])
    chosen = plan(score(model, units, "random", seed=seed), ratio=0.4)
    assert cut_error(model, chosen, images) <= TOLERANCE


def test_zeros_before_a_layer_norm_are_not_a_cut():
    """The reason for the rule above: without it, a mask would compute something else."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.LayerNorm(64), nn.Linear(64, 3)).eval()
    x = torch.randn(16, 8)
    chosen = plan(score(model, find_units(model, x), "l2"), k=8)
    naive = nn.Sequential(*model)
    gone = list(chosen.removed["0"])
    saved = state(model)
    with torch.no_grad():
        for name, axis in (("0.weight", 0), ("0.bias", 0), ("1.weight", 0), ("1.bias", 0), ("2.weight", 1)):
            naive.state_dict()[name].index_fill_(axis, torch.tensor(gone), 0)
        wrong = (naive(x) - cut(model, chosen)(x)).abs().max()
    model.load_state_dict(saved)
    assert wrong > 0.02
    assert cut_error(model, chosen, x) <= TOLERANCE


def test_a_mask_leaves_no_trace(tiny, digits):
    chosen = plan(score(tiny, find_units(tiny, digits[:1]), "l2"), ratio=0.5)
    tiny.encoder.train()
    before, modes = state(tiny), [module.training for module in tiny.modules()]
    with masked(tiny, chosen) as inside:
        assert inside is tiny
        assert not same_state(tiny, before)
        tiny.eval()
    assert same_state(tiny, before)
    assert modes == [module.training for module in tiny.modules()]


def test_a_mask_leaves_no_trace_after_an_exception():
    model = shaken(Norms())
    x = torch.randn(4, 3, 8, 8)
    chosen = plan(score(model, find_units(model, x), "l2"), ratio=0.4)
    before = state(model)

    def fail():
        with masked(model, chosen):
            model.train()
            model(x)  # moves the running statistics
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert same_state(model, before)
    assert not model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_masks_nest(tiny, digits):
    units = find_units(tiny, digits[:1])
    one, two = (plan(score(tiny, units, "random", seed=seed), ratio=0.2) for seed in (0, 1))
    before = state(tiny)
    with masked(tiny, one):
        after_one = state(tiny)
        with masked(tiny, two):
            pass
        assert same_state(tiny, after_one)
    assert same_state(tiny, before)


def test_a_cut_leaves_the_model_as_it_was(tiny, digits):
    before = state(tiny)
    smaller = cut(tiny, plan(score(tiny, find_units(tiny, digits[:1]), "l2"), ratio=0.5))
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.fill_(7)
    assert same_state(tiny, before)


def test_a_cut_model_is_really_smaller_and_can_be_cut_and_trained_again(tiny, digits):
    units = find_units(tiny, digits[:1])
    chosen = plan(score(tiny, units, "l2"), k=10)
    smaller = cut(tiny, chosen)
    again = find_units(smaller, digits[:1])  # a last unit can never go
    assert sum(g.size for g in again) == sum(kept for kept in chosen.kept.values() if kept > 1)
    smaller(digits).mean().backward()
    assert all(parameter.grad is not None for parameter in smaller.parameters())
    assert cut_error(smaller, plan(score(smaller, again, "l2"), ratio=0.3), digits) <= TOLERANCE


def test_layers_of_a_cut_model_know_their_width(tiny, digits):
    smaller = cut(tiny, plan(score(tiny, find_units(tiny, digits[:1]), "l2"), coefficients={"encoder.conv1": 0.5}))
    assert (smaller.encoder.conv1.out_channels, smaller.encoder.conv2.in_channels) == (2, 2)
    assert smaller.encoder.conv1.weight.shape == (2, 1, 3, 3)


def test_a_cut_model_saves_and_loads_without_pickle(tiny, digits, tmp_path):
    chosen = plan(score(tiny, find_units(tiny, digits[:1]), "l2"), ratio=0.5)
    smaller = cut(tiny, chosen)
    save_cut(smaller, chosen, tmp_path / "model.v1")
    assert {path.name for path in tmp_path.iterdir()} == {"model.v1.json", "model.v1.safetensors"}
    loaded = load_cut(lambda: zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5), tmp_path / "model.v1")
    with torch.no_grad():
        assert torch.equal(loaded(digits), smaller(digits))


def test_a_state_that_does_not_fit_its_plan_is_refused(tiny, digits, tmp_path):
    scores = score(tiny, find_units(tiny, digits[:1]), "l2")
    with pytest.raises(ValueError, match="smaller is not the cut of this plan"):
        save_cut(cut(tiny, plan(scores, k=3)), plan(scores, k=4), tmp_path / "model")
    assert not list(tmp_path.iterdir())
    save_cut(cut(tiny, plan(scores, k=3)), plan(scores, k=3), tmp_path / "model")
    plan(scores, k=4).save(tmp_path / "model.json")
    with pytest.raises(ValueError, match="does not fit its plan"):
        load_cut(lambda: zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5), tmp_path / "model")


def test_a_plan_for_another_architecture_is_refused_and_nothing_changes(tiny, digits):
    other = zoo.ConvAutoencoder(channels=(4, 7), hidden=10, latent=5).eval()
    chosen = plan(score(other, find_units(other, digits[:1]), "l2"), ratio=0.5)
    before = state(tiny)
    for function in (cut, lambda *args: masked(*args).__enter__()):
        with pytest.raises(ValueError, match=r"the plan does not fit the model: encoder\.conv2\.weight should have 7"):
            function(tiny, chosen)
    with pytest.raises(ValueError, match="there is no such tensor"):
        cut(nn.Linear(3, 3), chosen)
    with pytest.raises(TypeError, match="plan must be a Plan, got dict"):
        cut(tiny, {})
    assert same_state(tiny, before)


def test_shared_weights_that_would_be_cut_differently_are_refused():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.Linear(4, 2))
    chosen = plan(score(model.eval(), find_units(model, torch.rand(1, 4)), "l2"), k=1)
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match="share one tensor"):
        cut(model, chosen)


def test_a_cut_model_can_be_exported(tiny, digits):
    smaller = cut(tiny, plan(score(tiny, find_units(tiny, digits[:1]), "l2"), ratio=0.5))
    program = torch.export.export(smaller, (digits,))
    stream = io.BytesIO()
    torch.export.save(program, stream)
    assert torch.allclose(program.module()(digits), smaller(digits), atol=1e-6)


def test_an_empty_plan_changes_nothing(tiny, digits):
    groups = tuple(find_units(tiny, digits[:1]))
    assert cut_error(tiny, Plan(groups, {}), digits) == 0


def test_a_cut_keeps_channels_last_where_the_model_has_them():
    model = zoo.mobilenet().eval()
    units = find_units(model, torch.rand(1, 1, 28, 28))
    chosen = plan(score(model, units, "l1"), ratio=0.3)
    smaller, usual = cut(model, chosen), cut(model.to(memory_format=torch.contiguous_format), chosen)
    for name, tensor in smaller.state_dict().items():
        if tensor.ndim == 4:
            _, channels, height, width = tensor.shape
            assert tensor.stride() == (channels * height * width, 1, width * channels, channels), name
            assert torch.equal(tensor, usual.state_dict()[name])
    assert all(t.stride()[1] == t.shape[2] * t.shape[3] for t in usual.state_dict().values() if t.ndim == 4)


def test_a_cut_with_a_tensor_in_two_places_can_be_kept(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)
            self.b.weight = self.a.weight

        def forward(self, values):
            return self.c(torch.relu(self.a(values) + self.b(values)))

    model = Tied().eval()
    chosen = plan(score(model, find_units(model, torch.rand(1, 4)), "l1"), k=2)
    smaller = cut(model, chosen)
    save_cut(smaller, chosen, tmp_path / "tied")
    values = torch.rand(3, 4)
    assert torch.equal(load_cut(Tied, tmp_path / "tied")(values), smaller(values))


def test_a_cut_of_a_module_that_asks_for_its_version_loads(tmp_path):
    model = torchvision.models.mnasnet0_5(weights=None).eval()
    [first, *_] = units = find_units(model, torch.rand(1, 3, 32, 32))
    chosen = Plan(tuple(units), {first.name: [0, 3]})
    smaller = cut(model, chosen)
    save_cut(smaller, chosen, tmp_path / "small")
    loaded = load_cut(lambda: torchvision.models.mnasnet0_5(weights=None), tmp_path / "small")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), smaller(images))
