"""Grids, calibrators and simulation, against ONNX Runtime, closed forms and float64."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import xaiprune as xp
from xaiprune import quantize
from xaiprune.graph import fold_batch_norm
from xaiprune.quantize import (
    CALIBRATORS,
    FORMATS,
    Config,
    FakeQuantizer,
    Format,
    Statistics,
    calibrate,
    calibrating,
    first_and_last,
    grid_of,
    percentile,
    simulate,
)

IMAGES = torch.rand(24, 1, 12, 12, generator=torch.Generator().manual_seed(0))

entropy, mse = (CALIBRATORS[name].function for name in ("entropy", "mse"))


class Small(nn.Module):
    """Two convolutions with batch normalisation and ReLU6, a depthwise one between them, a residual sum, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.wide = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6())
        self.narrow = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.narrow(self.deep(self.wide(x)))
        return self.head(x.mean((2, 3)))


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = Small()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 3)
            nn.init.uniform_(module.bias, 0, 2)
    return model.eval()


def state(model: nn.Module) -> dict:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def by_onnxruntime(x: np.ndarray, scale, zero_point, kind: int, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """QuantizeLinear and DequantizeLinear as ONNX Runtime computes them: whole numbers (as float), and their values."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper

    tensors = [
        helper.make_tensor("s", TensorProto.FLOAT, np.shape(scale), np.ravel(scale).astype(np.float32)),
        helper.make_tensor("z", kind, np.shape(zero_point), np.ravel(zero_point).astype(int)),
        helper.make_tensor("one", TensorProto.FLOAT, np.shape(scale), np.ones(np.size(scale), np.float32)),
        helper.make_tensor("none", kind, np.shape(zero_point), np.zeros(np.size(zero_point), int)),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "one", "none"], ["whole"], axis=axis),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in ("whole", "y")]
    graph = helper.make_graph(nodes, "q", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)], outputs)
    graph.initializer.extend(tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    whole, y = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return whole, y


KINDS = {(4, "affine"): "UINT4", (4, "symmetric"): "INT4", (8, "affine"): "UINT8", (8, "symmetric"): "INT8"}
KINDS |= {(16, "affine"): "UINT16", (16, "symmetric"): "INT16"}


@pytest.mark.parametrize(("bits", "scheme"), KINDS)
@pytest.mark.parametrize("channels", [False, True])
def test_a_grid_is_onnx_runtimes_bit_for_bit_ties_and_ends_included(bits, scheme, channels):
    from onnx import TensorProto

    generator = torch.Generator().manual_seed(bits)
    x = 3 * torch.randn(6, 4096, generator=generator)
    low, high = (x.amin(1), x.amax(1)) if channels else (x.min(), x.max())
    grid = grid_of(0.7 * low, 0.7 * high, bits=bits, scheme=scheme, axis=0 if channels else None)
    ties = (torch.arange(4096) % 97 - 48 + 0.5) * (grid.scale[:, None] if channels else grid.scale)
    x = torch.cat([x, ties.expand(6, -1), 100 * x[:, :64]], dim=1)
    kind = getattr(TensorProto, KINDS[bits, scheme])
    # ONNX's symmetric types reach one further down; this kit leaves that number out, so values there are clipped first
    inside = x if scheme == "affine" else x.maximum(grid.range[0].view(-1, 1) if channels else grid.range[0])
    whole, y = by_onnxruntime(inside.numpy(), grid.scale.numpy(), grid.zero_point.numpy(), kind)
    assert np.array_equal(grid.quantize(x).numpy(), whole.astype(int))
    assert np.array_equal(grid.dequantize(grid.quantize(x)).numpy(), y)
    assert np.array_equal(grid(x).numpy(), y)


def test_ties_go_to_even_where_torch_multiplies_by_the_reciprocal():
    differ = 0
    for high in torch.linspace(1, 30, 200).tolist():
        grid = grid_of(0.0, high)
        x = (torch.arange(256) + 0.5) * grid.scale
        theirs = torch.fake_quantize_per_tensor_affine(x, grid.scale.item(), 0, 0, 255)
        differ += int(((grid(x) - theirs).abs() > grid.scale / 2).sum())
    assert differ > 0
    exact = grid_of(0.0, 255.0)
    assert exact.quantize(torch.tensor([0.5, 1.5, 2.5, 254.5])).tolist() == [0, 2, 2, 254]


def test_a_grid_holds_zero_and_is_idempotent():
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0)):
        for scheme in ("affine", "symmetric"):
            grid = grid_of(low, high, bits=5, scheme=scheme)
            x = torch.linspace(2 * low - 1, 2 * high + 1, 501)
            assert grid(torch.zeros(1)).item() == 0
            assert torch.equal(grid(grid(x)), grid(x))
            assert len(grid(x).unique()) <= 2**5
            bottom, top = grid.range
            inside = (x >= bottom) & (x <= top)
            assert ((grid(x) - x).abs()[inside] <= grid.scale / 2 * 1.0001).all()
            assert torch.equal(grid.saturated(x), (x < bottom - grid.scale / 2) | (x > top + grid.scale / 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 1}, "bits must be a whole number from 2 to 16, got 1"),
        ({"bits": 17}, "got 17"),
        ({"scheme": "log"}, "scheme must be one of symmetric, affine"),
        ({"low": math.nan}, "must be finite"),
        ({"low": 3.0}, "low must not be above high"),
        ({"low": 0.0, "high": 0.0}, "scale would be 0"),
    ],
)
def test_bad_grids_are_refused(change, message):
    options = {"low": -1.0, "high": 1.0} | change
    with pytest.raises(ValueError, match=message):
        grid_of(options.pop("low"), options.pop("high"), **options)


def test_statistics_see_all_values_once_and_keep_a_bounded_histogram():
    generator, seen = torch.Generator().manual_seed(1), Statistics(bins=64)
    batches = [scale * torch.randn(500, generator=generator) for scale in (1, 5, 0.2, 40)]
    for batch in batches:
        seen.update(batch)
    every = torch.cat(batches)
    assert (seen.low, seen.high) == (every.min().item(), every.max().item())
    assert seen.counts.sum() == 2000
    assert len(seen.counts) == 64
    direct = torch.histc(every, 64, -seen.limit, seen.limit).double()
    assert (direct - seen.counts).abs().sum() <= 4  # values on an edge, after bins became one
    wanted = batches[0].max().item()
    for batch in batches[1:]:
        wanted = 0.9 * wanted + 0.1 * batch.max().item()
    assert seen.average[1] == pytest.approx(wanted, rel=1e-6)


def test_a_thinned_histogram_skips_no_channel():
    x = torch.arange(8.0).view(1, 8, 1, 1).expand(4, 8, 32, 32).contiguous(memory_format=torch.channels_last)
    seen = Statistics(bins=64, counted=1000)
    seen.update(x)
    assert seen.counts.sum() == pytest.approx(x.numel())  # each counted value stands for those that were skipped
    filled = seen.counts[seen.counts > 0]
    assert len(filled) == 8
    assert filled.max() <= 1.02 * filled.min()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_change_nothing(bad):
    seen = Statistics()
    seen.update(torch.tensor([1.0, 2.0]))
    before = (seen.low, seen.high, seen.counts.clone(), seen.average)
    with pytest.raises(ValueError, match="NaN or infinite"):
        seen.update(torch.tensor([0.0, bad]))
    assert (seen.low, seen.high, seen.average) == (before[0], before[1], before[3])
    assert torch.equal(seen.counts, before[2])


def skewed(seed: int) -> Statistics:
    generator, seen = torch.Generator().manual_seed(seed), Statistics(bins=1024)
    seen.update(torch.cat([torch.randn(20000, generator=generator).relu(), 8 * torch.rand(40, generator=generator)]))
    return seen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("symmetric", [False, True])
def test_percentiles_are_onnx_runtimes_to_one_bin(seed, symmetric):
    from onnxruntime.quantization.calibrate import HistogramCollector

    seen = skewed(seed)
    theirs = HistogramCollector("percentile", symmetric, 1024, 128, 99.9, None)
    counts, edges = seen.counts.numpy(), seen.edges.numpy()
    if symmetric:  # there of absolute values
        counts, edges = counts[512:] + counts[:512][::-1], edges[512:]
    theirs.histogram_dict["x"] = (counts, edges, np.float64(seen.low), np.float64(seen.high))
    low, high, *_ = theirs.compute_percentile()["x"]
    mine = percentile(seen, 8, "symmetric" if symmetric else "affine", percent=99.9)
    width = 2 * seen.limit / 1024
    assert abs(mine[1] - high) <= 1.01 * width
    assert abs(mine[0] - max(low, seen.low)) <= 1.01 * width


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [128, 512, 1024])
def test_entropy_ranges_are_onnx_runtimes_to_one_bin(seed, bins):
    from onnxruntime.quantization.calibrate import HistogramCollector

    seen = skewed(seed)
    seen.counts, seen.bins = seen.counts.view(bins, -1).sum(1), bins
    theirs = HistogramCollector("entropy", True, bins, 128, None, None)
    counts, edges = seen.counts.numpy().astype(np.int64), seen.edges.numpy()
    low, high = theirs.get_entropy_threshold((counts, edges, np.float64(seen.low), np.float64(seen.high)), 128)
    mine, width = entropy(seen), 2 * seen.limit / bins
    assert abs(mine[1] - high) <= 1.01 * width
    assert abs(mine[0] - low) <= 1.01 * width


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_the_mse_range_is_the_best_of_its_candidates_by_brute_force(scheme):
    values = torch.cat([torch.randn(4000, generator=torch.Generator().manual_seed(5)), torch.tensor([30.0])])
    seen = Statistics()
    seen.update(values)
    low, high = mse(seen, 4, scheme)

    def error(share):
        grid = grid_of(share * values.min(), share * values.max(), bits=4, scheme=scheme)
        return (grid(values) - values).double().square().mean().item()

    best = min(error(share) for share in torch.linspace(0.01, 1, 100).tolist())
    grid = grid_of(low, high, bits=4, scheme=scheme)
    found = (grid(values) - values).double().square().mean().item()
    assert found <= 1.02 * best < error(1.0)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_every_calibrator_stays_within_the_extremes(name):
    seen = skewed(7)
    low, high = CALIBRATORS[name].function(seen, 8, "affine")
    assert seen.low <= low <= high <= seen.high
    assert high > 0


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percentile_is_a_percentage(percent):
    with pytest.raises(ValueError, match=r"percent must be a percentage in \(0, 100\]"):
        percentile(skewed(0), percent=percent)


def test_calibrating_watches_and_leaves_no_trace():
    model = small()
    before, hooks = state(model), [len(module._forward_pre_hooks) for module in model.modules()]
    with calibrating(model) as seen, torch.no_grad():
        for batch in IMAGES.split(7):
            model(batch)
    assert hooks == [len(module._forward_pre_hooks) for module in model.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (seen["stem.0"].low, seen["stem.0"].high) == (IMAGES.min().item(), IMAGES.max().item())
    read = []
    model.narrow.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    model(IMAGES)
    assert seen["narrow"].high == pytest.approx(read[0].max().item(), rel=1e-6)


def test_bad_calibrations_are_refused_and_name_the_layer():
    with pytest.raises(ValueError, match="training mode"), calibrating(small().train()):
        pass
    with pytest.raises(ValueError, match="calibration set is empty"), calibrating(small()):
        pass
    with pytest.raises(ValueError, match="images is empty"):
        calibrate(small(), IMAGES[:0])
    with pytest.raises(ValueError, match="no convolution and no linear layer"):
        calibrate(nn.Flatten().eval(), IMAGES)
    broken = small()
    broken.wide[0].weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match=r"layer 'deep\.0' cannot be calibrated: there are NaN"):
        calibrate(broken, IMAGES)
    assert not broken.deep[0]._forward_pre_hooks


def test_simulation_is_the_plain_computation_on_rounded_numbers():
    model = small()
    seen, config = calibrate(model, IMAGES), Config(Format(6, per_channel=True), Format(7, "affine"))
    found = simulate(model, seen, config)
    plain = fold_batch_norm(model)
    for name, layer in quantize.quantized_layers(plain).items():
        weight = layer.weight.detach()
        scale = weight.flatten(1).abs().amax(1).view(-1, *[1] * (weight.ndim - 1)) / 31
        layer.weight = nn.Parameter(torch.round(weight / scale).clamp(-31, 31) * scale)
        low, high = min(seen[name].low, 0), max(seen[name].high, 0)
        step = (high - low) / 127
        zero = round(-low / step)

        def rounded(module, inputs, step=step, zero=zero):
            return ((torch.round(inputs[0] / step) + zero).clamp(0, 127) - zero) * step

        layer.register_forward_pre_hook(rounded)
    assert torch.allclose(found(IMAGES), plain(IMAGES), atol=1e-4)


def test_sixteen_bits_are_nearly_exact_and_fewer_lose_more():
    model, seen = small(), calibrate(small(), IMAGES)
    errors = [
        quantize.sqnr(model(IMAGES), simulate(model, seen, Config(Format(bits), Format(bits, "affine")))(IMAGES))
        for bits in (16, 8, 4, 2)
    ]
    assert errors[0] > 70
    assert errors == sorted(errors, reverse=True)


def test_the_model_given_is_never_changed_and_quantizing_twice_is_refused():
    model = small()
    before, seen = state(model), calibrate(model, IMAGES)
    quantized = simulate(model, seen)
    quantized(IMAGES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    for again in (lambda: simulate(quantized, seen), lambda: calibrate(quantized, IMAGES)):
        with pytest.raises(ValueError, match=r"quantized already .layer 'stem\.0' is"):
            again()
    assert torch.equal(copy.deepcopy(quantized)(IMAGES), quantized(IMAGES))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_had_for_weights_and_activations(name):
    model, seen = small(), calibrate(small(), IMAGES)
    form = FORMATS[name]
    per_channel = getattr(form, "per_channel", False)
    quantized = simulate(model, seen, Config(form, None if per_channel else form))
    if name == "bf16":
        assert torch.equal(quantized.narrow.weight, model.narrow.weight.to(torch.bfloat16).float())
    assert 5 < quantize.sqnr(model(IMAGES), quantized(IMAGES)) < math.inf
    assert str(form)


def test_some_layers_can_differ():
    model, seen = small(), calibrate(small(), IMAGES)
    config = Config(Format(2), None, first_and_last(model, Config(Format(8), None)))
    quantized = simulate(model, seen, config)
    assert len(quantized.stem[0].weight.unique()) > 4
    assert len(quantized.narrow.weight.unique()) <= 3
    assert list(config.layers) == ["stem.0", "head"]
    with pytest.raises(ValueError, match=r"config\.layers names 'neck'"):
        simulate(model, seen, Config(layers={"neck": Config()}))


def test_bad_simulations_are_refused():
    model, seen = small(), calibrate(small(), IMAGES, bins=0)
    with pytest.raises(ValueError, match="training mode"):
        simulate(small().train(), seen)
    with pytest.raises(ValueError, match=r"layer 'stem\.0' was not calibrated"):
        simulate(model, {})
    with pytest.raises(ValueError, match="calibrator 'entropy' reads a histogram"):
        simulate(model, seen, Config(activations=Format(calibrator="entropy")))
    with pytest.raises(ValueError, match="calibrator must be one of min-max"):
        Format(calibrator="max")
    with pytest.raises(ValueError, match="activations cannot be per channel"):
        Config(activations=Format(per_channel=True))
    dark = calibrate(model, torch.zeros_like(IMAGES))
    with pytest.raises(ValueError, match=r"what layer 'stem\.0' reads: the range is empty"):
        simulate(model, dark)
    empty = small()
    nn.init.zeros_(empty.narrow.weight)
    with pytest.raises(ValueError, match="weights of layer 'narrow': the range is empty"):
        simulate(empty, seen)


def test_the_gradient_passes_inside_of_the_range_alone():
    quantizer = FakeQuantizer(grid_of(-1.0, 1.0, bits=4))
    x = torch.tensor([-3.0, -0.4, 0.2, 0.9, 5.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_sqnr_is_in_decibels():
    signal = torch.tensor([3.0, 4.0])
    assert quantize.sqnr(signal, signal + torch.tensor([0.3, 0.4])) == pytest.approx(20)
    assert quantize.sqnr(signal, signal) == math.inf


def test_errors_of_layers_are_those_of_two_hooked_runs():
    model, seen = small(), calibrate(small(), IMAGES)
    quantized = simulate(model, seen, Config(Format(5), Format(5, "affine", "percentile")))
    rows = quantize.layer_errors(model, quantized, IMAGES)
    outputs = []
    for net in (fold_batch_norm(model), quantized):
        kept = {}
        for name, layer in quantize.quantized_layers(net).items():
            layer.register_forward_hook(
                lambda module, inputs, output, name=name, kept=kept: kept.update({name: output})
            )
        net(IMAGES)
        outputs.append(kept)
    assert [row["layer"] for row in rows] == ["stem.0", "wide.0", "deep.0", "narrow", "head"]
    for row in rows:
        assert row["output"] == pytest.approx(quantize.sqnr(*(kept[row["layer"]] for kept in outputs)), abs=1e-3)
        assert 0 <= row["saturated"] < 0.05
    assert rows[0]["output"] > 10


def test_sensitivity_quantizes_one_layer_at_a_time():
    model, seen = small(), calibrate(small(), IMAGES)
    split = xp.data.Split(IMAGES, model(IMAGES).argmax(1))
    rows = quantize.sensitivity(model, seen, split, Config(Format(2), None), progress=False)
    assert [row["layer"] for row in rows] == list(quantize.quantized_layers(model))
    alone = simulate(model, seen, Config(None, None, {"head": Config(Format(2), None)}))
    assert rows[-1]["sqnr"] == pytest.approx(quantize.sqnr(model(IMAGES), alone(IMAGES)), abs=1e-4)


def test_ranges_do_not_depend_on_how_images_come_in_batches():
    values = torch.randn(65_000, generator=torch.Generator().manual_seed(0))
    values[-1000:] *= 3
    whole, thinned = Statistics(bins=256, counted=10**6), Statistics(bins=256, counted=1000)
    whole.update(values)
    for batch in values.split(64_000):
        thinned.update(batch)
    assert thinned.counts.sum() == pytest.approx(65_000)
    assert percentile(thinned, percent=99)[1] == pytest.approx(percentile(whole, percent=99)[1], rel=0.1)


def test_zeros_that_come_first_are_counted():
    seen = Statistics(bins=64)
    seen.update(torch.zeros(1000))
    seen.update(torch.ones(10))
    assert seen.counts.sum() == 1010
    assert seen.shares()[32] == pytest.approx(1000 / 1010)


def test_rules_that_read_a_histogram_need_one():
    bare = Statistics(bins=0)
    bare.update(torch.rand(10))
    for call in (percentile, entropy, mse, lambda seen: quantize.rounding_and_clipping(seen, grid_of(0.0, 1.0))):
        with pytest.raises(ValueError, match="there is no histogram"):
            call(bare)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_dead_channels_can_have_any_step(calibrator):
    model = small()
    with torch.no_grad():
        model.narrow.weight[2] = 0
        model.narrow.weight[3] = 1e-39
    quantized = simulate(model, {}, Config(Format(8, calibrator=calibrator, per_channel=True), None))
    assert quantized.narrow.weight[2:4].abs().max() == 0
    assert torch.isfinite(quantized(IMAGES)).all()


def test_transposed_convolutions_are_layers_too():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ConvTranspose2d(1, 4, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2, groups=2)
    ).eval()
    quantized = simulate(model, calibrate(model, IMAGES), Config(Format(4), Format(8, "affine")))
    assert max(len(quantized[place].weight.unique()) for place in (0, 2)) <= 15
    with pytest.raises(ValueError, match="layer '2': a transposed convolution in groups"):
        simulate(model, {}, Config(Format(per_channel=True), None))
    one = simulate(model[:1].eval(), {}, Config(Format(2, per_channel=True), None))[0].weight
    assert all(len(one[:, channel].unique()) <= 3 for channel in range(4))


def test_a_quantized_models_state_holds_its_grids():
    model, seen = small(), calibrate(small(), IMAGES)
    coarse, fine = (simulate(model, seen, Config(Format(bits), Format(bits, "affine"))) for bits in (8, 8))
    other = simulate(model, calibrate(model, 0.3 * IMAGES), Config(Format(8, calibrator="mse"), Format(8, "affine")))
    other.load_state_dict(coarse.state_dict())
    assert torch.equal(other(IMAGES), fine(IMAGES))


def test_models_that_cannot_be_quantized_say_why():
    model = small()
    with pytest.raises(ValueError, match=r"layer 'stem\.0' has weights in torch\.float64: call model\.float"):
        calibrate(small().double(), IMAGES)
    nn.utils.prune.random_unstructured(model.narrow, "weight", 0.5)
    assert (simulate(model, {}, Config(Format(), None)).narrow.weight == 0).sum() >= model.narrow.weight.numel() // 2
    model = small()
    seen = calibrate(model, IMAGES)
    model.unused = nn.Linear(3, 3).eval()
    with pytest.raises(ValueError, match=r"layer 'unused' was not calibrated: seen holds stem\.0"):
        simulate(model, seen)
    with pytest.warns(UserWarning, match="unused did not run as layers while they were calibrated, and stay in float"):
        simulate(model, calibrate(model, IMAGES))
    with pytest.raises(TypeError, match="weights must be a Format, a Cast or None, got 'int8'"):
        Config("int8")
    with pytest.raises(TypeError, match="layers must hold a Config for each name"):
        Config(layers={"head": Format(4)})
    with pytest.raises(ValueError, match="low and high must be numbers for axis None"):
        grid_of(torch.zeros(3), torch.ones(3))
    assert quantize.sqnr(torch.zeros(3), torch.zeros(3)) == math.inf
