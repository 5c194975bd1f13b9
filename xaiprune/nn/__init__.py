"""Layers that the techniques know by their class: attention and the vision transformer."""

from .vit import (
    Attention,
    Block,
    DistilledTransformer,
    Position,
    VisionTransformer,
    small_distilled_transformer,
    small_transformer,
)

__all__ = [
    "Attention",
    "Block",
    "DistilledTransformer",
    "Position",
    "VisionTransformer",
    "small_distilled_transformer",
    "small_transformer",
]
