"""What is asked of a network's structure: hooks, folding, types of layers."""

from . import hooks
from .asking import answer, asking, asks, calling
from .folding import fold_batch_norm, plain_calls, traced
from .hooks import changing, outputs, reading, unchanged
from .layer_types import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from .picking import picked

__all__ = [
    "BATCH_NORMS",
    "CONVOLUTIONS",
    "TRANSPOSED_CONVOLUTIONS",
    "answer",
    "asking",
    "asks",
    "calling",
    "changing",
    "fold_batch_norm",
    "hooks",
    "outputs",
    "picked",
    "plain_calls",
    "reading",
    "traced",
    "unchanged",
]
