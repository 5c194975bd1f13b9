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

from ..core import Registry
from ..graph import fold_batch_norm
from ..measure import ONNX, Shipped
from . import needs
from .onnx import onnx_bytes, runnable


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
        ``path -> function`` from images (N, ...) to outputs.
    packages : tuple of str
        That it takes.
    """

    name: str
    suffix: str
    runtime: str
    write: Callable[[nn.Module, torch.Tensor], bytes]
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
    model: nn.Module, example: torch.Tensor, path: Path | str, form: str | Form = "onnx", *, tolerance: float = 1e-4
) -> Exported:
    """Write a model, run the file, and keep it only if it says what the model says.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; a ``Frozen`` (integer kernels) has its file already, and goes out as "onnx".
    example : torch.Tensor
        A batch of any size; its outputs are compared.
    path : Path or str
        A file that is there is replaced at the end.
    form : str or Form
        Key of ``FORMS``: "onnx", "torch.export" or "executorch"; or a row of one's own.
    tolerance : float
        Largest difference that is allowed, over the largest output or 1.

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
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first.")
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
            wanted, found = model(example), form.read(temporary)(example.contiguous())
        difference = ((wanted - found).abs().max() / wanted.abs().max().clamp(min=1)).item()
        if not difference <= tolerance:
            raise ValueError(f"the file's outputs differ from the model's by {difference:.2g}, over {tolerance:g}.")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(model, path, form, difference)


def _write_onnx(model: nn.Module, example: torch.Tensor) -> bytes:
    return model.content if isinstance(model, Shipped) else onnx_bytes(model, example)


def _write_program(model: nn.Module, example: torch.Tensor) -> bytes:
    pair = example[:1].repeat(2, *[1] * (example.ndim - 1))  # a batch of one would be taken for a constant
    with torch.no_grad():
        program = torch.export.export(model, (pair,), dynamic_shapes=({0: torch.export.Dim("n")},))
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def _read_program(path: Path) -> Callable:
    return torch.export.load(path).module()


def _write_executorch(model: nn.Module, example: torch.Tensor) -> bytes:
    """A program for one image, as its memory is planned beforehand."""
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
