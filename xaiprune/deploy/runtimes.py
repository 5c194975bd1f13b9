"""Runtimes: what a model is run by, so that a latency can be told for each.

A runtime is a row, ``RUNTIMES.add(Runtime("mine", function))``, with ``function(model, example) -> callable``; the
callable takes a batch of the example's shape and gives back the model's output. A runtime that needs more than torch
says what is missing here; then it is left out where all are taken, and refused where it is named.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..core import Registry, arguments
from ..graph.calls import call, copied, inputs_of, mapped, unwrapped
from ..measure import Latency, latencies
from .needs import _ONNX_PACKAGES, lacks_compiler, lacks_packages, need
from .onnx import onnx_bytes, runnable


@dataclass(frozen=True)
class Runtime:
    """What runs a model.

    Attributes
    ----------
    name : str
    prepare : callable
        ``(model, example) -> function`` from batches of the example's shape to outputs.
    lacks : callable
        ``() -> str``: what it needs and this machine has not, with the way out; empty where it can run.
    """

    name: str
    prepare: Callable[[nn.Module, object], Callable]
    lacks: Callable[[], str] = lambda: ""


def prepare(model: nn.Module, example: object, runtime: str | Runtime = "ONNX Runtime") -> Callable:
    """A function that runs a model in a runtime.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    example : torch.Tensor, or a tuple or dictionary of tensors
        A batch; torch.compile makes a function for batches of this size alone.
    runtime : str or Runtime
        Key of ``RUNTIMES``, or a row of one's own.

    Returns
    -------
    callable
        From inputs (N, ...), given as the model takes them, to outputs.

    Raises
    ------
    ValueError
        If there is no such runtime.
    UnavailableError
        If it cannot run here; the message says why, and the way out.

    Examples
    --------
    >>> model = nn.ReLU().eval()
    >>> run = xp.deploy.prepare(model, torch.zeros(1, 2), "eager")
    >>> run(torch.tensor([[-1.0, 1.0]])).tolist()
    [[0.0, 1.0]]
    """
    return _usable(runtime, "runtime").prepare(model, example)


def missing() -> dict[str, str]:
    """The runtimes that cannot run here.

    Returns
    -------
    dict of str to str
        By name what is missing, with the way out.
    """
    return {name: lack for name, row in RUNTIMES.items() if (lack := row.lacks())}


def available() -> dict[str, Runtime]:
    """The runtimes that can run here.

    Returns
    -------
    dict of str to Runtime
        By name, in the order of ``RUNTIMES``.
    """
    return {name: row for name, row in RUNTIMES.items() if not row.lacks()}


def runtime_latencies(
    models: Mapping[str, nn.Module],
    example: object,
    runtimes: Iterable[str | Runtime] | None = None,
    *,
    repeats: int = 40,
) -> dict[tuple[str, str], Latency]:
    """Time models in one runtime after another; inside a runtime they take turns.

    A runtime's threads would otherwise wait on those of another one, busily.

    Parameters
    ----------
    models : mapping of str to nn.Module
        In evaluation mode.
    example : torch.Tensor, or a tuple or dictionary of tensors
        The batch.
    runtimes : iterable of str or Runtime, optional
        Default all of ``RUNTIMES`` that can run here; a warning tells which are left out, and why.
    repeats : int

    Returns
    -------
    dict of (str, str) to Latency
        By model and runtime.

    Raises
    ------
    ValueError
        If a model is in training mode, or there is no such runtime.
    UnavailableError
        If a runtime that is named cannot run here.
    """
    for name, model in models.items():
        arguments.evaluating(model, f"model {name!r}")
    example = inputs_of(example)
    if runtimes is None:
        runtimes = available()
        for name, lack in missing().items():
            warnings.warn(f"the runtime {name!r} is left out: {lack}.", stacklevel=2)
    found = {}
    for runtime in [_usable(runtime, "runtimes") for runtime in runtimes]:
        ready = {name: runtime.prepare(model, example) for name, model in models.items()}
        times = latencies(ready, example, repeats=repeats, runtime=runtime.name)
        found |= {(name, runtime.name): times[name] for name in models}
    return found


def _usable(runtime: str | Runtime, argument: str) -> Runtime:
    """The row, which can run here."""
    runtime = RUNTIMES.find(runtime, argument)
    need(f"the runtime {runtime.name!r}", runtime.lacks())
    return runtime


def _eager(model: nn.Module, example: object) -> Callable:
    """torch, one operator after another, as the model is."""
    return model


def _channels_last(model: nn.Module, example: object) -> Callable:
    """torch, with weights and images laid out in memory channels last."""
    laid_out = copied(model)

    def lay(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    for parameter in laid_out.parameters():
        parameter.data = lay(parameter.data)
    return lambda *inputs, **named: call(laid_out, mapped(lay, named or inputs))


def _compiled(model: nn.Module, example: object) -> Callable:
    """torch.compile, for the batch size of the example."""
    function = torch.compile(copied(unwrapped(model)), dynamic=False)
    with torch.no_grad(), torch._dynamo.config.patch(recompile_limit=1000):  # it counts over all models of one class
        call(function, example)
    return function


def _onnx_runtime(model: nn.Module, example: object) -> Callable:
    """ONNX Runtime on the CPU, with as many threads as torch has now."""
    return runnable(onnx_bytes(model, example))


RUNTIMES: Registry[Runtime] = Registry(
    "a runtime",
    Runtime,
    (
        Runtime("eager", _eager),
        Runtime("eager, channels last", _channels_last),
        Runtime("torch.compile", _compiled, lacks_compiler),
        Runtime("ONNX Runtime", _onnx_runtime, lambda: lacks_packages(*_ONNX_PACKAGES)),
    ),
)
