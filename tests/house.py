"""The package seen as a house: who imports whom, what is public, how much code there is."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

from tests import ROOT

TOP = "xaiprune"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name; ``__main__`` is a command and no room."""
    paths = sorted((ROOT / TOP).rglob("*.py"))
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
        if path.name != "__main__.py"
    }


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(modules()[module].read_text())


def is_package(module: str) -> bool:
    return modules()[module].name == "__init__.py"


class Import(NamedTuple):
    """``from base import name`` in a module; the name is empty where a whole module is meant."""

    module: str
    base: str
    name: str

    @property
    def target(self) -> str:
        """The module or package that is imported from, or imported."""
        whole = f"{self.base}.{self.name}"
        return whole if whole in modules() else self.base


@cache
def imports() -> tuple[Import, ...]:
    """All imports of the package from itself, wherever they stand."""
    return tuple(one for module in modules() for one in _imports(module))


def _imports(module: str) -> Iterator[Import]:
    package = module if is_package(module) else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            if base.partition(".")[0] == TOP:
                yield from (Import(module, base, alias.name) for alias in node.names)


def room(module: str, within: str = TOP) -> str:
    """The room inside of ``within`` that a module lies in; empty for ``within`` itself and for what is elsewhere."""
    return module.removeprefix(f"{within}.").partition(".")[0] if module.startswith(f"{within}.") else ""


def plan(within: str = TOP) -> dict[str, set[str]]:
    """Each room to the rooms that it imports from."""
    found: dict[str, set[str]] = {name: set() for module in modules() if (name := room(module, within))}
    for one in imports():
        here, there = room(one.module, within), room(one.target, within)
        if here and there and here != there:
            found[here].add(there)
    return found


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Sets of rooms that reach each other."""
    reach = {here: set(there) for here, there in arrows.items()}
    for middle in reach:
        for here in reach:
            if middle in reach[here]:
                reach[here] |= reach[middle]
    found = {frozenset({here, *(t for t in reach[here] if here in reach[t])}) for here in reach if here in reach[here]}
    return [set(circle) for circle in found]


@cache
def exported(package: str) -> set[str]:
    """The names in a package's ``__all__`` that are written there as words; of any other module, none."""
    for node in tree(package).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return set()


def is_public(module: str) -> bool:
    """Whether a module is a door of its own: the package that it lies in exports it."""
    package, _, name = module.rpartition(".")
    return name in exported(package)


def accidental() -> list[str]:
    """Names that look public, and that no package above them exports."""
    found = []
    for module in modules():
        if is_package(module) or is_public(module):
            continue
        above, package = set(), module
        while (package := package.rpartition(".")[0]) != TOP:
            above |= exported(package)
        names = (name for node in tree(module).body for name in _defined(node))
        found += [f"{module}.{name}" for name in names if not name.startswith("_") and name not in above]
    return found


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def unexported() -> list[str]:
    """Imports between rooms of what the other room does not export."""
    found = []
    for one in imports():
        here, there = room(one.module), room(one.target)
        if here and there and here != there and one.target != one.base:
            open_door = is_public(one.target) or one.target == f"{TOP}.{there}"
            found += [] if open_door else [f"{one.module}: {one.target}"]
        elif here and there and here != there:
            open_door = one.name in exported(one.base) if is_package(one.base) else is_public(one.base)
            found += [] if open_door and not one.name.startswith("_") else [f"{one.module}: {one.base}.{one.name}"]
    return found


def code_lines() -> int:
    """Lines of the package's code without docstrings, comments and blanks."""
    return sum(len(lines_of_code(path)) for path in (ROOT / TOP).rglob("*.py"))


def lines_of_code(path: Path) -> set[int]:
    text = path.read_text()
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in quiet:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            lines -= set(range(body[0].lineno, body[0].end_lineno + 1))
    return lines
