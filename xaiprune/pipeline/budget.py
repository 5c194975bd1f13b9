"""What a compressed model may cost and lose, beside the original."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from ..explain import drift_column, place_column
from ..measure import Scorecard
from .step import Step, _as_code

#: Costs that a budget can bound, with the scorecard's column; they are shares of the original's.
COSTS: dict[str, str] = {"latency": "latency_1", "size": "dense_bytes", "memory": "activation_bytes"}
#: Bounds on what is lost may be 0; how far one is broken is a share of this then.
_SMALLEST: dict[str, float] = {"accuracy": 1.0, "drift": 0.1, "place": 0.1}
DRIFT, PLACE = drift_column(), place_column()


@dataclass(frozen=True, repr=False)
class Budget:
    """Bounds; None bounds nothing.

    ``prune.ExplanationBudget`` judges single plans by accuracy and drift; this one judges a whole recipe by its
    scorecards.

    Attributes
    ----------
    latency : float, optional
        Share of the original's latency at batch 1 that may be left, in (0, 1].
    size : float, optional
        Share of the bytes of its file.
    memory : float, optional
        Share of the peak of its activations at batch 1.
    accuracy : float, optional
        Loss of the metric, in its own unit (for accuracy: points), at least 0.
    drift : float, optional
        1 less the median rank correlation of heatmaps, in [0, 2).
    place : float, optional
        Place of the drift between noise, 0, and chance, 1: see ``explain.Scale``.

    Raises
    ------
    ValueError
        If a bound is out of its range, or two contradict each other.

    Examples
    --------
    >>> budget = xp.pipeline.Budget(size=0.3, accuracy=2.0)
    >>> {name: round(over, 2) for name, over in budget.over({"size": 0.5, "accuracy": 1.0}).items()}
    {'size': 0.2}
    """

    latency: float | None = None
    size: float | None = None
    memory: float | None = None
    accuracy: float | None = None
    drift: float | None = None
    place: float | None = None

    def __post_init__(self):
        for name in COSTS:
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], a share of the original's, got {value:g}.")
        if self.accuracy is not None and not 0 <= self.accuracy < math.inf:
            raise ValueError(f"accuracy must be at least 0, what the metric may lose, got {self.accuracy:g}.")
        if self.drift is not None and not 0 <= self.drift < 2:
            raise ValueError(f"drift must be in [0, 2): it is 1 less a rank correlation, got {self.drift:g}.")
        if self.place is not None and not 0 <= self.place <= 1:
            raise ValueError(f"place must be from 0, noise, to 1, chance, got {self.place:g}.")
        cheaper = [name for name in COSTS if getattr(self, name) is not None and getattr(self, name) < 1]
        if self.drift == 0 and cheaper:
            raise ValueError(
                f"drift=0 and {cheaper[0]}={getattr(self, cheaper[0]):g} contradict each other: a model that costs "
                "less computes something else."
            )

    def __repr__(self) -> str:
        return _as_code(self)

    @property
    def bounds(self) -> dict[str, float]:
        """Name to bound, of those that are given."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) is not None
        }

    def check(self, steps: Sequence[Step]) -> None:
        """Refuse a budget that no strength of the steps can meet: ValueError names the bound.

        Parameters
        ----------
        steps : sequence of Step
        """
        for name in COSTS:
            least = math.prod(step.least.get(name, 1.0) for step in steps)
            bound = getattr(self, name)
            if bound is not None and bound < least:
                by = "none of them makes it smaller" if least == 1 else f"they leave {least:g} of it at the least"
                raise ValueError(f"{name}={bound:g} cannot be reached by {', '.join(map(repr, steps))}: {by}.")

    def over(self, spent: Mapping[str, float]) -> dict[str, float]:
        """The bounds that are broken, with by how much; the one that binds most comes first.

        Parameters
        ----------
        spent : mapping of str to float
            As :func:`spent_by` gives it.

        Returns
        -------
        dict of str to float
            Name to what is spent beyond the bound, in the bound's unit.
        """
        over = {name: spent[name] - bound for name, bound in self.bounds.items() if not spent[name] <= bound}
        return dict(sorted(over.items(), key=lambda row: -self._share(*row)))

    def excess(self, spent: Mapping[str, float]) -> float:
        """By how much the bound that binds most is broken, as a share of it; 0 where the budget holds.

        Parameters
        ----------
        spent : mapping of str to float
            As :func:`spent_by` gives it.

        Returns
        -------
        float
        """
        return max((self._share(name, by) for name, by in self.over(spent).items()), default=0.0)

    def _share(self, name: str, by: float) -> float:
        return by / max(self.bounds[name], _SMALLEST.get(name, 0.0))


def _spent_by(card: Scorecard, original: Scorecard) -> dict[str, float]:
    """What a model has used, by the names of a budget.

    Parameters
    ----------
    card, original : Scorecard
        Measured in one run.
    """
    spent = {name: card[column] / original[column] for name, column in COSTS.items()}
    spent["accuracy"] = card.columns["metric"].better * (original["metric"] - card["metric"])
    told = {"drift": DRIFT.title, "place": PLACE.title}
    return spent | {name: card[title] for name, title in told.items() if title in card.values}
