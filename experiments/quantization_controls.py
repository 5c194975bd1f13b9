"""Tables of lesson 07 that decide about its headlines: ranges, layers kept apart, and what repair costs."""

from __future__ import annotations

import functools
import itertools
import time
import warnings

import numpy as np
import onnx
import torch
from scipy import stats
from torch import nn
from torch.nn.utils import parametrize

from experiments.quantization import CALIBRATED_ON, ITERATIONS, MODEL, SPREAD, images_of, weights_only
from experiments.setting import WHOLE, Setting
from experiments.table import Table
from xaiprune import deploy, graph, quantize, zoo
from xaiprune.core import seed_everything
from xaiprune.data import Split, fashion_mnist
from xaiprune.measure import predict
from xaiprune.quantize import CALIBRATORS, Calibrator, Config, Format, Statistics
from xaiprune.training import classification_loss, fit

KEPT = ("none", "first and last", "first", "last")
JUDGED_ON, DRAWS, DRAWN, BITS = 1000, range(3), 256, 4


def network(at: Setting = WHOLE) -> nn.Module:
    """The lesson's network."""
    return at.network(zoo.load(MODEL))


def told(model: nn.Module, split: Split, at: Setting) -> dict:
    """The metric, and for each image a 1 if its answer is right: images are paired between rows."""
    if not at.whole:
        return {"test": at.judge(model, split), "right": ""}
    with parametrize.cached():  # else every batch would round the weights again
        right = predict(model, split.inputs).argmax(1) == split.targets
    return {"test": round(100 * right.double().mean().item(), 2), "right": "".join(map(str, right.int().tolist()))}


def of_sizes(seen: Statistics, levels: int) -> tuple[float, float]:
    """Entropy as Migacz has it: the cut after which a histogram of sizes loses least by merging its bins to levels."""
    half = len(seen.counts) // 2
    counts = (seen.counts[half:] + seen.counts[:half].flip(0)).numpy()
    found = [_merged_divergence(counts, stop, levels) for stop in range(levels, half + 1)]
    reach = seen.edges[half + levels + int(np.argmin(found))].item()
    return max(-reach, seen.low), min(reach, seen.high)


def _merged_divergence(counts: np.ndarray, stop: int, levels: int) -> float:
    """KL divergence of a cut histogram, the rest in its last bin, from what its merged bins say of those not empty."""
    cut, starts = counts[:stop].copy(), stop // levels * np.arange(levels)
    cut[-1] += counts[stop:].sum()
    filled = np.add.reduceat((cut != 0).astype(float), starts)
    each = np.divide(np.add.reduceat(counts[:stop], starts), filled, out=np.zeros(levels), where=filled != 0)
    merged = np.where(cut == 0, 0, np.repeat(each, np.diff(np.append(starts, stop))))
    return stats.entropy(*(np.where(values == 0, 1e-4, values) for values in (cut, merged)))


def _migacz(seen: Statistics, bits: int, scheme: str) -> tuple[float, float]:
    return of_sizes(seen, 128)


def _as_the_grid(seen: Statistics, bits: int, scheme: str) -> tuple[float, float]:
    return of_sizes(seen, 2**bits if seen.low >= 0 else 2 ** (bits - 1))


_SIXTEEN = functools.partial(CALIBRATORS["entropy"].function, levels=16)
#: Rules for a range: the kit's, whose entropy is ONNX Runtime's, and entropy with other levels.
RULES = {
    **CALIBRATORS,
    "entropy, 128 levels of sizes": Calibrator("entropy, 128 levels of sizes", _migacz, histogram=True),
    "entropy, levels of the grid": Calibrator("entropy, levels of the grid", _as_the_grid, histogram=True),
    "entropy, 16 levels": Calibrator("entropy, 16 levels", _SIXTEEN, histogram=True),
}


def ranges(bits: int, draw: int, at: Setting = WHOLE) -> list[dict]:
    """Activations on a few bits, weights in float: each rule on one draw of images to calibrate on."""
    model, test = network(at), at.split(fashion_mnist, "test", JUDGED_ON)
    seen = quantize.calibrate(model, images_of("random", at.few(DRAWN), draw, at))
    rows = []
    for name, rule in RULES.items():
        quantized = quantize.simulate(model, seen, Config(None, Format(bits, "affine", rule)))
        rows.append({"method": name, "bits": bits, "draw": draw, **told(quantized, test, at)})
    return rows


def kept(per_channel: bool, equalized: bool, layers: str, at: Setting = WHOLE) -> list[dict]:
    """Weights in 4 bits, and in 8 those of the first layer, of the last, of both, or of none."""
    model, test = network(at), at.split(fashion_mnist, "test", JUDGED_ON)
    if equalized:
        model = quantize.equalize(model)
    few, fine = weights_only(BITS, per_channel), weights_only(8, per_channel)
    ends = quantize.first_and_last(model, fine)
    first, last = ends
    chosen = {"none": (), "first and last": ends, "first": (first,), "last": (last,)}[layers]
    quantized = quantize.simulate(model, {}, Config(few.weights, None, dict.fromkeys(chosen, fine)))
    return [{"method": layers, "per_channel": per_channel, "equalized": equalized, **told(quantized, test, at)}]


def shipped(at: Setting = WHOLE) -> list[dict]:
    """Equalization on networks with ReLU6 and with ReLU: how even channels are, and what the integers answer."""
    model, test = network(at), at.split(fashion_mnist, "test", JUDGED_ON)
    images = at.split(fashion_mnist, "train", CALIBRATED_ON).inputs
    plain = quantize.relu_in_place_of_relu6(model)
    uneven = quantize.rescale_channels(model, SPREAD)
    nets = {
        "rescaled": uneven,
        "rescaled, equalized": quantize.equalize(uneven),
        "ReLU": plain,
        "ReLU, equalized": quantize.equalize(plain),
        "as shipped": model,
        "equalized": quantize.equalize(model),
    }
    rows = []
    for name, net in at.some(list(nets.items())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a clamp per channel has no integer kernel: what is counted here
            content = quantize.int8_bytes(net, images[:DRAWN])
        kinds = [node.op_type for node in onnx.load_from_string(content).graph.node]
        row = {"method": name, "float": at.judge(net, test), **told(deploy.Frozen(net, images[:1], content), test, at)}
        row["steps"] = kinds.count("QuantizeLinear") + kinds.count("DequantizeLinear")
        row["in_float"] = kinds.count("Min")
        spread = quantize.channel_spread(graph.fold_batch_norm(net), images[:64])
        row["weights"], row["read"] = (round(one, 3) for one in spread)
        rows.append(row)
    return rows


#: Images for rounding and for training from one start, passes over them, and options of the training.
KNOWN, PASSES, LEARNING = 1024, 10, {"lr": 2e-4, "batch_size": 64, "progress": False}


def same_start(bits: int, equalized: bool, draw: int, at: Setting = WHOLE) -> list[dict]:
    """Weights on a few bits, activations in float: AdaRound and learned steps from one start on the same images.

    A third row has learned steps after as many batches, of images that are seen once.
    """
    seed_everything(draw)
    model, test = network(at), at.split(fashion_mnist, "test", 2 * JUDGED_ON)
    if equalized:
        model = quantize.equalize(model)
    nearest, pool = quantize.simulate(model, {}, weights_only(bits)), at.split(fashion_mnist, "train", 20_000)
    drawn = pool.rows(torch.randperm(len(pool.inputs), generator=torch.Generator().manual_seed(draw)))
    models, rows = {"nearest": lambda: nearest}, []
    for name, count, passes in (("learned steps", KNOWN, PASSES), ("learned steps, more images", KNOWN * PASSES, 1)):
        models[name] = functools.partial(learned_steps, nearest, drawn.rows(slice(count)), passes, draw, at)
    few = drawn.rows(slice(KNOWN)).inputs
    models["adaround"] = lambda: quantize.adaround(model, nearest, few, iterations=at.few(ITERATIONS), progress=False)
    for name, make in models.items():
        begun = time.perf_counter()
        one = make()
        row = {"method": name, "bits": bits, "equalized": equalized, "draw": draw}
        row["seconds"] = round(time.perf_counter() - begun, 1)
        rows.append(row | told(one, test, at))
    return rows


def learned_steps(nearest: nn.Module, known: Split, passes: int, seed: int, at: Setting) -> nn.Module:
    """Weights and their steps trained on labels."""
    trained = quantize.learnable(nearest)
    fit(trained, known, classification_loss, seed=seed, **at.trained(LEARNING | {"epochs": passes}))
    return trained


_SIMULATED = ("calibrators", "grids", "simulated quantization", "statistics of activations")
_TABLE = functools.partial(Table, checkpoints=(f"{MODEL}-seed0.safetensors",))
TABLES = [
    _TABLE(
        "quantization_ranges",
        ranges,
        [(BITS, draw) for draw in DRAWS],
        code=(*_SIMULATED, "calibration"),
        tried=[(4, 0)],
        at=Setting(images=32, count=8, blocks=2),
    ),
    _TABLE(
        "quantization_kept",
        kept,
        list(itertools.product((False, True), (False, True), KEPT)),
        code=(*_SIMULATED, "equalization"),
        tried=[(True, True, "none"), (False, False, "first and last")],
        at=Setting(images=32, count=8, blocks=2),
    ),
    _TABLE(
        "quantization_shipped",
        shipped,
        [()],
        code=(*_SIMULATED, "calibration", "equalization", "integer kernels"),
        tried=[()],
        at=Setting(images=32, count=2, blocks=2),
        tolerance=0.05,
    ),
    _TABLE(
        "quantization_same_start",
        same_start,
        [(BITS, False, 0)],
        code=(*_SIMULATED, "adaptive rounding", "equalization", "quantization-aware training", "training"),
        tried=[(BITS, False, 0)],
        at=Setting(images=32, count=8, blocks=2, training={"epochs": 1, "batch_size": 16}),
        tolerance=0.03,
    ),
]
