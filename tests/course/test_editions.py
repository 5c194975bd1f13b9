"""Editions: what learners and teachers get."""

from __future__ import annotations

import json
import re

import nbformat
import numpy as np
import pytest
import torch

import xaiprune as xp
from xaiprune.course import editions, runner

LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in runner.lessons()}
each_lesson = pytest.mark.parametrize("notebook", LESSONS.values(), ids=LESSONS)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def checks(notebook):
    found = [cell for cell in notebook.cells if "xp.exercise(" in cell.source]
    return [cell.source for cell in found if "solution" not in cell.metadata.get("tags", [])]


@each_lesson
def test_the_student_edition_has_blanks_and_no_outputs(notebook):
    made = editions.student(notebook)
    assert not tagged(made, "solution")
    assert len(tagged(made, "exercise")) == len(checks(made)) == len(tagged(notebook, "solution")) > 0
    assert all(not cell.outputs and cell.execution_count is None for cell in made.cells if cell.cell_type == "code")
    assert tagged(notebook, "solution"), "the lesson itself keeps its solutions"
    assert "Listen for" not in json.dumps(made)
    assert notebook.metadata["xaiprune"]["discussion"], "and its questions"
    kept = [cell.source for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]
    assert [cell.source for cell in made.cells] == kept


@each_lesson
def test_checks_fail_on_the_blanks_and_pass_on_the_solutions(notebook, capsys):
    made = editions.student(notebook)
    for blank, check in zip(tagged(made, "exercise"), checks(made)):
        space = {"xp": xp}
        exec(blank.source, space)
        exec(check, space)
        assert "still blank" in capsys.readouterr().out
    for solution in tagged(editions.teacher(notebook), "solution"):
        space = {"xp": xp, "np": np, "torch": torch, "math": __import__("math")}
        exec(solution.source, space)
        assert capsys.readouterr().out.endswith(": right.\n")


@each_lesson
def test_the_teacher_edition_has_open_solutions_mistakes_and_questions(notebook):
    made = editions.teacher(notebook)
    assert all("jupyter" not in cell.metadata for cell in tagged(made, "solution"))
    text = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert text.count("**Likely mistakes**") == len(checks(notebook))
    for name in re.findall(r'xp\.exercise\("([^"]+)"', "\n".join(checks(notebook))):
        for words in xp.course.exercises.EXERCISES[name].check.likely:
            assert words in text
    asked = notebook.metadata["xaiprune"]["discussion"]
    assert len(asked) >= 3
    for words in asked:
        assert words in text
        assert "?" in words
        assert "(Listen for: " in words


def small(*sources):
    notebook = nbformat.v4.new_notebook(metadata={"xaiprune": {"seconds": 60}})
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return notebook


def test_the_teacher_edition_tells_how_long_cells_take(tmp_path):
    nbformat.write(small("1", "2"), tmp_path / "lesson.ipynb")
    lesson = runner.timed(tmp_path / "lesson.ipynb")
    for cell, second in zip(lesson.cells, ("01.6", "00.2")):
        assert "shell.execute_reply" in cell.metadata["execution"]
        ends = zip(("iopub.execute_input", "shell.execute_reply"), ("00.0", second))
        cell.metadata["execution"] = {name: f"2026-01-01T00:00:{seconds}00000Z" for name, seconds in ends}
    made = editions.teacher(lesson)
    assert [cell.source for cell in made.cells][:3] == ["1", "*This cell took 2 s.*", "2"]


def test_work_is_never_overwritten(tmp_path, monkeypatch, capsys):
    lesson = tmp_path / "lessons" / "01_one.ipynb"
    lesson.parent.mkdir()
    monkeypatch.setattr(runner, "lessons", lambda: [lesson])
    nbformat.write(small("first = 1"), lesson)
    made = tmp_path / "student" / "01_one.ipynb"
    assert editions.make("student", made.parent) == 0
    nbformat.write(small("second = 2"), lesson)
    assert editions.make("student", made.parent) == 0, "nobody has worked in it: it is renewed"
    assert "second = 2" in made.read_text()
    work = made.read_text().replace("second = 2", "second = 'my answer'")
    made.write_text(work)
    nbformat.write(small("third = 3"), lesson)
    assert editions.make("student", made.parent) == 1
    assert made.read_text() == work
    beside = made.with_suffix(".new.ipynb")
    assert "third = 3" in beside.read_text()
    assert "left as it is, for somebody has worked in it; 01_one.new.ipynb is newer" in capsys.readouterr().out
    beside.write_text(beside.read_text().replace("third = 3", "third = 'mine, too'"))
    nbformat.write(small("fourth = 4"), lesson)
    assert editions.make("student", made.parent) == 1
    assert "mine, too" in beside.read_text(), "work in the new one is kept as well"
    other = tmp_path / "elsewhere" / "01_one.ipynb"
    other.parent.mkdir()
    other.write_text("somebody else's")
    assert editions.make("student", other.parent) == 1
    assert other.read_text() == "somebody else's"


def test_an_edition_is_the_same_each_time(tmp_path):
    for folder in ("a", "b"):
        editions.write(editions.student(LESSONS["03_curvature"]), tmp_path / folder / "03.ipynb")
    assert (tmp_path / "a" / "03.ipynb").read_bytes() == (tmp_path / "b" / "03.ipynb").read_bytes()


def test_the_command_line_writes_an_edition(tmp_path, capsys):
    assert editions.main(["student", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.ipynb"))) == len(LESSONS)
    assert capsys.readouterr().out.endswith(f"in {tmp_path}\n")
    with pytest.raises(SystemExit):
        editions.main(["pupil"])
