"""The page of what works, and the figures, both from the stored rows."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable

from tests.benchmarks.report import Figure
from xaiprune.core import save_atomically

from . import rows
from .verbs import VERBS

PAGE = rows.PATH.parents[3] / "docs" / "coverage.md"
_MARKS = {"right": "right", "refused": "refused", "wrong": "**wrong**", "not applicable": "n/a"}


def figures(found: list[dict]) -> list[Figure]:
    """What issue and benchmark ask for, of the rows that there are."""
    ours = [row for row in found if row["verb"] != "torch-pruning" and row["verdict"] != "not applicable"]
    cuts = _of(ours, "cut", "torchvision/")
    classifiers = [row for row in cuts if row["task"] == "classes"]
    everyone = _of(ours, "cut")
    found_whole = {row["model"] for row in _of(ours, "find_units") if row["verdict"] == "right"}
    whole = [row["verdict"] == "right" and row["model"] in found_whole for row in everyone]
    asked = [
        Figure(
            f"{len(classifiers)} of torchvision's classifiers: cut equals mask, %",
            96,
            _share(classifiers),
            ">=",
            aim=100,
        ),
        Figure(f"{len(everyone)} models: cut equals mask, %", 90, _share(everyone), ">=", aim=97),
        Figure("  and no layer had to be left out, %", 90, 100 * sum(whole) / max(1, len(whole)), ">=", aim=97),
        Figure("all models and verbs: right, %", 90, _share(ours), ">=", aim=97),
        Figure("  right, or refused with cause and way out, %", 100, _share(ours, "right", "refused"), ">="),
    ]
    proven = {row["model"] for row in _of(found, "cut") if row["verdict"] == "right"}
    units = [row for row in _of(found, "find_units") if row["model"] in proven]
    if units:
        shares = [100 * row["share"] for row in units if row["share"] is not None]
        over = max(row["find_seconds"] - 5 * row["pass_seconds"] for row in units)
        asked += [
            Figure("share of the trunk in groups, median, %", 95, statistics.median(shares), ">=", aim=100),
            Figure("  least", 80, min(shares), ">=", aim=100),
            Figure("find_units: seconds above 5 passes, worst", 2, over, "<=", "s"),
            Figure("  worst model", 60, max(row["find_seconds"] for row in units), "<=", "s"),
        ]
    books = [row["error"] for row in _of(found, "relevance") if row["verdict"] == "right"]
    if books:
        asked.append(Figure("relevance where it answers: worst error of the books", 1e-3, max(books), "<="))
    return asked


def _of(found: Iterable[dict], verb: str, start: str = "") -> list[dict]:
    return [row for row in found if row["verb"] == verb and row["model"].startswith(start)]


def _share(found: list[dict], *verdicts: str) -> float:
    good = sum(row["verdict"] in (verdicts or ("right",)) for row in found)
    return 100 * good / len(found) if found else float("nan")


_HEAD = """# What works on models of other people

This page is made by `python -m tests.benchmarks.coverage` from its stored rows; nothing in it is written by hand. Each
model was built with random weights, in the smallest configuration of its family and at the smallest picture that it
takes, and met each verb in a process of its own, with 8 GiB and 10 minutes.

- **right**: the benchmark checked the result itself. A cut is right where it equals its mask, to 1e-9 of the largest
  output in float64 and 1e-4 in float32, for two random draws from all groups at once, on weights that were drawn anew:
  zeros and symmetries of an initialisation hide nothing. Integer kernels are right where they are at most twice as far
  from the simulation as that is from the model, and 2 % of the output. Books of relevance are right to 1e-3.
- **refused**: the kit says in a sentence what stands in the way, and the way out. The sentences stand below the tables.
  Where find_units names layers to leave out, they are left out, and the verbs behind it go on with what is found then.
- **wrong**: anything else: another result, an error from inside, a sentence without a way out, no end.
- **n/a**: calibration and integer kernels for detectors, folding without a batch normalisation, equalization where no
  two layers can be paired.

torch-pruning was asked the same on the same models: is the cut the mask? Its groups were found and cut by its
own pruner, without hints but the layers that make the output. With hints for a family, such as the number of heads, it
can do more; and its own list counts a model as pruned if the smaller one runs. n/a stands where it cuts a layer that
the benchmark has no mask for.

*Share in groups* is the part of what convolutions, linear layers, embeddings and memories produce, but for those that
make the output. *find_units, passes* is its time over one pass forward and backward, of two inputs, both taken on a
machine that has other work: the ratio of large models means something, single seconds do not. *memory* is the largest
of the process, with the imports of all libraries, about 600 MiB.

Models whose output is no tensor stand in a wrapper that picks one; detectors are asked for what their heads say, before
boxes are decoded.
"""


def write(found: list[dict], known: dict) -> None:
    """Write ``docs/coverage.md``; the parameters are those of :func:`text`."""
    save_atomically(PAGE, lambda temporary: temporary.write_text(text(found, known), encoding="utf-8"))


def text(found: list[dict], known: dict) -> str:
    """The page.

    Parameters
    ----------
    found : list of dict
        Rows.
    known : dict
        The architectures, to say how many have no row yet.

    Returns
    -------
    str
    """
    parts = [_HEAD, _figures(found), _sums(found)]
    for library in dict.fromkeys(name.partition("/")[0] for name in known):
        parts.append(_table(library, [row for row in found if row["model"].startswith(f"{library}/")], known))
    parts.append(_sentences(found))
    return "\n".join(part.strip() + "\n" for part in parts)


def _figures(found: list[dict]) -> str:
    states = Counter(row["code"] for row in found if row["verb"] != "torch-pruning")
    told = f"{len(found)} rows are stored, of {len({row['model'] for row in found})} models. "
    if len(states) > 1:
        told += (
            f"They were measured with {len(states)} states of the kit's code, {max(states.values())} with one of them; "
        )
        told += "`--again code` measures those anew that another state gave. "
    told += "Figures are of the rows that there are: a model that did not end within a shorter limit, or that "
    told += "was not tried, is in none."
    lines = ["## Figures", "", told, "", "| figure | asked | measured |", "| --- | --- | --- |"]
    lines += [f"| {f.name.strip()} | {f.sense} {f.asked:g} | {f.value:.3g} {f.unit} |" for f in figures(found)]
    return "\n".join(lines)


def _sums(found: list[dict]) -> str:
    lines = ["## By verb", "", "| verb | right | refused | wrong | n/a |", "| --- | --- | --- | --- | --- |"]
    for verb in VERBS:
        count = Counter(row["verdict"] for row in found if row["verb"] == verb)
        lines.append(f"| {verb} | " + " | ".join(str(count[verdict]) for verdict in _MARKS) + " |")
    return "\n".join(lines)


def _table(library: str, found: list[dict], known: dict) -> str:
    cells = {(row["model"], row["verb"]): row for row in found}
    models = [name for name in known if name.startswith(f"{library}/")]
    there = [name for name in models if any((name, verb) in cells for verb in VERBS)]
    stated = ", ".join(sorted({each for row in found for each in row["versions"].split(", ")})) or "no row yet"
    lines = [
        f"## {library}",
        "",
        f"{len(there)} of {len(models)} models have rows ({stated}); an empty cell was not tried.",
        "",
    ]
    columns = ("model", "share in groups", "find_units, passes", "memory, MiB", *VERBS)
    lines += [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for name in there:
        units, mine = cells.get((name, "find_units"), {}), [cells[key] for key in cells if key[0] == name]
        share = f"{100 * units['share']:.0f} %" if units.get("share") is not None else ""
        passes = f"{units['find_seconds'] / units['pass_seconds']:.1f}" if "pass_seconds" in units else ""
        memory = max((row["memory"] or 0 for row in mine if row["verb"] != "torch-pruning"), default="")
        marks = [_MARKS[cells[name, verb]["verdict"]] if (name, verb) in cells else "" for verb in VERBS]
        lines.append(f"| {' | '.join([name.partition('/')[2], share, passes, str(memory), *marks])} |")
    return "\n".join(lines)


def _sentences(found: list[dict]) -> str:
    lines = ["## What was refused, and what was wrong", ""]
    for verdict in ("wrong", "refused"):
        for verb in VERBS:
            by_sentence: dict[str, list[str]] = {}
            for row in found:
                if (row["verb"], row["verdict"]) == (verb, verdict):
                    by_sentence.setdefault(_alike(row["told"]), []).append(row["model"].partition("/")[2])
            for told, names in sorted(by_sentence.items(), key=lambda item: -len(item[1])):
                models = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
                lines.append(f"- {verb}, {verdict}: {models}: {told}")
    return "\n".join(lines)


def _alike(told: str) -> str:
    """The sentence without what differs from model to model, and without what a page would read as markup."""
    told = re.sub(r"'[\w.\[\]]+'", "'...'", told)
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", told).replace("|", "/").replace("<", "&lt;").replace("*", "\\*")
