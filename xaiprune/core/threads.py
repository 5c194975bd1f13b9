"""Threads that wait for work soon sleep.

OpenMP's threads, which torch computes with, look for work in a loop for some milliseconds before they sleep. Beside
other programs that loop takes the time that the computing thread needs. Asleep at once they have to be woken for every
layer, which on an idle machine costs a network of many small layers more than its layers do. So they look for some
microseconds, about as long as the way from one layer to the next. Measured on two cores: a MobileNet takes 4.3 ms for
an image on idle cores, 5.3 so, and 13.8 with threads that sleep at once; beside several busy programs 3,600, 16 and 12.

OpenMP reads this when torch is loaded. The package sets it when it is imported, and the Makefile before that, unless
the user has; kernels and other processes that are started from there inherit it.
"""

from __future__ import annotations

import os
import sys

#: LLVM's OpenMP, which torch brings on macOS, reads the first; GNU's, on Linux, the second first: turns of the loop.
SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}

_CHOSEN = any(name in os.environ for name in SETTINGS)

#: Whether torch had been loaded before, without a choice: then its threads spin until Python is started anew.
LATE = "torch" in sys.modules and not _CHOSEN

if not _CHOSEN:
    os.environ.update(SETTINGS)
