"""The headlines of the lessons, each with the controls that decide about it; a module for each lesson."""

from __future__ import annotations

from ...core import Registry
from ...experiments.controls import Headline
from . import curvature, distillation, explanations, quantization, structure, transformer, weights

#: Headlines by their names.
HEADLINES: Registry[Headline] = Registry(
    "a headline",
    Headline,
    [
        row
        for part in (weights, explanations, curvature, structure, transformer, quantization, distillation)
        for row in part._ROWS
    ],
)

__all__ = ["HEADLINES"]
