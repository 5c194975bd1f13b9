"""A model as a file that runs without the code that made it.

A form is a row of data: ``FORMS.add(Form("mine", suffix, runtime, write, read))`` makes one of your own known.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..core import Registry, arguments
from ..graph import fold_batch_norm
from ..graph.calls import call, check_inputs, copied, inputs_of, mapped, run, tensors, to, unwrapped
from ..measure import ONNX, Shipped
from . import needs
from .onnx import _exported, onnx_bytes, runnable


@dataclass(frozen=True)
class Form:
    """A way to write a model.

    Attributes
    ----------
    name : str
    suffix : str
        Of the file, with its dot.
    runtime : str
        What runs it.
    write : callable
        ``(model, example) -> bytes``.
    read : callable
        ``path -> function`` from inputs (N, ...), as the model takes them, to outputs.
    packages : tuple of str
        That it takes.
    """

    name: str
    suffix: str
    runtime: str
    write: Callable[[nn.Module, object], bytes]
    read: Callable[[Path], Callable]
    packages: tuple[str, ...] = ()


class Exported(Shipped):
    """A model that is run from a file on the disk: a column of the scorecard, as a :class:`Frozen` is.

    Parameters
    ----------
    model : nn.Module
        What was written; its parameters are counted.
    path : Path
        The file.
    form : str
        Key of ``FORMS``.
    difference : float
        Largest difference of an output from the model's own on the example, over the largest output or 1.

    Attributes
    ----------
    path : Path
    form : Form
    difference : float
        Largest difference of an output from the model's own on the example, over the largest output or 1.
    """

    def __init__(self, model: nn.Module, path: Path, form: Form, difference: float):
        super().__init__(model, path.read_bytes(), form.runtime, lambda: form.read(path))
        self.path, self.form, self.difference = path, form, difference


def export(
    model: nn.Module, example: object, path: Path | str, form: str | Form = "onnx", *, tolerance: float = 1e-4
) -> Exported:
    """Write a model, run the file, and keep it only if it says what the model says.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; a ``Frozen`` (integer kernels) has its file already, and goes out as "onnx".
    example : torch.Tensor, or a tuple or dictionary of tensors
        A batch of any size; all tensors that the model gives for it are compared.
    path : Path or str
        A file that is there is replaced at the end.
    form : str or Form
        Key of ``FORMS``: "onnx", "torch.export" or "executorch"; or a row of one's own.
    tolerance : float
        Largest difference that is allowed, over the largest output or 1; a model in float16 needs about 1e-2.

    Returns
    -------
    Exported
        The model as the file has it, for ``scorecards`` beside others.

    Raises
    ------
    ValueError
        If the model is in training mode, the form does not exist or cannot hold integer kernels, the suffix is another
        form's, or the file's outputs differ from the model's (nothing is written then).
    UnavailableError
        If the form takes a package that is not installed.

    Examples
    --------
    >>> written = xp.deploy.export(nn.Linear(4, 2).eval(), torch.zeros(1, 4), "tiny.onnx")
    >>> written.path.exists(), written.difference < 1e-4, written(torch.zeros(3, 4)).shape
    (True, True, torch.Size([3, 2]))
    """
    arguments.evaluating(model)
    inputs = check_inputs(inputs_of(example), "example")
    form, path = FORMS.find(form, "form"), Path(path)
    if path.suffix != form.suffix:
        raise ValueError(f"path must end in {form.suffix} for the form {form.name!r}, got {path.name!r}.")
    if isinstance(model, Shipped) and form.name != "onnx":
        raise ValueError(f"form must be 'onnx' for a model that is run from its file, got {form.name!r}.")
    needs.need(f"the form {form.name!r}", needs.lacks_packages(*form.packages))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.stem}.part{form.suffix}")
    try:
        temporary.write_bytes(form.write(model, example))
        with torch.no_grad():
            wanted = to(run(model, inputs, "example"), None)
            found = call(form.read(temporary), to(mapped(torch.Tensor.contiguous, inputs), None))
        difference = _apart(tensors(wanted), tensors(found))
        if not difference <= tolerance:
            raise ValueError(
                f"the file's outputs differ from the model's by {difference:.2g}, over {tolerance:g}: pass a tolerance "
                "that you can bear, or the model in float32."
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(model, path, form, difference)


def _apart(wanted: list[torch.Tensor], found: list[torch.Tensor]) -> float:
    """Largest difference of several outputs, each over its largest value or 1; of other shapes they are infinite."""
    if [one.shape for one in wanted] != [other.shape for other in found]:
        return float("inf")
    pairs = [(one.double(), other.double()) for one, other in zip(wanted, found) if one.numel()]
    return max(((a - b).abs().max() / a.abs().max().clamp(min=1)).item() for a, b in pairs)


def _write_onnx(model: nn.Module, example: object) -> bytes:
    return model.content if isinstance(model, Shipped) else onnx_bytes(model, example)


def _write_program(model: nn.Module, example: object) -> bytes:
    program = _exported(copied(unwrapped(model)).cpu(), example)
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def _read_program(path: Path) -> Callable:
    return torch.export.load(path).module()


def _write_executorch(model: nn.Module, example: object) -> bytes:
    """A program for one image, as its memory is planned beforehand."""
    if not isinstance(example, torch.Tensor):
        raise ValueError(f"example must be one tensor for the form 'executorch', got {type(example).__name__}.")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        program = torch.export.export(fold_batch_norm(model), (example[:1].contiguous(),))
    return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer


def _read_executorch(path: Path) -> Callable:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return lambda images: torch.cat([method.execute([image[None]])[0].clone() for image in images])


FORMS: Registry[Form] = Registry(
    "a form",
    Form,
    (
        Form("onnx", ".onnx", ONNX, _write_onnx, lambda path: runnable(path.read_bytes()), needs._ONNX_PACKAGES),
        Form("torch.export", ".pt2", "torch.export", _write_program, _read_program),
        Form("executorch", ".pte", "ExecuTorch", _write_executorch, _read_executorch, ("executorch",)),
    ),
)
