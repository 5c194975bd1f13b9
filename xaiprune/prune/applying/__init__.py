"""Masks and cuts: trying a plan, and carrying it out."""

from .apply import cut, difference, held, load_cut, masked, save_cut
from .gates import alike, gated_by, per_image
from .sparse import SparseLinear, break_even, csr_latency, sparse_latency, to_sparse, two_of_four
from .torch_masks import read_masks, write_masks

__all__ = [
    "SparseLinear",
    "alike",
    "break_even",
    "csr_latency",
    "cut",
    "difference",
    "gated_by",
    "held",
    "load_cut",
    "masked",
    "per_image",
    "read_masks",
    "save_cut",
    "sparse_latency",
    "to_sparse",
    "two_of_four",
    "write_masks",
]
