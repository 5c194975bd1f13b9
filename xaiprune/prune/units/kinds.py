"""Kinds of units: what each is called, how a unit is valued, masked and cut, and what it costs.

Everything else asks the kind: a new one is one file, with a subclass of :class:`UnitKind` whose instance is added to
``KINDS``, and a function that finds its units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from ...core import Registry

if TYPE_CHECKING:
    from .groups import UnitGroup


@dataclass(frozen=True, repr=False)
class UnitKind:
    """What units of one kind have in common; one of your own is a subclass that says what differs.

    As written here a unit is what its group's members say: slices of tensors. How its weights add up (``owned``) and
    what a gate on it multiplies (``replaced``, with ``per_unit`` and ``scaled``) is left to the subclass; without them
    the criteria that ask for it do not rank such units, and gates do not close them.

    Attributes
    ----------
    name : str
        Key in ``KINDS``, and what a saved plan says.
    words : str
        In the plural, for messages: "criterion 'obd' does not rank WORDS".
    entries : bool
        Whether a unit is one entry of a tensor: a cut leaves a zero in its place, which training can hold there. The
        group has the tensor's ``shape``.
    counted : bool
        Whether the units of a group are alike in size: then their number is a layer's width, which ``round_to`` keeps
        to multiples, and tells the cost.

    Examples
    --------
    >>> class Rows(xp.prune.UnitKind):
    ...     name, words = "rows", "rows of a table"
    >>> Rows().gives("owned")
    False
    """

    name: ClassVar[str] = "any"
    words: ClassVar[str] = "units"
    entries: ClassVar[bool] = False
    counted: ClassVar[bool] = True

    def gives(self, method: str) -> bool:
        """Whether the kind says how.

        Parameters
        ----------
        method : {"owned", "replaced"}

        Returns
        -------
        bool
        """
        return getattr(type(self), method) is not getattr(UnitKind, method)

    def owned(self, model: nn.Module, group: UnitGroup, value: Callable) -> torch.Tensor:
        """Sum of a value over all weights that a unit owns: what norms are made of.

        Parameters
        ----------
        model : nn.Module
        group : UnitGroup
        value : callable
            ``(name, weight) -> tensor of the weight's shape``.

        Returns
        -------
        torch.Tensor
            Shape ``(units,)``, float64.
        """
        raise NotImplementedError

    def replaced(self, model: nn.Module, groups: Sequence[UnitGroup], function: Callable) -> AbstractContextManager:
        """Inside the ``with``, what gates on the units multiply is replaced.

        A gate is a number that multiplies a unit wherever it lives. With this, units have values and gradients there.

        Parameters
        ----------
        model : nn.Module
        groups : sequence of UnitGroup
            Of kinds that share this method.
        function : callable
            ``(place, part) -> part``: a place is the name of a layer, and a part a tensor (N, ...).

        Returns
        -------
        context manager
        """
        raise NotImplementedError

    def per_unit(self, model: nn.Module, group: UnitGroup, place: str, values: torch.Tensor) -> list[torch.Tensor]:
        """What each unit has of the values at a place: their sum over everything but images.

        Parameters
        ----------
        model : nn.Module
        group : UnitGroup
        place : str
        values : torch.Tensor
            Of the part's shape.

        Returns
        -------
        list of torch.Tensor
            Shape ``(N, units)`` each, to be added up; empty where no unit of the group lives there.
        """
        raise NotImplementedError

    def scaled(
        self, model: nn.Module, group: UnitGroup, place: str, part: torch.Tensor, gate: torch.Tensor
    ) -> torch.Tensor:
        """The part at a place with each unit multiplied by its gate.

        Parameters
        ----------
        model : nn.Module
        group : UnitGroup
        place : str
        part : torch.Tensor
        gate : torch.Tensor
            Shape ``(units,)`` or ``(N, units)``.

        Returns
        -------
        torch.Tensor
            The part itself where no unit of the group lives there.
        """
        raise NotImplementedError

    def described(self, group: UnitGroup) -> list[str]:
        """What goes with a unit, a line for each.

        Parameters
        ----------
        group : UnitGroup

        Returns
        -------
        list of str
        """
        return [str(member) for member in group.members]

    def check(self, model: nn.Module, group: UnitGroup, units: np.ndarray) -> None:
        """Refuse a model that lacks the units; what the members name has been found there already.

        Parameters
        ----------
        model : nn.Module
        group : UnitGroup
        units : numpy.ndarray
            Units that go.

        Raises
        ------
        ValueError
            If the plan does not fit the model.
        """

    def mask(self, model: nn.Module, group: UnitGroup, units: np.ndarray) -> AbstractContextManager:
        """Take units away in place inside a ``with``; slices that the members name are zeroed already.

        Parameters
        ----------
        model : nn.Module
        group : UnitGroup
        units : numpy.ndarray
            Units that go.

        Returns
        -------
        context manager
        """
        return nullcontext()

    def cut(self, smaller: nn.Module, group: UnitGroup, units: np.ndarray) -> None:
        """Take units out of a copy; slices that the members name are gone already.

        Parameters
        ----------
        smaller : nn.Module
            Changed in place.
        group : UnitGroup
        units : numpy.ndarray
            Units that go.
        """

    def check_cut(self, smaller: nn.Module, group: UnitGroup, units: np.ndarray) -> None:
        """Refuse a model from which the units are not cut; the members' tensors are checked elsewhere.

        Parameters
        ----------
        smaller : nn.Module
        group : UnitGroup
        units : numpy.ndarray
            Units that should be gone.

        Raises
        ------
        ValueError
            If one is still there.
        """

    def unit_costs(self, group: UnitGroup, by_layer: Mapping[str, float]) -> np.ndarray | None:
        """What each unit costs in the whole model.

        Parameters
        ----------
        group : UnitGroup
        by_layer : mapping of str to float
            Layer's name to its cost.

        Returns
        -------
        numpy.ndarray or None
            Shape ``(units,)``; None where all units are alike, and share what their layers cost less without them.
        """
        return None

    def __repr__(self) -> str:
        return self.name


#: Units of any kind: a rule for it in a criterion's ``rules`` is for all kinds that have none of their own.
ANY = UnitKind()

#: The kinds, by the name that saved plans give.
KINDS: Registry[UnitKind] = Registry("a kind of units", UnitKind)
