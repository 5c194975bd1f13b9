"""Small readable architectures and their shipped checkpoints."""

from .autoencoder import ConvAutoencoder
from .convert import from_timm, from_torchvision
from .dense import dense
from .lenet import lenet_5, lenet_300_100
from .mlp import toy_mlp
from .mobilenet import mobilenet
from .registry import MODELS, Recipe, card, load, train
from .settings import SETTINGS, Setting, setting
from .vit import VisionTransformer, small_transformer

__all__ = [
    *(
        "MODELS",
        "SETTINGS",
        "ConvAutoencoder",
        "Recipe",
        "Setting",
        "VisionTransformer",
        "card",
        "dense",
        "from_timm",
        "from_torchvision",
        "lenet_5",
        "lenet_300_100",
        "load",
        "mobilenet",
    ),
    *("setting", "small_transformer", "toy_mlp", "train"),
]
