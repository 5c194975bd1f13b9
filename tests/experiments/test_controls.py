"""Headlines and their controls: intervals against closed forms, the rule, the page, and what the lessons say."""

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy import stats

from experiments import controls as page
from xaiprune.core import data_dir
from xaiprune.course import HEADLINES, claim, runner
from xaiprune.course.claims import ClaimError
from xaiprune.experiments import controls, tables
from xaiprune.experiments.controls import Headline, Lead, Verdict


def lead(difference, low, high, name="chance", of_control=1.0):
    return Lead(name, of_control + difference, of_control, difference, low, high)


@pytest.fixture
def stored(monkeypatch):
    """Rows in place of stored tables."""

    def put(rows):
        monkeypatch.setattr(tables, "read", lambda name: rows)
        return Headline("mine", "01", "mine is ahead", "some", "mine", ("chance",), "points", "seed", claimed=1)

    return put


@pytest.mark.parametrize(
    ("leads", "word"),
    [
        ([(2, 1, 3)], "stands"),
        ([(0.1, -0.1, 0.3)], "fell"),
        ([(-1, -2, -0.5)], "fell"),
        ([(0.5, -1, 2)], "not told"),
        ([(0.5, -1, 2), (3, 2, 4)], "stands weaker"),
        ([(0.1, -0.1, 0.3), (3, 2, 4)], "fell"),  # chance is no match; the strongest control is level
    ],
)
def test_the_verdict_is_a_rule(leads, word):
    assert controls.judged(tuple(lead(*one) for one in leads), claimed=1) == word


def test_over_runs_the_interval_is_students_over_images_too_and_over_both_the_variances_add():
    generator = np.random.default_rng(0)
    runs = generator.normal(1, 2, (6, 1))
    mean, low, high = controls.interval(runs)
    expected = stats.t.interval(0.95, 5, runs.mean(), stats.sem(runs[:, 0]))
    assert (mean, low, high) == pytest.approx((runs.mean(), *expected))
    assert controls.interval(runs.T) == pytest.approx((mean, low, high))
    assert controls.interval(runs) == pytest.approx(tables.interval(runs[:, 0]))
    both = generator.normal(size=(5, 1)) + generator.normal(size=(1, 40)) + generator.normal(size=(5, 40))
    _, low, high = controls.interval(both)
    variance = both.mean(1).var(ddof=1) / 5 + both.mean(0).var(ddof=1) / 40
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 4) * variance**0.5)


def test_the_interval_over_runs_and_images_holds_the_truth_as_often_as_it_says():
    generator, held = np.random.default_rng(0), 0
    for _ in range(400):
        both = generator.normal(size=(8, 1)) + generator.normal(size=(1, 30)) + generator.normal(size=(8, 30))
        _, low, high = controls.interval(both)
        held += low <= 0 <= high
    assert held / 400 >= 0.93


def test_a_single_number_has_no_interval():
    with pytest.raises(ValueError, match="at least two, got 1"):
        controls.interval(np.ones((1, 1)))


def test_differences_are_paired_within_a_run_and_a_setting(stored):
    rows = [
        {"method": name, "seed": seed, "ratio": ratio, "points": 10 * seed + 100 * ratio + plus}
        for seed in range(4)
        for ratio in (0.1, 0.2)
        for name, plus in (("mine", 2 + 0.1 * seed), ("chance", 0))
    ]
    verdict = dataclasses.replace(stored(rows), by=("ratio",)).verdict()
    assert (verdict.word, verdict.count) == ("stands", 4)
    assert verdict.strongest.difference == pytest.approx(2.15)
    assert verdict.strongest.high - verdict.strongest.low == pytest.approx(
        2 * 3.182 * np.std([0, 0.1, 0.2, 0.3], ddof=1) / 2, rel=1e-3
    )


def test_less_is_better_where_the_headline_says_so_and_the_strongest_control_comes_first(stored):
    rows = [
        {"method": name, "seed": seed, "points": value + 0.01 * seed * (name == "mine")}
        for seed in range(3)
        for name, value in (("mine", 1), ("weak", 5), ("strong", 3))
    ]
    verdict = dataclasses.replace(stored(rows), controls=("weak", "strong"), better=-1).verdict()
    assert [one.control for one in verdict.leads] == ["strong", "weak"]
    assert verdict.word == "stands"
    assert verdict.strongest.difference == pytest.approx(1.99)


def test_what_is_the_same_in_all_runs_stands_beside_each_of_the_others(stored):
    rows = [{"method": "mine", "seed": 0, "points": 5.0}]
    rows += [{"method": "chance", "seed": seed, "points": float(seed)} for seed in range(4)]
    verdict = stored(rows).verdict()
    assert (verdict.count, verdict.strongest.difference) == (4, 3.5)


def test_over_images_the_unit_is_the_image(stored):
    rows = [
        {"method": name, "points": [value, 3 * value, 5 * value]} for name, value in (("mine", 2.0), ("chance", 1.0))
    ]
    verdict = dataclasses.replace(stored(rows), unit="image").verdict()
    assert (verdict.count, verdict.strongest.difference) == (3, 3)


def test_a_headline_without_rows_says_whose_are_missing(stored):
    with pytest.raises(ValueError, match="some has no row of 'chance'"):
        stored([{"method": "mine", "seed": 0, "points": 1}]).verdict()
    rows = [
        {"method": name, "seed": seed, "points": 1}
        for name, seeds in (("mine", (0, 1)), ("chance", (2, 3)))
        for seed in seeds
    ]
    with pytest.raises(ValueError, match="mine and chance share no setting in some"):
        stored(rows).verdict()


@pytest.mark.parametrize(
    ("value", "agrees"),
    [(1.9, True), (-1, False), ((2.5, 1, 4), True), ((9, 8, 10), False), ((0.2, -0.1, 0.5), False)],
)
def test_a_lesson_agrees_if_its_lead_has_the_sign_and_its_interval_overlaps(value, agrees):
    assert Verdict("stands", (lead(2, 1, 3),), 5).agrees(value) is agrees


def test_how_many_runs_would_tell():
    assert (
        controls.needed(lead(0.5, -1, 2), claimed=1, count=5) == 45
    )  # 1.5 of half an interval to 0.5: nine times as many
    assert Verdict("not told", (lead(0.5, -1, 2),), 5, 45).__str__().endswith("about 45 would tell")


def test_a_claim_prints_the_verdict_and_does_not_hold_against_it(stored, capsys, monkeypatch):
    rows = [
        {"method": name, "seed": seed, "points": seed + plus}
        for seed in range(4)
        for name, plus in (("mine", 2 + seed / 9), ("chance", 0))
    ]
    headline = stored(rows)
    claim("mine is ahead", True, 2.1, headline=headline)
    assert "holds: mine is ahead [2.1]\n  the headline 'mine' stands: +2.17 [" in capsys.readouterr().out
    monkeypatch.setenv("XAIPRUNE_STRICT", "1")
    with pytest.raises(ClaimError, match="does not hold here"):
        claim("mine is ahead", True, -2.1, headline=headline)
    with pytest.raises(ValueError, match="the sentence of headline 'mine': 'mine is ahead'"):
        claim("mine is best", True, 2.1, headline=headline)


def test_the_page_is_what_the_tables_say():
    path = data_dir().parent / "docs" / "controls.md"
    assert path.read_text() == page.page(), "renew it with `python -m experiments controls`"


@pytest.mark.parametrize("name", HEADLINES)
def test_each_headline_is_claimed_in_its_lesson_and_told_or_its_cost_is_stated(name):
    headline = HEADLINES[name]
    verdict = headline.verdict()
    assert verdict.word != "not told" or verdict.needed
    assert verdict.word != "fell" or headline.once not in ("", headline.sentence), "say what fell, and what is said now"
    [path] = [path for path in runner.lessons() if path.name.startswith(headline.lesson)]
    code = "\n".join(
        "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"
    )
    code = re.sub(r'"\s*\n?\s*"', "", code)  # a long sentence stands in several pieces
    assert f'headline="{name}"' in code
    assert headline.sentence in code


def test_lessons_name_no_other_headlines():
    text = "".join(path.read_text() for path in runner.lessons())
    assert set(re.findall(r'headline=\\"([^"\\]+)\\"', text)) <= set(HEADLINES)
