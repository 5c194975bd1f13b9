"""Benchmarks: ``python -m tests.benchmarks.NAME`` prints what was asked for beside what was measured."""
