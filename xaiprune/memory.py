"""Peak memory of activations, counted from the tensors that are alive."""

from __future__ import annotations

import weakref

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class _Live(TorchDispatchMode):
    """Adds up the storages of all tensors that operations return, until they are freed."""

    def __init__(self, known):
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakSet(known)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a storage, once, until it is freed."""
        if storage not in self.known:
            self.known.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.now -= size


def peak_activation_bytes(model: nn.Module, example: torch.Tensor) -> int:
    """Most bytes of activations alive at once in a forward pass without gradients, the input included.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. Its parameters and buffers do not count.
    example : torch.Tensor
        The batch.
    """
    example = example.clone()  # a slice would bring the storage of all images along
    weights = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    with torch.no_grad(), _Live(weights) as live:
        live.add(example.untyped_storage())
        model(example)
    return live.peak
