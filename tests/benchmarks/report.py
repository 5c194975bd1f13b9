"""The one table that every benchmark prints, and its command line."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from xaiprune.core import keep_freed
from xaiprune.course import runner


@dataclass(frozen=True)
class Figure:
    """A measured figure beside the one that was asked for.

    ``sense`` is ">=" or "<=": how the value must stand to ``asked`` and, at best, to ``aim``.
    """

    name: str
    asked: float
    value: float
    sense: str
    unit: str = ""
    aim: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the asked figure is reached."""
        return bool(self.value >= self.asked if self.sense == ">=" else self.value <= self.asked)


def main(measure: Callable[[argparse.Namespace], list[Figure]], description: str) -> None:
    """Run a benchmark from the command line; exit status 1 when an asked figure falls short."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less data, under a minute, for a look")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    keep_freed()
    figures = measure(arguments)
    print(table(figures))
    if arguments.json:
        rows = [asdict(figure) | {"value": float(figure.value), "holds": figure.holds} for figure in figures]
        rows = [{key: None if value in (math.inf, -math.inf) else value for key, value in row.items()} for row in rows]
        packages = ("torch", "torchvision", "torch-pruning", "numpy")
        versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
        content = {"figures": rows, "versions": versions, "threads": torch.get_num_threads()}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    sys.exit(0 if all(figure.holds for figure in figures) else 1)


def percentile_95(follow: Callable, settings: Iterable[tuple]) -> float:
    """95th percentile of the milliseconds that a call takes, over settings: an explorer's ``set``."""
    times = []
    for setting in settings:
        start = time.perf_counter()
        follow(*setting)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.percentile(times, 95))


def lesson_figures(asked: dict[str, float]) -> list[Figure]:
    """Seconds of lessons, by number, each in a kernel of its own."""
    paths = [path for path in runner.lessons() if path.name[:2] in asked]
    return [Figure(f"lesson {p.name[:2]}", asked[p.name[:2]], runner.execute(p).seconds, "<=", "s") for p in paths]


def table(figures: list[Figure]) -> str:
    """The figures as text, one per line."""
    rows = [("figure", "asked", "aimed at", "measured", "unit", "holds")]
    for figure in figures:
        aim = "" if figure.aim is None else f"{figure.sense} {figure.aim:.4g}"
        row = (figure.name, f"{figure.sense} {figure.asked:.4g}", aim, f"{figure.value:.4g}", figure.unit)
        rows.append((*row, "yes" if figure.holds else "NO"))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
