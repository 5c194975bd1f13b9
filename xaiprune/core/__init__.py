"""Small tools that every room uses: files, rows by name, guards, and state that survives an interruption."""

from .arguments import nearest
from .files import cache_dir, data_dir, packed, save_atomically, sha256

__all__ = [
    "cache_dir",
    "data_dir",
    "nearest",
    "packed",
    "save_atomically",
    "sha256",
]
