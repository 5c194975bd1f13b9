"""Small readable architectures and their shipped checkpoints."""

from .autoencoder import ConvAutoencoder
from .lenet import lenet_5, lenet_300_100
from .mlp import toy_mlp
from .mobilenet import mobilenet
from .registry import MODELS, Recipe, card, load, train

__all__ = [
    *("MODELS", "ConvAutoencoder", "Recipe", "card", "lenet_5", "lenet_300_100", "load", "mobilenet"),
    *("toy_mlp", "train"),
]
