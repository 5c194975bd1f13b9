"""The network of the toy experiment in Yeom et al. 2021."""

# In stored tables: toy networks

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def toy_mlp(width: int = 1000, classes: int = 2) -> nn.Sequential:
    """Three hidden layers for points of the plane: input (N, 2), output logits (N, classes).

    As in the authors' code, with dropout after the first layer only and no activation function after the third: there
    the third layer's name stands twice in a dictionary, and the second ReLU takes the place of the first.

    Parameters
    ----------
    width, classes : int
        Units of each hidden layer, and outputs.

    Returns
    -------
    nn.Sequential
        Untrained; layers ``hidden1`` to ``hidden3`` and ``output``.

    Examples
    --------
    >>> xp.zoo.toy_mlp(width=20)(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    layers = OrderedDict(
        hidden1=nn.Linear(2, width),
        relu1=nn.ReLU(),
        dropout=nn.Dropout(),
        hidden2=nn.Linear(width, width),
        relu2=nn.ReLU(),
        hidden3=nn.Linear(width, width),
        output=nn.Linear(width, classes),
    )
    return nn.Sequential(layers)
