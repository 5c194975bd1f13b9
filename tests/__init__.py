"""Tests of the package, of its lessons and of the project."""

from pathlib import Path

import xaiprune  # before torch: it sets how threads wait

ROOT = Path(__file__).resolve().parents[1]
