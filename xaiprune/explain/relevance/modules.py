"""Activation functions that others wrote as modules: recognised by trying them, and carried out as a whole."""

from __future__ import annotations

import torch
from torch import nn

from .activations import _passed
from .affine import _is_signal


class _Activations:
    """The modules of a model that are functions of one value at a time, whatever they are made of.

    A function such as ``x * tanh(softplus(x))`` would be divided among its factors if it were read operation by
    operation; as a whole it passes on what it gets. Torch's own modules are read by their operations.
    """

    def __init__(self):
        self.running: list[tuple] = []  # the module, what it read, and the copy that it works on
        self._tried: dict[nn.Module, bool] = {}

    def begin(self, module: nn.Module, inputs: tuple) -> tuple | None:
        """The copy that a module shall read in place of its input, if it is one of these."""
        own = module._parameters or module._buffers or module._modules
        if own or type(module).__module__.startswith("torch.") or len(inputs) != 1 or not _is_signal(inputs[0]):
            return None
        if module not in self._tried:
            with torch._C.DisableTorchFunction():
                self._tried[module] = _elementwise(module, inputs[0])
        if not self._tried[module]:
            return None
        copy = inputs[0].detach().clone()
        self.running.append((module, inputs[0], copy))
        return (copy,)

    def end(self, trace, module: nn.Module, output) -> torch.Tensor | None:
        """What a module gives in place of its output, if it is one of these."""
        if not self.running or self.running[-1][0] is not module:
            return None
        _, x, copy = self.running.pop()
        if not isinstance(output, torch.Tensor):
            return None  # it failed
        with torch._C.DisableTorchFunction():
            if copy._version:
                trace.changed.add(x, f"layer {trace.layer!r}")
            if torch.equal(output, x):
                return x.view_as(x) if copy._version else x
            with torch.no_grad():
                zero = module.forward(torch.zeros_like(x))
            result = _passed(trace, x, output.detach().clone(), zero)
        trace.axes.copy(x, result)
        return result


def _elementwise(module: nn.Module, x: torch.Tensor) -> bool:
    """Whether each value that a module gives depends on the value at its place alone; tried on the first image."""
    some, generator = x.detach()[:1], torch.Generator().manual_seed(0)
    noise = torch.randn(some.shape, generator=generator).to(some) * (1 + some.std().nan_to_num(0))
    with torch.no_grad():
        try:
            found = module.forward(some.clone())
            if not isinstance(found, torch.Tensor) or found.shape != some.shape or found.dtype != some.dtype:
                return False
            for same in _halves(some, generator):
                other = module.forward(torch.where(same, some, noise))
                if not torch.allclose(found[same], other[same], rtol=1e-6, atol=0, equal_nan=True):
                    return False
        except Exception:
            return False
    return True


def _halves(values: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Masks of about half of some values: of few, such that any two are told apart, in both orders; else by chance."""
    if values.numel() > 64:
        return [torch.rand(values.shape, generator=generator).to(values.device) < 0.5 for _ in range(4)]
    places = torch.arange(values.numel(), device=values.device).view(values.shape)
    return [(places >> bit) % 2 == side for bit in range(values.numel().bit_length()) for side in (0, 1)]
