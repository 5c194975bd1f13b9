"""Run the course's notebooks: ``python -m xaiprune.course run``.

Each lesson runs from the first cell to the last in a kernel of its own. ``--save`` writes the outputs back, without
what a reader cannot use: widget state and widget views, which GitHub and readers without a kernel cannot draw (the
explorers leave a strip of pictures in their place).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell
from traitlets.config import Config

from ..core import save_atomically
from .claims import STRICT

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
#: Prints the kernel's peak of memory in MB. Linux counts it in KiB in its status (what ``resource`` says there includes
#: the process that started the kernel), macOS in bytes, Windows not at all.
MEMORY = """
import pathlib, sys
if (status := pathlib.Path("/proc/self/status")).exists():
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6)
elif sys.platform == "darwin":
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
else:
    print("nan")
"""
#: Seconds that one cell may take: a notebook that hangs is an error, not a wait.
CELL_TIMEOUT = 300
#: Encrypts what goes to and from a kernel where both can do that; a kernel in plain text warns in every lesson.
KERNEL = Config(KernelManager={"transport_encryption": "auto"})


class NothingRaisedError(ValueError):
    """A cell that shows what goes wrong went well: the lesson tells of something that is no longer so."""


def lessons(folder: Path | None = None) -> list[Path]:
    """The notebooks in reading order.

    Parameters
    ----------
    folder : Path, optional
        Default the course's own.

    Returns
    -------
    list of Path
    """
    return sorted((folder or Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))


def budget(notebook: nbformat.NotebookNode) -> float:
    """Seconds that a lesson says it takes on two cores.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    float
    """
    return float(notebook.metadata["xaiprune"]["seconds"])


class Run(NamedTuple):
    """A notebook that was run from a clean kernel.

    Attributes
    ----------
    notebook : NotebookNode
        With its outputs, cleaned for storing.
    seconds : float
    megabytes : float
        The most memory that its kernel held at once; NaN where the system does not tell.
    """

    notebook: nbformat.NotebookNode
    seconds: float
    megabytes: float


def execute(path: Path) -> Run:
    """Run a notebook from a clean kernel.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Run
    """
    start = time.perf_counter()
    notebook, megabytes = _run(path)
    return Run(clean(notebook), time.perf_counter() - start, megabytes)


def timed(path: Path) -> nbformat.NotebookNode:
    """Run a notebook from a clean kernel, and keep when each cell began and ended.

    Parameters
    ----------
    path : Path

    Returns
    -------
    NotebookNode
    """
    notebook, _ = _run(path)
    times = [cell.metadata.get("execution") for cell in notebook.cells]
    for cell, seen in zip(clean(notebook).cells, times):
        if seen:
            cell.metadata["execution"] = seen
    return notebook


def _run(path: Path) -> tuple[nbformat.NotebookNode, float]:
    """The notebook with outputs and times, and its kernel's memory, which a last cell asks for that does not stay."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(MEMORY))
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, resources=resources, config=KERNEL)
    client.execute(env={STRICT: "1", **os.environ})
    for cell in notebook.cells:
        raised = any(output.output_type == "error" for output in cell.get("outputs", []))
        if "raises-exception" in cell.metadata.get("tags", []) and not raised:
            raise NothingRaisedError(f"this cell is to raise an error, and raised none:\n{cell.source}")
    [told] = notebook.cells.pop().outputs
    return notebook, float(told["text"])


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop widget state and views, progress bars, timestamps and the frames of errors, in place.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    NotebookNode
        The same.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET_VIEW, None)
                if output.output_type == "error":  # the error, without the frames, which name this machine's folders
                    output.traceback = [f"{output.ename}: {output.evalue}"]
    return notebook


def _is_progress(output: nbformat.NotebookNode) -> bool:
    """Progress bars: on stderr, or a widget that leaves no picture."""
    data = output.get("data", {})
    return output.get("name") == "stderr" or (WIDGET_VIEW in data and "image/png" not in data)


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Default those of the process.

    Returns
    -------
    int
        The exit status: the number of lessons that failed.
    """
    parser = argparse.ArgumentParser(prog="python -m xaiprune.course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="run lessons headless, with their minutes beside their budget")
    command.add_argument("names", nargs="*", help="beginnings of the lessons' names; default all")
    command.add_argument("--save", action="store_true", help="write the outputs back into the notebooks")
    arguments = parser.parse_args(argv)
    paths = [p for p in lessons() if not arguments.names or p.name.startswith(tuple(arguments.names))]
    failed = 0
    for number, path in enumerate(paths, 1):
        allowed = budget(nbformat.read(path, as_version=4))
        print(f"[{number}/{len(paths)}] {path.stem:<28}", end="", flush=True)
        try:
            notebook, seconds, megabytes = execute(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError, NothingRaisedError) as error:
            failed += 1
            print(f"FAILED\n{error}")
            continue
        late = "" if seconds <= allowed else "  over budget"
        print(f"{seconds / 60:5.1f} of {allowed / 60:.1f} min, {megabytes:6,.0f} MB{late}", flush=True)
        if arguments.save:
            save_atomically(path, lambda temporary, notebook=notebook: nbformat.write(notebook, temporary))
    print(f"{len(paths) - failed} of {len(paths)} lessons ran")
    return failed


if __name__ == "__main__":
    sys.exit(main())
