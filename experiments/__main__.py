"""The command line of the stored tables."""

from __future__ import annotations

import argparse
import sys
import time

import torch

from experiments import controls, tables
from experiments.table import Table
from xaiprune import core
from xaiprune.experiments import tables as stored


def main(words: list[str] | None = None) -> int:
    """Run a command; the exit status is 1 where a probe differs."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Make and check the stored tables.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("controls", help="write docs/controls.md from the stored tables")
    commands.add_parser("list", help="the tables, with the seconds that they took and whether their code is the same")
    make = commands.add_parser("make", help="measure a table and write it; an interrupted run goes on")
    probe = commands.add_parser("probe", help="measure probes and show where they differ from the stored ones")
    probe.add_argument("--store", action="store_true", help="keep the measured probe: its setting has changed")
    carry = commands.add_parser("carry", help="keep the rows of a table whose code has changed, if its probe agrees")
    make.add_argument("names", nargs="+", metavar="NAME")
    probe.add_argument("names", nargs="*", metavar="NAME", help="all tables by default")
    carry.add_argument("names", nargs=1, metavar="NAME")
    carry.add_argument("why", metavar="WHY", help="a sentence: what has changed in the code")
    arguments = parser.parse_args(words)
    if arguments.command == "list":
        return _list()
    if arguments.command == "controls":
        print(controls.write())
        return 0
    try:
        chosen = [tables().find(name, "NAME") for name in arguments.names or tables()]
        return sum(_run(arguments, table) for table in chosen) and 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


def _list() -> int:
    for name in tables():
        if name not in stored.names():
            print(f"{name:<26} not made yet: `{tables().find(name, 'name').command}`")
            continue
        made = stored.made(name)
        state = stored.outdated(name) or "up to date"
        print(f"{name:<26} {made['seconds']:>6} s, {len(made['probe']['rows']):>2} rows of probe, {state}")
    return 0


def _run(arguments: argparse.Namespace, table: Table) -> int:
    """One table; how many differences there are."""
    if arguments.command == "make":
        torch.set_num_threads(2)
        core.keep_freed()
        print(table.make())
        return 0
    start = time.perf_counter()
    measured = table.probe()
    print(f"{table.name}: measured in {time.perf_counter() - start:.1f} s")
    if arguments.command == "carry":
        stored.carry(table.name, arguments.why, measured)
        return 0
    if arguments.store:
        stored.store_probe(table.name, measured, table.tolerance)
    differences = stored.differences(table.name, measured)
    print("\n".join(f"  {line}" for line in differences), end="\n" if differences else "")
    return len(differences)


if __name__ == "__main__":
    sys.exit(main())
