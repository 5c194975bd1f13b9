"""All explorers on one page, each on a shipped model, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from .. import data, dynamic, experiments, prune, zoo
from ..training import classification_loss, reconstruction_loss
from .calibration import CalibrationExplorer
from .coefficients import CoefficientExplorer
from .curvature import CurvatureExplorer
from .explorer import Explorer
from .heads import HeadExplorer
from .heatmap import HeatmapExplorer
from .noise import NoiseExplorer
from .routes import RouteExplorer
from .structure import StructureExplorer
from .temperature import TemperatureExplorer
from .threshold import ThresholdExplorer

MOBILENET, VIT = "mobilenet-fashion-mnist", "vit-fashion-mnist"


def thresholds() -> Explorer:
    """LeNet-300-100, layer by layer."""
    model, split = zoo.load("lenet-300-100"), data.mnist("validation", 1000)
    scores = prune.score(model, prune.find_weights(model), "l1")
    return ThresholdExplorer(model, split, prune.scan(model, scores, split, progress=False))


def noise() -> Explorer:
    """SmoothGrad on LeNet-5."""
    return NoiseExplorer(zoo.load("lenet-5"), data.mnist("validation", 8))


def heatmaps() -> Explorer:
    """Methods of explanation on LeNet-5."""
    return HeatmapExplorer(zoo.load("lenet-5"), data.mnist("validation", 8))


def curvature() -> Explorer:
    """Two weights of LeNet-300-100's last layer."""
    model, split = zoo.load("lenet-300-100"), data.mnist("calibration", 500)
    diagonal = prune.curvature.fisher_diagonal(model, split, classification_loss, names=["fc3.weight"])
    return CurvatureExplorer(model, split, diagonal, "fc3.weight")


def coefficients() -> Explorer:
    """The autoencoder's groups."""
    model, calibration = zoo.load("mnist-autoencoder"), data.mnist("calibration", 300)
    units = prune.find_units(model, calibration.images[:1])
    scores = prune.score(model, units, "fisher", calibration, loss=reconstruction_loss)
    methods = ("grid", "descend", "relax", "uniform")
    frontier = [row for row in experiments.read("soft") if row["method"] in methods]
    return CoefficientExplorer(model, scores, data.mnist("validation", 500).images, frontier)


def structure() -> Explorer:
    """Channels of a MobileNet."""
    return StructureExplorer(
        zoo.load(MOBILENET), data.fashion_mnist("calibration", 300), data.fashion_mnist("validation", 100)
    )


def heads() -> Explorer:
    """Heads of a vision transformer."""
    images = (data.fashion_mnist(name, count) for name, count in (("calibration", 300), ("validation", 200)))
    return HeadExplorer(zoo.load(VIT), *images, classes=data.FASHION_MNIST_CLASSES)


def calibration() -> Explorer:
    """Ranges of a MobileNet's layers."""
    images = data.fashion_mnist("calibration", 256).images
    return CalibrationExplorer(zoo.load(MOBILENET), images, data.fashion_mnist("validation", 100))


def temperature() -> Explorer:
    """A teacher and another network."""
    models = (zoo.load(name) for name in ("mnist-1200-1200", "lenet-300-100"))
    return TemperatureExplorer(*models, data.mnist("validation", 30), data.MNIST_CLASSES)


def routes() -> Explorer:
    """A MobileNet with an early branch."""
    model, train = zoo.load(MOBILENET), data.fashion_mnist("train", 5000)
    trunk, tail = dynamic.split_at(model, "features.4")
    branch = dynamic.fit_branch(trunk, train, classes=len(data.FASHION_MNIST_CLASSES), epochs=4, progress=False)
    every = tuple(range(len(data.FASHION_MNIST_CLASSES)))
    whole = dynamic.Dynamic(trunk, branch, [tail], [every], 1.0)
    return RouteExplorer(whole, model, data.fashion_mnist("validation", 1000))


#: What the page offers, by title.
GALLERY: dict[str, Callable[[], Explorer]] = {
    "Thresholds: small weights thrown away": thresholds,
    "Noise: gradients, smoothed": noise,
    "Heatmaps: rules of relevance and other methods": heatmaps,
    "Curvature: two weights and the loss": curvature,
    "Coefficients: how much each group gives": coefficients,
    "Structure: channels of a MobileNet": structure,
    "Heads: of a vision transformer": heads,
    "Calibration: where to cut a range": calibration,
    "Temperature: what a teacher says": temperature,
    "Routes: which images may leave early": routes,
}


def gallery() -> widgets.VBox:
    """A menu of explorers; the one that is chosen is made then, which may take some seconds, and kept."""
    choice = widgets.Dropdown(options=["choose an explorer", *GALLERY], layout=widgets.Layout(width="28rem"))
    place, made = widgets.VBox(), {}

    def show(change) -> None:
        if choice.value not in GALLERY:
            place.children = ()
            return
        if choice.value not in made:
            place.children = (widgets.HTML("<i>one moment</i>"),)
            made[choice.value] = GALLERY[choice.value]()
        place.children = (made[choice.value].box,)

    choice.observe(show, "value")
    return widgets.VBox([choice, place])
