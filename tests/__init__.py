"""Tests of the package, of its lessons and of the project."""

import xaiprune  # before torch: it sets how threads wait
