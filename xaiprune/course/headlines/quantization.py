"""Headlines of lesson 07: quantization."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline


def _by_image(rows: list[dict]) -> list[dict]:
    """Rows with a number for each image, 100 for a right answer."""
    return [row | {"right": [100 * int(one) for one in row["right"]]} for row in rows]


def _helped(rows: list[dict]) -> list[dict]:
    """Rows of the settings that have a step for each channel, or are equalized."""
    return [row for row in _by_image(rows) if row["per_channel"] or row["equalized"]]


def _in_runtimes(rows: list[dict]) -> list[dict]:
    """Rows named after numbers and runtime."""
    return [row | {"method": f"{row['model']}, {row['runtime']}"} for row in rows]


_headline = partial(Headline, lesson="07")
_ROWS = [
    _headline(
        name="torchs-integers",
        item=3,
        once="torch's integers are no faster than its own compiled float model",
        sentence="with weights frozen, torch's integers are ahead of its floats, frozen alike",
        table="quantization_runtimes",
        rows=_in_runtimes,
        where={"batch": 64, "threads": 1},
        method="int8, Inductor, frozen",
        controls=("float, Inductor, frozen", "float, torch.compile", "int8, Inductor"),
        key="median",
        better=-1,
        unit="round",
        claimed=1,
        quoted="not frozen, and so in float: 15.75 ms beside 14.84 ms of the compiled float model.",
    ),
    _headline(
        name="integers-of-onnx-runtime",
        item=3,
        sentence="for one image ONNX Runtime's integers are ahead of torch's, and of floats",
        table="quantization_runtimes",
        rows=_in_runtimes,
        where={"batch": 1, "threads": 1},
        method="int8, ONNX Runtime",
        controls=("int8, Inductor, frozen", "float, ONNX Runtime"),
        key="median",
        better=-1,
        unit="round",
        claimed=0.1,
    ),
    _headline(
        name="ends-per-tensor",
        item=10,
        once="the rule of thumb does harm",
        sentence="one step per tensor, as shipped: better no layer in 8 bits than the first and the last",
        table="quantization_kept",
        rows=_by_image,
        where={"per_channel": False, "equalized": False},
        method="none",
        controls=("first and last", "first"),
        key="right",
        unit="image",
        claimed=5,
        quoted="on 1,000 images 75.9 and 61.4 %.",
    ),
    _headline(
        name="first-layer",
        item=10,
        once="the rule of thumb does harm",
        sentence="steps per channel, or equalized: 8 bits for the first layer help, and more than for the last",
        table="quantization_kept",
        rows=_helped,
        by=("per_channel", "equalized"),
        method="first",
        controls=("none", "last"),
        key="right",
        unit="image",
        claimed=5,
        quoted="equalized 87.1 and 93.3, per channel 86.3 and 91.7, both 87.7 and 93.5 %.",
    ),
    _headline(
        name="range-by-error",
        item=10,
        sentence="in 4 bits ranges by squared error leave more right than the extremes do",
        table="quantization_sets",
        column="calibrator",
        method="mse",
        controls=("min-max",),
        key="accuracy",
        unit="seed",
        where={"kind": "random", "count": 256},
        claimed=5,
        quoted="on 600 images: min-max 66.7, entropy as here 81.7, with Migacz's levels 66.2, with the grid's 85.2 %.",
    ),
    _headline(
        name="entropy-as-in-onnx-runtime",
        item=10,
        once="entropy is the best of five rules",
        sentence="in 4 bits entropy is ahead of the extremes; of squared error three draws do not show it",
        table="quantization_ranges",
        rows=_by_image,
        where={"bits": 4},
        method="entropy",
        controls=("mse", "entropy, 128 levels of sizes", "percentile", "moving-average", "min-max"),
        key="right",
        unit="draw",
        claimed=5,
        quoted="on 600 images: entropy as here 81.7, with Migacz's levels 66.2 %.",
    ),
    _headline(
        name="entropy-with-few-levels",
        item=10,
        sentence="in 4 bits entropy with 16 levels is ahead of squared error; of 128 levels three draws do not show it",
        table="quantization_ranges",
        rows=_by_image,
        where={"bits": 4},
        method="entropy, 16 levels",
        controls=("entropy", "entropy, levels of the grid", "mse", "percentile", "min-max"),
        key="right",
        unit="draw",
        claimed=3.5,
        quoted="on 600 images: with 128 levels 81.7, with the grid's 85.2 %.",
    ),
    _headline(
        name="adaround-from-one-start",
        item=10,
        once="two epochs end a little below what AdaRound alone gave",
        sentence="from one start, on the same 1,024 images, AdaRound ends ahead of learned steps",
        table="quantization_same_start",
        rows=_by_image,
        where={"bits": 4},
        method="adaround",
        controls=("learned steps", "learned steps, more images", "nearest"),
        key="right",
        unit="image",
        claimed=1.4,
    ),
    _headline(
        name="equalized-as-shipped",
        item=10,
        once="equalization evens out both",
        sentence="in the integers that ship, equalization brings the network as shipped nothing",
        table="quantization_shipped",
        rows=_by_image,
        method="equalized",
        controls=("as shipped",),
        key="right",
        unit="image",
        claimed=1,
    ),
]
