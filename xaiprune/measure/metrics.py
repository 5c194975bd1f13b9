"""What a model is good at, as one number. Every metric is a function ``(model, split) -> float``."""

# In stored tables: metrics

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..data import Split


@dataclass(frozen=True)
class Metric:
    """A named metric and the direction that is better.

    Attributes
    ----------
    name : str
        As printed, with its unit.
    function : callable
        ``(model, split) -> float``.
    better : {1, -1}
        1 where more is better, -1 where less is.
    """

    name: str
    function: callable
    better: int = 1

    def __call__(self, model: nn.Module, split: Split) -> float:
        return self.function(model, split)


def predict(model: nn.Module, images: torch.Tensor, batch_size: int = 500) -> torch.Tensor:
    """Outputs for all ``images`` (N, ...), in evaluation mode and without gradients; the mode is restored.

    Batches go to the device of the model's parameters, outputs come back to that of the images.
    """
    device = next((parameter.device for parameter in model.parameters()), images.device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            batches = images.split(batch_size)
            return torch.cat([model(batch.to(device)).to(images.device) for batch in batches])
    finally:
        for module, mode in modes.items():
            module.training = mode


def psnr_from_mse(mse: float, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(peak^2 / mse)``; infinite for an error of zero."""
    return 10 * math.log10(peak**2 / mse) if mse > 0 else math.inf


def psnr(model: nn.Module, split: Split) -> float:
    """PSNR of an autoencoder's reconstructions in dB, from the squared error pooled over all images.

    The mean of the images' own PSNR is another, larger number (Jensen's inequality); the pooled one is what
    training on the squared error maximises.
    """
    error = predict(model, split.images).sub_(split.images).double()
    return psnr_from_mse(error.square().mean().item())


def accuracy(model: nn.Module, split: Split) -> float:
    """Share of images whose largest output is the label's, in per cent."""
    return 100 * (predict(model, split.images).argmax(1) == split.labels).double().mean().item()


PSNR = Metric("PSNR [dB]", psnr)
ACCURACY = Metric("accuracy [%]", accuracy)
