"""Dense classifiers of any widths: the students and teachers of the first experiments."""

# In stored tables: dense networks

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def dense(widths: Sequence[int], classes: int = 10, *, dropout: tuple[float, float] = (0.0, 0.0)) -> nn.Sequential:
    """Dense layers with ReLU between them, for images of 28 x 28 pixels.

    Parameters
    ----------
    widths : sequence of int
        Of the hidden layers: ``(300, 100)`` is LeNet-300-100.
    classes : int
    dropout : tuple of float
        Shares of the pixels and of each hidden layer's units that are dropped in training.

    Returns
    -------
    nn.Sequential
        Layers ``fc1``, ``fc2``, ...; input (N, 1, 28, 28), output logits (N, classes).

    Examples
    --------
    >>> model = xp.zoo.dense((300, 100))
    >>> [layer.weight.shape for layer in model if isinstance(layer, nn.Linear)]
    [torch.Size([300, 784]), torch.Size([100, 300]), torch.Size([10, 100])]
    """
    sizes, layers = (784, *widths), OrderedDict(flatten=nn.Flatten())
    if dropout[0]:
        layers["dropout0"] = nn.Dropout(dropout[0])
    for number, (before, after) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{number}"] = nn.Linear(before, after)
        layers[f"relu{number}"] = nn.ReLU()
        if dropout[1]:
            layers[f"dropout{number}"] = nn.Dropout(dropout[1])
    layers[f"fc{len(sizes)}"] = nn.Linear(sizes[-1], classes)
    return nn.Sequential(layers)
