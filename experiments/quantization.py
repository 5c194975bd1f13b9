"""Tables of lesson 07: repairs, bits, calibration sets, training with learned steps, integers in several runtimes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import deploy, explain, quantize, zoo
from xaiprune.data import fashion_mnist, mnist
from xaiprune.measure import latencies
from xaiprune.quantize import INT8, Config, Format
from xaiprune.quantize.pt2e import compiled, converted, integer_kernels, plain
from xaiprune.training import flip_and_shift, tune

MODEL = "mobilenet-fashion-mnist"
#: Factor by which a channel's size is changed at most, up or down, to make a network that collapses at 8 bits.
SPREAD = 16.0
#: Images for ranges and biases; for rounding, and its steps.
CALIBRATED_ON, ROUNDED_ON, ITERATIONS = 512, 1024, 500
#: Images and bits of activations for the question how many images calibration needs, and of what.
COUNTS, SET_BITS, SET_SEEDS = (1, 4, 16, 64, 256, 1024), 4, range(5)
#: Probes and images for traces of the Hessian.
PROBES, TRACED_ON = 50, 256
TRAINING = {"epochs": 2, "lr": 2e-4, "batch_size": 64, "augment": flip_and_shift, "progress": False}
TRAINED_ON = 20_000
#: Layers at the beginning, of many pixels and few channels, in which integers are no faster.
SLOW = 3
#: Rounds of timing.
ROUNDS = 5


def weights_only(bits: int, per_channel: bool = False) -> Config:
    """Weights on a symmetric grid, activations in float."""
    return Config(Format(bits, per_channel=per_channel), None)


def both(bits: int, per_channel: bool = False, calibrator: str = "min-max") -> Config:
    """Weights on a symmetric grid, activations on an affine one."""
    return Config(Format(bits, per_channel=per_channel), Format(bits, "affine", calibrator))


def eight_bit_steps(model: nn.Module, images: torch.Tensor) -> dict[str, nn.Module]:
    """From the collapsed network, 8 bits per tensor, to the repaired one, in the order of Nagel et al. 2019."""
    uneven = quantize.rescale_channels(model, SPREAD)
    equal = quantize.equalize(uneven)
    absorbed = quantize.absorb_bias(equal, images)
    floats = {"rescaled": uneven, "equalized": equal, "bias absorbed": absorbed}
    steps = {"per channel": quantize.simulate(uneven, quantize.calibrate(uneven, images), both(8, per_channel=True))}
    for name, net in floats.items():
        steps[name] = quantize.simulate(net, quantize.calibrate(net, images), both(8))
    steps["bias corrected"] = quantize.correct_bias(absorbed, steps["bias absorbed"], images)
    return steps


def repair(at: Setting = WHOLE) -> list[dict]:
    """Collapse and repair at 8 bits, and what rounding can do at 4 and 3: whole test set."""
    model, test = at.network(zoo.load(MODEL)), at.split(fashion_mnist, "test")
    images = at.split(fashion_mnist, "train", CALIBRATED_ON).inputs
    rows = [{"bits": 32, "step": "float", "test": at.judge(model, test)}]
    plain = quantize.simulate(model, quantize.calibrate(model, images), both(8))
    rows.append({"bits": 8, "step": "as shipped", "test": at.judge(plain, test)})
    for name, net in eight_bit_steps(model, images).items():
        rows.append({"bits": 8, "step": name, "test": at.judge(net, test)})
    equal, many = quantize.equalize(model), at.split(fashion_mnist, "train", ROUNDED_ON).inputs
    for bits in (4, 3):
        for start, net in (("", model), ("equalized, ", equal)):
            nearest = quantize.simulate(net, {}, weights_only(bits))
            begun = time.perf_counter()
            rounded = quantize.adaround(net, nearest, many, iterations=at.few(ITERATIONS), progress=False)
            seconds = round(time.perf_counter() - begun, 1)
            corrected = quantize.correct_bias(net, nearest, images)
            rows += [
                {"bits": bits, "step": f"{start}nearest", "test": at.judge(nearest, test)},
                {"bits": bits, "step": f"{start}bias corrected", "test": at.judge(corrected, test)},
                {"bits": bits, "step": f"{start}adaround", "test": at.judge(rounded, test), "seconds": seconds},
            ]
    return rows


@functools.cache
def measured(at: Setting) -> tuple[dict[str, float], dict[str, float]]:
    """Mean traces of the Hessian and shares of relevance, once for all rows."""
    model, data = at.network(zoo.load(MODEL)), at.split(fashion_mnist, "train", TRACED_ON)
    return quantize.hessian_traces(model, data, probes=at.few(PROBES)), quantize.relevance_shares(model, data)


def bits(per_channel: bool, average: int, at: Setting = WHOLE) -> list[dict]:
    """Uniform bits against bits by a layer's loss, at equal size: test set.

    The loss is the Hessian's trace times noise, or the share of the relevance times relative noise, or one of the two
    noises alone, as controls.
    """
    model, test, (traces, shares) = at.network(zoo.load(MODEL)), at.split(fashion_mnist, "test"), measured(at)
    sizes = {name: layer.weight.numel() for name, layer in quantize.quantized_layers(model).items()}
    form = Format(8, per_channel=per_channel)
    noise = quantize.weight_errors(model, form)
    losses = {
        "hessian": quantize.losses_by_trace(traces, noise),
        "relevance": quantize.losses_by_relevance(shares, noise, model),
        "noise": noise,
        "relative noise": quantize.losses_by_relevance(dict.fromkeys(noise, 1.0), noise, model),
    }
    row = {"per_channel": per_channel, "average": average}
    uniform = quantize.simulate(model, {}, weights_only(average, per_channel))
    rows = [row | {"by": "uniform", "test": at.judge(uniform, test)}]
    for name, loss in losses.items():
        chosen = quantize.allocate_bits(loss, sizes, average)
        mixed = quantize.simulate(model, {}, quantize.with_bits(Config(form, None), chosen))
        spent = sum(sizes[layer] * chosen[layer] for layer in sizes) / sum(sizes.values())
        found = {"by": name, "test": at.judge(mixed, test), "spent": round(spent, 4)}
        rows.append(row | found | {"bits": chosen})
    return rows


def images_of(kind: str, count: int, seed: int, at: Setting = WHOLE) -> torch.Tensor:
    """Images to calibrate on: a random choice, of one class alone, of another data set, or noise."""
    generator = torch.Generator().manual_seed(seed)
    pool = at.split(mnist if kind == "digits" else fashion_mnist, "train", 20_000)
    if kind == "noise":
        return torch.rand(count, 1, 28, 28, generator=generator)
    images = pool.inputs[pool.targets == seed] if kind == "one class" else pool.inputs
    return images[torch.randperm(len(images), generator=generator)[:count]]


def calibration_set(kind: str, count: int, seed: int, at: Setting = WHOLE) -> list[dict]:
    """Accuracy and drift with activations in 4 bits, whose ranges came from these images: validation."""
    model, validation = at.network(zoo.load(MODEL)), at.split(fashion_mnist, "validation", 1000)
    seen = quantize.calibrate(model, images_of(kind, count, seed, at))
    rows = []
    for calibrator in ("min-max", "mse"):
        quantized = quantize.simulate(model, seen, Config(None, Format(SET_BITS, "affine", calibrator)))
        moved = explain.drift(model, quantized, validation.inputs[: at.few(100)], method="lrp").values.mean()
        row = {"kind": kind, "count": count, "seed": seed, "calibrator": calibrator}
        row |= {
            "accuracy": round(at.metric(quantized, validation), 2),
            "rank": round(1 - moved.item(), 4),
        }
        rows.append(row)
    return rows


def trained(weight_bits: int, activation_bits: int, at: Setting = WHOLE) -> list[dict]:
    """Learned steps, tuned for two epochs on 20,000 images: before and after, whole test set."""
    model, test = at.network(zoo.load(MODEL)), at.split(fashion_mnist, "test")
    seen = quantize.calibrate(model, at.split(fashion_mnist, "train", CALIBRATED_ON).inputs)
    config = Config(Format(weight_bits), Format(activation_bits, "affine", "mse"))
    quantized = quantize.simulate(model, seen, config)
    better, start = quantize.learnable(quantized), time.perf_counter()
    train, validation = at.split(fashion_mnist, "train", TRAINED_ON), at.split(fashion_mnist, "validation", 2000)
    tune(better, train, validation, metric=at.metric, **at.trained(TRAINING))
    row = {"weights": weight_bits, "activations": activation_bits, "before": at.judge(quantized, test)}
    return [row | {"after": at.judge(better, test), "minutes": round((time.perf_counter() - start) / 60, 1)}]


def integers(model: nn.Module, images: torch.Tensor) -> dict[str, bytes]:
    """ONNX files in 8 bits: all layers, and all but the first ones."""
    content = deploy.onnx_bytes(model, images)
    slow = {name: Config(None, None) for name in list(quantize.quantized_layers(model))[:SLOW]}
    configs = {"int8": INT8, f"int8, first {SLOW} layers in float": dataclasses.replace(INT8, layers=slow)}
    files = {name: quantize.quantize_onnx(content, images, config) for name, config in configs.items()}
    return {"float": content} | files


def runtime_rows(batch: int, repeats: int, threads: int, at: Setting = WHOLE) -> list[dict]:
    """Latency in ms in float and in 8 bits, in rounds: one runtime after another, and inside of one, models in turn.

    ``kernels`` is how many integer kernels are in the code that the Inductor wrote.
    """
    torch.set_num_threads(threads)
    model, images = at.network(zoo.load(MODEL)), fashion_mnist("train", CALIBRATED_ON).inputs
    example, kernels = plain(images[:batch]), {}
    ready = {name: {"float": deploy.prepare(model, example, name)} for name in deploy.RUNTIMES}
    ready["ONNX Runtime"] = {name: deploy.runnable(file) for name, file in integers(model, images).items()}
    quantized = converted(model, images, example)
    graphs = {
        ("Inductor, frozen", "float"): torch.export.export(model, (example,)).module(),
        ("Inductor, frozen", "int8"): quantized,
        ("Inductor", "int8"): copy.deepcopy(quantized),
    }
    for (runtime, name), graph in graphs.items():
        run, code = compiled(graph, example, freezing="frozen" in runtime)
        ready.setdefault(runtime, {})[name], kernels[runtime, name] = run, integer_kernels(code)
    rows = []
    for turn, (runtime, mine) in itertools.product(range(ROUNDS), ready.items()):
        for name, taken in latencies(mine, example, repeats=repeats, runtime=runtime).items():
            row = {"model": name, "runtime": runtime, "batch": batch, "threads": threads, "round": turn}
            rows.append(row | {"median": round(taken.median, 3), "kernels": kernels.get((runtime, name))})
    return rows


def runtime_answers(batch: int, at: Setting) -> list[dict]:
    """In place of times: what the models in 8 bits answer."""
    model, split = at.network(zoo.load(MODEL)), at.split(fashion_mnist, "train", CALIBRATED_ON)
    ready = {name: deploy.runnable(file) for name, file in integers(model, split.inputs).items()}
    ready["PT2E"] = converted(model, split.inputs, split.inputs[:batch])
    rows = []
    for name, run in ready.items():
        with torch.no_grad():
            logits = torch.cat([run(images) for images in split.inputs.split(batch)])
        size, loss = logits.square().mean().sqrt(), cross_entropy(logits, split.targets)
        rows.append({"model": name, "size": round(size.item(), 4), "loss": round(loss.item(), 4)})
    return rows


_SIMULATED = ("calibrators", "grids", "simulated quantization", "statistics of activations")
_SETS = [("random", count, seed) for count in COUNTS for seed in SET_SEEDS]
_SETS += [(kind, 256, seed) for kind in ("one class", "digits", "noise") for seed in SET_SEEDS]
_TABLE = functools.partial(Table, checkpoints=(f"{MODEL}-seed0.safetensors",))
TABLES = [
    _TABLE(
        "quantization_repair",
        repair,
        [()],
        code=(
            *_SIMULATED,
            *("adaptive rounding", "bias correction", "equalization", "quantization layer by layer"),
        ),
        tried=[()],
        at=Setting(images=32, count=8, blocks=3),
        tolerance=0.01,
    ),
    _TABLE(
        "quantization_bits",
        bits,
        list(itertools.product((False, True), (3, 4, 5, 6))),
        code=(*_SIMULATED, "mixed precision"),
        tried=[(False, 3), (True, 4)],
        at=Setting(images=32, count=4, blocks=3),
    ),
    _TABLE(
        "quantization_sets",
        calibration_set,
        _SETS,
        code=(*_SIMULATED, "calibration"),
        tried=[(kind, 16, 0) for kind in ("random", "one class", "digits", "noise")],
        at=Setting(images=32, count=4, blocks=3),
    ),
    _TABLE(
        "quantization_training",
        trained,
        [(4, 8), (3, 4)],
        code=(*_SIMULATED, "calibration", "quantization-aware training", "recovery", "training"),
        tried=[(4, 8), (3, 4)],
        at=Setting(images=48, blocks=3, training={"epochs": 1, "batch_size": 12}),
        tolerance=0.03,
    ),
    _TABLE(
        "quantization_runtimes",
        runtime_rows,
        [(64, 10, 1), (1, 50, 1)],
        code=("integer kernels", "integer kernels of torch", "latency", "runtimes"),
        tried=[(32,)],
        at=Setting(images=64, blocks=3),
        probed=runtime_answers,
    ),
]
