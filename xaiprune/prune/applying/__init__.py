"""Masks and cuts: trying a plan, and carrying it out."""

from .apply import cut, cut_error, keep_zeros, load_cut, masked, save_cut
from .gates import alike, gated_by, per_image
from .proof import Proof, Trial, prove
from .sparse import SparseLinear, break_even, csr_latency, semi_structured_support, sparse_latency, to_sparse
from .torch_masks import read_masks, write_masks
from .trials import called, evaluating

__all__ = [
    "Proof",
    "SparseLinear",
    "Trial",
    "alike",
    "break_even",
    "called",
    "csr_latency",
    "cut",
    "cut_error",
    "evaluating",
    "gated_by",
    "keep_zeros",
    "load_cut",
    "masked",
    "per_image",
    "prove",
    "read_masks",
    "save_cut",
    "semi_structured_support",
    "sparse_latency",
    "to_sparse",
    "write_masks",
]
