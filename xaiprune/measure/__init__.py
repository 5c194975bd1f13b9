"""What a model costs and what it does: the scorecard and how its numbers are taken."""

from . import calibration_error, counting, fairness, memory
from .answers import IGNORED, Rows, answer_rows, as_numbers, cross_entropy
from .comparison import Column, Comparison, Scorecard, card_columns, compare, scorecard, scorecards, shifted
from .counting import ONNX, Shipped, csr_bytes, macs
from .fairness import biased_fashion_mnist, fashion_mnist_brightness
from .latency import Latency, latencies
from .metrics import (
    ACCURACY,
    METRICS,
    MSE,
    PSNR,
    Metric,
    accuracy,
    mean_squared_error,
    predict,
    psnr,
    psnr_from_mse,
)

__all__ = [
    "ACCURACY",
    "IGNORED",
    "METRICS",
    "MSE",
    "ONNX",
    "PSNR",
    "Column",
    "Comparison",
    "Latency",
    "Metric",
    "Rows",
    "Scorecard",
    "Shipped",
    "accuracy",
    "answer_rows",
    "as_numbers",
    "biased_fashion_mnist",
    "calibration_error",
    "card_columns",
    "compare",
    "counting",
    "cross_entropy",
    "csr_bytes",
    "fairness",
    "fashion_mnist_brightness",
    "latencies",
    "macs",
    "mean_squared_error",
    "memory",
    "predict",
    "psnr",
    "psnr_from_mse",
    "scorecard",
    "scorecards",
    "shifted",
]
