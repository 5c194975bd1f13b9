"""What a model costs beside time, counted: parameters, bytes, operations, activations."""

from __future__ import annotations

import copy
import hashlib
import zlib
from collections.abc import Callable

import torch
from safetensors.torch import save
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..core import packed
from ..data import as_inputs, mark
from ..graph import calling
from .memory import onnx_activation_bytes, peak_activation_bytes

ONNX = "ONNX Runtime"


class Shipped(nn.Module):
    """A model that is run from its file, and only answers: ``deploy.Frozen``, or what ``deploy.export`` gives.

    Parameters
    ----------
    model : nn.Module
        What the file was made from; later changes of it are not seen.
    content : bytes
        Of the file.
    runtime : str
        What runs it.
    load : callable
        ``() -> function`` from images (N, ...) to outputs, with as many threads as torch has now.

    Attributes
    ----------
    content : bytes
    runtime : str
    made_from : nn.Module
        The model as it was, of the same parameters and operations.
    """

    made_from: nn.Module

    def __init__(self, model: nn.Module, content: bytes, runtime: str, load: Callable[[], Callable]):
        super().__init__()
        self.content, self.runtime, self._load, self._threads = content, runtime, load, 0
        made_from = model.made_from if isinstance(model, Shipped) else copy.deepcopy(model)
        object.__setattr__(self, "made_from", made_from)  # past torch's register: it is no part of this module
        self._reload()
        mark(self.eval(), model, content)

    def fingerprint(self) -> str:
        """What runs, for the identity of a run that can be resumed.

        Returns
        -------
        str
            The class's name, and 12 hexadecimal digits of the SHA-256 of the content.
        """
        return f"{type(self).__name__} {hashlib.sha256(self.content).hexdigest()[:12]}"

    def _reload(self) -> None:
        """Load the file for as many threads as torch has now; in a tuple, for what runs it can be a module too."""
        if self._threads != torch.get_num_threads():
            self._threads, self._run = torch.get_num_threads(), (self._load(),)

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Compute outputs, without a graph, with as many threads as torch has now.

        Parameters
        ----------
        images : torch.Tensor
            Shape (N, ...), as it was when the model was shipped, beside N.

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            What the original gives.
        """
        self._reload()
        with torch.no_grad():
            return self._run[0](images.detach().contiguous())


def costs(model: nn.Module, example: torch.Tensor) -> dict[str, float]:
    """What a model costs beside time: :func:`sizes`, ``activation_bytes`` and ``macs``.

    Of a model that is run from a file: the bytes of the file and, of ONNX, of the activations in it; parameters and
    operations are those of the model that it was made from.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, or a ``deploy.Frozen``.
    example : torch.Tensor, or tuple or mapping of torch.Tensor
        A batch, shape (N, ...).

    Returns
    -------
    dict of str to float
        Bytes, and operations per image.
    """
    if not isinstance(model, Shipped):
        peak = peak_activation_bytes(model, example)
        return {**sizes(model), "activation_bytes": peak, "macs": macs(model, example)}
    counted = sizes(model.made_from)
    found = {name: counted[name] for name in ("parameters", "nonzeros")}
    found |= {"dense_bytes": len(model.content), "zipped_bytes": len(zlib.compress(model.content, 6))}
    if model.runtime == ONNX:
        found["activation_bytes"] = onnx_activation_bytes(model.content)
    return found | {"macs": macs(model.made_from, example)}


def sizes(model: nn.Module) -> dict[str, float]:
    """Parameters, non-zeros, and bytes in three forms.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    dict
        ``parameters`` and ``nonzeros`` count parameters. ``dense_bytes`` is what the state dict holds.
        ``sparse_bytes`` stores every tensor of two or more axes as CSR, rows along the first axis: a value and
        a 4-byte column index for each non-zero and a 4-byte pointer per row, and the others as they are.
        ``zipped_bytes`` is the safetensors file after zlib.
    """
    parameters = list(model.parameters())
    dense = sparse = 0
    for tensor in model.state_dict().values():
        size = tensor.numel() * tensor.element_size()
        dense += size
        if tensor.ndim > 1:
            size = csr_bytes(int(tensor.count_nonzero()), tensor.shape[0], tensor.element_size())
        sparse += size
    state = {name: packed(tensor) for name, tensor in model.state_dict().items()}
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "nonzeros": sum(int(parameter.count_nonzero()) for parameter in parameters),
        "dense_bytes": dense,
        "sparse_bytes": sparse,
        "zipped_bytes": len(zlib.compress(save(state), 6)),
    }


def csr_bytes(nonzeros: int, rows: int, item: int = 4) -> int:
    """Bytes of compressed sparse rows: a value and a 4-byte column index per non-zero, a 4-byte pointer per row.

    Parameters
    ----------
    nonzeros, rows : int
        How many values are left, and rows of the matrix.
    item : int
        Bytes of one value.

    Returns
    -------
    int

    Examples
    --------
    >>> xp.measure.csr_bytes(nonzeros=100, rows=10)  # 400 for values, 400 for columns, 44 for rows
    844
    """
    return nonzeros * (item + 4) + 4 * (rows + 1)


def macs(model: nn.Module, example: torch.Tensor) -> int:
    """Multiply-accumulate operations of one forward pass, per image: half of torch's count of flops.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    example : torch.Tensor, or tuple or mapping of torch.Tensor
        A batch of inputs, shape (N, ...).

    Returns
    -------
    int
        Per image.

    Examples
    --------
    >>> xp.measure.macs(nn.Linear(100, 10), torch.zeros(5, 100))
    1000
    """
    known = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.aten.mkldnn_rnn_layer: _memory_flops,
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counter:
        calling(model, example)()
    return counter.get_total_flops() // 2 // len(as_inputs(example))


def _attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def _memory_flops(read, from_input, from_memory, *args, out_shape=None, **kwargs) -> int:
    """A recurrent layer: both products of every step, for a tensor (steps, images, features)."""
    return 2 * read[0] * read[1] * (from_input[0] * from_input[1] + from_memory[0] * from_memory[1])
