"""Quantization: networks in coarser numbers, from calibration to integer kernels."""

from . import rounding
from .bias_correction import absorb_bias, correct_bias
from .calibrate import calibrate, calibrating
from .calibrators import CALIBRATORS, Calibrator, percentile
from .equalize import (
    ChannelClamp,
    channel_spread,
    equalizable_pairs,
    equalize,
    relu_in_place_of_relu6,
    rescale_channels,
)
from .errors import layer_errors, rounding_and_clipping, sensitivity, sqnr
from .formats import FORMATS, Cast, Config, Format, first_and_last, quantized_layers
from .grid import SCHEMES, Grid, grid_of
from .integer import INT8, int8_bytes, observe_onnx, quantize_onnx
from .mixed import (
    allocate_bits,
    hessian_traces,
    losses_by_relevance,
    losses_by_trace,
    relevance_shares,
    weight_errors,
    with_bits,
)
from .pt2e import pt2e
from .rounding import adaround
from .simulate import FakeQuantizer, simulate, simulate_on_grids
from .statistics import Statistics
from .training import LearnedStep, learnable
from .walk import LayerComparison, layerwise

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
    "LayerComparison",
    "LearnedStep",
    "Statistics",
    "absorb_bias",
    "adaround",
    "allocate_bits",
    "calibrate",
    "calibrating",
    "channel_spread",
    "correct_bias",
    "equalizable_pairs",
    "equalize",
    "first_and_last",
    "grid_of",
    "hessian_traces",
    "int8_bytes",
    "layer_errors",
    "layerwise",
    "learnable",
    "losses_by_relevance",
    "losses_by_trace",
    "observe_onnx",
    "percentile",
    "pt2e",
    "quantize_onnx",
    "quantized_layers",
    "relevance_shares",
    "relu_in_place_of_relu6",
    "rescale_channels",
    "rounding",
    "rounding_and_clipping",
    "sensitivity",
    "simulate",
    "simulate_on_grids",
    "sqnr",
    "weight_errors",
    "with_bits",
]
