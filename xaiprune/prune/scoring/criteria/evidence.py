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
        ``(model, inputs, targets) -> scalar``, a mean over images: the loss, or minus the label's logit.
    seed : int
    """

    model: nn.Module
    groups: tuple[UnitGroup, ...]
    data: Split | None
    loss: Callable
    seed: int


#: What a criterion may explain: the loss of an image, or the logit of its label.
QUANTITIES = ("loss", "logit")

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
    of : tuple of str
        Which quantities it can explain, of "loss" and "logit"; the first is taken where none is asked for. Empty for
        one that explains neither, such as a norm of weights. A rule that names both reads ``evidence.loss``, which
        holds the one that was asked for.

    Raises
    ------
    ValueError
        If a kind or a quantity is unknown, or ``reads`` is none of the three.

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
    of: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.rules, Mapping):
            raise TypeError(
                f"rules must map kinds of units to functions, such as {{'channels': function}}, got "
                f"{type(self.rules).__name__}."
            )
        choice(self.reads, "reads", ("weights", "data", "gradients"))
        object.__setattr__(self, "of", (self.of,) if isinstance(self.of, str) else tuple(self.of))
        for quantity in self.of:
            choice(quantity, "of", QUANTITIES)
        rules = {KINDS.find(kind, "rules"): rule for kind, rule in self.rules.items()}
        object.__setattr__(self, "rules", rules)

    def explaining(self, of: str) -> Criterion:
        """The same criterion of a stated quantity, to go wherever a criterion goes.

        Parameters
        ----------
        of : {"loss", "logit"}

        Returns
        -------
        Criterion
            Itself, where it explains nothing else.

        Raises
        ------
        ValueError
            If the criterion does not explain the quantity.

        Examples
        --------
        >>> xp.prune.CRITERIA["taylor"].explaining("logit").name
        'taylor of the logit'
        """
        if choice(of, "of", QUANTITIES) not in self.of:
            others = ", ".join(name for name, other in CRITERIA.items() if of in other.of)
            does = f"explains the {self.of[0]}" if self.of else "explains neither the loss nor the logit"
            raise ValueError(f"of={of!r}: criterion {self.name!r} {does}. Leave of out, or take one of {others}.")
        name = self.name if of == self.of[0] else f"{self.name} of the {of}"
        return replace(self, name=name, of=(of,))

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
