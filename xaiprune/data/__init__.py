"""Images, words, printed digits and photographs: verified, split once, and handed over by one door."""

from . import cutouts, downloads, samples, words
from .choice import Choice, carries, choosing, chosen_on, judged, judges, mark, marked
from .composing import OBJECT_SPLITS, Scenes, objects, scenes, two_objects
from .composites import Composites
from .cutouts import Cutout
from .door import Batches, as_split, batches, device_of, ids_of, to_device
from .downloads import CIFAR10_CLASSES, IMAGENETTE_CLASSES, cifar10, imagenette
from .grounds import GROUNDS, Ground
from .preprocessing import Preprocessing
from .several import Several, as_inputs, differentiable
from .split import Split
from .splits import (
    FASHION_MNIST_CLASSES,
    FILES,
    MNIST_CLASSES,
    SPLIT_SIZES,
    SPLITS,
    check_images,
    fashion_mnist,
    mnist,
    mnist_whole,
)
from .words import LANGUAGES, LETTERS, PLACES

__all__ = [
    "CIFAR10_CLASSES",
    "FASHION_MNIST_CLASSES",
    "FILES",
    "GROUNDS",
    "IMAGENETTE_CLASSES",
    "LANGUAGES",
    "LETTERS",
    "MNIST_CLASSES",
    "OBJECT_SPLITS",
    "PLACES",
    "SPLITS",
    "SPLIT_SIZES",
    "Batches",
    "Choice",
    "Composites",
    "Cutout",
    "Ground",
    "Preprocessing",
    "Scenes",
    "Several",
    "Split",
    "as_inputs",
    "as_split",
    "batches",
    "carries",
    "check_images",
    "choosing",
    "chosen_on",
    "cifar10",
    "cutouts",
    "device_of",
    "differentiable",
    "downloads",
    "fashion_mnist",
    "ids_of",
    "imagenette",
    "judged",
    "judges",
    "mark",
    "marked",
    "mnist",
    "mnist_whole",
    "objects",
    "samples",
    "scenes",
    "to_device",
    "two_objects",
    "words",
]
