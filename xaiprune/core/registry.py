"""Rows by name, or as objects: criteria, calibrators, methods, losses, schedules, runtimes, unit kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .arguments import nearest

_Row = TypeVar("Row")


class Registry(dict[str, _Row], Generic[_Row]):
    """A mapping of names to rows that also takes a row of one's own wherever a name goes.

    Parameters
    ----------
    what : str
        What a row is, for messages: ``"a criterion"``.
    fits : type or callable
        The rows' class, or ``object -> bool``.
    rows : iterable
        Rows, which are known by their ``name``, or pairs of name and row.

    Examples
    --------
    >>> halves = xp.core.Registry("a function", callable, [("half", lambda x: x / 2)])
    >>> halves.find("half", "function")(3)
    1.5
    >>> halves.find(lambda x: x / 4, "function")(3)
    0.75
    """

    def __init__(self, what: str, fits: type | Callable[[object], bool], rows: Iterable = ()):
        super().__init__(row if isinstance(row, tuple) and len(row) == 2 else (row.name, row) for row in rows)
        self.what, self._fits = what, fits

    def find(self, row: str | _Row, argument: str) -> _Row:
        """The row of a name, or the row itself.

        Parameters
        ----------
        row : str or Row
        argument : str
            The argument that it was given for, for the message.

        Returns
        -------
        Row

        Raises
        ------
        ValueError
            If there is no row of that name; the names are listed, and the nearest one is told.
        TypeError
            If it is neither a name nor a row.
        """
        if isinstance(row, str):
            if row not in self:
                hint = nearest(row, self) or "."
                raise ValueError(f"{argument} must be one of {', '.join(self)}, got {row!r}{hint}")
            return self[row]
        if not self.fits(row):
            raise TypeError(
                f"{argument} must be the name of {self.what} or {self.what} itself, got {type(row).__name__}; the "
                f"names are {', '.join(self)}."
            )
        return row

    def fits(self, row: object) -> bool:
        """Whether an object can be a row.

        Parameters
        ----------
        row : object

        Returns
        -------
        bool
        """
        return isinstance(row, self._fits) if isinstance(self._fits, type) else bool(self._fits(row))

    def name_of(self, row: str | _Row) -> str:
        """What a row is called, in tables and on buttons.

        Parameters
        ----------
        row : str or Row

        Returns
        -------
        str
            Its key here, or its own ``name``, or that of the function.
        """
        if isinstance(row, str):
            return row
        known = next((name for name, other in self.items() if other is row), None)
        return known or getattr(row, "name", None) or getattr(row, "__name__", type(row).__name__)

    def add(self, row: _Row, name: str | None = None) -> _Row:
        """Make a row known by its name.

        Parameters
        ----------
        row : Row
        name : str, optional
            By default ``row.name``.

        Returns
        -------
        Row
            The row itself.

        Raises
        ------
        TypeError
            If it cannot be a row.
        ValueError
            If the name is taken by another row.
        """
        name = name or row.name
        if not self.fits(row):
            raise TypeError(f"row must be {self.what}, got {type(row).__name__}.")
        if self.get(name, row) is not row:
            raise ValueError(f"name {name!r} is taken; give {self.what} of your own another name.")
        self[name] = row
        return row
