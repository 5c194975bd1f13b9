"""Integer kernels: a model as ONNX, its layers in 8 bits, run by ONNX Runtime.

The ranges are those of this kit's calibrators; what is written is ONNX's QDQ form, in which QuantizeLinear and
DequantizeLinear stand around every operation, and ONNX Runtime puts integer kernels in their place.
"""

# In stored tables: integer kernels

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from ..data import carries
from ..deploy import fed, lacks_packages, need, onnx_bytes, onnx_session
from ..graph.calls import batched, check_inputs, inputs_of
from ..graph.folding import plain_weights
from .calibrate import check_float, told_of
from .formats import Config, Format
from .simulate import DEAD
from .statistics import _BINS, Statistics

#: Operations with an integer kernel in ONNX Runtime on a CPU; what is between them passes integers on.
_KERNELS = ("Conv", "Gemm", "MatMul", "Add", "Clip", "Relu", "GlobalAveragePool", "ReduceMean", "Reshape", "Transpose")

#: The version of ONNX's operations that knows numbers of 4 bits.
_FOUR_BITS = 21

#: What integer kernels take: a step for every channel of the weights, one for each activation.
INT8 = Config(Format(per_channel=True), Format(scheme="affine"))


@carries
def int8_bytes(
    model: nn.Module,
    images: object,
    config: Config = INT8,
    *,
    batch_size: int = 32,
) -> bytes:
    """A model as an ONNX file with 8-bit weights and activations, for any batch size.

    Its layers compute as those of :func:`simulate` with the same config do; sums, activations and pooling between them
    are in 8 bits too, so that outputs lie apart by a few steps of 8 bits: within 5 % of the largest output for networks
    of a few layers.

    Parameters
    ----------
    model : nn.Module
        Float, in evaluation mode; it stays as it is.
    images : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        To calibrate on, as for :func:`calibrate`.
    config : Config
        8 bits for both, weights symmetric and by min-max. ``layers={name: Config(None, None)}`` keeps layers in float,
        and those with weights of 4 bits, per channel, hold them so in the file; they too compute in 8 bits.
    batch_size : int

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the model is in training mode or quantized already, or the config asks for other bits.
    UnavailableError
        If ONNX Runtime is not installed.

    Examples
    --------
    >>> model, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval(), torch.rand(8, 1, 4, 4)
    >>> content = xp.quantize.int8_bytes(model, images)
    >>> (xp.deploy.runnable(content)(images) - model(images)).abs().max().item() < 0.05
    True
    """
    check_float(model)
    inputs = check_inputs(inputs_of(images), "images")
    content = onnx_bytes(plain_weights(model), next(batched(inputs, batch_size)))
    return quantize_onnx(content, images, config, batch_size=batch_size)


@carries
def quantize_onnx(content: bytes, images: object, config: Config = INT8, *, batch_size: int = 32) -> bytes:
    """The same for a float model that is an ONNX file already, such as ``deploy.onnx_bytes`` writes.

    Parameters
    ----------
    content : bytes
        The float model, an ONNX file.
    images, config, batch_size
        As for :func:`int8_bytes`.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the config asks for other bits.
    UnavailableError
        If ONNX Runtime is not installed.

    Examples
    --------
    >>> model, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval(), torch.rand(8, 1, 4, 4)
    >>> content = xp.quantize.quantize_onnx(xp.deploy.onnx_bytes(model, images), images)
    >>> (xp.deploy.runnable(content)(images) - model(images)).abs().max().item() < 0.05
    True
    """
    inputs = check_inputs(inputs_of(images), "images")
    _check(config)
    bins = _BINS if config.activations.ranges.histogram else 0
    quantized = _quantized(content, observe_onnx(content, inputs, bins=bins, batch_size=batch_size), config)
    return told_of(quantized, images, "ranges")


def observe_onnx(content: bytes, images: object, *, bins: int = _BINS, batch_size: int = 32) -> dict[str, Statistics]:
    """Statistics of every tensor that flows through an ONNX model.

    Parameters
    ----------
    content : bytes
        The model, an ONNX file.
    images : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        As for :func:`calibrate`.
    bins : int
        Of the histograms; 0 keeps extremes alone.
    batch_size : int

    Returns
    -------
    dict of str to Statistics
        By name of the tensor.

    Raises
    ------
    ValueError
        If a value is not finite.
    UnavailableError
        If ONNX Runtime is not installed.
    """
    need("an ONNX model", lacks_packages("onnx", "onnxruntime"))
    import onnx

    graph = onnx.load_from_string(content)
    constants = {tensor.name for tensor in graph.graph.initializer}
    known = {value.name for value in graph.graph.output}
    flowing = onnx.shape_inference.infer_shapes(graph).graph.value_info
    floats = [v for v in flowing if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and v.name not in constants]
    graph.graph.output.extend(value for value in floats if value.name not in known)
    session = onnx_session(graph.SerializeToString())
    names = [value.name for value in (*session.get_inputs(), *session.get_outputs()) if "float" in value.type]
    outputs = [output.name for output in session.get_outputs()]
    seen = {name: Statistics(bins) for name in names}
    for batch in batched(inputs_of(images), batch_size):
        feed = fed(session, batch)
        found = feed | dict(zip(outputs, session.run(None, feed)))
        for name in names:
            try:
                seen[name].update(torch.from_numpy(found[name]))
            except ValueError as error:
                raise ValueError(f"tensor {name!r} cannot be calibrated: {error} in it.") from error
    return seen


def _in_float(graph, config: Config) -> list[str]:
    """Names of the nodes that the config keeps in float; warns of weights that no integer kernel reads."""
    constants = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    layers, kept = {node.name: node.name.rpartition("/")[0] for node in graph.node}, []
    for name, mine in config.layers.items():
        if name not in layers.values():
            raise ValueError(f"config.layers names {name!r}, which is no layer of this file.")
        kept += [node for node, layer in layers.items() if layer == name and mine.weights is None]
    for node in graph.node:
        if node.op_type not in _KERNELS and constants.intersection(node.input):
            message = f"{layers[node.name]!r} ({node.op_type}) has no integer kernel and stays in float."
            warnings.warn(message, stacklevel=4)
    return kept


def _check(config: Config) -> None:
    """Raise for what integer kernels do not take."""
    for argument, form in (("weights", config.weights), ("activations", config.activations)):
        if not isinstance(form, Format) or form.bits != 8:
            raise ValueError(f"integer kernels take 8 bits for weights and activations, got {form} for {argument}.")
    if (config.weights.scheme, config.weights.ranges.name) != ("symmetric", "min-max"):
        raise ValueError(f"weights must be symmetric and by min-max for integer kernels, got {config.weights}.")
    four = Config(Format(4, per_channel=True), config.activations)
    for name, mine in config.layers.items():
        if mine not in (Config(None, None), four):
            raise ValueError(
                f"config.layers[{name!r}] must be Config(None, None), to stay in float, or {four}, got {mine}."
            )


def _quantized(content: bytes, seen: Mapping[str, Statistics], config: Config) -> bytes:
    import numpy as np
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    form, ranges = config.activations, {}
    for name, statistics in seen.items():
        if statistics.batches:
            bounds = form.ranges.function(statistics, form.bits, form.scheme)
            ranges[name] = tuple(np.array(bound, dtype=np.float32) for bound in bounds)
    graph = onnx.load_from_string(content)
    if any(mine.weights is not None for mine in config.layers.values()):
        graph = onnx.version_converter.convert_version(graph, _FOUR_BITS)
    graph = onnx.shape_inference.infer_shapes(graph)
    floats = _in_float(graph.graph, config)
    steps = _steps_of_four_bits(graph.graph, config)
    quantizer = QDQQuantizer(
        graph,
        per_channel=config.weights.per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if form.scheme == "symmetric" else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=floats,
        op_types_to_quantize=list(_KERNELS),
        extra_options={
            "ActivationSymmetric": form.scheme == "symmetric",
            "WeightSymmetric": True,
            "TensorQuantOverrides": steps,
        },
    )
    level = logging.getLogger().level  # which the quantizer sets
    try:
        quantizer.quantize_model()
    finally:
        logging.getLogger().setLevel(level)
    if steps:
        _pack(quantizer.model.model.graph, steps)
    stream = io.BytesIO()
    onnx.save(quantizer.model.model, stream)
    return stream.getvalue()


def _steps_of_four_bits(graph, config: Config) -> dict[str, list[dict]]:
    """By name, for weights that are to be held in 4 bits: a step for each output channel, so that 7 is its largest."""
    import numpy as np
    import onnx
    from onnxruntime.quantization import QuantType

    held = {name for name, mine in config.layers.items() if mine.weights is not None}
    layers = {name: node for node in graph.node for name in node.input if node.name.rpartition("/")[0] in held}
    found = {}
    for tensor in graph.initializer:
        if len(tensor.dims) > 1 and (node := layers.get(tensor.name)) is not None:
            axis = 0 if node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute) else 1
            rows = np.moveaxis(onnx.numpy_helper.to_array(tensor), axis, 0).reshape(tensor.dims[axis], -1)
            steps = np.maximum(abs(rows).max(1), DEAD) / np.float32(7)
            form = {"quant_type": QuantType.QInt8, "axis": axis, "zero_point": 0}
            found[tensor.name] = [form | {"scale": step} for step in steps]
    return found


def _pack(graph, names: Iterable[str]) -> None:
    """Hold quantized weights of 4 bits as such, in place: the runtime widens them when it loads the file.

    What the runtime knows itself goes from such a file: shapes between layers, zero points of 0 that convolutions have.
    """
    import onnx

    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    read = {name for node in graph.node if node.op_type == "Conv" for name in node.input}
    zeros, four = set(), onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.INT4)
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and read.issuperset(node.output) and node.input[0] in values:
            zeros.add(node.input.pop())
    kept = [tensor for tensor in graph.initializer if tensor.name not in zeros]
    for tensor in kept:
        if tensor.name.removesuffix("_quantized") in names:
            narrow, wide = f"{tensor.name}_4", tensor.name
            graph.node.insert(0, onnx.helper.make_node("Cast", [narrow], [wide], to=tensor.data_type))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[wide].astype(four), narrow))
    del graph.value_info[:], graph.initializer[:]
    graph.initializer.extend(kept)
