"""Integer kernels: what the file computes, what stays in float, and how a scorecard reads it."""

from __future__ import annotations

import copy
import dataclasses
import sys

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import xaiprune as xp
from tests.quantize.test_quantize import IMAGES, small, state
from xaiprune import deploy, quantize
from xaiprune.measure import counting
from xaiprune.quantize import Config, Format


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def content(model):
    return deploy.onnx_bytes(model, IMAGES)


def operations(content: bytes) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def test_the_integer_file_computes_nearly_what_the_float_model_does(model):
    before = state(model)
    found = quantize.int8_bytes(model, IMAGES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    outputs = deploy.runnable(found)(IMAGES)
    assert quantize.sqnr(model(IMAGES), outputs) > 25
    assert torch.allclose(deploy.runnable(found)(IMAGES[:5]), outputs[:5], atol=1e-4)  # any batch size
    assert operations(found).count("QuantizeLinear") >= 5


def test_its_ranges_are_those_of_the_calibrator(content):
    by = {}
    for name in ("min-max", "percentile", "mse"):
        config = Config(Format(per_channel=True), Format(scheme="affine", calibrator=name))
        by[name] = quantize.quantize_onnx(content, IMAGES, config)
    import onnx

    graph = onnx.load_from_string(by["min-max"]).graph
    scales = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    source = graph.input[0].name
    span = IMAGES.max() - min(0.0, IMAGES.min().item())
    assert scales[f"{source}_scale"] == pytest.approx(span.item() / 255, rel=1e-5)
    assert len(set(by.values())) == 3


def test_every_tensor_of_the_graph_is_seen(model, content):
    seen = quantize.observe_onnx(content, IMAGES, batch_size=10)
    assert all(statistics.batches == 3 for statistics in seen.values())
    graph = onnx.load_from_string(content).graph
    flowing = {name for node in graph.node if node.op_type in ("Conv", "Clip", "Add", "Gemm") for name in node.output}
    assert flowing <= set(seen)
    assert seen[graph.output[0].name].high == pytest.approx(model(IMAGES).max().item(), abs=1e-4)


def test_layers_can_stay_in_float(content):
    whole, part = (
        operations(quantize.quantize_onnx(content, IMAGES, Config(*FORMS, layers=layers))).count("DequantizeLinear")
        for layers in ({}, KEPT)
    )
    assert part < whole
    graph = onnx.load_from_string(quantize.quantize_onnx(content, IMAGES, Config(*FORMS, layers=KEPT))).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert [kinds[f"{name}.weight"] for name in KEPT] == [onnx.TensorProto.FLOAT] * 2
    with pytest.raises(ValueError, match=r"config\.layers names 'neck'"):
        quantize.quantize_onnx(content, IMAGES, Config(*FORMS, layers={"neck": Config(None, None)}))


FORMS = (Format(per_channel=True), Format(scheme="affine"))


def test_a_layer_between_integers_that_is_kept_in_float_runs_in_float():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten()]
    model, images = nn.Sequential(*layers).eval(), torch.rand(16, 1, 8, 8)
    with torch.no_grad():
        model[2].weight.mul_(torch.logspace(0, -2, 8).view(-1, 1, 1, 1))
    kept = dataclasses.replace(quantize.INT8, layers={"2": Config(None, None)})
    found = quantize.int8_bytes(model, images, kept)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    literally = onnxruntime.InferenceSession(found, options).run(None, {"input": images.numpy()})[0]
    assert (deploy.runnable(found)(images) - torch.from_numpy(literally)).abs().max() < 1e-5


KEPT = {"narrow": Config(None, None), "head": Config(None, None)}


def test_weights_of_four_bits_are_held_so_and_computed_in_eight():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 40, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 10)]
    model, images = nn.Sequential(*layers).eval(), torch.rand(16, 1, 8, 8)
    narrow = dict.fromkeys(("2", "5"), Config(Format(4, per_channel=True), quantize.INT8.activations))
    found = quantize.int8_bytes(model, images, dataclasses.replace(quantize.INT8, layers=narrow))
    rounded = copy.deepcopy(model)
    for place in (2, 5):
        steps = model[place].weight.detach().flatten(1).abs().amax(1) / 7
        steps = steps.view(-1, *[1] * (model[place].weight.ndim - 1))
        rounded[place].weight.data = (model[place].weight / steps).round() * steps
    said = deploy.runnable(found)(images)
    assert quantize.sqnr(rounded(images), said) > 35 > quantize.sqnr(model(images), said)
    held = {tensor.name: tensor for tensor in onnx.load_from_string(found).graph.initializer}
    assert [len(held[f"{place}.weight_quantized_4"].raw_data) for place in (2, 5)] == [160, 7200]  # two in a byte
    assert len(found) < len(quantize.int8_bytes(model, images)) - 6000
    assert operations(found).count("Cast") == 2
    wide = dataclasses.replace(quantize.INT8, layers={"2": Config(Format(3, per_channel=True))})
    with pytest.raises(ValueError, match=r"config\.layers\['2'\] must be"):
        quantize.int8_bytes(model, images, wide)


def test_a_kind_without_integer_kernel_falls_back_and_says_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, stride=2)).eval()
    with pytest.warns(UserWarning, match=r"'2' .ConvTranspose. has no integer kernel and stays in float"):
        found = quantize.int8_bytes(model, IMAGES)
    assert quantize.sqnr(model(IMAGES), deploy.runnable(found)(IMAGES)) > 25


@pytest.mark.parametrize("config", [Config(), Config(Format(4), Format(scheme="affine")), Config(None)])
def test_kernels_take_eight_bits(content, config):
    if config == Config():
        assert quantize.quantize_onnx(content, IMAGES, config)
        return
    with pytest.raises(ValueError, match="integer kernels take 8 bits"):
        quantize.quantize_onnx(content, IMAGES, config)


def test_bad_input_is_refused(model, content):
    with pytest.raises(ValueError, match="training mode"):
        quantize.int8_bytes(small().train(), IMAGES)
    with pytest.raises(ValueError, match="images is empty"):
        quantize.quantize_onnx(content, IMAGES[:0])
    with pytest.raises(ValueError, match="quantized already"):
        quantize.int8_bytes(quantize.simulate(model, quantize.calibrate(model, IMAGES)), IMAGES)


def test_a_scorecard_reads_the_file(model, content):
    found = quantize.quantize_onnx(content, IMAGES)
    models = {
        "eager": model,
        "float": deploy.Frozen(model, IMAGES, content),
        "int8": deploy.Frozen(model, IMAGES, found),
    }
    split = xp.data.Split(IMAGES, model(IMAGES).argmax(1))
    eager, whole, int8 = xp.scorecards(models, split, xp.measure.ACCURACY, repeats=3, in_sample=True)
    assert whole["metric"] == 100
    assert int8["metric"] > 80
    assert (whole["dense_bytes"], int8["dense_bytes"]) == (len(content), len(found))
    for key in ("parameters", "macs"):
        assert eager[key] == whole[key] == int8[key] > 0
    assert 0 < int8["activation_bytes"] < whole["activation_bytes"]
    assert "ONNX Runtime" in int8.notes["latency_1"]
    text = str(xp.compare([eager, int8]))
    assert "eager: median" in text
    assert "int8: median" in text
    assert counting.costs(model, IMAGES[:1])["macs"] == eager["macs"]


def test_torchs_own_path_computes_nearly_the_same_in_integers(model, recwarn):
    if lack := deploy.lacks_packages("torchao") or deploy.lacks_compiler():
        pytest.skip(lack)
    run = quantize.pt2e(model, IMAGES, IMAGES[:8])
    assert not [warning for warning in recwarn if "integer kernels" in str(warning.message)]  # one for each layer
    assert quantize.sqnr(model(IMAGES[:8]), run(IMAGES[:8])) > 20
    assert torch.equal(run(IMAGES[:8].to(memory_format=torch.channels_last)), run(IMAGES[:8]))
    with pytest.raises(
        ValueError, match=r"batch must have the example's shape, \(8, 1, 12, 12\), got \(4, 1, 12, 12\)"
    ):
        run(IMAGES[:4])
    with pytest.raises(ValueError, match="images must fill a batch of 8"):
        quantize.pt2e(model, IMAGES[:5], IMAGES[:8])


QCONV = "buf1 = torch.ops.onednn.qconv_pointwise.tensor(buf0, 0.1)"
QLINEAR = "buf2 = torch.ops.onednn.qlinear_pointwise.tensor(buf1, 0.1)"
FLOAT = "buf1 = extern_kernels.convolution(buf0, arg1_1)"


@pytest.mark.parametrize("code", [FLOAT, f"{QCONV}\n{QLINEAR}"])
def test_torchs_own_path_says_so_if_the_code_it_compiled_has_floats(model, code, monkeypatch):
    from xaiprune.quantize.pt2e import integer_kernels

    if lack := deploy.lacks_packages("torchao") or deploy.lacks_compiler():
        pytest.skip(lack)
    monkeypatch.setattr(sys.modules["xaiprune.quantize.pt2e"], "compiled", lambda graph, example: (graph, code))
    if integer_kernels(code):
        with pytest.warns(UserWarning, match="has 2 integer kernels for 5 layers; the others run in float"):
            quantize.pt2e(model, IMAGES, IMAGES[:8])
    else:
        with pytest.raises(deploy.UnavailableError, match="has no integer kernels for this processor"):
            quantize.pt2e(model, IMAGES, IMAGES[:8])


def test_torchs_integers_stay_integers_when_other_graphs_of_the_same_layers_are_compiled(model):
    from xaiprune.quantize.pt2e import compiled, converted

    if lack := deploy.lacks_packages("torchao") or deploy.lacks_compiler():
        pytest.skip(lack)
    example = IMAGES[:8]
    run, other = quantize.pt2e(model, IMAGES, example), quantize.pt2e(small(1), IMAGES, example)
    compiled(converted(model, IMAGES, example), example, freezing=False)
    assert quantize.sqnr(model(example), run(example)) > 20 > quantize.sqnr(model(example), other(example))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run(example)
    called = [event.name for event in profile.events()]
    assert sum(name.startswith("onednn::qconv") for name in called) == 4
    assert not [name for name in called if "mkldnn" in name]


def test_what_the_processor_can_do_is_read_from_its_flags(tmp_path):
    for flags, exact in (
        ("sse avx2 fma", False),
        ("avx2 avx512_vnni", True),
        ("avx2 avx_vnni", True),
        ("asimddp", True),
    ):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert deploy.adds_products_exactly(tmp_path / "cpuinfo") is exact
    assert deploy.adds_products_exactly(tmp_path / "nothing")


@pytest.mark.parametrize("exact", [True, False])
def test_bytes_are_widened_only_where_their_sums_would_saturate(content, exact, monkeypatch):
    monkeypatch.setattr("xaiprune.deploy.onnx.adds_products_exactly", lambda: exact)
    session = deploy.onnx_session(content)
    told = session.get_session_options().get_session_config_entry
    if exact:
        with pytest.raises(Exception, match="x64quantprecision"):
            told("session.x64quantprecision")
    else:
        assert told("session.x64quantprecision") == "1"
