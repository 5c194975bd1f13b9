"""Memory that was freed stays with the process.

A network asks for tensors of the same sizes again and again. glibc may hand what is freed back to the system at once,
and then every page of the next tensor costs a fault: MobileNet in eager mode, 64 images a batch, took 17 ms where the
memory was kept and 27 where it was not (9,600 faults a pass). Which of them happened was a matter of what had been
freed before, so one process was fast and the next was slow.
"""

from __future__ import annotations

import ctypes

#: What glibc is told, by its environment variables for a process that starts: bytes from which on a piece of memory is
#: the system's own (its largest allowed value), and free bytes from which on memory is handed back.
KEPT = {"MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_TRIM_THRESHOLD_": 1 << 30}
#: The same variables as numbers of glibc's ``mallopt``.
_OPTIONS = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}


def keep_freed() -> bool:
    """Have this process keep what it frees, from now on; False where the system's C library is not glibc.

    Returns
    -------
    bool
        Whether the C library accepted it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows has no such handle, macOS and musl no such function
        return False
    return all(mallopt(_OPTIONS[name], size) == 1 for name, size in KEPT.items())
