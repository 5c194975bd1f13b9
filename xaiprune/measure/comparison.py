"""The scorecard: what a model costs and does, measured once, one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..data import Several, Split, as_split, judged
from .counting import Shipped, costs, csr_bytes, macs, sizes
from .latency import Latency, latencies
from .metrics import METRICS, Metric

__all__ = ["Column", "Comparison", "Scorecard", "Shipped", "card_columns", "compare"]
__all__ += ["costs", "csr_bytes", "macs", "scorecard", "scorecards", "shifted", "sizes"]

#: Power that the energy estimate assumes, in watts: a laptop's processor under load.
_POWER_WATTS = 15.0


@dataclass(frozen=True)
class Column:
    """One measure of the scorecard.

    Attributes
    ----------
    title : str
        As printed, with its unit.
    better : {1, -1}
        1 where more is better, -1 where less is.
    format : callable
        Value to text.

    Examples
    --------
    >>> column = xp.measure.Column("size [MiB]", -1, lambda value: f"{value:.2f}")
    >>> column.format(1.23456)
    '1.23'
    """

    title: str
    better: int
    format: Callable[[float], str] = lambda value: f"{value:.4g}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}"


#: Measures that every scorecard has, beside the task's metric and what a caller adds.
_COLUMNS: dict[str, Column] = {
    "parameters": Column("parameters", -1, _count),
    "nonzeros": Column("non-zeros", -1, _count),
    "dense_bytes": Column("dense [bytes]", -1, _count),
    "sparse_bytes": Column("sparse with indices [bytes]", -1, _count),
    "zipped_bytes": Column("zipped file [bytes]", -1, _count),
    "activation_bytes": Column("peak activations, batch 1 [bytes]", -1, _count),
    "macs": Column("MACs per image", -1, _count),
    "latency_1": Column("latency, batch 1 [ms]", -1, _decimals(2)),
    "latency_64": Column("latency, batch 64 [ms]", -1, _decimals(2)),
    "energy": Column("energy per image, estimate [mJ]", -1, _decimals(2)),
}


#: Measures that not all kinds of inputs have.
_TRIED = ("metric_noise", "metric_shift")


@dataclass(frozen=True)
class Scorecard:
    """One model's row.

    Attributes
    ----------
    name : str
    values : mapping of str to float
        Key of a column to its value.
    columns : mapping of str to Column
        The columns, in order.
    notes : mapping of str to str
        Remarks to single values: the spread and the conditions of a timing, say.
    sample : str
        What is to be said of the images: "in sample" where some took part in choosing the model.

    Examples
    --------
    One of your own, beside those that :func:`scorecards` measures:

    >>> columns = {"file": xp.measure.Column("file [MB]", -1, "{:.1f}".format)}
    >>> cards = [xp.measure.Scorecard("original", {"file": 18.58}, columns)]
    >>> cards += [xp.measure.Scorecard("cut", {"file": 3.47}, columns)]
    >>> xp.compare(cards).rows()[1]
    ['file [MB]', '↓', '18.6', '3.5']
    """

    name: str
    values: Mapping[str, float]
    columns: Mapping[str, Column]
    notes: Mapping[str, str] = field(default_factory=dict)
    sample: str = ""

    def __getitem__(self, key: str) -> float:
        return self.values[key]

    def __repr__(self) -> str:
        return str(compare([self]))


def scorecard(model: nn.Module, split: Split, metric: Metric | str, *, name: str = "model", **options) -> Scorecard:
    """Measure one model; see :func:`scorecards`.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    split : Split
        Data for the metric.
    metric : Metric or str
        What the model is for, or a key of ``METRICS``.
    name : str
        Title of its column.
    **options : object
        As for :func:`scorecards`.

    Returns
    -------
    Scorecard
    """
    return scorecards({name: model}, split, metric, **options)[0]


def scorecards(
    models: Mapping[str, nn.Module],
    split: Split,
    metric: Metric | str,
    *,
    repeats: int = 40,
    threads: int | None = None,
    power_watts: float = _POWER_WATTS,
    extra: Mapping[Column, Callable[[nn.Module], float]] | None = None,
    output: str | int | Callable | None = None,
    in_sample: bool = False,
) -> list[Scorecard]:
    """Measure models on the same data, with their latencies taken in turn so that they can be compared.

    Parameters
    ----------
    models : mapping of str to nn.Module
        Name to model.
    split : Split, or data of another form
        Data for the metric; the images' shape is also the shape of the example.
    metric : Metric or str
        What the models are for, or a key of ``METRICS``. It is also measured with Gaussian noise of standard deviation
        0.1 on the input (clipped to [0, 1], the target stays clean) and with the images shifted by two pixels. Of
        inputs that leave [0, 1], such as normalised photographs and tables, the noise is 0.1 of their range in every
        channel or column, and clipped to it. What is no image is not shifted; tokens have no noise.
    repeats : int
        Timed runs per model and batch size.
    threads : int, optional
        Threads to time with; default torch's present number.
    power_watts : float
        For the energy *estimate*: latency at batch 1 times this power. It is not a measurement of energy.
    extra : mapping of Column to callable, optional
        Further columns, each with a function of the model.
    output : str, int or callable, optional
        As for :func:`predict`, of all models.
    in_sample : bool
        As for :func:`accuracy`; then the table says so.

    Returns
    -------
    list of Scorecard
        In the order of ``models``.

    Raises
    ------
    ValueError
        If there is no model or no image, or images took part in choosing a model.

    Examples
    --------
    >>> points = xp.data.Split(torch.eye(4).reshape(4, 1, 2, 2), torch.arange(4))
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4)).eval()
    >>> [card] = xp.scorecards({"tiny": model}, points, xp.measure.ACCURACY, repeats=2)
    >>> card["parameters"], card["macs"]  # 4 x 4 weights and 4 biases
    (20, 16)
    """
    split, metric = as_split(split, name="split"), METRICS.find(metric, "metric")
    if not models:
        raise ValueError("models is empty: give at least one model by name.")
    if len(split.inputs) == 0:
        raise ValueError("split is empty: at least one image is needed.")
    extra = extra or {}
    columns = card_columns(metric) | {column.title: column for column in extra}
    does = {
        name: judged(partial(_does, model, split, metric, extra, output), split, model, in_sample=in_sample)
        for name, model in models.items()
    }
    timed = {size: latencies(models, _batch(split.inputs, size), repeats=repeats, threads=threads) for size in (1, 64)}
    cards = []
    for name, model in models.items():
        costing = costs(model, split.inputs[:1]) | {f"latency_{size}": timed[size][name].median for size in timed}
        costing["energy"] = costing["latency_1"] * power_watts
        notes = {f"latency_{size}": str(_by_runtime(timed[size][name], model)) for size in timed}
        notes["energy"] = f"latency at batch 1 x {power_watts:g} W, not measured"
        values = {**does[name], **costing}
        own = {key: column for key, column in columns.items() if key in values or key not in _TRIED}
        cards.append(Scorecard(name, values, own, notes, getattr(does[name], "sample", "")))
    return cards


def _does(model: nn.Module, split: Split, metric: Metric, extra: Mapping, output: object) -> dict[str, float]:
    """What a model does: the metric, also under noise and shift, and further columns by their titles."""
    values = {"metric": metric(model, split, output=output)}
    parts = split.inputs.values() if isinstance(split.inputs, Several) else [split.inputs]
    if any(part.is_floating_point() for part in parts):
        values["metric_noise"] = metric(_Noisy(model, split.inputs), split, output=output)
    if any(_is_image(part) for part in parts):
        moved = split.inputs.map(_shifted) if isinstance(split.inputs, Several) else _shifted(split.inputs)
        values["metric_shift"] = metric(model, split.replaced(inputs=moved), output=output)
    return values | {column.title: function(model) for column, function in extra.items()}


def card_columns(metric: Metric) -> dict[str, Column]:
    """The columns of every scorecard for a task's metric.

    Parameters
    ----------
    metric : Metric
        What the models are for.

    Returns
    -------
    dict of str to Column
        By the keys of :class:`Scorecard`'s values, in their order.

    Examples
    --------
    >>> list(xp.measure.card_columns(xp.measure.ACCURACY))[:3]
    ['metric', 'metric_noise', 'metric_shift']
    """
    titles = {"metric": "", "metric_noise": " under noise", "metric_shift": " under shift"}
    own = {key: Column(f"{metric.name}{title}", metric.better, _decimals(2)) for key, title in titles.items()}
    return {**own, **_COLUMNS}


def _by_runtime(time: Latency, model: nn.Module) -> Latency:
    return replace(time, runtime=model.runtime) if isinstance(model, Shipped) else time


def shifted(images: torch.Tensor, pixels: int = 2) -> torch.Tensor:
    """Images (N, C, H, W) moved right by some pixels, filled with zeros.

    Parameters
    ----------
    images : torch.Tensor
        Shape (N, C, H, W).
    pixels : int

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    return nn.functional.pad(images, (pixels, 0))[..., : images.shape[-1]]


def _is_image(part: torch.Tensor) -> bool:
    return part.ndim == 4 and part.is_floating_point()


def _shifted(part: torch.Tensor) -> torch.Tensor:
    return shifted(part) if _is_image(part) else part


class _Noisy(nn.Module):
    """A model whose input is noisy: the same noise for every model."""

    def __init__(self, model: nn.Module, inputs: torch.Tensor | Several, sigma: float = 0.1):
        super().__init__()
        self.module, self.sigma = model, sigma  # a wrapper, as far as arguments go
        self.bounds = [_bounds(part) for part in (inputs.values() if isinstance(inputs, Several) else [inputs])]

    def forward(self, *given, **named):
        generator = torch.Generator().manual_seed(0)
        parts, form = tree_flatten((given, named))
        given, named = tree_unflatten([self._noisy(*each, generator) for each in zip(parts, self.bounds)], form)
        return self.module(*given, **named)

    def _noisy(self, values: torch.Tensor, bounds: tuple | None, generator: torch.Generator) -> torch.Tensor:
        if bounds is None:
            return values
        noise = torch.randn(values.shape, generator=generator).to(values)
        if not isinstance(bounds[0], torch.Tensor):
            return (values + self.sigma * noise).clamp(*bounds)
        low, high = (bound.to(values) for bound in bounds)
        return torch.minimum(torch.maximum(values + self.sigma * (high - low) * noise, low), high)


def _bounds(part: torch.Tensor) -> tuple | None:
    """Between what inputs lie: 0 and 1, or the ends of every channel or column; None of what gets no noise."""
    if not part.is_floating_point():
        return None
    low, high = part.aminmax()
    if low >= 0 and high <= 1:
        return 0, 1
    others = [axis for axis in range(part.ndim) if axis != 1] if part.ndim in (2, 4) else [0, 1][: part.ndim - 1]
    return part.amin(others, keepdim=True), part.amax(others, keepdim=True)


def _batch(inputs: torch.Tensor | Several, size: int) -> torch.Tensor | Several:
    return inputs[torch.arange(size) % len(inputs)]


@dataclass(frozen=True)
class Comparison:
    """Scorecards side by side: a measure per row, a model per column.

    Attributes
    ----------
    cards : tuple of Scorecard
        In the order of the table's columns.
    """

    cards: tuple[Scorecard, ...]

    def rows(self) -> list[list[str]]:
        """The table's cells, the header first.

        Returns
        -------
        list of list of str
            ``measure``, ``better`` and a name per model; then the same for every measure.
        """
        columns = {key: column for card in self.cards for key, column in card.columns.items()}
        rows = [["measure", "better", *(card.name for card in self.cards)]]
        for key, column in columns.items():
            cells = [column.format(card.values[key]) if key in card.values else "" for card in self.cards]
            rows.append([column.title, "↑" if column.better > 0 else "↓", *cells])
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [cell.ljust(w) if place < 2 else cell.rjust(w) for place, (cell, w) in enumerate(zip(row, widths))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines + [self.footnote])

    __repr__ = __str__

    @property
    def footnote(self) -> str:
        """How the latencies were taken, and which columns are in sample."""
        told = [f"{card.name}: {card.sample}" for card in self.cards if card.sample]
        return "; ".join([*told, *filter(None, [self._latencies])])

    @property
    def _latencies(self) -> str:
        notes = {card.name: card.notes["latency_1"] for card in self.cards if "latency_1" in card.notes}
        if not notes:
            return ""
        conditions = {note.rpartition(" runs, ")[2] for note in notes.values()}
        first, *_ = notes.values()
        told = first if len(conditions) == 1 else "; ".join(f"{name}: {note}" for name, note in notes.items())
        return f"latency: {told}; energy: {self.cards[0].notes.get('energy', '')}"

    def _repr_html_(self) -> str:
        head, *body = self.rows()
        html = ["<table><thead><tr>", *(f"<th>{cell}</th>" for cell in head), "</tr></thead><tbody>"]
        for row in body:
            cells = (f"<td style='text-align:{'left' if n < 2 else 'right'}'>{c}</td>" for n, c in enumerate(row))
            html += ["<tr>", *cells, "</tr>"]
        return "".join([*html, "</tbody></table>", f"<p><small>{self.footnote}</small></p>"])


def compare(cards: list[Scorecard]) -> Comparison:
    """The one table that every lesson ends in: arrows point to the better side.

    Parameters
    ----------
    cards : list of Scorecard
        At least one, in the order in which they are shown.

    Returns
    -------
    Comparison
        It prints as a table, in a notebook as HTML.

    Raises
    ------
    ValueError
        If there is no card.

    Examples
    --------
    >>> size = {"size": xp.measure.Column("size [MiB]", -1)}
    >>> cards = [xp.measure.Scorecard("original", {"size": 8}, size), xp.measure.Scorecard("cut", {"size": 3}, size)]
    >>> xp.compare(cards)
    measure     better  original  cut
    size [MiB]  ↓              8    3
    """
    if not cards:
        raise ValueError("cards is empty: give at least one Scorecard.")
    return Comparison(tuple(cards))
