"""Two classifiers of 28 x 28 images on which most of the pruning literature was written."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .dense import dense


def lenet_300_100(classes: int = 10) -> nn.Sequential:
    """LeNet-300-100: three dense layers, 266,610 parameters (LeCun, Bottou, Bengio and Haffner 1998).

    ReLU stands where the original has scaled tanh. Input (N, 1, 28, 28), output logits (N, classes).

    Parameters
    ----------
    classes : int

    Returns
    -------
    nn.Sequential
        Untrained; layers ``fc1`` to ``fc3``.
    """
    return dense((300, 100), classes)


def lenet_5(
    classes: int = 10, channels: tuple[int, int] = (6, 16), hidden: tuple[int, int] = (120, 84)
) -> nn.Sequential:
    """LeNet-5 in its own sizes: two convolutions with pooling, three dense layers, 61,706 parameters.

    After LeCun, Bottou, Bengio and Haffner 1998, with ReLU, maximum pooling and a dense output in place of scaled tanh,
    trained subsampling and radial basis functions. Input (N, 1, 28, 28), output logits (N, classes).

    Parameters
    ----------
    classes : int
    channels, hidden : tuple of int
        Widths of the two convolutions, and of the two dense layers before the last.

    Returns
    -------
    nn.Sequential
        Untrained; layers ``conv1``, ``conv2`` and ``fc1`` to ``fc3``.

    Examples
    --------
    >>> model = xp.zoo.lenet_5()
    >>> model(torch.zeros(2, 1, 28, 28)).shape, sum(weight.numel() for weight in model.parameters())
    (torch.Size([2, 10]), 61706)
    """
    first, second = channels
    layers = OrderedDict(
        conv1=nn.Conv2d(1, first, 5, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),  # 28 -> 14
        conv2=nn.Conv2d(first, second, 5),  # 14 -> 10
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),  # 10 -> 5
        flatten=nn.Flatten(),
        fc1=nn.Linear(second * 25, hidden[0]),
        relu3=nn.ReLU(),
        fc2=nn.Linear(hidden[0], hidden[1]),
        relu4=nn.ReLU(),
        fc3=nn.Linear(hidden[1], classes),
    )
    return nn.Sequential(layers)
