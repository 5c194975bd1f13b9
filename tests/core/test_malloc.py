"""Freed memory stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from xaiprune.core import malloc

PASSES = """
import resource, sys
import torch
from xaiprune.core import keep_freed

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def passes(count):
    for _ in range(count):
        layers = [torch.empty(4_000_000).fill_(1.0) for _ in range(3)]  # 16 MB each
        del layers

for keeps in (False, True):
    kept = keep_freed() if keeps else False
    passes(50)  # until the heap has found its size
    before = faults()
    passes(10)
    print(kept, (faults() - before) // 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_pages_are_asked_for_once():
    # Left to itself, glibc moves its bound with what was freed before, and how much it hands back differs from start to
    # start. A bound that is set stays, here at its default. How many pages a fault brings is the system's choice.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    run = subprocess.run([sys.executable, "-c", PASSES], env=environment, capture_output=True, text=True, check=True)
    found = run.stdout.split()
    assert found[::2] == ["False", "True"]
    before, after = map(int, found[1::2])
    assert after < 100
    assert before > 10 * (after + 1)


def test_where_there_is_no_such_function_it_says_so(monkeypatch):
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: object())
    assert malloc.keep_freed() is False
