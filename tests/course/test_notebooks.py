"""The notebooks guard: what a committed lesson has to be. Their outputs are compared by nbval beside this."""

from __future__ import annotations

import re
import statistics

import nbformat
import pytest

from xaiprune.course import runner

LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in runner.lessons()}
SECTIONS = ("What you will be able to do", "**Time:**", "## Your turn", "## Three questions to recall", "## Sources")


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


each_lesson = pytest.mark.parametrize("notebook", LESSONS.values(), ids=LESSONS)


def test_there_are_lessons():
    assert {"00_start_here", "04_soft_coefficients"} <= set(LESSONS)


def test_the_first_lesson_maps_all_others():
    first, *others = LESSONS
    assert [name for name in others if f"({name}.ipynb)" not in prose(LESSONS[first])] == []


@each_lesson
def test_it_was_run_from_top_to_bottom(notebook):
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert any(cell.outputs for cell in code(notebook))


@each_lesson
def test_it_holds_no_widget_state_and_only_expected_errors(notebook):
    assert "widgets" not in notebook.metadata
    for cell in code(notebook):
        for output in cell.outputs:
            assert runner.WIDGET_VIEW not in output.get("data", {})
            assert output.get("name") != "stderr", output
        raised = any(output.output_type == "error" for output in cell.outputs)
        assert raised == ("raises-exception" in tags(cell)), cell.source
        assert not raised or "nbval-check-output" in tags(cell), "an error that is to be seen has to come"


@each_lesson
def test_cells_are_short_and_prose_prevails(notebook):
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code(notebook)]
    assert statistics.median(lines) <= 5
    assert max(lines) <= 20
    assert len(prose(notebook).split()) >= 8 * sum(lines)
    assert max(len(line) for cell in code(notebook) for line in cell.source.splitlines()) <= 110


@each_lesson
def test_it_has_the_skeleton(notebook):
    text = prose(notebook)
    assert text.startswith("# ")
    assert all(section in text for section in SECTIONS)
    assert "scorecard" in text.lower()
    assert "xp.setup()" in code(notebook)[0].source


@each_lesson
def test_it_compares_outputs_and_makes_claims(notebook):
    checked = [cell for cell in code(notebook) if "nbval-check-output" in tags(cell)]
    assert checked
    assert all(cell.outputs for cell in checked)
    assert sum(cell.source.count("claim(") for cell in checked) >= 3


@each_lesson
def test_a_claim_about_time_stops_nobody(notebook):
    for cell in code(notebook):
        for line in re.findall(r"claim\((?:[^()]|\([^()]*\))*\)", cell.source):
            about_time = re.search(r"latenc|faster|slower|\btimes? (longer|less)|takes? (longer|less)|seconds", line)
            assert not about_time or "timed=True" in line, line


@each_lesson
def test_the_package_is_imported_before_torch(notebook):
    """It sets how torch's threads wait, which is read once."""
    first = code(notebook)[0].source
    assert "import torch" not in first.partition("import xaiprune as xp")[0]


@each_lesson
def test_every_picture_has_alt_text_and_a_paragraph_that_reads_it(notebook):
    for place, cell in enumerate(notebook.cells):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            assert len(cell.metadata.get("alt", "").split()) >= 8, cell.source
            following = [later.cell_type for later in notebook.cells[place + 1 : place + 4]]
            assert "markdown" in following, cell.source


@each_lesson
def test_solutions_follow_their_exercise_and_are_collapsed(notebook):
    for place, cell in enumerate(notebook.cells):
        if "solution" in tags(cell):
            answer, check = (notebook.cells[place - back].source for back in (2, 1))
            assert "exercise" in tags(notebook.cells[place - 2])
            [(name, mine)] = re.findall(r'^xp\.exercise\("([^"]+)", (\w+)\)$', check)
            assert answer == f"{mine} = ...", "nobody answers for the learner"
            [solved] = re.findall(rf'^xp\.exercise\("{name}", (\w+)\)$', cell.source, re.M)
            assert solved != mine
            assert not re.search(rf"\b{mine}\b", cell.source), "the answer is not overwritten"
            assert cell.metadata["jupyter"]["source_hidden"]
            [right] = cell.outputs
            assert right.text == f"{name}: right.\n"


@each_lesson
def test_nobody_guesses_for_the_learner(notebook):
    for cell in code(notebook):
        for first in re.findall(r"xp\.guess\(([^,]+),", cell.source):
            assert first == "..."


@each_lesson
def test_it_defines_no_helpers_but_in_solutions(notebook):
    for cell in code(notebook):
        if "solution" not in tags(cell):
            assert not re.search(r"^\s*(def|class) |lambda", cell.source, re.M), cell.source


#: Lessons that take longer than two minutes, with the seconds that they state: to be shortened.
LONGER = {"# 05": 150}


@each_lesson
def test_its_budget_is_stated_and_its_links_lead_somewhere(notebook):
    assert 0 < runner.budget(notebook) <= LONGER.get(notebook.cells[0].source[:4], 120)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", prose(notebook)):
        assert (runner.lessons()[0].parent / target).exists(), target


def test_lesson_04_compares_with_the_whole_stored_sweep():
    assert 'xp.tables.read("soft")' in "".join(cell.source for cell in code(LESSONS["04_soft_coefficients"]))


# The runner itself.


def notebook_of(*sources, seconds=60):
    notebook = nbformat.v4.new_notebook(metadata={"xaiprune": {"seconds": seconds}})
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return notebook


def test_the_runner_runs_saves_and_reports(tmp_path, monkeypatch, capsys):
    nbformat.write(
        notebook_of("import sys", "print(6 * 7)", "print('noise', file=sys.stderr)"), tmp_path / "01_ok.ipynb"
    )
    nbformat.write(notebook_of("1 / 0"), tmp_path / "02_bad.ipynb")
    monkeypatch.setattr(runner, "lessons", lambda: sorted(tmp_path.glob("*.ipynb")))
    assert runner.main(["run", "--save"]) == 1
    out = capsys.readouterr().out
    [megabytes] = re.findall(r"\[1/2\] 01_ok +\d+\.\d of 1\.0 min, +(\d+) MB", out)
    assert 10 < int(megabytes) < 500  # of the kernel, however large the process is that started it
    assert "FAILED" in out
    assert "ZeroDivisionError" in out
    assert out.endswith("1 of 2 lessons ran\n")
    saved = nbformat.read(tmp_path / "01_ok.ipynb", as_version=4)
    assert saved.cells[1].outputs[0].text == "42\n"
    assert saved.cells[2].outputs == []
    assert len(saved.cells) == 3


def test_an_error_that_is_to_be_seen_has_to_come(tmp_path, monkeypatch, capsys):
    for name, source in {"01_raises": "1 / 0", "02_calm": "1 / 1"}.items():
        lesson = notebook_of(source)
        lesson.cells[0].metadata["tags"] = ["raises-exception"]
        nbformat.write(lesson, tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(runner, "lessons", lambda: sorted(tmp_path.glob("*.ipynb")))
    assert runner.main(["run"]) == 1
    assert "raised none:\n1 / 1" in capsys.readouterr().out


def test_a_lesson_that_is_late_says_so(tmp_path, monkeypatch, capsys):
    nbformat.write(notebook_of("1", seconds=0.001), tmp_path / "01_late.ipynb")
    monkeypatch.setattr(runner, "lessons", lambda: sorted(tmp_path.glob("*.ipynb")))
    assert runner.main(["run", "01"]) == 0
    assert "over budget" in capsys.readouterr().out


def test_widget_views_and_progress_bars_are_not_stored():
    notebook = notebook_of("x")
    view = {runner.WIDGET_VIEW: {}, "text/plain": "bar"}
    strip = {runner.WIDGET_VIEW: {}, "text/plain": "explorer", "image/png": "iVBOR"}
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data=data) for data in (view, strip)]
    notebook.metadata["widgets"] = {"state": {}}
    failed = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["/somewhere/lesson.py", "no"])
    notebook.cells[0].outputs.append(failed)
    output, error = runner.clean(notebook).cells[0].outputs
    assert set(output.data) == {"text/plain", "image/png"}
    assert error.traceback == ["ValueError: no"]
    assert "widgets" not in notebook.metadata
