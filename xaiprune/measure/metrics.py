"""What a model is good at, as one number. Every metric is a function ``(model, split) -> float``."""

# In stored tables: metrics

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..core import Registry
from ..data import Several, Split, as_split, check_images, judges
from ..graph import asking, asks, unchanged
from .answers import IGNORED, answer_rows, as_numbers, cross_entropy


@dataclass(frozen=True)
class Metric:
    """A named metric and the direction that is better.

    Attributes
    ----------
    name : str
        As printed, with its unit in brackets if it has one.
    function : callable
        ``(model, split) -> float``.
    better : {1, -1}
        1 where more is better, -1 where less is.
    smooth : callable, optional
        ``(model, split) -> scalar tensor``: what gradients flow through in its place, with the same direction.
        ``model`` may be any function of the inputs.
    error : callable, optional
        ``value -> float``: what of it adds up where several parts of a model are changed, such as the squared error
        behind decibels; default the value itself, less being better.

    Examples
    --------
    >>> xp.measure.PSNR.unit, xp.measure.PSNR.told(25)
    ('dB', '25.00 dB')
    """

    name: str
    function: Callable[[nn.Module, Split], float]
    better: int = 1
    smooth: Callable[[Callable, Split], torch.Tensor] | None = None
    error: Callable[[float], float] | None = None

    @judges("split")
    @asks("model")
    def __call__(self, model: nn.Module, split: Split) -> float:
        split = as_split(split, name="split")
        return self.function(model, split)

    @property
    def unit(self) -> str:
        """What stands in brackets in the name, or nothing."""
        return self.name.partition("[")[2].rstrip("]")

    def told(self, value: float) -> str:
        """A value in words.

        Parameters
        ----------
        value : float

        Returns
        -------
        str
            With the unit, or with the whole name where there is none.
        """
        return f"{value:.2f} {self.unit or self.name}"

    def error_of(self, value: float) -> float:
        """A value as an error that adds up over the parts of a model.

        Parameters
        ----------
        value : float

        Returns
        -------
        float
            Less is better.
        """
        return -self.better * value if self.error is None else self.error(value)


def predict(
    model: nn.Module,
    inputs: torch.Tensor | Several,
    batch_size: int = 500,
    *,
    output: str | int | Callable | None = None,
) -> torch.Tensor:
    """Outputs for all ``inputs`` (N, ...), in evaluation mode and without gradients; the mode is restored.

    Batches go to the device of the model's parameters, outputs come back to that of the inputs.

    Parameters
    ----------
    model : nn.Module
    inputs : torch.Tensor or Several
        Shape (N, ...).
    batch_size : int
        How many go through the model at once.
    output : str, int or callable, optional
        Of a model that gives a tuple, dictionary or dataclass: the key, index or field of the tensor that is meant, or
        a function that picks it.

    Returns
    -------
    torch.Tensor
        Shape (N, ...), on the device of the inputs.

    Raises
    ------
    ValueError
        If the output is no tensor and ``output`` does not say which part is meant.

    Examples
    --------
    >>> xp.measure.predict(nn.Softmax(dim=1), torch.zeros(3, 2)).tolist()
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    """
    device = next((parameter.device for parameter in model.parameters()), inputs.device)
    with unchanged(model, evaluate=True), asking(model, output, changes=True), torch.no_grad():
        return torch.cat([model(batch.to(device)).to(inputs.device) for batch in inputs.split(batch_size)])


def psnr_from_mse(mse: float, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(peak^2 / mse)``; infinite for an error of zero.

    Parameters
    ----------
    mse : float
        Mean squared error, in the square of the pixels' unit.
    peak : float
        Largest value that a pixel can have.

    Returns
    -------
    float
        In dB.

    Examples
    --------
    >>> round(xp.measure.metrics.psnr_from_mse(0.01), 2)
    20.0
    """
    return 10 * math.log10(peak**2 / mse) if mse > 0 else math.inf


@judges("split")
@asks("model")
def psnr(model: nn.Module, split: Split) -> float:
    """PSNR of an autoencoder's reconstructions in dB, from the squared error pooled over all images.

    The mean of the images' own PSNR is another, larger number (Jensen's inequality); the pooled one is what
    training on the squared error maximises.

    Parameters
    ----------
    model : nn.Module
    split : Split, or data of another form
        Images in [0, 1]; labels are not read.
    output : str, int or callable, optional
        As for :func:`predict`.
    in_sample : bool
        As for :func:`accuracy`.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        For images that are empty or not in [0, 1], and a model whose output has another shape than its input.

    Examples
    --------
    >>> split = xp.data.Split(torch.full((2, 1, 4, 4), 0.2), torch.zeros(2))
    >>> black = nn.Threshold(1, 0)  # gives 0 for all that is not above 1
    >>> round(xp.measure.psnr(black, split), 2)  # 10 log10(1 / 0.2**2)
    13.98
    """
    split = as_split(split, name="split")
    images = check_images(split.inputs)
    found = predict(model, images)
    if found.shape != images.shape:
        raise ValueError(f"the model must reproduce its input: {tuple(images.shape)} became {tuple(found.shape)}.")
    return psnr_from_mse(found.sub_(images).double().square().mean().item())


@judges("split")
@asks("model")
def accuracy(model: nn.Module, split: Split, *, class_axis: int | None = None) -> float:
    """Share of images whose largest output is the label's, in per cent; of maps and sequences, of places and steps.

    Parameters
    ----------
    model : nn.Module
        With outputs of shape (N, classes), or of another one that :func:`answer_rows` knows.
    split : Split
        Labels of shape (N,), or with one for each place; those of -100 do not count.
    class_axis : int, optional
        As for :func:`answer_rows`.
    output : str, int or callable, optional
        As for :func:`predict`.
    in_sample : bool
        Whether images may be among those that the model was chosen on: by scores, plans, ranges, thresholds, the epoch
        that was kept. Otherwise they raise. See ``xp.data.chosen_on``.

    Returns
    -------
    float
        In [0, 100].

    Raises
    ------
    ValueError
        If images took part in choosing the model and ``in_sample`` is False; if labels are missing or cannot be meant.

    Examples
    --------
    >>> points = xp.data.Split(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    >>> xp.measure.accuracy(nn.Identity(), points)  # the largest of each row is its own place: three are right
    75.0
    """
    split = as_split(split, name="split")
    if split.targets is None:
        raise ValueError("split has no targets: accuracy needs the class of each input.")
    rows = answer_rows(predict(model, split.inputs), split.targets, class_axis=class_axis)
    right = (rows.logits.argmax(1) == rows.labels)[rows.labels != IGNORED]
    if not len(right):
        raise ValueError(f"split has no targets that count: all are {IGNORED}.")
    return 100 * right.double().mean().item()


@judges("split")
@asks("model")
def mean_squared_error(model: nn.Module, split: Split) -> float:
    """Mean squared difference of a model's outputs and the targets, for numbers that are to be predicted.

    Parameters
    ----------
    model : nn.Module
    split : Split, or data of another form
        Targets in the shape of the outputs; of one number each, (N,) and (N, 1) are the same.
    output : str, int or callable, optional
        As for :func:`predict`.
    in_sample : bool
        As for :func:`accuracy`.

    Returns
    -------
    float
        In the square of the targets' unit.

    Raises
    ------
    ValueError
        If targets are missing or of another shape.

    Examples
    --------
    >>> points = xp.data.Split(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    >>> xp.measure.mean_squared_error(nn.Identity(), points)
    2.0
    """
    split = as_split(split, name="split")
    found, wanted = as_numbers(predict(model, split.inputs), split.targets)
    return (found.double() - wanted.double()).square().mean().item()


def _smooth_psnr(model: Callable, split: Split) -> torch.Tensor:
    return -10 * torch.log10((model(split.inputs) - split.inputs).square().mean())


def _log_likelihood(model: Callable, split: Split) -> torch.Tensor:
    return -cross_entropy(answer_rows(model(split.inputs), split.targets))


def _negative_error(model: Callable, split: Split) -> torch.Tensor:
    return -nn.functional.mse_loss(*as_numbers(model(split.inputs), split.targets))


PSNR = Metric("PSNR [dB]", psnr, smooth=_smooth_psnr, error=lambda value: 10 ** (-value / 10))
ACCURACY = Metric("accuracy [%]", accuracy, smooth=_log_likelihood)
#: Of regression.
MSE = Metric("mean squared error", mean_squared_error, better=-1, smooth=_negative_error)

#: What a model is good at, by name; one of your own goes wherever a name goes.
METRICS: Registry[Metric] = Registry(
    "a metric", Metric, [("accuracy", ACCURACY), ("psnr", PSNR), ("mean squared error", MSE)]
)
