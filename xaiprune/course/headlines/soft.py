"""Headlines of lesson 04: soft coefficients."""

from __future__ import annotations

from functools import partial

from ...experiments.controls import Headline


def _to(rho: float):
    """Rows up to a sparsity."""
    return lambda rows: [row for row in rows if row["rho"] <= rho]


_headline = partial(Headline, lesson="04")
_ROWS = [
    _headline(
        name="search-before-tuning",
        item=7,
        sentence="untuned, descend is ahead of a global ranking, of as many random draws, and of norms inside",
        table="soft_tuned",
        method="descend",
        controls=("global fisher", "random search", "descend, norms inside", "uniform"),
        key="test",
        unit="seed",
        where={"epochs": 0},
        by=("rho",),
        claimed=0.8,
        quoted="one net at 0.7: descend 14.61, as many random draws 13.79, global Fisher 13.39, norms inside 12.39 dB.",
    ),
    _headline(
        name="search-after-tuning",
        item=7,
        once="fine-tuning can win back much of this; what it starts from is what this lesson chose",
        sentence="after six epochs less than a tenth of a decibel of the search's lead is left at 0.5 and 0.7",
        table="soft_tuned",
        rows=_to(0.7),
        method="descend",
        controls=("global fisher", "uniform"),
        key="test",
        unit="seed",
        where={"epochs": 6},
        by=("rho",),
        claimed=1.39,
        quoted="one net, 20,000 images: a lead of 1.48 and 1.30 dB becomes -0.01 and 0.01.",
    ),
    _headline(
        name="search-after-tuning-at-85",
        item=7,
        sentence="where 85 % goes, a part of the lead is left after six epochs",
        table="soft_tuned",
        method="descend",
        controls=("global fisher", "uniform"),
        key="test",
        unit="seed",
        where={"epochs": 6, "rho": 0.85},
        claimed=1.52,
        quoted="one net, 20,000 images: a lead of 1.52 dB becomes 0.74.",
    ),
    _headline(
        name="code-after-tuning",
        item=7,
        sentence="after six epochs the old decoder reads the searched model's code better than the ranked one's",
        table="soft_tuned",
        method="descend",
        controls=("global fisher", "uniform"),
        key="old decoder",
        unit="seed",
        where={"epochs": 6},
        by=("rho",),
        claimed=1,
    ),
    _headline(
        name="smallest-untuned",
        item=7,
        sentence="untuned, the smallest model that keeps 20 dB is smaller with searched coefficients",
        table="soft_smallest",
        method="descend",
        controls=("global fisher", "uniform"),
        key="sparsity",
        unit="seed",
        where={"epochs": 0},
        claimed=0.05,
    ),
    _headline(
        name="smallest-tuned",
        item=7,
        sentence="with an epoch of tuning, the search still makes the smallest model, by under five hundredths",
        table="soft_smallest",
        method="descend",
        controls=("global fisher", "uniform"),
        key="sparsity",
        unit="seed",
        where={"epochs": 1},
        claimed=0.05,
    ),
    _headline(
        name="owners-together",
        item=7,
        sentence="two owners who search apart lose to one search over both parts",
        table="soft_components",
        method="together",
        controls=("apart", "global fisher"),
        key="test",
        unit="seed",
        where={"state": "cut"},
        claimed=0.5,
    ),
]
