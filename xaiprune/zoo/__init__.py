"""Small readable architectures and their shipped checkpoints."""

from .autoencoder import ConvAutoencoder
from .lenet import lenet_5, lenet_300_100
from .mlp import toy_mlp
from .mobilenet import mobilenet
from .registry import MODELS, Recipe, card, load, train
from .settings import SETTINGS, Setting, setting

__all__ = [
    *(
        "MODELS",
        "SETTINGS",
        "ConvAutoencoder",
        "Recipe",
        "Setting",
        "card",
        "lenet_5",
        "lenet_300_100",
        "load",
        "mobilenet",
    ),
    *("setting", "toy_mlp", "train"),
]
