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
from .fit import fit
from .loop import Moment, by_loss, iterate
from .losses import TASK_LOSSES, classification_loss, reconstruction_loss, regression_loss, scoring_loss
from .options import TrainOptions, one_cycle
from .tune import tune

__all__ = [
    "AUGMENTATIONS",
    "TASK_LOSSES",
    "Moment",
    "TrainOptions",
    "by_loss",
    "classification_loss",
    "distributed_loss",
    "fit",
    "flip_and_shift",
    "flip_shift_and_mix",
    "iterate",
    "one_cycle",
    "random_flip",
    "random_mixup",
    "random_rotation",
    "random_shift",
    "reconstruction_loss",
    "regression_loss",
    "rotate_and_shift",
    "scoring_loss",
    "tune",
]
