"""Drift: how far the heatmaps of a compressed model are from those of the original."""

# In stored tables: drift

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import nn

from ..data import judged
from ..graph import asking
from ..measure import predict
from .beginning import _flat_maps
from .likeness import Likeness, NoEvidenceError, heatmap_drift, top_overlap
from .methods import Method
from .resampling import _median, bootstrap
from .scale import Scale, _ruler, drift_scale
from .target import _check_request

#: Most images on which noise and chance are measured where no scale is given: they are means, of 22 networks' heatmaps.
_SCALED = 50


@dataclass(frozen=True, eq=False)
class Drift:
    """How far a model's heatmaps are from the original's, for the same images and answers: 0 for equal models.

    How much is much? :attr:`place` says it: 0 is what harmless changes of the original give, 1 what networks give that
    have learned nothing.

    Attributes
    ----------
    method : str
    values : torch.Tensor
        Shape ``(N,)``: 1 less the likeness of each image's two heatmaps; for rank correlation it is from 0 to 2.
    top : torch.Tensor
        Shape ``(N,)``, from 0 to 1: the share of the highest pixels that are others now.
    classes : torch.Tensor
        Shape ``(N,)``: the class of each image.
    silent : torch.Tensor
        Shape ``(N,)``, bool: where the compressed model's heatmap is constant, because nothing in the image speaks for
        the answer any more. Rank correlation is not defined there; the drift counts as 1.
    likeness : str
    measure : callable, optional
        ``() -> Scale``, for :attr:`scale`.
    heatmaps : torch.Tensor, optional
        Shape ``(N, H, W)``: those of the compressed model.
    sample : str
        What is to be said of the images: "in sample" where some took part in choosing a model.
    """

    method: str
    values: torch.Tensor
    top: torch.Tensor
    classes: torch.Tensor
    silent: torch.Tensor
    likeness: str = "rank correlation"
    measure: Callable[[], Scale] | None = field(default=None, repr=False)
    heatmaps: torch.Tensor | None = field(default=None, repr=False)
    sample: str = ""

    @property
    def scale(self) -> Scale | None:
        """Noise and chance of the ruler on these images, measured when first asked for, once for an original."""
        return None if self.measure is None else self.measure()

    @property
    def mean(self) -> float:
        """The mean over images: what the place is made of, as noise and chance are means."""
        return self.values.mean().item()

    @property
    def place(self) -> float | None:
        """``(mean - noise) / (chance - noise)``, not clipped; None where the ruler is blind."""
        return None if self.scale is None else self.scale.place_of(self.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the place's 95 % bootstrap interval over images; None where the ruler is blind."""
        found = None if self.scale is None else self.scale.place(self.values)
        return found and found[1:]

    @property
    def value(self) -> float:
        """The drift of the typical image, the median: images whose answer turned have a drift near 2.

        Of an even number of images it is the larger of the two in the middle, so that it is the drift of an image.
        """
        return _median(self.values)

    def rows(self) -> list[dict]:
        """A row per class and one for all.

        Returns
        -------
        list of dict
            ``class``, ``images``, and the medians ``drift`` and ``top``, each with the ``_low`` and ``_high`` end of
            its 95 % bootstrap interval.
        """
        groups = {str(int(c)): self.classes == c for c in self.classes.unique()}
        groups["all"] = torch.ones_like(self.classes, dtype=torch.bool)
        rows = []
        for name, mine in groups.items():
            row = {"class": name, "images": int(mine.sum())}
            for measure, values in (("drift", self.values), ("top", self.top)):
                middle, low, high = bootstrap(values[mine], statistic="median")
                row |= {measure: middle, f"{measure}_low": low, f"{measure}_high": high}
            rows.append(row)
        return rows

    def __repr__(self) -> str:
        middle, low, high = bootstrap(self.values)
        lines = [f"Drift by {self.method}, {self.likeness}, {len(self.values)} images; means with 95 % intervals"]
        lines += [f"  {self.sample}"] * bool(self.sample)
        lines.append(f"  drift ↓       {middle:.3f} [{low:.3f}, {high:.3f}]")
        try:
            lines += [repr(self.scale)] if self.scale else []
            if self.place is not None:
                low, high = self.interval
                lines.append(f"  place ↓       {self.place:.2f} [{low:.2f}, {high:.2f}]  0 is noise, 1 is chance")
        except (TypeError, ValueError) as error:  # the original cannot be re-initialised: its drift can be told
            lines.append(f"  no place: {error}")
        lines.append("medians over images:")
        lines.append(f"{'class':<6}{'images':>7}  {'drift ↓':<22}changed among the highest pixels ↓")
        for row in self.rows():
            cells = [f"{row[m]:.3f} [{row[f'{m}_low']:.3f}, {row[f'{m}_high']:.3f}]" for m in ("drift", "top")]
            lines.append(f"{row['class']:<6}{row['images']:>7}  {cells[0]:<22}{cells[1]}")
        if count := int(self.silent.sum()):
            lines.append(f"{count} of {len(self.silent)} images have a constant heatmap: their drift counts as 1")
        return "\n".join(lines)


def drift(
    original: nn.Module,
    compressed: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    classes: torch.Tensor | None = None,
    method: Method | str | None = None,
    likeness: Likeness | str | None = None,
    share: float = 0.1,
    scale: Scale | None = None,
    output: str | int | Callable | None = None,
    in_sample: bool = False,
) -> Drift:
    """Compare the heatmaps of two models on the same images, for the same answers.

    Parameters
    ----------
    original, compressed : nn.Module
        In evaluation mode.
    images : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, C, H, W)``, or inputs of another form that the method takes.
    targets : torch.Tensor, optional
        What both have to explain; default the original's own answers.
    classes : torch.Tensor, optional
        Shape ``(N,)``, for the breakdown; default the targets where they are classes, else one class.
    method : Method or str, optional
        Or a key of ``METHODS``.
    likeness : Likeness or str, optional
        Or a key of ``LIKENESSES``. By default coarse occlusion and cosine, free of patents: ``docs/drift.md`` says what
        they tell, and what not. A method that is named alone is compared by rank correlation.
    share : float
        Which part of the pixels counts as the highest.
    scale : Scale, optional
        Of this original, measured before; by default it is measured on 50 of these images, evenly spread, when it is
        first asked for, which takes as long as the heatmaps of some 22 models.
    output : str, int or callable, optional
        As for ``measure.predict``, of both models.
    in_sample : bool
        As for ``measure.accuracy``; then the result says so.

    Returns
    -------
    Drift
        0 means that nothing moved.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` and the method raise them; for a heatmap of the original that is constant, and if all those
        of the compressed model are.

    Examples
    --------
    Class 0 reads the upper row of pixels. The compressed model has lost the second weight, and its third is new:

    >>> original = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = original[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    >>> compressed = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = compressed[1].weight.data.copy_(torch.tensor([[1.0, 0.0, 3.0, 0.0]]))
    >>> images = torch.ones(1, 1, 2, 2)
    >>> found = xp.explain.drift(original, compressed, images, method="gradient x input", share=0.5)
    >>> round(found.value, 2), found.top.item()  # the drift, and the share of the two highest pixels that changed
    (1.39, 0.5)
    """
    options = {"classes": classes, "method": method, "likeness": likeness, "share": share, "scale": scale}
    options["output"] = output
    return drift_from(original, images, targets, **options)(compressed, in_sample=in_sample)


def drift_from(
    original: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    classes: torch.Tensor | None = None,
    method: Method | str | None = None,
    likeness: Likeness | str | None = None,
    share: float = 0.1,
    scale: Scale | None = None,
    output: str | int | Callable | None = None,
) -> Callable[[nn.Module], Drift]:
    """Compare many models with one: the original's heatmaps, and noise and chance, are made once.

    Parameters and errors are those of :func:`drift`; the result is a function ``compressed -> Drift``, which takes
    ``in_sample`` itself.

    Parameters
    ----------
    original, images, targets, classes, method, likeness, share, scale, output
        As for :func:`drift`.

    Returns
    -------
    callable
        ``compressed -> Drift``; its attribute ``scale`` is the :class:`Scale` of all of them.

    Raises
    ------
    TypeError, ValueError
        As for :func:`drift`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> compared = xp.explain.drift_from(model, torch.rand(3, 1, 2, 2), method="gradient x input")
    >>> compared(model).values  # of a model and itself
    tensor([0., 0., 0.], dtype=torch.float64)
    """
    with asking(original, output, name="original"):
        return _Compared(original, images, targets, classes, method, likeness, share, scale, output)


class _Compared:
    """``compressed -> Drift``, with the original's heatmaps, its scale and the last model's heatmaps kept."""

    def __init__(self, original, images, targets, classes, method, likeness, share, scale, output):
        self.method, self.likeness = _ruler(method, likeness)
        if scale is not None and (scale.method, scale.likeness) != (self.method.name, self.likeness.name):
            raise ValueError(
                f"scale must be of the same method and likeness, {self.method.name!r} and {self.likeness.name!r}, got "
                f"one of {scale.method!r} and {scale.likeness!r}: noise and chance are those of a ruler."
            )
        self.images, self.targets = _check_request(original, images, targets, any_kind=True)
        if classes is None:
            plain = self.targets.is_floating_point()
            classes = torch.zeros(len(self.images), dtype=torch.int64) if plain else self.targets
        self.original, self.classes, self.share, self.output = original, classes, share, output
        self.reference = _flat_maps(self.method(original, self.images, self.targets))
        self._last = None, None, None
        if scale is not None:
            self.scale = scale

    @cached_property
    def scale(self) -> Scale:
        some = torch.linspace(0, len(self.images) - 1, min(_SCALED, len(self.images))).round().long()
        given = {"method": self.method, "likeness": self.likeness, "output": self.output}
        return drift_scale(self.original, self.images[some], self.targets[some], **given, in_sample=True)

    def _heatmaps(self, model: nn.Module) -> torch.Tensor:
        """Those of the model asked last are made once, unless it has been changed since: then its answers differ."""
        last, answers, found = self._last
        said = predict(model, self.images)
        if last is not model or not torch.equal(answers, said):
            found = _flat_maps(self.method(model, self.images, self.targets))
            self._last = model, said, found
        return found

    def __call__(self, model: nn.Module, *, in_sample: bool = False) -> Drift:
        measure = partial(self._measured, model)
        return judged(measure, self.images, self.original, model, in_sample=in_sample, name="images")

    def _measured(self, model: nn.Module) -> Drift:
        asked = (self.original, self.images, self.targets)
        with asking(self.original, self.output, name="original"), asking(model, self.output, name="compressed"):
            found = self._heatmaps(model)
            values, silent = heatmap_drift(self.reference, found, "the original's heatmap", self.likeness, asked)
        top = 1 - top_overlap(self.reference, found, self.share)
        names = self.method.name, self.likeness.name
        return Drift(names[0], values, top, self.classes, silent, names[1], lambda: self.scale, found)


def drift_value(compared: Callable[[nn.Module], Drift], model: nn.Module) -> float:
    """The drift of a model's typical image; 1 for a model that no longer answers to its input.

    Parameters
    ----------
    compared : callable
        From :func:`drift_from`.
    model : nn.Module

    Returns
    -------
    float
    """
    try:
        return compared(model).value
    except NoEvidenceError:
        return 1.0


def drift_place(compared: Callable[[nn.Module], Drift], model: nn.Module) -> float:
    """The place of a model between noise and chance; not a number where the ruler is blind.

    Parameters
    ----------
    compared : callable
        From :func:`drift_from`.
    model : nn.Module
        The drift of one that no longer answers to its input is 1.

    Returns
    -------
    float

    Examples
    --------
    >>> model, images = xp.zoo.load("lenet-5"), xp.data.mnist("validation", 20).inputs
    >>> compared = xp.explain.drift_from(model, images, method="gradient x input")
    >>> place = xp.explain.drift_place(compared, model)  # nothing moved, not even as noise moves it
    >>> round(place, 1), place < 0
    (-0.0, True)
    """
    try:
        place = compared(model).place
    except NoEvidenceError:
        place = compared.scale.place_of(1.0)
    return math.nan if place is None else place
