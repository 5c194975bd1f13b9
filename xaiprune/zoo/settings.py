"""Settings: data and trained weights that belong together, switched by one argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .. import data
from ..core import Registry
from .imagenet import imagenette_mobilenet
from .mobilenet import mobilenet
from .registry import load


@dataclass(frozen=True)
class Setting:
    """What a lesson on MobileNet works with.

    Attributes
    ----------
    name : str
    dataset : callable
        ``(split, limit=None) -> Split``.
    classes : tuple of str
    build, model : callable
        Return the untrained and the trained model.
    """

    name: str
    dataset: Callable[..., data.Split]
    classes: tuple[str, ...]
    build: Callable[[], nn.Module]
    model: Callable[[], nn.Module]


SETTINGS: Registry[Setting] = Registry(
    "a setting",
    Setting,
    (
        Setting(
            "fashion-mnist",
            data.fashion_mnist,
            data.FASHION_MNIST_CLASSES,
            mobilenet,
            lambda: load("mobilenet-fashion-mnist"),
        ),
        Setting(
            "cifar10",
            data.cifar10,
            data.CIFAR10_CLASSES,
            lambda: mobilenet(channels=3),
            lambda: load("mobilenet-cifar10"),
        ),
        Setting(
            "imagenette",
            data.imagenette,
            data.IMAGENETTE_CLASSES,
            lambda: imagenette_mobilenet(pretrained=False),
            imagenette_mobilenet,
        ),
    ),
)


def setting(name: str | Setting) -> Setting:
    """Data and trained weights that belong together.

    Parameters
    ----------
    name : str or Setting
        One of your own, or a key of ``SETTINGS``: ``fashion-mnist`` ships with the course; ``imagenette`` fetches
        images and weights; ``cifar10`` fetches images and needs ``python -m xaiprune.zoo train mobilenet-cifar10``
        once, which starts from torchvision's ImageNet weights.

    Returns
    -------
    Setting

    Raises
    ------
    ValueError, TypeError
        For an unknown name, and for what is neither a name nor a setting.

    Examples
    --------
    >>> fashion = xp.zoo.setting("fashion-mnist")
    >>> fashion.classes[:2], type(fashion.build()).__name__
    (('T-shirt/top', 'Trouser'), 'MobileNetV2')
    """
    return SETTINGS.find(name, "name")
