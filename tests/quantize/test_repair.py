"""Equalization, biases, rounding, bits and learned steps, against brute force and closed forms."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

import xaiprune as xp
from tests.quantize.test_quantize import IMAGES, Small, small, state
from xaiprune import quantize
from xaiprune.curvature import exact_hessian
from xaiprune.graph import fold_batch_norm, outputs
from xaiprune.quantize import Config, Format, LayerComparison, LearnedStep, calibrate, grid_of, simulate
from xaiprune.quantize.rounding import Squares
from xaiprune.training import classification_loss, tune

WEIGHTS_4 = Config(Format(4), None)


def test_only_layers_with_nothing_but_an_activation_between_them_are_pairs():
    found = quantize.equalizable_pairs(fold_batch_norm(small()))
    assert found == [("wide.0", "wide.2", "deep.0"), ("deep.0", "deep.1", "narrow")]


@pytest.mark.parametrize("change", [quantize.equalize, lambda model: quantize.rescale_channels(model, 16.0)])
def test_moving_factors_between_layers_changes_no_output(change):
    model = small()
    before = state(model)
    changed = change(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    wanted = model(IMAGES)
    assert (changed(IMAGES) - wanted).abs().max() <= 1e-5 * max(1, wanted.abs().max())
    assert any(isinstance(module, quantize.ChannelClamp) for module in changed.modules())


def test_equalized_channels_have_equal_ranges_on_both_sides():
    equal = quantize.equalize(quantize.rescale_channels(small(), 16.0), sweeps=200)
    for first, second, axis in (("wide.0", "deep.0", 0), ("deep.0", "narrow", 1)):
        ours = equal.get_submodule(first).weight.detach().abs().flatten(1).amax(1)
        theirs = equal.get_submodule(second).weight.detach().abs().transpose(0, axis).flatten(1).amax(1)
        assert torch.allclose(ours, theirs, rtol=5e-3)


def test_equalization_undoes_a_rescaling_that_destroys_the_quantized_model():
    model = small()
    uneven = quantize.rescale_channels(model, 1000.0)
    wanted = model(IMAGES)

    def quality(net):
        return quantize.sqnr(wanted, simulate(net, calibrate(net, IMAGES))(IMAGES))

    assert quality(uneven) + 12 < quality(quantize.equalize(uneven))


def test_relu_in_place_of_relu6_leaves_no_clamp():
    model = small()
    free = quantize.relu_in_place_of_relu6(model)
    assert [type(module) for module in (free.stem[2], free.wide[2], free.deep[1])] == [nn.ReLU] * 3
    assert isinstance(model.stem[2], nn.ReLU6)
    assert torch.equal(free.wide[2](torch.tensor([-1.0, 9.0])), torch.tensor([0.0, 9.0]))


class Chain(nn.Module):
    """Two pointwise convolutions with ReLU between them."""

    def __init__(self, clamp: bool):
        super().__init__()
        self.one, self.act, self.two = nn.Conv2d(3, 5, 1), nn.ReLU6() if clamp else nn.ReLU(), nn.Conv2d(5, 4, 1)

    def forward(self, x):
        return self.two(self.act(self.one(x)))


@pytest.mark.parametrize("clamp", [False, True])
def test_absorbed_biases_leave_smaller_values_and_the_same_outputs(clamp):
    torch.manual_seed(0)
    model, images = Chain(clamp).eval(), torch.rand(40, 3, 6, 6)
    nn.init.constant_(model.one.bias, 3.0)
    better = quantize.absorb_bias(model, images)
    inner = model.act(model.one(images))
    moved = (model.one.bias - better.one.bias).detach()
    assert (moved > 1).all()
    assert better.act(better.one(images)).max() < inner.max() - 1
    exact = (inner >= moved.view(-1, 1, 1)).all(1)  # places where no value is below what was moved
    assert exact.double().mean() > 0.9
    apart = (better(images) - model(images)).abs().amax(1)
    assert apart[exact].max() < 1e-5
    mean, deviation = model.one(images).transpose(0, 1).flatten(1).mean(1), None
    deviation = model.one(images).transpose(0, 1).flatten(1).std(1, unbiased=False)
    assert torch.allclose(moved, (mean - 3 * deviation).detach(), atol=1e-5)


def test_a_layer_before_padding_is_not_absorbed():
    model = small()
    better, plain = quantize.absorb_bias(model, IMAGES), fold_batch_norm(model)
    assert torch.equal(better.wide[0].bias, plain.wide[0].bias)


def test_corrected_biases_take_back_the_mean_error_of_every_layer():
    model = small()
    quantized = simulate(model, {}, Config(Format(3), None))
    before = state(quantized)
    better = quantize.correct_bias(model, quantized, IMAGES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantized.state_dict().items())
    for step in quantize.layerwise(model, better, IMAGES):
        axis = -1 if isinstance(step.layer, nn.Linear) else 1
        error = (step.layer(step.read) - step.wanted).transpose(axis, 0).flatten(1).mean(1)
        assert error.abs().max() < 1e-5
    wanted = model(IMAGES)
    assert quantize.sqnr(wanted, better(IMAGES)) > quantize.sqnr(wanted, quantized(IMAGES))


def test_corrected_biases_are_those_of_both_networks_run_anew_for_each_layer():
    model = small()
    nearest = simulate(model, {}, WEIGHTS_4)
    better, brute = quantize.correct_bias(model, nearest, IMAGES), copy.deepcopy(nearest)
    for name, layer in quantize.quantized_layers(brute).items():
        means = []
        for net in (fold_batch_norm(model), brute):
            with torch.no_grad(), outputs(net, [name]) as given:
                net(IMAGES)
            means.append(given[name].transpose(0, 1).flatten(1).mean(1))
        layer.bias.data += means[0] - means[1]
        assert torch.allclose(layer.bias, better.get_submodule(name).bias, atol=1e-5)


def test_a_walk_stops_at_every_layer_and_sees_changes_later():
    model = small()
    quantized = simulate(model, {}, WEIGHTS_4)
    steps = list(quantize.layerwise(model, quantized, IMAGES, batch_size=7))
    assert [step.name for step in steps] == list(quantize.quantized_layers(model))
    folded = fold_batch_norm(model)
    assert torch.allclose(steps[0].wanted, folded.stem[0](IMAGES), atol=1e-6)
    assert torch.allclose(steps[-1].layer(steps[-1].read), quantized(IMAGES), atol=1e-5)
    for step in quantize.layerwise(model, quantized, IMAGES):
        if step.name == "stem.0":
            step.layer.bias.data += 1
        if step.name == "wide.0":
            assert not torch.allclose(step.read, steps[1].read)


def test_a_transformer_can_be_walked():
    model = xp.zoo.small_transformer().eval()
    images = torch.rand(5, 1, 28, 28)
    errors = quantize.layer_errors(model, simulate(model, calibrate(model, images)), images)
    assert len(errors) == len(quantize.quantized_layers(model))
    assert min(row["output"] for row in errors) > 5


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), nn.Linear(7, 5), nn.Conv2d(4, 3, 1)]
)
def test_the_quadratic_form_is_the_layers_squared_error(layer):
    torch.manual_seed(1)
    x = torch.randn(9, 3, 7) if isinstance(layer, nn.Linear) else torch.randn(9, 4, 8, 8)
    with torch.no_grad():
        wanted = layer(x) + 0.1
    squares = Squares(LayerComparison("layer", layer, x, wanted))
    weight = torch.randn_like(layer.weight, requires_grad=True)
    inputs = {"Linear": lambda: nn.functional.linear(x, weight, layer.bias)}
    convolved = lambda: nn.functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding, 1, layer.groups)  # noqa: E731
    found = inputs.get(type(layer).__name__, convolved)()
    axis = -1 if isinstance(layer, nn.Linear) else 1
    error = (found - wanted).square().sum(axis).mean()
    error.backward()
    assert squares.error(weight.detach()) == pytest.approx(error.item(), rel=1e-4)
    assert torch.allclose(squares.gradient(weight.detach()), weight.grad, rtol=1e-3, atol=1e-4)


def test_adaround_finds_nearly_the_best_of_all_roundings_of_a_small_layer():
    torch.manual_seed(2)
    layer = nn.Linear(6, 1)
    model = nn.Sequential(layer).eval()
    basis = torch.randn(3, 6)
    x = torch.randn(400, 3) @ basis + 0.1 * torch.randn(400, 6)  # correlated, so that rounding to nearest is not best
    quantized = simulate(model, {}, Config(Format(3), None))
    grid = quantized[0].parametrizations.weight[0].numbers
    floor, wanted = grid.floor(layer.weight.detach()), layer(x).detach()
    errors = {}
    for up in itertools.product((0.0, 1.0), repeat=6):
        steps = (floor + torch.tensor(up)).clamp(*grid.ends)
        found = nn.functional.linear(x, grid.dequantize(steps), layer.bias.detach())
        errors[up] = (found - wanted).square().mean().item()
    rounded = quantize.adaround(model, quantized, x, iterations=1500, progress=False)
    found = (rounded(x) - wanted).square().mean().item()
    nearest = (quantized(x) - wanted).square().mean().item()
    assert sorted(errors.values()).index(min(errors.values(), key=lambda e: abs(e - found))) < 4
    assert found < 0.7 * nearest


def test_adaround_helps_the_whole_model_and_leaves_what_it_was_given():
    model = small()
    quantized = simulate(model, {}, Config(Format(3), None))
    before = state(quantized)
    better = quantize.adaround(model, quantized, IMAGES, iterations=300, progress=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantized.state_dict().items())
    for name, layer in quantize.quantized_layers(better).items():
        grid = quantized.get_submodule(name).parametrizations.weight[0].numbers
        assert torch.allclose(grid(layer.weight), layer.weight, atol=1e-6)
        original = layer.parametrizations.weight.original
        low, high = grid.range
        assert ((layer.weight - original).abs() <= grid.scale * 1.001)[(original >= low) & (original <= high)].all()
    wanted = model(IMAGES)
    assert quantize.sqnr(wanted, better(IMAGES)) > quantize.sqnr(wanted, quantized(IMAGES)) + 1
    with pytest.raises(ValueError, match="no layer of quantized has its weights on a grid"):
        quantize.adaround(model, simulate(model, calibrate(model, IMAGES), Config(None)), IMAGES)


def test_allocated_bits_are_the_best_of_all():
    generator = torch.Generator().manual_seed(0)
    names, sizes = "abcd", dict(zip("abcd", (10, 300, 50, 120)))
    losses = {n: {b: torch.rand(1, generator=generator).item() * 4.0**-b for b in (2, 4, 8)} for n in names}
    for average in (2.5, 4.0, 6.0):
        found = quantize.allocate_bits(losses, sizes, average)
        total = sum(sizes.values())
        rows = [dict(zip(names, row)) for row in itertools.product((2, 4, 8), repeat=4)]
        fit = [row for row in rows if sum(sizes[n] * row[n] for n in names) <= average * total]
        best = min(sum(losses[n][row[n]] for n in names) for row in fit)
        assert found in fit
        assert sum(losses[n][found[n]] for n in names) == pytest.approx(best)
    assert set(quantize.allocate_bits(losses, sizes, 8).values()) == {8}
    with pytest.raises(ValueError, match="average must be at least 2"):
        quantize.allocate_bits(losses, sizes, 1.5)
    with pytest.raises(ValueError, match="must name the same layers"):
        quantize.allocate_bits(losses, {"a": 1}, 4)


def test_traces_of_layers_are_those_of_the_exact_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).eval()
    data = xp.data.Split(torch.rand(20, 1, 2, 3), torch.randint(0, 3, (20,)))
    found = quantize.hessian_traces(model, data, probes=4000)
    for name, layer in quantize.quantized_layers(model).items():
        full = exact_hessian(model, data, classification_loss, names=[f"{name}.weight"])
        assert found[name] == pytest.approx((full.trace() / layer.weight.numel()).item(), rel=0.15)


def test_relevance_of_a_chain_passes_whole_through_every_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)).eval()
    for layer in (model[1], model[3]):
        nn.init.uniform_(layer.weight, 0.1, 1)  # nothing cancels
    data = xp.data.Split(torch.rand(20, 1, 2, 3), torch.zeros(20, dtype=torch.long))
    shares = quantize.relevance_shares(model, data)
    assert shares["1"] == pytest.approx(1, rel=1e-3)
    assert shares["3"] == pytest.approx(1, rel=1e-3)


def test_noise_and_losses_are_what_their_equations_say():
    model = small()
    noise = quantize.weight_errors(model, choices=(2, 4))
    weight = fold_batch_norm(model).narrow.weight.detach()
    step = weight.abs().max() / 7
    direct = (torch.round(weight / step) * step - weight).double().square().sum().item()
    assert noise["narrow"][4] == pytest.approx(direct, rel=1e-4)
    by_trace = quantize.losses_by_trace(dict.fromkeys(noise, 2.0) | {"head": -1.0}, noise)
    assert by_trace["narrow"][4] == 2 * noise["narrow"][4]
    assert by_trace["head"][4] == noise["head"][4]
    shares = quantize.losses_by_relevance(dict.fromkeys(noise, 0.5), noise, model)
    assert shares["narrow"][4] == pytest.approx(0.5 * noise["narrow"][4] / weight.double().square().sum().item())
    config = quantize.with_bits(Config(Format(8), Format(8, "affine")), {"narrow": 4})
    assert config.of("narrow").weights.bits == 4
    assert config.of("head").weights.bits == 8


def test_a_learned_step_has_the_gradient_of_its_paper():
    grid = grid_of(-0.8, 0.7, bits=3, scheme="symmetric")
    quantizer = LearnedStep(grid, batched=False)
    x = torch.tensor([-2.0, -0.41, 0.1, 0.33, 5.0], requires_grad=True)
    assert torch.allclose(quantizer(x), grid(x))
    quantizer(x).sum().backward()
    s = grid.scale.item()
    wanted = -3 + 3 + sum(round(v / s) - v / s for v in (-0.41, 0.1, 0.33))
    assert quantizer.scale.grad.item() == pytest.approx(wanted / math.sqrt(5 * 3), rel=1e-4)
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_training_with_learned_steps_recovers_accuracy():
    torch.manual_seed(0)
    images, labels = torch.rand(256, 1, 12, 12), torch.randint(0, 2, (256,))
    images[labels == 1, :, :6] *= 0.3
    data = xp.data.Split(images, labels)
    model = Small()
    xp.training.fit(model, data, classification_loss, epochs=12, lr=1e-2, batch_size=32, progress=False)
    model.eval()
    quantized = simulate(model, calibrate(model, images), Config(Format(2), Format(3, "affine")))
    trained = quantize.learnable(quantized)
    assert torch.allclose(trained(images), quantized(images), atol=1e-5)
    tune(trained, data, data, epochs=6, lr=3e-3, batch_size=32, progress=False)
    before, after = (xp.measure.accuracy(net, data, in_sample=True) for net in (quantized, trained))
    assert after > before + 5
    assert len(trained.narrow.weight.unique()) <= 3
    with pytest.raises(ValueError, match="no layer of quantized is on a grid"):
        quantize.learnable(model)


class Reused(nn.Module):
    """Three layers whose activation, or second layer, is used twice."""

    def __init__(self, what: str):
        super().__init__()
        self.what = what
        self.a, self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.act = nn.ReLU6()
        if what == "tied":
            self.b.weight = self.a.weight

    def forward(self, x):
        if self.what == "activation":
            return self.c(self.act(self.b(self.act(self.a(x)))))
        if self.what == "layer":
            return self.c(self.b(self.b(self.a(x))))
        return self.c(self.b(self.act(self.a(x))))


@pytest.mark.parametrize("what", ["activation", "layer", "tied", "hook", "mask"])
@pytest.mark.parametrize("change", [quantize.equalize, lambda model: quantize.rescale_channels(model, 16.0)])
def test_layers_that_do_not_compute_what_their_own_weights_say_once_are_left_alone(what, change):
    torch.manual_seed(0)
    model, x = Reused(what).eval(), 3 * torch.randn(50, 5)
    if what == "hook":
        model.a.register_forward_hook(lambda module, inputs, output: output + 1)
    if what == "mask":
        nn.utils.prune.l1_unstructured(model.a, "weight", 0.4)
    wanted = model(x)
    if what in ("layer", "tied"):  # nothing is left that could be moved
        with pytest.raises(ValueError, match="no two layers of the model follow each other"):
            change(model)
        return
    assert (change(model)(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_dead_channels_stay_as_they_are():
    model = small()
    with torch.no_grad():
        model.narrow.weight[:, 1] = 1e-40
        model.deep[0].weight[3] = 0
    wanted = model(IMAGES)
    found = quantize.equalize(model)(IMAGES)
    assert torch.isfinite(found).all()
    assert (found - wanted).abs().max() <= 1e-5 * max(1, wanted.abs().max())


def test_repairs_need_images_and_finite_ones():
    model = small()
    quantized = simulate(model, {}, WEIGHTS_4)
    none, broken = IMAGES[:0], IMAGES * math.nan
    for call in (
        lambda: quantize.correct_bias(model, quantized, none),
        lambda: quantize.adaround(model, quantized, none, progress=False),
        lambda: quantize.layer_errors(model, quantized, none),
        lambda: quantize.absorb_bias(model, none),
    ):
        with pytest.raises(ValueError, match="inputs is empty"):
            call()
    for call in (quantize.absorb_bias, lambda model, images: quantize.correct_bias(model, quantized, images)):
        with pytest.raises(ValueError, match="inputs must be finite"):
            call(model, broken)


class Odd(nn.Module):
    """A constant made in forward, a change of the input in place, and a layer called by keyword."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 3)

    def forward(self, x):
        return self.f(input=x.mul_(2) - torch.tensor([0.5]))


def test_a_walk_follows_constants_and_keywords_and_keeps_the_images():
    model, x = Odd().eval(), torch.rand(6, 4)
    kept = x.clone()
    quantized = quantize.simulate_on_grids(model, {"f": grid_of(-1.0, 1.0)}, {})
    [step] = quantize.layerwise(model, quantized, x)
    assert torch.equal(x, kept)
    assert torch.allclose(step.read, 2 * kept - 0.5)
    twice = Reused("layer").eval()
    steps = quantize.layerwise(twice, simulate(twice, {}, WEIGHTS_4), torch.rand(3, 5))
    with pytest.raises(ValueError, match="layer 'b' runs more than once"):
        list(steps)


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_no_layer_gets_worse_than_rounding_to_nearest(bits):
    torch.manual_seed(bits)
    layer = nn.Linear(32, 16)
    model, x = nn.Sequential(layer).eval(), torch.randn(500, 8) @ torch.randn(8, 32)
    quantized = simulate(model, {}, Config(Format(bits), None))
    rounded = quantize.adaround(model, quantized, x, iterations=200, progress=False)
    errors = [(net(x).double() - model(x).double()).square().mean() for net in (rounded, quantized)]
    assert errors[0] <= errors[1] * 1.001


def test_only_layers_that_can_be_rounded_are_taken_before_any_work_is_done():
    model = nn.Sequential(nn.ConvTranspose2d(1, 2, 3)).eval()
    with pytest.raises(ValueError, match=r"layer '0' is of type ConvTranspose2d, which cannot be rounded.*in float"):
        quantize.adaround(model, simulate(model, {}, WEIGHTS_4), IMAGES)


def test_allocation_is_exact_over_five_decades():
    generator = torch.Generator().manual_seed(3)
    for _ in range(40):
        scales = 10 ** (-5 * torch.rand(5, generator=generator))
        losses = {n: {b: s.item() * 4.0**-b for b in (2, 4, 8)} for n, s in zip("abcde", scales)}
        sizes = {n: int(size) for n, size in zip("abcde", torch.randint(10, 1000, (5,), generator=generator))}
        total = sum(sizes.values())
        found = quantize.allocate_bits(losses, sizes, 4.0)
        rows = [dict(zip("abcde", row)) for row in itertools.product((2, 4, 8), repeat=5)]
        fit = [row for row in rows if sum(sizes[n] * row[n] for n in sizes) <= 4.0 * total]
        best = min(sum(losses[n][row[n]] for n in sizes) for row in fit)
        assert sum(losses[n][found[n]] for n in sizes) == pytest.approx(best, rel=1e-6)


def test_bits_keep_what_a_config_says_of_single_layers():
    config = Config(Format(4), None, {"head": Config(Format(8, per_channel=True), None)})
    found = quantize.with_bits(config, {"narrow": 3})
    assert (found.of("head").weights.bits, found.of("narrow").weights.bits) == (8, 3)
    assert quantize.with_bits(config, {"head": 2}).of("head").weights == Format(2, per_channel=True)
    with pytest.raises(ValueError, match="config must have a Format for the weights of 'head'"):
        quantize.with_bits(Config(None), {"head": 2})


@pytest.mark.parametrize("zero", [-0.3, 0.0])
def test_learned_steps_round_as_grids_do_also_affine_and_per_channel(zero):
    x = torch.linspace(-1, 2, 301).expand(3, -1)
    for grid in (
        grid_of(-0.7 + zero, 1.5, bits=4),
        grid_of(torch.tensor([-1.0, -0.5, -0.1]), torch.ones(3), bits=3, axis=0),
    ):
        assert torch.allclose(LearnedStep(grid, batched=False)(x), grid(x), atol=1e-6)
        step = LearnedStep(grid, batched=True)
        step(x).sum().backward()
        assert step.scale.grad.shape == grid.scale.shape
    assert LearnedStep(grid_of(-1.0, 1.0), batched=True)(torch.zeros(0, 4)).shape == (0, 4)
