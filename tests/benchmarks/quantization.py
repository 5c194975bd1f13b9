"""Quantization of MobileNet: collapse and repair, rounding, bits, integer kernels, and what calibration costs.

``python -m tests.benchmarks.quantization`` times what runs and reads the rest from the tables ``quantization_*``;
``--quick`` times with fewer repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time

import numpy as np
import onnx
import torch
from onnxruntime.quantization.calibrate import HistogramCollector

from experiments import quantization as sweep
from tests.benchmarks.report import Figure, lesson_figures, main, percentile_95
from tests.quantize.test_quantize import KINDS, by_onnxruntime
from xaiprune import deploy, quantize, zoo
from xaiprune.data import fashion_mnist
from xaiprune.experiments import tables
from xaiprune.graph import fold_batch_norm
from xaiprune.measure import accuracy
from xaiprune.quantize import CALIBRATORS, grid_of, percentile
from xaiprune.widgets import CalibrationExplorer

MODEL = sweep.MODEL


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """All figures, at the depth that the command line asks for."""
    torch.manual_seed(0)
    quick = arguments.quick
    figures = repair_figures() + exact_figures() + agreement_figures() + bits_figures()
    print_tables()
    figures += integer_figures(quick) + calibration_figures(1 if quick else 9) + explorer_figures(10 if quick else 40)
    return figures if quick else figures + lesson_figures({"07": 100})


def repair_figures() -> list[Figure]:
    """Collapse and repair at 8 bits per tensor; what AdaRound takes back where rounding to nearest loses 5 points."""
    rows = tables.read("quantization_repair")
    test = {(row["bits"], row["step"]): row["test"] for row in rows}
    for (bits, step), value in test.items():
        print(f"{bits:>2} bits  {step:<28}{value:7.2f} %")
    print()
    whole = test[32, "float"]
    bits = next(bits for bits in (4, 3) if whole - test[bits, "nearest"] >= 5)
    [row] = [row for row in rows if (row["bits"], row["step"]) == (bits, "adaround")]
    back = (row["test"] - test[bits, "nearest"]) / (whole - test[bits, "nearest"])
    lost = whole - test[8, "bias corrected"]
    return [
        Figure("8 bits per tensor, rescaled channels: points lost", 5, whole - test[8, "rescaled"], ">=", "points"),
        Figure("8 bits per tensor, repaired: points lost", 1, lost, "<=", "points"),
        Figure(f"AdaRound at {bits} bits: share of the loss recovered", 0.8, back, ">="),
        Figure(f"AdaRound at {bits} bits, {sweep.ROUNDED_ON} images: time", 300, row["seconds"], "<=", "s"),
    ]


def exact_figures() -> list[Figure]:
    """What equalization, a rescaling and folding do to the float model's outputs."""
    model, images = zoo.load(MODEL), fashion_mnist("calibration", 64).inputs
    changed = {
        "folding": fold_batch_norm(model),
        "equalization": quantize.equalize(model),
        "rescaling of channels": quantize.rescale_channels(model, sweep.SPREAD),
    }
    with torch.no_grad():
        wanted = model(images)
        apart = {name: (net(images) - wanted).abs().max() / wanted.abs().max() for name, net in changed.items()}
    return [Figure(f"{name}: outputs, relative", 1e-5, float(value), "<=") for name, value in apart.items()]


def agreement_figures() -> list[Figure]:
    """Values that differ from ONNX Runtime's QuantizeLinear and DequantizeLinear, and ranges, in bins."""
    x, differ = 3 * torch.randn(4, 50_000, generator=torch.Generator().manual_seed(0)), {4: 0, 8: 0, 16: 0}
    for (bits, scheme), kind in KINDS.items():
        grid = grid_of(-4.0, 5.0, bits=bits, scheme=scheme)
        ties = (torch.arange(50_000) % 201 - 100 + 0.5) * grid.scale
        some = torch.cat([x, ties[None]]).clamp(min=grid.range[0].item() if scheme == "symmetric" else None, max=1e9)
        _, theirs = by_onnxruntime(
            some.numpy(), grid.scale.numpy(), grid.zero_point.numpy(), getattr(onnx.TensorProto, kind)
        )
        differ[bits] += int((grid(some).numpy() != theirs).sum())
    seen = quantize.calibrate(zoo.load(MODEL), fashion_mnist("calibration", 128).inputs, bins=128)
    apart = {"percentile": 0.0, "entropy": 0.0}
    for statistics_of in seen.values():
        counts, edges = statistics_of.counts.numpy().astype(np.int64), statistics_of.edges.numpy()
        width, ends = edges[1] - edges[0], (np.float64(statistics_of.low), np.float64(statistics_of.high))
        theirs = HistogramCollector("percentile", False, 128, 128, 99.99, None)
        theirs.histogram_dict["x"] = (statistics_of.counts.numpy(), edges, *ends)
        mine = CALIBRATORS["entropy"].function(statistics_of)
        pairs = [("entropy", mine, theirs.get_entropy_threshold((counts, edges, *ends), 128))]
        pairs.append(("percentile", percentile(statistics_of), _quietly(theirs)))
        for name, mine, other in pairs:
            apart[name] = max(apart[name], *(abs(a - max(b, ends[0])) / width for a, b in zip(mine, other[:2])))
    figures = [Figure(f"values unlike ONNX Runtime's at {bits} bits", 0, count, "<=") for bits, count in differ.items()]
    return figures + [
        Figure(f"{name} ranges, bins apart, 128 bins", 1.001, value, "<=") for name, value in apart.items()
    ]


def _quietly(collector) -> tuple:
    with contextlib.redirect_stdout(io.StringIO()):
        return collector.compute_percentile()["x"]


def bits_figures() -> list[Figure]:
    """Bits by the Hessian's trace against uniform bits, where these lose 2 to 10 points."""
    rows, [whole] = tables.read("quantization_bits"), tables.column(tables.read("quantization_repair"), "test", bits=32)
    print(f"{'weights alone, test accuracy':<40}", *(f"{name:>14}" for name in dict.fromkeys(r["by"] for r in rows)))
    figures = []
    for per_channel in (False, True):
        for average in sorted({row["average"] for row in rows}):
            mine = tables.where(rows, per_channel=per_channel, average=average)
            test = {row["by"]: row["test"] for row in mine}
            name = f"{'per channel' if per_channel else 'per tensor'}, {average} bits on average"
            print(f"{name:<40}", *(f"{value:>14.2f}" for value in test.values()))
            if 2 <= whole - test["uniform"] <= 10:
                gained = test["hessian"] - test["uniform"]
                figures.append(Figure(f"HAWQ bits, {name}: points gained", 1, gained, ">=", "points"))
    print()
    return figures


def print_tables() -> None:
    """Calibration sets and training with learned steps."""
    rows = tables.read("quantization_sets")
    for kind, count in dict.fromkeys((row["kind"], row["count"]) for row in rows):
        for calibrator in ("min-max", "mse"):
            mine = tables.where(rows, kind=kind, count=count, calibrator=calibrator)
            right, rank = ([row[key] for row in mine] for key in ("accuracy", "rank"))
            spread = f"{statistics.fmean(right):.2f} ({min(right):.2f} to {max(right):.2f})"
            print(
                f"{kind:<10}{count:>5} images, {calibrator:<8}{spread}, rank correlation {statistics.fmean(rank):.3f}"
            )
    for row in tables.read("quantization_training"):
        print("learned steps:", row)
    print()


def integer_figures(quick: bool) -> list[Figure]:
    """int8 in ONNX Runtime against the fastest float runtime: latency, file, accuracy on the whole test set."""
    model, test = zoo.load(MODEL), fashion_mnist("test", 2000 if quick else None)
    images = fashion_mnist("calibration", sweep.CALIBRATED_ON).inputs
    files, whole, figures = sweep.integers(model, images), accuracy(model, test), []
    for name, file in files.items():
        if name != "float":
            lost = whole - accuracy(deploy.Frozen(model, images, file), test)
            figures.append(Figure(f"{name}: file over float's", 0.30, len(file) / len(files["float"]), "<="))
            figures.append(Figure(f"{name}: test accuracy lost", 0.5, lost, "<=", "points"))
    for batch, asked, aim in ((64, 2.0, 3.0), (1, 1.2, 2.0)):
        times: dict = {}
        for row in sweep.runtime_rows(batch, (4 if quick else 10) if batch == 64 else 50, 1):
            times.setdefault((row["model"], row["runtime"]), []).append(row["median"])
        times = {key: statistics.median(values) for key, values in times.items()}
        for (name, runtime), value in times.items():
            print(f"batch {batch:>2}  {name:<30}{runtime:<24}{value:>8.3f} ms")
        best = min(value for (name, _), value in times.items() if name == "float")
        int8 = min((key for key in times if key[0] != "float"), key=times.get)
        name = f"{', '.join(int8)}, batch {batch}: faster than the fastest float"
        figures.append(Figure(name, asked, best / times[int8], ">=", "times", aim))
    print()
    return figures


def calibration_figures(repeats: int) -> list[Figure]:
    """Time of one calibrating pass over 512 images against the plain forward passes, range search apart."""
    model, images = zoo.load(MODEL), fashion_mnist("calibration", 512).inputs
    times: dict[str, list[float]] = {}

    def timed(name: str, run) -> None:
        start = time.perf_counter()
        with torch.no_grad():
            run()
        times.setdefault(name, []).append(time.perf_counter() - start)

    for _ in range(repeats):
        timed("forward", lambda: [model(batch) for batch in images.split(64)])
        timed("extremes", lambda: quantize.calibrate(model, images, bins=0))
        timed("histogram", lambda: quantize.calibrate(model, images))
    over = {name: [a / b for a, b in zip(values, times["forward"])] for name, values in times.items()}
    asked = {"min-max": 1.5, "moving-average": 1.5, "percentile": 1.5, "entropy": 3, "mse": 3}
    figures = []
    for name, row in CALIBRATORS.items():
        ratio = statistics.median(over["histogram" if row.histogram else "extremes"])
        figures.append(Figure(f"calibrating for {name}, over forward passes", asked[name], ratio, "<="))
    return figures


def explorer_figures(moves: int) -> list[Figure]:
    """What follows a slider of the CalibrationExplorer."""
    explorer = CalibrationExplorer(
        zoo.load(MODEL), fashion_mnist("calibration", 256).inputs, fashion_mnist("validation", 100), stops=()
    )
    layers = explorer.controls["layer"].options
    settings = (
        (layers[move % len(layers)], 99.9, 2 + move % 7, "affine", bool(move % 2), move) for move in range(moves)
    )
    slow = percentile_95(explorer.set, settings)
    return [Figure("CalibrationExplorer, 95th percentile after release", 1000, slow, "<=", "ms")]


if __name__ == "__main__":
    main(measured, __doc__)
