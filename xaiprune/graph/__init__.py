"""What is asked of a network's structure: hooks, folding, types of layers."""

from . import calls, folding, hooks
from .folding import fold_batch_norm, plain_calls, traced
from .hooks import changing, outputs, reading
from .layer_types import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

__all__ = [
    "BATCH_NORMS",
    "CONVOLUTIONS",
    "TRANSPOSED_CONVOLUTIONS",
    "calls",
    "changing",
    "fold_batch_norm",
    "folding",
    "hooks",
    "outputs",
    "plain_calls",
    "reading",
    "traced",
]
