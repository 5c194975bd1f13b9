"""Threads that wait for work sleep.

OpenMP's threads, which torch computes with, look for work in a loop for a while before they sleep. Beside other
programs that loop takes the time that a computing thread needs, and every lesson crawls; on an idle machine it makes no
difference. OpenMP reads how to wait when torch is loaded: so the package says it when it is imported, and the Makefile
before that, unless the user has. Kernels and other processes that are started from there inherit it.
"""

from __future__ import annotations

import os
import sys

#: Read by GNU's OpenMP, which torch brings on Linux, and by LLVM's, which it brings on macOS.
POLICY = "OMP_WAIT_POLICY"

#: Whether torch had been loaded before, without it: then its threads spin until Python is started anew.
LATE = "torch" in sys.modules and POLICY not in os.environ

os.environ.setdefault(POLICY, "PASSIVE")
