"""Explorers: sliders over a model, with numbers and a picture that follow.

A new explorer is a module here and a row in ``EXPLORERS`` below; the gallery and the tests run over these rows. The
module has

* a frozen ``View``: what is shown for one setting, with its numbers as ``text``,
* a pure function ``compute``, which makes it,
* a class ``Picture``, a :class:`canvas.Drawing`, whose ``draw`` turns it into a PNG: made once and updated,
* a subclass of :class:`Explorer`, which declares its controls as data (``controls.py``): each range, option and label
  is written there once, and ``set``, its checks and the stored pictures follow from it. ``title`` and ``example`` are
  for the gallery.
"""

from . import (
    calibration,
    canvas,
    coefficients,
    controls,
    curvature,
    evidence,
    heads,
    heatmap,
    noise,
    routes,
    structure,
    temperature,
    threshold,
)
from .calibration import CalibrationExplorer
from .coefficients import CoefficientExplorer
from .curvature import CurvatureExplorer
from .explorer import Explorer
from .gallery import gallery
from .heads import HeadExplorer
from .heatmap import HeatmapExplorer
from .noise import NoiseExplorer
from .routes import RouteExplorer
from .structure import StructureExplorer
from .temperature import TemperatureExplorer
from .threshold import ThresholdExplorer

#: All explorers, in the order of the gallery's menu.
EXPLORERS: tuple[type[Explorer], ...] = (
    ThresholdExplorer,
    NoiseExplorer,
    HeatmapExplorer,
    CurvatureExplorer,
    CoefficientExplorer,
    StructureExplorer,
    HeadExplorer,
    CalibrationExplorer,
    TemperatureExplorer,
    RouteExplorer,
)

__all__ = [
    "threshold",
    "temperature",
    "structure",
    "routes",
    "noise",
    "heatmap",
    "heads",
    "evidence",
    "curvature",
    "controls",
    "coefficients",
    "canvas",
    "calibration",
    "EXPLORERS",
    "Explorer",
    "gallery",
    *(explorer.__name__ for explorer in EXPLORERS),
]
