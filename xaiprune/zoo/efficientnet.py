"""EfficientNet-Lite0, laid out so that every layer can be named, pruned, equalized and explained."""

# In stored tables: EfficientNet-Lite

from __future__ import annotations

import re
from collections import OrderedDict

import torch
from torch import nn

#: The seven stages: how often a block is repeated, its kernel, its first stride, its expansion, its channels.
_STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
#: Channels of the stem and of the head.
_STEM, _HEAD = 32, 1280
#: What the published checkpoint calls each part, and what it is called here, in the order in which they are replaced.
_PUBLISHED_NAMES = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "head.conv."),
    (r"^_bn1\.", "head.norm."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\.", r"blocks.\1.\2.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)


def _layers(
    channels: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, clamp: bool = True
) -> nn.Sequential:
    """Convolution, normalisation and, where it is clamped, a ReLU6 of its own.

    TensorFlow's "same" padding of an even side at stride 2 is one more behind than before, so that it is a layer.
    """
    before = (kernel - stride) // 2
    layers = OrderedDict()
    if stride == 2:
        layers["pad"] = nn.ZeroPad2d((before, kernel - 2 - before) * 2)
    padding = 0 if stride == 2 else before
    layers["conv"] = nn.Conv2d(channels, outputs, kernel, stride, padding, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
    if clamp:
        layers["clamp"] = nn.ReLU6()
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; the input is added where the shapes agree.

    Parameters
    ----------
    channels, outputs : int
    kernel, stride : int
        Of the depthwise convolution.
    expansion : int
        Channels inside for each channel of the input; 1 leaves the first convolution out.
    """

    def __init__(self, channels: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inside = channels * expansion
        self.expand = nn.Identity() if expansion == 1 else _layers(channels, inside)
        self.depthwise = _layers(inside, inside, kernel, stride, groups=inside)
        self.project = _layers(inside, outputs, clamp=False)
        self.adds = stride == 1 and channels == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block.

        Parameters
        ----------
        x : torch.Tensor
            Shape (N, channels, H, W), with even H and W at stride 2.

        Returns
        -------
        torch.Tensor
            Shape (N, outputs, H / stride, W / stride).
        """
        found = self.project(self.depthwise(self.expand(x)))
        return x + found if self.adds else found


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0: inverted residuals without squeeze-and-excitation, ReLU6 throughout, 4,652,008 parameters.

    EfficientNet (Tan and Le 2019, arXiv 1905.11946, table 1) as Google changed it for small devices in 2020. Every
    place has a ReLU6 of its own. Tensors are also taken under the names that the published checkpoint has for them. Of
    what the original drops in training only the units before the classifier are here. Weights lie in memory channels
    last, which is the faster order on a CPU.

    Parameters
    ----------
    classes : int
    dropout : float
        Share of the head's units that are dropped in training.

    Examples
    --------
    >>> model = xp.zoo.EfficientNetLite().eval()
    >>> model(torch.zeros(1, 3, 64, 64)).shape, sum(weight.numel() for weight in model.parameters())
    (torch.Size([1, 1000]), 4652008)
    """

    def __init__(self, classes: int = 1000, dropout: float = 0.2):
        super().__init__()
        self.stem = _layers(3, _STEM, 3, 2)
        blocks, channels = [], _STEM
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for number in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, 1 if number else stride, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = _layers(channels, _HEAD)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(_HEAD, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify images.

        Parameters
        ----------
        images : torch.Tensor
            Shape (N, 3, H, W), made of pixels by ``xp.zoo.preprocessing("efficientnet-lite0")``; H and W are multiples
            of 32, since the padding is that of even sides. It was trained at 224 x 224.

        Returns
        -------
        torch.Tensor
            Logits (N, classes).
        """
        found = self.head(self.blocks(self.stem(images)))
        return self.classifier(self.dropout(self.flatten(self.pool(found))))

    def _load_from_state_dict(self, state_dict, prefix, *others):
        for name in [name for name in state_dict if name.startswith(f"{prefix}_")]:
            state_dict[prefix + _own_name(name.removeprefix(prefix))] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *others)


def _own_name(name: str) -> str:
    for theirs, ours in _PUBLISHED_NAMES:
        name = re.sub(theirs, ours, name)
    return name
