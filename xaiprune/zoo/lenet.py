"""Two classifiers of 28 x 28 images on which most of the pruning literature was written."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet_300_100(classes: int = 10) -> nn.Sequential:
    """LeNet-300-100: three dense layers, 266,610 parameters (LeCun, Bottou, Bengio and Haffner 1998).

    ReLU stands where the original has scaled tanh. Input (N, 1, 28, 28), output logits (N, classes).
    """
    layers = OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(784, 300),
        relu1=nn.ReLU(),
        fc2=nn.Linear(300, 100),
        relu2=nn.ReLU(),
        fc3=nn.Linear(100, classes),
    )
    return nn.Sequential(layers)


def lenet_5(classes: int = 10, channels: tuple[int, int] = (16, 32), hidden: int = 128) -> nn.Sequential:
    """A convolutional net like LeNet-5: two convolutions with pooling, two dense layers.

    The original has channels (6, 16), tanh and trained subsampling; later papers use its name for nets of this shape.
    Input (N, 1, 28, 28), output logits (N, classes).
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
        fc1=nn.Linear(second * 25, hidden),
        relu3=nn.ReLU(),
        fc2=nn.Linear(hidden, classes),
    )
    return nn.Sequential(layers)
