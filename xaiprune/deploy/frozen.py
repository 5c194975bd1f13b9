"""A model that only answers, run by ONNX Runtime."""

from __future__ import annotations

from torch import nn

from ..core import arguments
from ..measure import ONNX, Shipped
from .onnx import onnx_bytes, runnable


class Frozen(Shipped):
    """A model that only answers, run by ONNX Runtime: a teacher that costs less than half the time, an int8 network.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; later changes of it are not seen.
    example : torch.Tensor, or a tuple or dictionary of tensors
        Any batch; only its shape beside the first axis matters.
    content : bytes, optional
        The ONNX file that is run, such as ``quantize.int8_bytes`` makes; default :func:`onnx_bytes` of the model.

    Raises
    ------
    ValueError
        If the model is in training mode.
    UnavailableError
        If ONNX Runtime is not installed.

    Examples
    --------
    >>> model = nn.Linear(4, 2).eval()
    >>> frozen = xp.deploy.Frozen(model, torch.zeros(1, 4))
    >>> torch.allclose(frozen(torch.ones(3, 4)), model(torch.ones(3, 4)), atol=1e-6)
    True
    """

    def __init__(self, model: nn.Module, example: object, content: bytes | None = None):
        arguments.evaluating(model)
        content = onnx_bytes(model, example) if content is None else content
        super().__init__(model, content, ONNX, lambda: runnable(content))
