"""``python -m xaiprune.zoo train NAME``: train a model of the zoo and write its checkpoint and card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .registry import MODELS, train


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m xaiprune.zoo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train", help="train a model; an interrupted run resumes")
    command.add_argument("name", choices=MODELS)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--epochs", type=int, help="instead of the recipe's")
    command.add_argument("--out", type=Path, help="folder to write to (default: data/checkpoints)")
    arguments = parser.parse_args(argv)
    print(json.dumps(train(arguments.name, arguments.seed, arguments.epochs, arguments.out), indent=2))


if __name__ == "__main__":
    main()
