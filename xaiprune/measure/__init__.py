"""What a model costs and what it does: the scorecard and how its numbers are taken."""

from . import calibration_error, counting, fairness, memory
from .comparison import Column, Comparison, Scorecard, card_columns, compare, scorecard, scorecards, shifted
from .counting import ONNX, Shipped, csr_bytes, macs
from .fairness import biased_fashion_mnist, fashion_mnist_brightness
from .latency import Latency, latencies
from .metrics import ACCURACY, PSNR, Metric, accuracy, predict, psnr, psnr_from_mse

__all__ = [
    "ACCURACY",
    "ONNX",
    "PSNR",
    "Column",
    "Comparison",
    "Latency",
    "Metric",
    "Scorecard",
    "Shipped",
    "accuracy",
    "biased_fashion_mnist",
    "calibration_error",
    "card_columns",
    "compare",
    "counting",
    "csr_bytes",
    "fairness",
    "fashion_mnist_brightness",
    "latencies",
    "macs",
    "memory",
    "predict",
    "psnr",
    "psnr_from_mse",
    "scorecard",
    "scorecards",
    "shifted",
]
