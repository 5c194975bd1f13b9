"""Editions of the course: ``python -m xaiprune.course.editions student`` (or ``teacher``, ``site``) writes one.

All are made from the committed lessons. The student edition has blanks where these hold solutions, and no outputs: a
guess is worth something only before the result is seen. The teacher edition has the solutions, what each check says to
likely mistakes, how long cells take, and questions to discuss. The site has the lessons and the API reference.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

from ..core import save_atomically
from . import runner
from .exercises import EXERCISES

#: Cells that take longer say so in the teacher edition, in seconds.
LONG = 1.0
#: What was written into a folder, by file name: SHA-256 of its content.
RECORD = ".written.json"


def student(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A lesson with blanks in place of solutions, and without outputs.

    Parameters
    ----------
    notebook : NotebookNode
        A committed lesson; not changed.

    Returns
    -------
    NotebookNode
    """
    notebook = nbformat.from_dict(notebook)
    notebook.cells = [cell for cell in notebook.cells if "solution" not in _tags(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.get("xaiprune", {}).pop("discussion", None)  # with what a teacher may listen for
    return notebook


def teacher(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A lesson with open solutions, likely mistakes, the time that cells take, and questions to discuss.

    Parameters
    ----------
    notebook : NotebookNode
        A lesson; not changed. Times are told where it was run with ``record_timing`` and keeps what that notes.

    Returns
    -------
    NotebookNode
    """
    notebook, cells = nbformat.from_dict(notebook), []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "code" and (seconds := _seconds(cell)) >= LONG:
            cells.append(new_markdown_cell(f"*This cell took {seconds:.0f} s.*"))
        if "solution" in _tags(cell):
            cell.metadata.pop("jupyter", None)
        if "solution" not in _tags(cell) and (found := re.search(r'xp\.exercise\("([^"]+)"', cell.source)):
            row = EXERCISES[found.group(1)]
            likely = "\n".join(f"- {words}" for words in row.check.likely)
            cells.append(new_markdown_cell(f"**Likely mistakes** ({row.minutes} minutes):\n\n{likely}"))
    questions = notebook.metadata["xaiprune"].get("discussion", [])
    cells.append(new_markdown_cell("\n".join(["## To discuss", "", *(f"- {words}" for words in questions)])))
    notebook.cells = cells
    return notebook


def write(notebook: nbformat.NotebookNode, path: Path) -> bool:
    """Write a notebook, unless somebody has worked in the file that is there.

    Where somebody has, and the edition has changed since, the new one is put beside it, as ``NAME.new.ipynb``.

    Parameters
    ----------
    notebook : NotebookNode
    path : Path
        Beside it lies a record of what was written, by which a file that was changed since is known.

    Returns
    -------
    bool
        Whether it was written.
    """
    record = path.parent / RECORD
    known = json.loads(record.read_text()) if record.exists() else {}
    worked_in = path.exists() and _digest(path.read_text(encoding="utf-8")) != known.get(path.name)
    notebook = nbformat.from_dict(notebook)
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
    text = nbformat.writes(notebook)
    if worked_in:
        beside = path.with_suffix(".new.ipynb")
        mine = beside.exists() and _digest(beside.read_text(encoding="utf-8")) != known.get(beside.name)
        if _digest(text) != known.get(path.name) and not mine:  # who works in the new one keeps that, too
            save_atomically(beside, lambda temporary: temporary.write_text(text, encoding="utf-8"))
            known[beside.name] = _digest(text)
            save_atomically(record, lambda temporary: temporary.write_text(json.dumps(known, indent=1)))
        return False
    save_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    known[path.name] = _digest(text)
    save_atomically(record, lambda temporary: temporary.write_text(json.dumps(known, indent=1)))
    return True


def make(edition: str, folder: Path, *, run: bool = False) -> int:
    """Write an edition of all lessons; files that somebody has worked in stay as they are.

    Parameters
    ----------
    edition : {"student", "teacher"}
    folder : Path
    run : bool
        Whether lessons are run first, so that the teacher edition can tell how long cells take.

    Returns
    -------
    int
        How many files were left as they are.
    """
    kept = 0
    for path in runner.lessons():
        notebook = runner.timed(path) if run else nbformat.read(path, as_version=4)
        written = write(EDITIONS[edition](notebook), folder / path.name)
        kept += not written
        beside = (folder / path.name).with_suffix(".new.ipynb")
        left = f"left as it is, for somebody has worked in it{f'; {beside.name} is newer' if beside.exists() else ''}"
        print(f"{path.name}: {'written' if written else left}", flush=True)
    return kept


EDITIONS = {"student": student, "teacher": teacher}


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _seconds(cell: nbformat.NotebookNode) -> float:
    """How long a cell ran, as nbclient notes it."""
    times = cell.metadata.get("execution", {})
    ends = [times.get(f"{name}") for name in ("iopub.execute_input", "shell.execute_reply")]
    if None in ends:
        return 0.0
    start, end = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in ends)
    return (end - start).total_seconds()


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Default those of the process.

    Returns
    -------
    int
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m xaiprune.course.editions", description=__doc__)
    parser.add_argument("edition", choices=[*EDITIONS, "site"])
    parser.add_argument("folder", nargs="?", type=Path, help="default build/EDITION")
    parser.add_argument("--run", action="store_true", help="run the lessons first, to tell how long cells take")
    arguments = parser.parse_args(argv)
    folder = arguments.folder or Path("build") / arguments.edition
    if arguments.edition == "site":
        from .site import build

        print(f"open {build(folder)}")
    else:
        make(arguments.edition, folder, run=arguments.run)
        print(f"in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
