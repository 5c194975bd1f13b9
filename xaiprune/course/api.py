"""The API reference: a page for each room of a package, with what the room exports.

A room is a public module or package that has an ``__all__``. Rooms are found, not listed, so that the reference follows
the layout. The pages are sources for Sphinx, which takes signatures and docstrings from the objects themselves.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Iterable, Set
from importlib import import_module
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

_TITLES = {"function": "Functions", "class": "Classes", "data": "Tables and constants"}


def rooms(package: str = "xaiprune") -> dict[str, list[str]]:
    """Find the public modules of a package that export names.

    Parameters
    ----------
    package : str
        Name of the package; it and its public modules are imported.

    Returns
    -------
    dict
        Dotted name of each room, the package first, to the names in its ``__all__``.
    """
    top = import_module(package)
    below = sorted(info.name for info in pkgutil.walk_packages(top.__path__, f"{package}."))
    names = [package, *(name for name in below if "._" not in name)]
    return {name: list(found.__all__) for name in names if hasattr(found := import_module(name), "__all__")}


def write(folder: Path, package: str = "xaiprune") -> list[str]:
    """Write the pages of the reference.

    A function or a class that several rooms export is described in the one that lies deepest; the others link to it.

    Parameters
    ----------
    folder : Path
        Where the pages go: one ``.rst`` file for each room, with its dotted name. It is made.
    package : str
        Name of the package.

    Returns
    -------
    list of str
        The rooms, in the order of the contents.
    """
    found = {
        room: {name: getattr(import_module(room), name) for name in names} for room, names in rooms(package).items()
    }
    home = {}
    for room in sorted(found, key=lambda room: room.count(".")):
        home |= {id(value): room for value in found[room].values() if _kind(value) != "data"}
    folder.mkdir(parents=True)
    for room, values in found.items():
        places = {name: home.get(id(value), room) for name, value in values.items()}
        (folder / f"{room}.rst").write_text(_page(room, values, places), encoding="utf-8")
    return list(found)


def _page(room: str, values: dict[str, object], places: dict[str, str]) -> str:
    """One room: what it is, a table of what it exports, and each of these described if its place is here."""
    lines = [*_title(room, "="), f".. automodule:: {room}", "   :no-members:", "", f".. currentmodule:: {room}", ""]
    lines += [".. autosummary::", "   :nosignatures:", ""]
    kinds = {name: _kind(value) for name, value in values.items()}
    lines += [f"   ~{places[name]}.{name}".replace(f"~{room}.", "~") for name in values if kinds[name] != "data"]
    for kind, title in _TITLES.items():
        here = [name for name in values if kinds[name] == kind and places[name] == room]
        lines += _title(title, "-") if here else []
        for name in here:
            lines += [*_entry(room, name, values[name], kind), ""]
    return "\n".join([*lines, ""])


def _title(text: str, line: str) -> list[str]:
    return ["", text, line * len(text), ""]


def _kind(value: object) -> str:
    tests = {"module": inspect.ismodule, "class": inspect.isclass, "function": inspect.isroutine}
    return next((kind for kind, holds in tests.items() if holds(value)), "data")


def _entry(room: str, name: str, value: object, kind: str) -> list[str]:
    """The directive that describes one object."""
    if kind == "function":
        return [f".. autofunction:: {name}"]
    if kind == "class":
        fields = ", ".join(getattr(value, "_fields", ()))  # of a named tuple: its docstring says what they are
        return [f".. autoclass:: {name}", "   :members:", f"   :exclude-members: {fields}"]
    text = [*_comment(room, name, value), "", ", ".join(f"``{row}``" for row in _rows(value))]
    return [f".. py:data:: {name}", f"   :type: {type(value).__name__}", "", *(f"   {line}" for line in text)]


def _comment(room: str, name: str, value: object) -> list[str]:
    """The ``#:`` comment above the line that defines a constant, in whichever module of the package that is."""
    package = room.partition(".")[0]
    for module in [module for module in sys.modules if module.startswith(f"{package}.")]:
        if vars(sys.modules[module]).get(name) is value:
            comments = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", name) in comments:
                return comments["", name]
    return []


def _rows(value: object) -> list[str]:
    """A constant in words: the keys of a table, the members of a set, or the value itself."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    rows = [row.__name__ if inspect.isclass(row) else repr(row) for row in (value if several else [value])]
    return sorted(rows) if isinstance(value, Set) else rows
