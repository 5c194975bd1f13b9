"""Quantization: networks in coarser numbers, from calibration to integer kernels."""

from .bias_correction import absorb_bias, correct_bias
from .calibrate import calibrate, calibrating
from .calibrators import CALIBRATORS, Calibrator, percentile
from .equalize import ChannelClamp, equalize, pairs, relu_in_place_of_relu6, rescale_channels
from .errors import layer_errors, rounding_and_clipping, sensitivity, sqnr
from .formats import FORMATS, Cast, Config, Format, first_and_last, quantized_layers
from .grid import SCHEMES, Grid, grid_of
from .integer import INT8, int8_bytes, observed, quantize_onnx
from .mixed import allocate, hessian_traces, losses_by_relevance, losses_by_trace, noise, relevance_shares, with_bits
from .pt2e import pt2e
from .rounding import adaround
from .simulate import FakeQuantizer, on_numbers, simulate
from .statistics import Statistics
from .training import LearnedStep, learnable
from .walk import Step, walk

__all__ = [
    "CALIBRATORS",
    "FORMATS",
    "INT8",
    "SCHEMES",
    "Calibrator",
    "Cast",
    "ChannelClamp",
    "Config",
    "FakeQuantizer",
    "Format",
    "Grid",
    "LearnedStep",
    "Statistics",
    "Step",
    "absorb_bias",
    "adaround",
    "allocate",
    "calibrate",
    "calibrating",
    "correct_bias",
    "equalize",
    "first_and_last",
    "grid_of",
    "hessian_traces",
    "int8_bytes",
    "layer_errors",
    "learnable",
    "losses_by_relevance",
    "losses_by_trace",
    "noise",
    "observed",
    "on_numbers",
    "pairs",
    "percentile",
    "pt2e",
    "quantize_onnx",
    "quantized_layers",
    "relevance_shares",
    "relu_in_place_of_relu6",
    "rescale_channels",
    "rounding_and_clipping",
    "sensitivity",
    "simulate",
    "sqnr",
    "walk",
    "with_bits",
]
