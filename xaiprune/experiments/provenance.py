"""Which code a stored table depends on, and a digest of what that code computes.

A module says in a comment line under what name stored tables know it, ``# In stored tables: soft search``; in the
``__init__.py`` of a package the line stands for all modules below. The name travels with the file, so that a move
leaves tables valid; several modules may share a name, so that a module can be split. The digest leaves out what a
computation does not depend on: names of one's own, imports, the order and the place of definitions, annotations,
docstrings, and words for people. Such a digest can be fooled, in both directions: what decides is a table's *probe*,
see :mod:`xaiprune.experiments.tables`.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
_MARK = re.compile(r"^# In stored tables: (.+?)\s*$", re.M)
_BUILTIN = frozenset(dir(builtins))


def code_digest(*names: str, package: Path = PACKAGE) -> str:
    """A digest of what the code computes that goes by these names in stored tables.

    Parameters
    ----------
    *names : str
        As modules give them in their line ``# In stored tables: NAME``.
    package : Path
        Folder that is searched.

    Returns
    -------
    str
        12 hexadecimal digits; the same in every version of Python.

    Raises
    ------
    ValueError
        If no module goes by a name.
    """
    known = modules(package)
    parts = []
    for name in names:
        if name not in known:
            raise ValueError(f"no module of {package.name} goes by {name!r} in stored tables.")
        parts += [_definitions(path, path.stat().st_mtime_ns) for path in known[name]]
    every = sorted({definition for part in parts for definition in part})
    return hashlib.sha256("\n".join(every).encode()).hexdigest()[:12]


def modules(package: Path = PACKAGE) -> dict[str, list[Path]]:
    """The modules that stored tables can name.

    Parameters
    ----------
    package : Path

    Returns
    -------
    dict of str to list of Path
        Name in stored tables to the files that go by it.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        for name in _MARK.findall(path.read_text(encoding="utf-8")):
            below = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
            found.setdefault(name, []).extend(below)
    return found


@functools.lru_cache(maxsize=512)
def _definitions(path: Path, _changed: int) -> tuple[str, ...]:
    """A digest of each statement at the top of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    outside = dict(_imported(tree))
    found = [_Form(outside).of(node) for node in tree.body if not _is_idle(node)]
    return tuple(hashlib.sha256(text.encode()).hexdigest() for text in found)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names bound by imports from other packages, with what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                if first != PACKAGE.name:
                    yield (alias.asname, alias.name) if alias.asname else (first, first)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.partition(".")[0] != PACKAGE.name:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _is_idle(node: ast.stmt) -> bool:
    """Whether a statement computes nothing: imports, docstrings, ``__all__``, what only type checkers read."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


@functools.cache
def _methods() -> frozenset[str]:
    """Methods and attributes of tensors, modules and Python's own types: these are kept as they are written."""
    from torch import Tensor, nn

    return frozenset(name for kind in (Tensor, nn.Module, dict, list, str, set, tuple) for name in dir(kind))


class _Form:
    """One statement as text, in which every name of its own is a number: that of its first appearance."""

    #: Fields that say nothing of what is computed, or that only some versions of Python have.
    LEFT_OUT = frozenset({"annotation", "returns", "ctx", "type_comment", "kind", "type_params", "simple", "msg"})

    def __init__(self, outside: dict[str, str]):
        self.outside, self.numbers = outside, {}

    def of(self, node: object) -> str:
        if isinstance(node, list):
            kept = [one for one in node if not (isinstance(one, ast.stmt) and _is_idle(one))]
            return "[" + " ".join(map(self.of, kept)) + "]"
        if isinstance(node, ast.JoinedStr):
            return "text"
        if isinstance(node, ast.Raise):
            return "raise"
        if isinstance(node, ast.Constant):
            return f"{type(node.value).__name__} {node.value!r}"
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Attribute):
            return f"{self.of(node.value)}.{self._attribute(node)}"
        if isinstance(node, ast.Call):
            keep = self._is_outside(node.func)
            pairs = [f"{word.arg if keep else self._own(word.arg)}={self.of(word.value)}" for word in node.keywords]
            return f"call({self.of(node.func)} {self.of(node.args)} {' '.join(pairs)})"
        if isinstance(node, ast.AST):
            fields = [(name, value) for name, value in ast.iter_fields(node) if name not in self.LEFT_OUT]
            told = [f"{name}={self._field(value)}" for name, value in fields if value is not None and value != []]
            return f"{type(node).__name__}({' '.join(told)})"
        return repr(node)

    def _field(self, value: object) -> str:
        if isinstance(value, str):  # the name of a function, class, argument or caught error
            return self._own(value)
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):  # global, nonlocal
            return " ".join(map(self._own, value))
        return self.of(value)

    def _name(self, name: str) -> str:
        if name in self.outside:
            return self.outside[name]
        return name if name in _BUILTIN else self._own(name)

    def _own(self, name: str | None) -> str:
        if name is None:  # ``**options``
            return "**"
        return str(self.numbers.setdefault(name, len(self.numbers)))

    def _attribute(self, node: ast.Attribute) -> str:
        keep = self._is_outside(node.value) or node.attr in _methods() or node.attr.startswith("__")
        return node.attr if keep else self._own(node.attr)

    def _is_outside(self, node: ast.expr) -> bool:
        """Whether an expression is a name of another package, such as ``torch.nn.functional``."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and (node.id in self.outside or node.id in _BUILTIN)
