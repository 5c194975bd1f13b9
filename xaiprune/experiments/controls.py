"""Headlines and their controls: what is left of a lead beside the cheapest thing that could explain it.

A headline is data: which rows of a stored table are the method's, which are the controls', and over what the sentence
speaks. The verdict is a rule over paired differences and their intervals.
"""

# In stored tables: headlines

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from . import tables

#: Verdicts, from what is best for a headline to what is worst; the last says that nobody knows yet.
VERDICTS = ("stands", "stands weaker", "fell", "not told")


@dataclass(frozen=True)
class Lead:
    """A method beside one control.

    Attributes
    ----------
    control : str
    value, of_control : float
        Means, in the unit of the column.
    difference, low, high : float
        How far the method is ahead, and the 95 % interval; less than 0 where it is behind.
    """

    control: str
    value: float
    of_control: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What is left of a headline.

    Attributes
    ----------
    word : str
        One of ``VERDICTS``.
    leads : tuple of Lead
        One for each control, the strongest control first.
    count : int
        Of the units that the interval is over.
    needed : int or None
        Of a headline that is not told: about how many units would tell.
    """

    word: str
    leads: tuple[Lead, ...]
    count: int
    needed: int | None = None

    @property
    def strongest(self) -> Lead:
        """The lead over the control that does best."""
        return self.leads[0]

    def __str__(self) -> str:
        lead = self.strongest
        told = f"{self.word}: {lead.difference:+.3g} [{lead.low:.3g}, {lead.high:.3g}] beside {lead.control}"
        if self.word == "stands weaker":
            told += f"; ahead of {', '.join(one.control for one in self.leads if one.low > 0)}"
        return told + (f"; about {self.needed} would tell" if self.needed else "")

    def agrees(self, value: float | tuple[float, float, float]) -> bool:
        """Whether a lead that was measured elsewhere agrees with the one over the strongest control.

        Parameters
        ----------
        value : float or tuple of float
            The lead; or with its interval, ``(lead, low, high)``.

        Returns
        -------
        bool
            Whether it has the same sign, where the interval here excludes 0, and the two intervals overlap.
        """
        value, *bounds = np.atleast_1d(np.asarray(value, float)).tolist()
        lead, (low, high) = self.strongest, bounds or (-math.inf, math.inf)
        turned = lead.low * lead.high > 0 and value * lead.difference <= 0
        return not turned and low <= lead.high and lead.low <= high


@dataclass(frozen=True)
class Headline:
    """A sentence that says a method is better, and the rows that decide about it.

    Attributes
    ----------
    name : str
        By which a claim names it.
    lesson : str
        Number of the lesson that has the claim.
    sentence : str
        What the lesson says now, word for word.
    table : str
        A stored table.
    method : str
        The row's name of what the sentence is about.
    controls : tuple of str
        The rows' names of what could explain it.
    key : str
        The column to compare: numbers, or one list of numbers for each row, an entry per image.
    unit : str
        What the sentence speaks of: the column that tells the runs apart, such as ``"seed"``; or ``"image"``, for one
        network.
    claimed : float
        The lead that was once claimed, in the unit of the column; a headline falls only if the interval excludes it.
    where : mapping
        Columns that must have these values.
    by : tuple of str
        Columns that make a setting: differences are taken within one, and averaged over them.
    column : str
        The column that has the names.
    better : {1, -1}
        -1 where less is better.
    rows : callable
        ``rows -> rows``, for tables that hold what is compared in another form.
    item : int
        The question that it answers, for the order of the page.
    once : str
        What was said before the controls, where it is not the sentence: what fell, above all.
    quoted : str
        Figures that were seen before, for comparison.
    """

    name: str
    lesson: str
    sentence: str
    table: str
    method: str
    controls: tuple[str, ...]
    key: str
    unit: str
    claimed: float
    where: Mapping[str, object] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    column: str = "method"
    better: int = 1
    rows: Callable[[list[dict]], list[dict]] = list
    item: int = 0
    once: str = ""
    quoted: str = ""

    def verdict(self) -> Verdict:
        """What the stored rows say.

        Returns
        -------
        Verdict

        Raises
        ------
        ValueError
            If a method or a control has no rows, shares no setting with the other, or has one value alone.

        Examples
        --------
        >>> xp.course.HEADLINES["obd"].verdict().word
        'stands'
        """
        rows = tables.where(self.rows(tables.read(self.table)), **self.where)
        found = [self._lead(rows, control) for control in self.controls]
        found.sort(key=lambda one: -self.better * one[0].of_control)
        leads, (count, *_) = zip(*found)
        word = judged(leads, self.claimed)
        return Verdict(word, leads, count, needed(leads[0], self.claimed, count) if word == "not told" else None)

    def _lead(self, rows: list[dict], control: str) -> tuple[Lead, int]:
        mine, theirs = (self._values(rows, name) for name in (self.method, control))
        if min(len(mine), len(theirs)) == 1:  # what is the same in all runs stands beside each of the other's
            (few, many) = (mine, theirs) if len(mine) == 1 else (theirs, mine)
            few |= dict.fromkeys(many, *few.values())
        pairs = []
        for unit in [unit for unit in mine if unit in theirs]:
            if settings := [setting for setting in mine[unit] if setting in theirs[unit]]:
                pairs.append(np.mean([[of[unit][setting] for setting in settings] for of in (mine, theirs)], axis=1))
        if not pairs:
            raise ValueError(f"headline {self.name!r}: {self.method} and {control} share no setting in {self.table}.")
        both = np.stack(pairs, axis=1)  # method or control, run, image
        value, of_control = both.mean(axis=(1, 2)).tolist()
        lead = Lead(control, value, of_control, *interval(self.better * (both[0] - both[1])))
        return lead, both.shape[2 if self.unit == "image" else 1]

    def _values(self, rows: list[dict], name: str) -> dict:
        """Unit -> setting -> numbers of shape (images,)."""
        found: dict = {}
        for row in rows:
            if row[self.column] == name:
                numbers = np.atleast_1d(np.asarray(row[self.key], float))
                unit = "" if self.unit == "image" else row[self.unit]
                found.setdefault(unit, {}).setdefault(tuple(row[column] for column in self.by), []).append(numbers)
        if not found:
            raise ValueError(f"headline {self.name!r}: {self.table} has no row of {name!r} with {dict(self.where)}.")
        return {
            unit: {setting: np.mean(several, axis=0) for setting, several in settings.items()}
            for unit, settings in found.items()
        }


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences and its 95 % interval, over runs, images, or both.

    Where both vary and each run sees the same images, the variance of the mean is that of the runs' means plus that of
    the images' means: the bound of Owen 2007 (*The pigeonhole bootstrap*, equation 5) for crossed factors, which counts
    the part of each pair twice and so is never too small.

    Parameters
    ----------
    differences : numpy.ndarray
        Shape (runs, images); one of them may be 1.

    Returns
    -------
    mean, low, high : float

    Raises
    ------
    ValueError
        For a single number: one says nothing of the spread.

    Examples
    --------
    >>> mean, low, high = xp.experiments.controls.interval(np.array([[1.0], [2.0], [3.0]]))
    >>> print(f"{mean:.1f} [{low:.2f}, {high:.2f}]")
    2.0 [-0.48, 4.48]
    """
    from scipy import stats

    if differences.size < 2:
        raise ValueError(f"differences must be at least two, got {differences.size}: one says nothing of the spread.")
    parts = [differences.mean(axis=axis) for axis in (1, 0) if differences.shape[1 - axis] > 1]
    variance = sum(part.var(ddof=1) / len(part) for part in parts)
    half = stats.t.ppf(0.975, min(map(len, parts)) - 1) * math.sqrt(variance)
    mean = float(differences.mean())
    return mean, mean - half, mean + half


def judged(leads: tuple[Lead, ...], claimed: float) -> str:
    """The verdict on leads, the strongest control's first.

    A headline *stands* if each interval lies above 0. It *fell* if the strongest control is level or ahead, and its
    interval excludes the lead once claimed. It *stands weaker* if it is ahead of some controls alone. Otherwise it is
    *not told*.

    Parameters
    ----------
    leads : tuple of Lead
    claimed : float
        Positive.

    Returns
    -------
    str
        One of ``VERDICTS``.
    """
    if all(lead.low > 0 for lead in leads):
        return "stands"
    if leads[0].low <= 0 and leads[0].high < claimed:
        return "fell"
    return "stands weaker" if any(lead.low > 0 for lead in leads) else "not told"


def needed(lead: Lead, claimed: float, count: int) -> int:
    """About how many units would tell, if the lead stays what it is: the interval shrinks as one over their root.

    Parameters
    ----------
    lead : Lead
    claimed : float
    count : int
        Of the units so far.

    Returns
    -------
    int
    """
    half = (lead.high - lead.low) / 2
    away = max(abs(lead.difference), claimed - lead.difference)
    return math.ceil(count * (half / away) ** 2)
