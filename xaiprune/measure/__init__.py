"""What a model costs and what it does: the scorecard and how its numbers are taken."""

from .comparison import Column, Comparison, Scorecard, card_columns, compare, scorecard, scorecards
from .counting import ONNX, Shipped, csr_bytes, macs
from .fairness import biased_fashion_mnist, fashion_mnist_brightness
from .latency import Latency, latencies
from .metrics import ACCURACY, PSNR, Metric, accuracy, predict, psnr

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
    "card_columns",
    "compare",
    "csr_bytes",
    "fashion_mnist_brightness",
    "latencies",
    "macs",
    "predict",
    "psnr",
    "scorecard",
    "scorecards",
]
