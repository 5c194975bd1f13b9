"""Every headline beside its strongest control, from the stored tables; and whether the tables still hold.

``python -m tests.benchmarks.controls`` measures the probes of these tables anew; ``--quick`` reads the tables alone.
"""

from __future__ import annotations

import argparse

from experiments import tables as made
from tests.benchmarks.report import Figure, main
from xaiprune.course import HEADLINES
from xaiprune.experiments import tables
from xaiprune.experiments.controls import VERDICTS

#: The questions that the headlines have to answer, by number.
ITEMS = range(1, 14)


def measured(arguments: argparse.Namespace) -> list[Figure]:
    """The table of headlines, printed; how many of each verdict there are, and which questions have none."""
    verdicts = {name: headline.verdict() for name, headline in HEADLINES.items()}
    print(f"{'':>4} {'headline':<34} {'lead over its strongest control':<62} {'over':<10} verdict")
    for headline in sorted(HEADLINES.values(), key=lambda headline: headline.item):
        verdict, lead = verdicts[headline.name], verdicts[headline.name].strongest
        told = f"{lead.difference:+.3g} [{lead.low:.3g}, {lead.high:.3g}] beside {lead.control}"
        over = f"{verdict.count} {headline.unit}s"
        cost = f", about {verdict.needed} would tell" if verdict.needed else ""
        print(f"{headline.item:>4} {headline.name:<34} {told:<62} {over:<10} {verdict.word}{cost}")
        if headline.quoted:
            print(f"{'':>4} {'':<34} seen before: {headline.quoted}")
    print()
    words = [verdict.word for verdict in verdicts.values()]
    figures = [Figure(f"headlines whose verdict is {word!r}", 0, words.count(word), ">=") for word in VERDICTS[:-1]]
    figures.append(Figure("headlines that are not told", 0, words.count(VERDICTS[-1]), "<="))
    answered = {headline.item for headline in HEADLINES.values()}
    figures.append(Figure("questions without a headline", 0, len(set(ITEMS) - answered), "<="))
    if not arguments.quick:
        names = sorted({headline.table for headline in HEADLINES.values()})
        differences = {name: len(tables.differences(name, made().find(name, "name").probe())) for name in names}
        figures += [Figure(f"table {name}: differences of its probe", 0, differences[name], "<=") for name in names]
    return figures


if __name__ == "__main__":
    main(measured, __doc__.splitlines()[0])
