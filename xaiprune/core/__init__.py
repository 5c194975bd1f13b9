"""Small tools that every room uses: files, rows by name, guards, and state that survives an interruption."""

from . import arguments, threads
from .arguments import choice, evaluating, nearest, nonempty, real, share, whole
from .checkpoint import Checkpoint, InPlace, digest, fingerprint
from .files import cache_dir, data_dir, packed, save_atomically, sha256
from .malloc import KEPT, keep_freed
from .registry import Registry
from .seeds import seed_everything
from .threads import LATE

__all__ = [
    "KEPT",
    "LATE",
    "Checkpoint",
    "InPlace",
    "Registry",
    "arguments",
    "cache_dir",
    "choice",
    "data_dir",
    "digest",
    "evaluating",
    "fingerprint",
    "keep_freed",
    "nearest",
    "nonempty",
    "packed",
    "real",
    "save_atomically",
    "seed_everything",
    "sha256",
    "share",
    "threads",
    "whole",
]
