"""Small readable architectures and their shipped checkpoints."""

from ..nn import DistilledTransformer, VisionTransformer, small_distilled_transformer, small_transformer
from . import cartpole, imagenet
from .autoencoder import ConvAutoencoder
from .checkpoints import card, class_names, load_weights, preprocessing, save_card, save_weights
from .convert import from_timm, from_torchvision
from .dense import dense
from .efficientnet import EfficientNetLite, InvertedResidual
from .lenet import lenet_5, lenet_300_100
from .mlp import toy_mlp
from .mobilenet import mobilenet
from .registry import MODELS, PUBLISHED, Recipe, load, train
from .settings import SETTINGS, Setting, setting
from .words import WordLSTM, WordTransformer

__all__ = [
    "imagenet",
    "cartpole",
    *(
        "MODELS",
        "PUBLISHED",
        "SETTINGS",
        "ConvAutoencoder",
        "DistilledTransformer",
        "EfficientNetLite",
        "InvertedResidual",
        "Recipe",
        "Setting",
        "VisionTransformer",
        "WordLSTM",
        "WordTransformer",
        "card",
        "class_names",
        "dense",
        "from_timm",
        "from_torchvision",
        "lenet_5",
        "lenet_300_100",
        "load",
        "load_weights",
        "mobilenet",
        "preprocessing",
    ),
    *("save_card", "save_weights", "setting", "small_distilled_transformer", "small_transformer", "toy_mlp", "train"),
]
