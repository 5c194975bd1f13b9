"""The headlines of the lessons, each with the controls that decide about it; a module for each lesson."""

from __future__ import annotations

from ...core import Registry
from ...experiments.controls import Headline
from . import (
    curvature,
    distillation,
    dynamic,
    explanations,
    quantization,
    recipes,
    soft,
    structure,
    transformer,
    weights,
)

_LESSONS = (
    *(weights, explanations, curvature, soft, structure, transformer),
    *(quantization, distillation, dynamic, recipes),
)
#: Headlines by their names.
HEADLINES: Registry[Headline] = Registry("a headline", Headline, [row for lesson in _LESSONS for row in lesson._ROWS])

__all__ = ["HEADLINES"]
