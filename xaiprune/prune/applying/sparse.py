"""What zeros are worth on this machine: compressed sparse rows, their latency, and where they break even."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ...measure import latencies

_SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


class SparseLinear(nn.Module):
    """A dense layer whose weight is stored as compressed sparse rows (CSR).

    Parameters
    ----------
    layer : nn.Linear
        Its zeros are not stored.
    """

    def __init__(self, layer: nn.Linear):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its CSR support a beta
            self.register_buffer("weight", layer.weight.detach().to_sparse_csr(), persistent=False)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone(), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply by the non-zeros.

        Parameters
        ----------
        inputs : torch.Tensor
            Shape (N, in_features).

        Returns
        -------
        torch.Tensor
            Shape (N, out_features).
        """
        outputs = (self.weight @ inputs.T).T
        return outputs if self.bias is None else outputs + self.bias


def to_sparse(model: nn.Module) -> nn.Module:
    """A copy of a model whose dense layers store only their non-zeros, for timing.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    nn.Module
        In evaluation mode.

    Raises
    ------
    ValueError
        If there is no dense layer: torch has no sparse convolution on a CPU.

    Examples
    --------
    >>> xp.prune.to_sparse(nn.Sequential(nn.Linear(2, 2)))[0].weight.layout
    torch.sparse_csr
    """
    copied = copy.deepcopy(model)
    found = [(name, module) for name, module in copied.named_modules() if type(module) is nn.Linear]
    if not found:
        raise ValueError("model has no dense layer, and torch has no sparse convolution on a CPU.")
    for name, module in found:
        copied.set_submodule(name, SparseLinear(module))
    return copied.eval()


def sparse_latency(
    outputs: int = 300,
    inputs: int = 784,
    batch: int = 64,
    *,
    sparsities: Sequence[float] = _SPARSITIES,
    repeats: int = 40,
    seed: int = 0,
) -> list[dict]:
    """Time a dense layer against the same layer in CSR, at several sparsities and in turn.

    Parameters
    ----------
    outputs, inputs, batch : int
        Shape of the weight, and images at once.
    sparsities : sequence of float
        Shares of zeros, at random places.
    repeats : int
    seed : int

    Returns
    -------
    list of dict
        Rows ``sparsity``, ``dense`` and ``csr`` (median milliseconds), and ``batch``.

    Raises
    ------
    ValueError
        If there is no sparsity, or one is outside [0, 1).

    Examples
    --------
    >>> rows = xp.prune.sparse_latency(outputs=8, inputs=8, batch=1, sparsities=(0.5, 0.9), repeats=2)
    >>> [row["sparsity"] for row in rows], sorted(rows[0])
    ([0.5, 0.9], ['batch', 'csr', 'dense', 'sparsity'])
    """
    if not sparsities or not all(0 <= sparsity < 1 for sparsity in sparsities):
        raise ValueError(f"sparsities must lie in [0, 1), got {sparsities}.")
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, inputs, generator=generator)
    rows = []
    for sparsity in sparsities:
        layer = nn.Linear(inputs, outputs).eval()
        with torch.no_grad():
            layer.weight.mul_(torch.rand(outputs, inputs, generator=generator) >= sparsity)
        times = latencies({"dense": layer, "csr": SparseLinear(layer).eval()}, images, repeats=repeats)
        rows.append({"sparsity": sparsity, "batch": batch, **{name: time.median for name, time in times.items()}})
    return rows


def csr_latency(model: nn.Module, images: torch.Tensor, repeats: int = 40) -> float:
    """Median milliseconds of the model with its dense layers as CSR, for one batch; see :func:`to_sparse`.

    Parameters
    ----------
    model : nn.Module
        With a dense layer.
    images : torch.Tensor
        The batch, shape (N, ...).
    repeats : int
        Timed runs.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As :func:`to_sparse` raises it.

    Examples
    --------
    >>> xp.prune.csr_latency(nn.Sequential(nn.Linear(8, 8)), torch.rand(1, 8), repeats=2) > 0
    True
    """
    return latencies({"csr": to_sparse(model)}, images, repeats=repeats)["csr"].median


def break_even(rows: Sequence[dict]) -> float | None:
    """The sparsity from which CSR is faster than dense, between the measured points; None if it never is.

    Parameters
    ----------
    rows : sequence of dict
        Those of :func:`sparse_latency`, of one batch size.

    Returns
    -------
    float or None
        A share of zeros.

    Examples
    --------
    >>> rows = [{"sparsity": 0.5, "dense": 1.0, "csr": 2.0}, {"sparsity": 0.9, "dense": 1.0, "csr": 0.5}]
    >>> round(xp.prune.break_even(rows), 2)
    0.7
    """
    rows = sorted(rows, key=lambda row: row["sparsity"])
    gains = [row["dense"] / row["csr"] for row in rows]
    last_slower = max((place for place, gain in enumerate(gains) if gain < 1), default=None)
    if last_slower is None:
        return rows[0]["sparsity"]
    if last_slower == len(rows) - 1:
        return None
    pair = slice(last_slower, last_slower + 2)
    return float(np.interp(0, np.log(gains[pair]), [row["sparsity"] for row in rows[pair]]))


def semi_structured_support() -> str:
    """Whether 2:4 sparsity can be run here, and what it would take, in one sentence.

    Where a device supports it, a dense layer is timed there both ways.

    Returns
    -------
    str

    Examples
    --------
    >>> xp.prune.semi_structured_support()
    '2:4 needs an NVIDIA GPU of the Ampere generation or later ...'
    """
    need = "2:4 needs an NVIDIA GPU of the Ampere generation or later and torch.sparse.to_sparse_semi_structured"
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        return f"{need}: there is none here, so nothing is timed."
    weight = torch.zeros(4096, 1024, 4, device="cuda", dtype=torch.float16)
    weight[..., :2] = torch.randn(4096, 1024, 2, device="cuda", dtype=torch.float16)
    weight, inputs = weight.view(4096, 4096), torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
    packed = torch.sparse.to_sparse_semi_structured(weight)
    dense, sparse = (_cuda_milliseconds(matrix, inputs) for matrix in (weight, packed))
    here = f"on this {torch.cuda.get_device_name()} a 4096 x 4096 product takes {dense:.2f} ms"
    return f"{need}; {here}, in 2:4 {sparse:.2f} ms."


def _cuda_milliseconds(matrix: torch.Tensor, inputs: torch.Tensor, repeats: int = 50) -> float:
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        _ = matrix @ inputs
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return float(np.median(times))
