"""Whether a model is as sure as it should be: calibration of probabilities, and one temperature that repairs it."""

# In stored tables: calibration error

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import nn


def reliability(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> list[dict]:
    """How often a model is right, by how sure it says it is (Guo et al. 2017, arXiv 1706.04599, section 2).

    Parameters
    ----------
    logits : torch.Tensor
        Shape ``(N, classes)``.
    labels : torch.Tensor
        Shape ``(N,)``.
    bins : int
        Of equal width over the confidence, the largest probability.

    Returns
    -------
    list of dict
        For every bin with images: ``low``, ``high``, ``share`` of the images, mean ``confidence`` and ``accuracy``, in
        [0, 1].

    Raises
    ------
    ValueError
        If shapes do not fit, there is no image, or ``bins`` is less than 1.

    Examples
    --------
    >>> logits, labels = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log(), torch.tensor([0, 1])
    >>> [row] = xp.measure.calibration_error.reliability(logits, labels, bins=5)
    >>> row["low"], row["high"], row["share"], round(row["confidence"], 3), row["accuracy"]
    (0.8, 1.0, 1.0, 0.9, 0.5)
    """
    _check(logits, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}.")
    sure, answers = logits.double().softmax(1).max(1)
    right, place = (answers == labels).double(), (sure * bins).ceil().long().clamp(1, bins) - 1
    rows = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            row = {"low": number / bins, "high": (number + 1) / bins, "share": inside.double().mean().item()}
            rows.append(row | {"confidence": sure[inside].mean().item(), "accuracy": right[inside].mean().item()})
    return rows


def expected_calibration_error(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """``sum over bins of share |accuracy - confidence|`` (Guo et al. 2017, eq. 3), in [0, 1].

    Parameters
    ----------
    logits, labels, bins
        As for :func:`reliability`.

    Returns
    -------
    float
        In [0, 1], 0 where a model is as often right as it is sure.

    Examples
    --------
    >>> logits, labels = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log(), torch.tensor([0, 1])
    >>> round(xp.measure.calibration_error.expected_calibration_error(logits, labels), 3)  # 90 % sure, 50 % right
    0.4
    """
    return sum(row["share"] * abs(row["accuracy"] - row["confidence"]) for row in reliability(logits, labels, bins))


def best_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The T for which ``softmax(logits / T)`` makes the labels likeliest (Guo et al. 2017, section 4.2, eq. 9).

    It changes how sure a model is, and none of its answers. Fit it on validation images.

    Parameters
    ----------
    logits, labels
        As for :func:`reliability`.

    Returns
    -------
    float
        Between 0.01 and 100.

    Raises
    ------
    ValueError
        If shapes do not fit or there is no image.

    Examples
    --------
    A model that is 98 % sure and right three times in four:

    >>> logits, labels = torch.tensor([[4.0, 0.0]]).repeat(4, 1), torch.tensor([0, 0, 0, 1])
    >>> temperature = xp.measure.calibration_error.best_temperature(logits, labels)
    >>> round(torch.softmax(logits[0] / temperature, 0)[0].item(), 2)
    0.75
    """
    _check(logits, labels)
    logits = logits.double()

    def loss(log: float) -> float:
        return nn.functional.cross_entropy(logits / math.exp(log), labels).item()

    return math.exp(minimize_scalar(loss, bounds=(math.log(0.01), math.log(100)), method="bounded").x)


class Tempered(nn.Module):
    """A model whose logits are divided by a temperature: as sure as :func:`best_temperature` makes it.

    Parameters
    ----------
    model : nn.Module
    temperature : float
        Positive.

    Raises
    ------
    ValueError
        If the temperature is not positive.

    Examples
    --------
    >>> model = xp.measure.calibration_error.Tempered(nn.Identity(), 2.0)
    >>> model(torch.tensor([[4.0, 2.0]])).tolist()
    [[2.0, 1.0]]
    """

    def __init__(self, model: nn.Module, temperature: float):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature:g}.")
        self.model, self.temperature = model, temperature

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Divide the model's logits by the temperature.

        Parameters
        ----------
        images : torch.Tensor
            What the model takes.

        Returns
        -------
        torch.Tensor
            Logits (N, classes), in the same order of size.
        """
        return self.model(images) / self.temperature


def _check(logits: torch.Tensor, labels: torch.Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits must be (N, classes) and labels (N,), N > 0, got {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
