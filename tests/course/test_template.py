"""The template of a lesson: it runs, keeps the rules of lessons, and is no lesson itself."""

from __future__ import annotations

import re

import nbformat
import pytest

from tests import ROOT
from tests.course import test_notebooks as rules
from xaiprune.course import editions, runner

PATH = ROOT / "docs" / "template.ipynb"
TEMPLATE = nbformat.read(PATH, as_version=4)
#: What a lesson has to be, as the tests of lessons ask it of each of them.
RULES = {
    name: rule
    for name, rule in vars(rules).items()
    if name.startswith("test_") and rules.each_lesson.mark in getattr(rule, "pytestmark", ())
}


def test_there_are_rules():
    assert len(RULES) >= 12


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_it_keeps_the_rules_of_lessons(rule):
    rule(TEMPLATE)


def test_it_has_the_parts_of_a_lesson_in_their_order():
    titles = re.findall(r"^## (.*)$", rules.prose(TEMPLATE), re.M)
    hook, first, *others = titles
    assert others == [
        "Your turn",
        "2. Does it help if every channel has its own grid?",
        "On Monday",
        "The scorecard",
        "Three questions to recall",
        "Sources",
    ]
    picture = next(n for n, cell in enumerate(TEMPLATE.cells) if "alt" in cell.metadata)
    idea = next(n for n, cell in enumerate(TEMPLATE.cells) if f"## {first}" in cell.source)
    assert picture < idea, f"a picture under {hook!r} comes before any definition"
    assert "xp.guess(" in "".join(cell.source for cell in rules.code(TEMPLATE))


def test_it_runs_and_says_what_is_stored():
    def said(cell):
        return [re.sub(r"-?\d[\d.]*", "#", output.get("text", "")) for output in cell.outputs]

    run = runner.execute(PATH)
    for was, now in zip(rules.code(TEMPLATE), rules.code(run.notebook)):
        if "nbval-check-output" in rules.tags(was):
            assert said(now) == said(was)


def test_it_becomes_an_edition_as_lessons_do():
    blanks = editions.student(TEMPLATE)
    assert not [cell for cell in blanks.cells if "solution" in rules.tags(cell)]
    assert "**Likely mistakes**" in rules.prose(editions.teacher(TEMPLATE))


def test_it_is_no_lesson():
    assert PATH.name not in [path.name for path in runner.lessons()]
    assert not [path for path in runner.lessons() if "template" in path.read_text(encoding="utf-8")[:3000].lower()]
