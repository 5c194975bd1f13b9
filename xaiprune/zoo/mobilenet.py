"""MobileNetV2 as torchvision has it, with a stem for small images."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import MobileNetV2


def mobilenet(classes: int = 10, channels: int = 1, width: float = 1.0) -> MobileNetV2:
    """MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) whose first convolution keeps the resolution.

    torchvision's class and widths; only the stem differs: it takes ``channels`` colours and has stride 1 where the
    original, made for 224 x 224, has 2. The weights lie in memory channels last, which is the faster order on a CPU.

    Parameters
    ----------
    classes : int
    channels : int
        Of the image: 1 for grey, 3 for colours.
    width : float
        Share of the channels that every layer but the last convolution has (section 4, "Trade-off hyper parameters"):
        about its square of the multiply-accumulates.

    Returns
    -------
    torchvision.models.MobileNetV2
        Input (N, channels, H, W), output logits (N, classes).

    Examples
    --------
    >>> model = xp.zoo.mobilenet(width=0.25).eval()
    >>> model(torch.zeros(1, 1, 28, 28)).shape, model.features[0][0].stride
    (torch.Size([1, 10]), (1, 1))
    """
    model = MobileNetV2(num_classes=classes, width_mult=width)
    stem = model.features[0][0]
    model.features[0][0] = nn.Conv2d(channels, stem.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.features[0][0].weight, mode="fan_out")  # as torchvision does for its own
    return model.to(memory_format=torch.channels_last)
