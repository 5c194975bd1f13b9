"""Distillation: a student learns from what a teacher answers, what its layers give, and where it looks."""

from .hidden import draw_patches, hide
from .loop import Transfer, distill, transfer
from .losses import (
    LOSSES,
    Loss,
    attention,
    correlation,
    decoupled,
    find_loss,
    hard_targets,
    hints,
    relevance,
    size_against_limit,
    soft_targets,
)
from .objective import Objective, distillation_loss, freeze
from .seen import ModelOutputs, model_outputs

__all__ = [
    *("LOSSES", "Loss", "Objective", "ModelOutputs", "Transfer", "attention", "correlation", "decoupled", "distill"),
    *("draw_patches", "find_loss", "hide"),
    *("freeze", "hard_targets", "hints", "model_outputs", "relevance", "size_against_limit", "soft_targets"),
    *("distillation_loss", "transfer"),
]
