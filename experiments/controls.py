"""The page ``docs/controls.md``: each headline of the lessons beside its controls, from the stored tables."""

from __future__ import annotations

from pathlib import Path

from xaiprune.core import data_dir
from xaiprune.course import HEADLINES
from xaiprune.experiments.controls import VERDICTS, Headline

_TOP = """# Headlines and their controls

A headline is a sentence of a lesson that says a method is better. It is worth what is left of it beside the cheapest
thing that could explain it. This page is made from the stored tables by `python -m experiments controls`. Each claim of
a lesson that names a headline prints the verdict, and a test compares the sentences.

Each difference is that of the method and a control within one run or on one image. Its 95 % interval is over what the
sentence speaks of: over seeds or draws for methods, over images for one network. The verdict is a rule:

| verdict | when |
| --- | --- |
| stands | the interval lies above 0 beside every control |
| stands weaker | beside some controls, which are named |
| fell | the strongest control is level or ahead, and the interval excludes the lead that was once claimed |
| not told | the interval is too wide for either; how many runs would tell is said |
"""


def page() -> str:
    """The page.

    Returns
    -------
    str
    """
    verdicts = {name: headline.verdict() for name, headline in HEADLINES.items()}
    counts = {word: sum(verdict.word == word for verdict in verdicts.values()) for word in VERDICTS}
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    lines = [_TOP, f"Of {len(HEADLINES)} headlines: {told}.", ""]
    lesson = ""
    for headline in sorted(HEADLINES.values(), key=lambda headline: (headline.lesson, headline.item)):
        if headline.lesson != lesson:
            lesson = headline.lesson
            lines += [f"## Lesson {lesson}", ""]
        lines += [*_block(headline, verdicts[headline.name]), ""]
    return "\n".join(lines)


def _block(headline: Headline, verdict) -> list[str]:
    some = ", ".join(f"{name} {value}" for name, value in headline.where.items())
    over = f"{verdict.count} {headline.unit}s"
    lines = [f"### `{headline.name}`: {verdict.word}", ""]
    lines += [f"Once: {headline.once}. Now:", ""] if headline.once else []
    lines += [f"> {headline.sentence}", ""]
    about = f"Table `{headline.table}`{f' ({some})' if some else ''}, `{headline.key}`, over {over}. "
    about += f"Lead once claimed: {headline.claimed:g}."
    lines += [about + (f" Seen before: {headline.quoted}" if headline.quoted else ""), ""]
    if verdict.needed:
        lines += [f"About {verdict.needed} {headline.unit}s would tell.", ""]
    lines += ["| | value | lead over it | 95 % interval |", "| --- | --- | --- | --- |"]
    lines += [f"| **{headline.method}** | {verdict.strongest.value:.4g} | | |"]
    for lead in verdict.leads:
        lines += [
            f"| {lead.control} | {lead.of_control:.4g} | {lead.difference:+.3g} | [{lead.low:.3g}, {lead.high:.3g}] |"
        ]
    return lines


def write() -> Path:
    """Write the page.

    Returns
    -------
    Path
    """
    path = data_dir().parent / "docs" / "controls.md"
    path.write_text(page())
    return path
