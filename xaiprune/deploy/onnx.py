"""Models as ONNX: the export, what ONNX Runtime makes of it, and how long each node takes."""

from __future__ import annotations

import ast
import contextlib
import copy
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

from ..graph import fold_batch_norm
from .needs import lacks_packages, need

#: ONNX operator set that is written.
OPSET = 18
#: What ONNX Runtime is not to do: a layer that was left in float between integers would get weights in 8 bits, with one
#: step for all of them.
_NOT_DONE = ("WeightBiasQuantization",)


def onnx_bytes(model: nn.Module, example: torch.Tensor) -> bytes:
    """The model as ONNX, for any batch size.

    Batch normalisation is folded into the layers before it, where ``torch.fx`` can follow the model, and nothing is
    computed in place: the outputs are the same up to rounding, and the export takes less than half the time.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    example : torch.Tensor
        Any batch; only its shape beside the first axis matters.

    Returns
    -------
    bytes
        An ONNX file.

    Raises
    ------
    ValueError
        If the model is in training mode.
    UnavailableError
        If onnx or onnxscript is not installed.

    Examples
    --------
    >>> content = xp.deploy.onnx_bytes(nn.ReLU().eval(), torch.zeros(1, 2))
    >>> xp.deploy.runnable(content)(torch.tensor([[-1.0, 1.0], [2.0, -2.0], [3.0, 3.0]])).tolist()
    [[0.0, 1.0], [2.0, 0.0], [3.0, 3.0]]
    """
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first.")
    need("the export to ONNX", lacks_packages("onnx", "onnxscript"))
    import onnx

    pair = example[:1].repeat(2, *[1] * (example.ndim - 1))  # a batch of one would be taken for a constant
    with _quiet(), _operators_once(), torch.no_grad():
        program = torch.export.export(_to_export(model), (pair,), dynamic_shapes=({0: torch.export.Dim("n")},))
        table = _pooling(program)
        written = torch.onnx.export(program, verbose=False, opset_version=OPSET, custom_translation_table=table)
    content = written.model_proto
    _name_nodes(content.graph)
    stream = io.BytesIO()
    onnx.save(content, stream)
    return stream.getvalue()


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


def _to_export(model: nn.Module) -> nn.Module:
    """The same function for torch's exporter, which spends most of its time on layers that write in place."""
    try:
        model = fold_batch_norm(model)
    except ValueError:  # control flow that depends on data; the runtime then folds what it can
        model = copy.deepcopy(model)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return model


def runnable(content: bytes) -> Callable:
    """A function that runs an ONNX model in ONNX Runtime.

    Parameters
    ----------
    content : bytes
        An ONNX file with one input.

    Returns
    -------
    callable
        From images (N, ...) to the output, or to a tuple of outputs.

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
    name = session.get_inputs()[0].name

    def run(images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs = tuple(map(torch.from_numpy, session.run(None, {name: images.numpy()})))
        return outputs if len(outputs) > 1 else outputs[0]

    return run


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
    return ort.InferenceSession(
        content, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(_NOT_DONE)
    )


def node_times(content: bytes, example: torch.Tensor, repeats: int = 30) -> list[tuple[str, str, float]]:
    """What each node of an ONNX model takes, by ONNX Runtime's own profile.

    Parameters
    ----------
    content : bytes
        An ONNX file.
    example : torch.Tensor
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
        name = session.get_inputs()[0].name
        for _ in range(repeats + 5):
            session.run(None, {name: example.numpy()})
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
