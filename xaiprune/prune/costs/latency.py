"""Measured microseconds of every layer, from a table of widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import nn

from ...deploy import lacks_packages, need, node_times
from ...graph import TRANSPOSED_CONVOLUTIONS
from ...nn import Attention
from ..units import UnitGroup
from .layer_costs import Costs, Layer, computing_layers

_COMPUTING = {"Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "MatMul"}
#: Shares of a layer's width at which its time is measured.
_LEVELS = (0.25, 0.5, 0.75, 1.0)


def latency_costs(model: nn.Module, groups: Sequence[UnitGroup], example: torch.Tensor, *, repeats: int = 20) -> Costs:
    """Measured microseconds of each layer in ONNX Runtime, from a table of widths.

    Every layer is timed alone at a quarter, half, three quarters and all of its channels in and out, for the batch of
    the example; between these the times are interpolated. What is not a convolution or a dense layer is left out, so
    that the sum is below the latency of the whole model: a lesson compares both.

    Parameters
    ----------
    model, groups
        As for :func:`mac_costs`.
    example : torch.Tensor
        The batch to time with.
    repeats : int
        Timed runs of each layer and width.

    Returns
    -------
    Costs
        In microseconds per batch.

    Raises
    ------
    ValueError
        If the model is in training mode.
    UnavailableError
        If ONNX Runtime is not installed.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> costs = xp.prune.latency_costs(model, units, torch.zeros(1, 2), repeats=1)
    >>> costs.measured_in, list(costs.layers), costs.total > 0
    ('us', ['0', '2'], True)
    """
    need("latency_costs", lacks_packages("onnx", "onnxruntime"))
    modules, curves, known = dict(model.named_modules()), {}, {}
    layers = [layer for layer in computing_layers(model, example) if not isinstance(modules[layer.name], Attention)]
    for layer in layers:
        module = modules[layer.name]
        key = (layer.reads, layer.makes, layer.shape, str(module))
        if key not in known:
            known[key] = _measured(module, layer, len(example), repeats)
        curves[layer.name] = known[key]
    return Costs(groups, layers, curves, measured_in="us")


def _measured(module: nn.Module, layer: Layer, batch: int, repeats: int) -> Callable[[float, float], float]:
    """Time of a layer as a function of its widths."""
    block = layer.reads // module.groups if layer.grouped else 1
    makes = sorted({max(block, round(share * layer.makes / block) * block) for share in _LEVELS})
    if layer.grouped:
        times = [_time(module, layer, width, width, batch, repeats) for width in makes]
        return lambda _, width: np.interp(width, makes, times)
    reads = sorted({max(1, round(share * layer.reads)) for share in _LEVELS})
    times = [[_time(module, layer, r, m, batch, repeats) for m in makes] for r in reads]
    if len(reads) == 1:
        return lambda _, made: np.interp(made, makes, times[0])
    table = RegularGridInterpolator((reads, makes), np.array(times), bounds_error=False, fill_value=None)
    return lambda read, made: max(0.0, float(table((read, made))))


def _time(module: nn.Module, layer: Layer, reads: int, makes: int, batch: int, repeats: int) -> float:
    """Median microseconds of one layer at some width in ONNX Runtime."""
    from onnx import TensorProto, helper, numpy_helper

    if isinstance(module, nn.Linear):
        filters, kind, options = (makes, reads), "Gemm", {"transB": 1}
        shape = (int(np.prod(layer.shape[:-1])) * batch, reads)
    else:
        groups = module.groups * makes // layer.makes if layer.grouped else 1
        shape = (batch, reads, *layer.shape[1:])
        options = {"strides": list(module.stride), "dilations": list(module.dilation), "group": groups}
        if isinstance(module.padding, str):
            options["auto_pad"] = {"same": "SAME_UPPER", "valid": "VALID"}[module.padding]
        else:
            options["pads"] = [*module.padding, *module.padding]
        if isinstance(module, TRANSPOSED_CONVOLUTIONS):
            filters, kind = (reads, makes // groups, *module.kernel_size), "ConvTranspose"
            options["output_padding"] = list(module.output_padding)
        else:
            filters, kind = (makes, reads // groups, *module.kernel_size), "Conv"
    weight = np.random.default_rng(0).normal(size=filters).astype(np.float32)
    bias = np.zeros(makes, np.float32)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w", "b"], ["y"], name="layer", **options)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    nodes = node_times(content, torch.rand(shape), repeats)
    return sum(time for _, kind, time in nodes if kind in _COMPUTING)
