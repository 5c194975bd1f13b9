"""What every public name says of itself: its parameters, what it returns, and an example that runs."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import socket
from functools import cache
from types import ModuleType

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from torch import nn

import xaiprune
from tests import ROOT

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
CODES = ("GL08", "PR01", "PR02", "PR03", "RT01", "YD01")
#: What examples may use without importing it: the package's own docstring says so.
KNOWN = {"torch": torch, "nn": nn, "np": np, "xp": xaiprune}


def ours(value) -> bool:
    """Whether it is a function or a class of the package."""
    return (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__.partition(".")[0] == "xaiprune"


def name_of(value) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def names_of(room: ModuleType) -> list[str]:
    """What a room exports; of a module without a list, which is a door itself, what it defines in public."""
    own = [name for name, value in vars(room).items() if getattr(value, "__module__", "") == room.__name__]
    return getattr(room, "__all__", [name for name in own if not name.startswith("_")])


@cache
def exported() -> dict[str, object]:
    """Every function and class that a room or a door in it exports, by its full name."""
    found, rooms = {}, [getattr(xaiprune, name) for name in xaiprune.__all__]
    while rooms:
        room = rooms.pop()
        values = [getattr(room, name) for name in names_of(room)] if inspect.ismodule(room) else [room]
        found |= {name_of(value): value for value in values if ours(value)}
        rooms += [value for value in values if inspect.ismodule(value)]
    return found


@cache
def in_lessons() -> dict[str, object]:
    """Every function and class of the package that a code cell of a lesson names, by its full name."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        trees = [ast.parse("\n".join(line for line in cell.splitlines() if line[:1] not in "%!")) for cell in cells]
        names: dict[str, object] = {}
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom) and "xaiprune" in ast.unparse(node):
                    exec(ast.unparse(node), names)
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.Name | ast.Attribute) and ours(value := resolved(node, names)):
                    found[name_of(value)] = value
    return found


def resolved(node: ast.expr, names: dict[str, object]):
    """What ``prune.soft.relax`` means where ``prune`` is an imported module; None where it is no name in a module."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(module := resolved(node.value, names), ModuleType):
        return getattr(module, node.attr, None)
    return None


def sections() -> list:
    """Every exported function, class and public method, with the problems of its docstring that count."""
    rows = []
    for name, value in sorted((exported() | in_lessons()).items()):
        rows.append(pytest.param(name, value, id=name))
        if inspect.isclass(value):
            rows += [pytest.param(f"{name}.{of}", value, id=f"{name}.{of}") for of in methods(value)]
    return rows


def methods(kind: type) -> list[str]:
    """Public methods that a class adds. One that overrides a documented method keeps to what is said there."""
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else ()
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and name not in fields
        and isinstance(value, classmethod | staticmethod | property | type(methods))
        and (name == "forward" or not any(getattr(base, name, None) for base in kind.__mro__[1:]))
    ]


def problems(name: str, value: object) -> list[str]:
    """What numpydoc finds missing: the docstring, parameters, a return or yield. Fields may be under Attributes."""
    found = [(code, text) for code, text in validate(name)["errors"] if code in CODES]
    if inspect.isclass(value) and name == name_of(value) and "Attributes\n-----" in inspect.getdoc(value):
        document = NumpyDocString(inspect.getdoc(value))
        rows = document["Parameters"] + document["Attributes"]
        missing = set(inspect.signature(value).parameters) - {
            n.strip(" *") for row in rows for n in row.name.split(",")
        }
        found = [(code, text) for code, text in found if code != "PR01"]
        found += [("PR01", f"neither parameters nor attributes say what {missing} are")] if missing else []
    return [text for _, text in found]


@pytest.mark.parametrize(("name", "value"), sections())
def test_a_public_name_says_what_it_takes_and_what_it_gives(name, value):
    assert problems(name, value) == []


@pytest.mark.parametrize("name", sorted(in_lessons()))
def test_a_name_that_a_lesson_uses_has_an_example(name):
    document = inspect.getdoc(in_lessons()[name]) or ""
    assert ">>>" in document.partition("Examples\n--------\n")[2]


def examples() -> list[doctest.DocTest]:
    """Every docstring of the package that has an example."""
    modules = [m.name for m in pkgutil.walk_packages(xaiprune.__path__, "xaiprune.") if "__main__" not in m.name]
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in modules for test in finder.find(importlib.import_module(name), name, globs={})]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_gives_what_it_shows(example, tmp_path, monkeypatch):
    def cut(*_):
        raise OSError("an example asks the network")

    monkeypatch.setattr(socket.socket, "connect", cut)
    monkeypatch.chdir(tmp_path)
    threads, told = torch.get_num_threads(), []
    torch.set_num_threads(1)
    example.globs = dict(KNOWN)
    try:
        with plt.rc_context():
            doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append)
    finally:
        torch.set_num_threads(threads)
        plt.close("all")
    assert not told, "".join(told)
