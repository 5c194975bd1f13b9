"""Explorers: one module each, with a pure ``compute``, a pure ``draw`` and a thin binding to sliders."""

from .coefficients import CoefficientExplorer

__all__ = ["CoefficientExplorer"]
