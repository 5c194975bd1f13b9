"""Files of the kit: where they lie, what they hold, and writing them whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def data_dir() -> Path:
    """Folder with the data and the checkpoints: ``$XAIPRUNE_DATA``, or ``data/`` of the checkout.

    Returns
    -------
    Path
        The folder; whether it is there is not looked at.

    Examples
    --------
    >>> (xp.core.data_dir() / "MNIST").is_dir()
    True
    """
    return Path(os.environ.get("XAIPRUNE_DATA") or Path(__file__).resolve().parents[2] / "data")


def cache_dir() -> Path:
    """Folder for what can be made again: ``$XAIPRUNE_CACHE``, or ``xaiprune`` in the user's cache.

    Returns
    -------
    Path
        The folder. It is made when something is first written into it.
    """
    if path := os.environ.get("XAIPRUNE_CACHE"):
        return Path(path)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xaiprune"


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits.

    Parameters
    ----------
    path : Path
        An existing file of any size.

    Returns
    -------
    str

    Examples
    --------
    >>> import pathlib
    >>> pathlib.Path("empty.bin").write_bytes(b"")
    0
    >>> xp.core.sha256("empty.bin")[:12]
    'e3b0c44298fc'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def packed(tensor: torch.Tensor) -> torch.Tensor:
    """A copy whose values lie in memory in the order of its axes, as a file of tensors wants them.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape and strides.

    Returns
    -------
    torch.Tensor
        The same values, contiguous.

    Examples
    --------
    >>> xp.core.packed(torch.zeros(2, 3).T).stride()
    (2, 1)
    """
    import torch

    return tensor.clone(memory_format=torch.contiguous_format)


def save_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary_path)`` and move the result to ``path``: never a half-written file.

    Parameters
    ----------
    path : Path
        Where the file goes. Its folder is made if need be, and an older file is replaced.
    write : callable
        Writes the whole file to the path that it is given. If it raises, ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(6)}-{path.name}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
