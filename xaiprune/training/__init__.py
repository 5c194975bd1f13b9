"""Training: one loop, its options, and random changes of the inputs."""

from .augment import (
    AUGMENTATIONS,
    flip_and_shift,
    flip_shift_and_mix,
    random_flip,
    random_mixup,
    random_rotation,
    random_shift,
    rotate_and_shift,
)
from .distributed import distributed_loss
from .fit import architecture, fit, seed_everything
from .losses import classification_loss, reconstruction_loss
from .options import TrainOptions, adam, one_cycle
from .tune import tune

__all__ = [
    "AUGMENTATIONS",
    "TrainOptions",
    "adam",
    "architecture",
    "classification_loss",
    "distributed_loss",
    "fit",
    "flip_and_shift",
    "flip_shift_and_mix",
    "one_cycle",
    "random_flip",
    "random_mixup",
    "random_rotation",
    "random_shift",
    "reconstruction_loss",
    "rotate_and_shift",
    "seed_everything",
    "tune",
]
