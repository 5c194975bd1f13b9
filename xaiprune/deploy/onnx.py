"""Models as ONNX: the export, what ONNX Runtime makes of it, and how long each node takes."""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import io
import json
import logging
import statistics
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from ..core import arguments
from ..graph.calls import check_inputs, copied, inputs_of, mapped, run, spread, tensors, to
from ..graph.folding import folded_in_place, plain_weights
from .needs import lacks_packages, need

#: ONNX operator set that is written.
OPSET = 18
#: What ONNX Runtime is not to do: a layer that was left in float between integers would get weights in 8 bits, with one
#: step for all of them.
_NOT_DONE = ("WeightBiasQuantization",)


def onnx_bytes(model: nn.Module, example: object) -> bytes:
    """The model as ONNX, for any batch size.

    Batch normalisation is folded into the layers before it, where ``torch.fx`` can follow the model, and nothing is
    computed in place: the outputs are the same up to rounding, and the export takes less than half the time.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; on any device, and wrapped in ``DataParallel`` or ``torch.compile`` too.
    example : torch.Tensor, or a tuple or dictionary of tensors
        Any batch; only its shape beside the first axis matters. Of several inputs, those with another first axis than
        the first one has, such as a mask for all, keep it.

    Returns
    -------
    bytes
        An ONNX file.

    Raises
    ------
    ValueError
        If the model is in training mode or in bfloat16, or does not take the example.
    UnavailableError
        If onnx or onnxscript is not installed.

    Warns
    -----
    UserWarning
        If the model fixes the length of the first axis, which may be time: the file takes the example's length alone.

    Examples
    --------
    >>> content = xp.deploy.onnx_bytes(nn.ReLU().eval(), torch.zeros(1, 2))
    >>> xp.deploy.runnable(content)(torch.tensor([[-1.0, 1.0], [2.0, -2.0], [3.0, 3.0]])).tolist()
    [[0.0, 1.0], [2.0, 0.0], [3.0, 3.0]]
    """
    arguments.evaluating(model)
    if any(parameter.dtype == torch.bfloat16 for parameter in model.parameters()):
        raise ValueError("model is in bfloat16, which ONNX Runtime cannot compute in on a CPU: pass model.float().")
    need("the export to ONNX", lacks_packages("onnx", "onnxscript"))
    import onnx

    program = _exported(_to_export(model, example), example)
    with _quiet(), _operators_once(), torch.no_grad():
        table = _pooling(program)
        written = torch.onnx.export(program, verbose=False, opset_version=OPSET, custom_translation_table=table)
    content = written.model_proto
    _name_nodes(content.graph)
    stream = io.BytesIO()
    onnx.save(content, stream)
    return stream.getvalue()


def _exported(model: nn.Module, example: object) -> torch.export.ExportedProgram:
    """A model's graph for any batch size, or, where it fixes its own, for the example's.

    Parameters
    ----------
    model : nn.Module
        On the CPU.
    example : object
        As for :func:`onnx_bytes`.

    Returns
    -------
    torch.export.ExportedProgram
    """
    inputs = to(check_inputs(inputs_of(example), "example"), None)
    count = len(tensors(inputs)[0])

    def batched(tensor: torch.Tensor) -> bool:
        return tensor.ndim > 0 and len(tensor) == count

    def pair(tensor: torch.Tensor) -> torch.Tensor:  # a batch of one would be taken for a constant
        return tensor[:1].repeat(2, *[1] * (tensor.ndim - 1)) if batched(tensor) else tensor

    size = torch.export.Dim("n")
    given, named = spread(model, inputs)
    shapes = mapped(
        lambda tensor: {0: size} if batched(tensor) else None,
        dict(inspect.signature(model.forward).bind(*given, **named).arguments),
        lambda value: None,
    )
    with _quiet(), torch.no_grad():
        run(model, inputs, "example")
        try:
            return torch.export.export(model, *spread(model, mapped(pair, inputs)), dynamic_shapes=shapes)
        except Exception:  # what cannot be exported at all says so now
            program = torch.export.export(model, given, named)
    warnings.warn(
        f"the model fixes the length of its inputs' first axis: the file takes {count} at a time, as the example has.",
        stacklevel=3,
    )
    return program


def _pooling(program: torch.export.ExportedProgram) -> dict:
    """The mean of a whole image as one operation, which the exporter writes as a dozen."""
    import onnxscript

    operations = getattr(onnxscript, f"opset{OPSET}")
    pool = torch.ops.aten.adaptive_avg_pool2d.default
    sizes = {tuple(node.args[1]) for node in program.graph.nodes if node.target is pool}
    return {pool: lambda images, size: operations.GlobalAveragePool(images)} if sizes == {(1, 1)} else {}


#: The exporter's table of operators by operator set, once it was read.
_OPERATORS: dict[int, object] = {}


@contextlib.contextmanager
def _operators_once() -> Iterator[None]:
    """Read the exporter's table of operators once: torch does it at every export, from source, for about a second.

    This touches what torch calls internal; a version that has it elsewhere reads it every time, as before.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = ONNXRegistry.__dict__["from_torchlib"]
    except (ImportError, KeyError):
        yield
        return

    def known(cls, opset_version: int = OPSET):
        if opset_version not in _OPERATORS:
            _OPERATORS[opset_version] = read.__func__(cls, opset_version)
        table = copy.copy(_OPERATORS[opset_version])
        table.functions = {name: list(found) for name, found in table.functions.items()}
        return table

    ONNXRegistry.from_torchlib = classmethod(known)
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = read


def _name_nodes(graph) -> None:
    """Name nodes after their layers, ``features.0.0/Conv``, in place of what tells about this machine's files."""
    taken = Counter()
    for node in graph.node:
        told = {row.key: row.value for row in node.metadata_props}
        scopes = ast.literal_eval(told.get("pkg.torch.onnx.name_scopes", "[]"))
        name = f"{scopes[-2] if len(scopes) > 1 else ''}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        del node.metadata_props[:]


def _to_export(model: nn.Module, example: object) -> nn.Module:
    """The same function for torch's exporter, which spends most of its time on layers that write in place."""
    plain = plain_weights(model).cpu()
    for module in plain.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    try:
        folded = folded_in_place(copied(plain))
        with torch.no_grad():
            run(folded, inputs_of(example), "example")
    except ValueError:  # control flow that depends on data, or sequences; the runtime then folds what it can
        return plain
    return folded


def runnable(content: bytes) -> Callable:
    """A function that runs an ONNX model in ONNX Runtime.

    Parameters
    ----------
    content : bytes
        An ONNX file.

    Returns
    -------
    callable
        From inputs (N, ...), as the model took them, to the output, or to a tuple of outputs. It raises a ValueError
        for inputs of another form.

    Raises
    ------
    UnavailableError
        If onnxruntime is not installed.

    Examples
    --------
    >>> run = xp.deploy.runnable(xp.deploy.onnx_bytes(nn.Flatten().eval(), torch.zeros(1, 1, 2, 2)))
    >>> run(torch.ones(3, 1, 2, 2)).shape
    torch.Size([3, 4])
    """
    session = onnx_session(content)

    def run(*inputs: object, **named: object) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs = tuple(map(torch.from_numpy, session.run(None, fed(session, (inputs, named)))))
        return outputs if len(outputs) > 1 else outputs[0]

    return run


def fed(session, inputs: object) -> dict:
    """What a session is fed: its inputs by name.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    inputs : object
        Tensors in any form, in the order of the model's arguments.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    ValueError
        If they are not as many as the file takes, or of another shape.
    """
    wanted, given = session.get_inputs(), tensors(inputs)

    def fits(want: tuple, got: tuple) -> bool:
        return len(want) == len(got) and all(isinstance(size, str) or size == n for size, n in zip(want, got))

    if len(wanted) != len(given) or not all(fits(want.shape, got.shape) for want, got in zip(wanted, given)):
        told = ", ".join(f"{want.name} {tuple(want.shape)}" for want in wanted)
        came = ", ".join(str(tuple(got.shape)) for got in given) or "nothing"
        raise ValueError(f"the file takes {told}, got {came}.")
    return {want.name: got.detach().cpu().numpy() for want, got in zip(wanted, given)}


def adds_products_exactly(flags: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor adds products of bytes in 32 bits (VNNI), which decides how fast integer kernels are.

    x86 processors with AVX2 or AVX-512 but without VNNI add pairs of products in 16 bits, where they saturate. There
    ONNX Runtime is told to widen the bytes first: the same numbers as elsewhere, but slower. Where the system does not
    tell, the answer is True.

    Parameters
    ----------
    flags : Path
        Where Linux lists what the processor can do.

    Returns
    -------
    bool

    Examples
    --------
    >>> import pathlib
    >>> size = pathlib.Path("flags").write_text("sse2 avx2 avx512_vnni")
    >>> xp.deploy.adds_products_exactly(pathlib.Path("flags"))
    True
    """
    told = flags.read_text() if flags.exists() else ""
    return "vnni" in told or "avx2" not in told


def onnx_session(content: bytes, profile: Path | None = None):
    """A session of ONNX Runtime on the CPU, with as many threads as torch has now.

    Its threads wait busily for the next node of a run, as they do by default, but not for the next run: two sessions
    that answer in turn, as the parts of a dynamic network do, were seen to take three times as long.

    Parameters
    ----------
    content : bytes
        An ONNX file.
    profile : Path, optional
        Beginning of the name of a file that the times of nodes go to.

    Returns
    -------
    onnxruntime.InferenceSession

    Raises
    ------
    UnavailableError
        If onnxruntime is not installed.
    """
    need("ONNX Runtime", lacks_packages("onnxruntime"))
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not adds_products_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    try:
        return ort.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(_NOT_DONE)
        )
    except Exception as error:
        raise ValueError(
            f"ONNX Runtime cannot run this file: {error} It computes in float32: pass model.float()."
        ) from error


def node_times(content: bytes, example: object, repeats: int = 30) -> list[tuple[str, str, float]]:
    """What each node of an ONNX model takes, by ONNX Runtime's own profile.

    Parameters
    ----------
    content : bytes
        An ONNX file.
    example : torch.Tensor, or a tuple or dictionary of tensors
        The batch.
    repeats : int
        Timed runs.

    Returns
    -------
    list of (str, str, float)
        Name, operator and median microseconds, in order of execution.

    Raises
    ------
    UnavailableError
        If onnxruntime is not installed.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.Softmax(dim=1)).eval()
    >>> times = xp.deploy.node_times(xp.deploy.onnx_bytes(model, torch.zeros(1, 4)), torch.zeros(8, 4), repeats=3)
    >>> [operator for name, operator, microseconds in times]
    ['Gemm', 'Softmax']
    """
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(content, Path(folder) / "profile")
        feed = fed(session, inputs_of(example))
        for _ in range(repeats + 5):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["name"].removesuffix("_kernel_time"), event["args"]["op_name"])
            found.setdefault(key, []).append(event["dur"])
    return [(name, kind, statistics.median(times[5:])) for (name, kind), times in found.items()]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter from the lesson."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
