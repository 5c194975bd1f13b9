"""What the kit does with architectures of other people: ``python -m tests.benchmarks.coverage``.

Every model of ``architectures.py`` meets every verb of ``verbs.py`` in a process of its own, with a limit of memory and
of time. Rows that are stored are not measured again, unless ``--again`` says so; ``docs/coverage.md`` is made from all
of them. timm and transformers are an extra of their own: ``pip install -e ".[coverage]"``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from tests.benchmarks.report import table

from . import page, rows, worker
from .architectures import Architecture, architectures, missing
from .verbs import FOR_ALL, VERBS

MEMORY = 8 * 2**30
#: What every process needs is imported once, and then forked.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([f"{__package__}.{name}" for name in ("verbs", "worker", "preload")])
#: What ``--quick`` looks at: small ones, of each library and of each kind.
QUICK = (
    "torch/lstm", "torch/gru", "torchvision/squeezenet1_1", "torchvision/mobilenet_v2", "torchvision/resnet18",
    "torchvision/lraspp_mobilenet_v3_large", "torchvision/ssdlite320_mobilenet_v3_large",
    "transformers/bert-SequenceClassification", "transformers/qwen2-CausalLM", "transformers/t5-Seq2SeqLM",
    "transformers/vit-ImageClassification",
)  # fmt: skip


def main() -> None:
    """Measure what is missing, print the figures, write the page; exit status 1 when an asked figure falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few models anew, at most 10 minutes; nothing is stored")
    parser.add_argument("--only", default="", help="models whose name holds this regular expression")
    parser.add_argument("--verbs", nargs="*", choices=list(VERBS), help="by default all")
    parser.add_argument("--again", nargs="*", default=[], metavar="VERDICT",
                        help="measure rows anew with this verdict, by another 'code', or 'all'")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10, help="limit for a process, one model")
    parser.add_argument(
        "--for", dest="seconds", type=float, default=10 * 3600, help="begin no model after these seconds"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing: figures and page from the stored rows")
    arguments = parser.parse_args()
    for package in missing():
        print(f'{package} is not installed, and is left out: pip install -e ".[coverage]"')
    known, found = architectures(), rows.read()
    if arguments.quick:
        found = quick(known)
    elif not arguments.report:
        measure(known, found, arguments)
        found = rows.read()
    if not arguments.quick:
        page.write(found, known)
    figures = page.figures(found)
    print(table(figures))
    sys.exit(0 if all(figure.holds for figure in figures) else 1)


def wanted(architecture: Architecture) -> list[str]:
    """The verbs that a model is asked for."""
    verbs = [] if architecture.library in missing() else VERBS if architecture.every else FOR_ALL
    return [verb for verb in verbs if verb != "torch-pruning" or "torch_pruning" not in missing()]


def measure(known: dict[str, Architecture], stored: list[dict], arguments: argparse.Namespace) -> None:
    """Measure what is missing among the rows, and store it model by model."""
    old = {(row["model"], row["verb"]): row for row in stored}
    end = time.monotonic() + arguments.seconds
    for name, architecture in known.items():
        if not re.search(arguments.only, name):
            continue
        verbs = [v for v in wanted(architecture) if not arguments.verbs or v in arguments.verbs]
        verbs = [v for v in verbs if _is_asked(old.get((name, v)), arguments.again)]
        if verbs and time.monotonic() < end:
            mine = tried(architecture, name, verbs, 60 * arguments.minutes)
            rows.add(row for row in mine if arguments.minutes >= 10 or not row["told"].startswith("not done"))
            print(f"{name}: " + ", ".join(f"{r['verb']} {r['verdict']}" for r in mine), flush=True)


def _is_asked(row: dict | None, again: list[str]) -> bool:
    if row is None or "all" in again or row["verdict"] in again:
        return True
    return "code" in again and row["code"] != rows.code()


def quick(known: dict[str, Architecture]) -> list[dict]:
    """Rows of a few models, measured now, as many as begin within 8 minutes."""
    found, end = [], time.monotonic() + 480
    for name in QUICK:
        if name in known and (left := end - time.monotonic()) > 0:
            found += tried(known[name], name, wanted(known[name]), min(120, left + 60))
            print(f"{name}: {sum(row['model'] == name for row in found)} verbs", flush=True)
    return found


def tried(architecture: Architecture, name: str, verbs: list[str], seconds: float) -> list[dict]:
    """Rows of one model: a process that ends before all verbs are done costs the one that it was at."""
    stamp = {"model": name, "family": architecture.family, "task": architecture.task}
    found, left = [], list(verbs)
    while left:
        done, why = _process(name, left, seconds)
        found += [stamp | row for row in done]
        left = left[len(done) :]
        if left:
            lost = {"verb": left.pop(0), "verdict": "wrong", "told": why, "seconds": None, "memory": None}
            found.append(stamp | lost)
    code = rows.code()
    return [row | {"versions": rows.versions(architecture.library, row["verb"]), "code": code} for row in found]


def _process(name: str, verbs: list[str], seconds: float) -> tuple[list[dict], str]:
    """Rows of a process, and why it ended before its last verb."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        process = SERVER.Process(target=worker.main, args=(name, str(path), *verbs), daemon=True)
        process.start()
        why = _watched(process, seconds)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = [row for row in map(json.loads, lines) if "verdict" in row]
    return done, why or f"the process ended with status {process.exitcode}"


def _watched(process: BaseProcess, seconds: float) -> str:
    """Wait for a process; why it was ended, or nothing."""
    end, watched = time.monotonic() + seconds, psutil.Process(process.pid)
    while process.is_alive():
        process.join(0.2)
        try:
            used = watched.memory_info().rss
        except psutil.Error:
            continue
        if used > MEMORY or time.monotonic() > end:
            process.kill()
            process.join()
            return "more than 8 GiB of memory" if used > MEMORY else f"not done after {seconds / 60:.3g} minutes"
    return ""


if __name__ == "__main__":
    main()
