"""What a criterion is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from ....core import Registry, choice, fingerprint
from ....data import Split
from ...applying import alike
from ...units import KINDS, UnitGroup, UnitKind


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at: the arguments of :func:`score`.

    Attributes
    ----------
    model : nn.Module
    groups : tuple of UnitGroup
        Those that the rule is for.
    data : Split or None
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.
    seed : int
    """

    model: nn.Module
    groups: tuple[UnitGroup, ...]
    data: Split | None
    loss: Callable
    seed: int


#: ``Evidence -> {group name: tensor of shape (units,)}``.
_Rule = Callable[[Evidence], dict[str, torch.Tensor]]


@dataclass(frozen=True, eq=False, repr=False)
class Criterion:
    """A named way to score units.

    Attributes
    ----------
    name : str
    rules : mapping of (UnitKind or str) to callable
        Kind, or its key in ``KINDS``, to the rule for its units: ``Evidence -> {group name: tensor of shape
        (units,)}``. A rule for a kind is for its subclasses too, unless they have one; one for ``ANY`` is for all.
    description : str
        In words: what is added up over the places where a unit lives, and in which unit it comes.
    reads : {"weights", "data", "gradients"}
        What it looks at. Gradients are those of data.

    Raises
    ------
    ValueError
        If a kind is unknown, or ``reads`` is none of the three.

    Examples
    --------
    >>> def by_place(evidence):
    ...     return {group.name: torch.arange(group.size) for group in evidence.groups}
    >>> criterion = xp.prune.Criterion("place", {"channels": by_place, "blocks": by_place})
    >>> criterion.ranks(xp.prune.KINDS["weights"])
    False
    """

    name: str
    rules: Mapping[UnitKind | str, _Rule]
    description: str = ""
    reads: str = "weights"

    def __post_init__(self):
        if not isinstance(self.rules, Mapping):
            raise TypeError(
                f"rules must map kinds of units to functions, such as {{'channels': function}}, got "
                f"{type(self.rules).__name__}."
            )
        choice(self.reads, "reads", ("weights", "data", "gradients"))
        rules = {KINDS.find(kind, "rules"): rule for kind, rule in self.rules.items()}
        object.__setattr__(self, "rules", rules)

    def rule_for(self, kind: UnitKind) -> _Rule | None:
        """The rule that ranks units of a kind.

        Parameters
        ----------
        kind : UnitKind

        Returns
        -------
        callable or None
            None where the criterion does not rank them.
        """
        for known in type(kind).__mro__:
            for other, rule in self.rules.items():
                if type(other) is known:
                    asks = getattr(rule, "asks", None)
                    return rule if asks is None or kind.gives(asks) else None
        return None

    def ranks(self, kind: UnitKind) -> bool:
        """Whether the criterion ranks units of a kind.

        Parameters
        ----------
        kind : UnitKind

        Returns
        -------
        bool
        """
        return self.rule_for(kind) is not None

    def __call__(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores of all groups; ValueError if there is a kind of unit that the criterion does not rank."""
        shared: dict[_Rule, list[UnitGroup]] = {}
        for group in evidence.groups:
            rule = self.rule_for(group.kind)
            if rule is None:
                others = ", ".join(name for name, other in CRITERIA.items() if other.ranks(group.kind))
                raise ValueError(
                    f"criterion {self.name!r} does not rank {group.kind.words}, such as {group.name!r}; "
                    f"take one of {others}."
                )
            shared.setdefault(rule, []).append(group)
        found = {}
        for rule, groups in shared.items():
            found |= rule(replace(evidence, groups=tuple(groups)))
        return found

    def __repr__(self) -> str:
        return fingerprint(self)


#: Criteria by name.
CRITERIA: Registry[Criterion] = Registry("a criterion", Criterion)


def _asking(method: str) -> Callable[[_Rule], _Rule]:
    """Mark a rule that asks the kind of the units for a method, and ranks the kinds that give it.

    Parameters
    ----------
    method : {"owned", "replaced"}

    Returns
    -------
    callable
        Of the rule, which it gives back.
    """

    def mark(rule: _Rule) -> _Rule:
        rule.asks = method
        return rule

    return mark


def _at_random(evidence: Evidence) -> dict[str, torch.Tensor]:
    """A control: uniform random numbers, the same for the same seed.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to torch.Tensor
    """
    found = {}
    for groups in alike(evidence.groups):  # drawn anew: what blocks get does not depend on channels beside them
        generator = torch.Generator().manual_seed(evidence.seed)
        found |= {group.name: torch.rand(group.size, generator=generator) for group in groups}
    return found
