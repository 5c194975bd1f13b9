"""Explorers: one module each, with a pure ``compute``, a pure ``draw`` and a thin binding to sliders."""

from .calibration import CalibrationExplorer
from .coefficients import CoefficientExplorer
from .curvature import CurvatureExplorer
from .gallery import GALLERY, gallery
from .heads import HeadExplorer
from .heatmap import HeatmapExplorer
from .noise import NoiseExplorer
from .routes import RouteExplorer
from .structure import StructureExplorer
from .temperature import TemperatureExplorer
from .threshold import ThresholdExplorer

__all__ = [
    *("GALLERY", "CalibrationExplorer", "CoefficientExplorer", "CurvatureExplorer", "HeadExplorer"),
    *("HeatmapExplorer", "NoiseExplorer", "RouteExplorer", "StructureExplorer", "TemperatureExplorer"),
    *("ThresholdExplorer", "gallery"),
]
