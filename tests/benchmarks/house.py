"""The package as a house: rooms, what is public, docstrings, and what an extension takes. ``--quick`` is the same."""

from __future__ import annotations

import argparse
import re

from tests import house
from tests.benchmarks.report import Figure, main
from tests.whole import test_docstrings, test_extend


def measure(arguments: argparse.Namespace) -> list[Figure]:
    """All figures; nothing is timed."""
    figures = []
    for name, within, rooms, arrows in (
        ("rooms", house.TOP, 24, 80),
        ("rooms inside prune/", "xaiprune.prune", 12, 40),
    ):
        plan = house.plan(within)
        figures.append(Figure(name, rooms, len(plan), "<="))
        figures.append(Figure("  imports between them", arrows, sum(map(len, plan.values())), "<="))
        figures.append(Figure("  circles", 0, len(house.circles(plan)), "<="))
    figures.append(Figure("lines of code", 12_545, house.code_lines(), "<="))
    figures.append(Figure("public by accident", 0, len(house.accidental()), "<="))
    figures.append(Figure("imports of what a room does not export", 0, len(house.unexported()), "<="))
    exported = test_docstrings.exported() | test_docstrings.in_lessons()
    found = [test_docstrings.problems(name, value) for name, value in exported.items()]
    for section, words in (("Parameters", "Parameters|parameters"), ("Returns", "Return")):
        lacking = sum(any(re.search(words, problem) for problem in problems) for problems in found)
        figures.append(Figure(f"of {len(exported)} public names without {section}", 0, lacking, "<="))
    used = test_docstrings.in_lessons().values()
    figures.append(
        Figure("names of lessons without an example", 0, sum(">>>" not in (v.__doc__ or "") for v in used), "<=")
    )
    for page in test_extend.PAGES:
        figures.append(Figure(f"files for a new {page.replace('_', ' ')}", 2, len(test_extend.listed(page)), "<="))
    return figures


if __name__ == "__main__":
    main(measure, __doc__)
