"""Small readable architectures and their shipped checkpoints."""

from .autoencoder import ConvAutoencoder
from .registry import MODELS, Recipe, card, load, train

__all__ = ["MODELS", "ConvAutoencoder", "Recipe", "card", "load", "train"]
