"""torchvision's ImageNet weights for MobileNetV2, where there is a network."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import MobileNet_V2_Weights, MobileNetV2

#: Where Imagenette's ten classes stand among the thousand of ImageNet, in the order of ``IMAGENETTE_CLASSES``.
IMAGENETTE_ROWS = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)


#: Names of the thousand classes, in the order of the networks' outputs.
CLASSES = tuple(MobileNet_V2_Weights.IMAGENET1K_V2.meta["categories"])


class Standardise(nn.Module):
    """Images in [0, 1] with the mean of each colour taken off, divided by its standard deviation.

    Parameters
    ----------
    mean, std : list of float
        One number for each colour.
    """

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images):
        """Standardise images.

        Parameters
        ----------
        images : torch.Tensor
            Shape ``(N, C, H, W)``, in [0, 1].

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        return (images - self.mean) / self.std


def with_imagenet_body(model: MobileNetV2) -> MobileNetV2:
    """Give a model the ImageNet weights of torchvision, in place, but for the head: a start for training.

    The stem's stride is not among the weights, so that the small stem for colour images takes them too.

    Parameters
    ----------
    model : torchvision.models.MobileNetV2
        For three colours.

    Returns
    -------
    torchvision.models.MobileNetV2
        ``model`` itself.

    Raises
    ------
    ValueError
        If the weights do not fit.
    """
    state = MobileNet_V2_Weights.IMAGENET1K_V2.get_state_dict(progress=False, check_hash=True)
    body = {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}
    missing, unexpected = model.load_state_dict(body, strict=False)
    if unexpected or any(not name.startswith("classifier") for name in missing):
        raise ValueError(f"model is not a MobileNetV2 for three colours: {unexpected or missing} do not fit.")
    return model


def imagenette_mobilenet(pretrained: bool = True) -> MobileNetV2:
    """torchvision's ImageNet model with the ten rows of its head that are Imagenette's classes: no training needed.

    Parameters
    ----------
    pretrained : bool
        Whether to fetch the weights.

    Returns
    -------
    torchvision.models.MobileNetV2
        In evaluation mode; input (N, 3, H, W) in [0, 1].
    """
    weights = MobileNet_V2_Weights.IMAGENET1K_V2
    model = MobileNetV2()
    if pretrained:
        model.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))
    head, rows = model.classifier[1], list(IMAGENETTE_ROWS)
    model.classifier[1] = nn.Linear(head.in_features, len(rows))
    with torch.no_grad():
        model.classifier[1].weight.copy_(head.weight[rows])
        model.classifier[1].bias.copy_(head.bias[rows])
    preset = weights.transforms()
    model.features[0].insert(0, Standardise(preset.mean, preset.std))
    return model.to(memory_format=torch.channels_last).eval()
