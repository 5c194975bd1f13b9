"""The scale of drift: what harmless changes give, what networks without knowledge give, and the way between."""

# In stored tables: drift scale

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core import Registry
from ..data import judges
from ..graph import asks
from ..measure import answer_rows, predict
from .beginning import _flat_maps
from .controls import reinitialised
from .likeness import LIKENESSES, Likeness, NoEvidenceError, heatmap_drift
from .methods import METHODS, Method
from .resampling import bootstrap
from .target import _check_request

#: What drift is measured by where nothing else is asked for: a method and a likeness. ``drift_resolution`` chose them.
RULER = ("coarse occlusion", "cosine")
#: Networks with new weights whose mean drift is the chance; draws of each harmless kind that has a seed.
_SEEDS = 5
#: Largest share of the answers that a harmless change may turn.
_TURNED = 0.02
#: Most images in one pass, for statistics of batches.
_BATCH = 50


@dataclass(frozen=True)
class Harmless:
    """A kind of change that leaves a network's reasons as they are, whatever a heatmap says.

    Attributes
    ----------
    name : str
    change : callable
        ``(model, images, seed) -> model``: it is given a copy, which it may change in place.
    seeds : int
        How many draws there are to average over; 1 where there is nothing to draw.
    fits : callable
        ``(model, images) -> bool``: whether the model has what is changed.
    """

    name: str
    change: Callable
    seeds: int = _SEEDS
    fits: Callable = lambda model, images: any(one.is_floating_point() for one in model.parameters())


def _noisy(share: float) -> Callable:
    """Gaussian noise on every parameter, of so large a share of its tensor's standard deviation."""

    def change(model: nn.Module, images: torch.Tensor, seed: int) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        for values in model.parameters():
            drawn = torch.randn(values.shape, generator=generator, dtype=values.dtype)
            values.data += share * values.data.std(correction=0) * drawn
        return model

    return change


def _rounded(model: nn.Module, images: torch.Tensor, seed: int) -> nn.Module:
    """Weights to 255 even steps, symmetric about 0, over the range of each output channel."""
    for values in model.parameters():
        if values.ndim > 1:
            steps = values.data.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (values.ndim - 1)) / 127
            values.data = (values.data / steps).round() * steps
    return model


def _norms(model: nn.Module) -> list[nn.Module]:
    return [one for one in model.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]


def _estimated_anew(model: nn.Module, images: torch.Tensor, seed: int) -> nn.Module:
    """Statistics of batch normalisation from a random half of the images."""
    for norm in _norms(model):
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    half = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: (len(images) + 1) // 2]
    with torch.no_grad():
        for some in half.tensor_split(-(-len(half) // _BATCH)):
            model(images[some])
    return model.eval()


HARMLESS: Registry[Harmless] = Registry(
    "a harmless kind of change",
    Harmless,
    (
        Harmless("0.1 % noise on the weights", _noisy(0.001)),
        Harmless("1 % noise on the weights", _noisy(0.01)),
        Harmless("8-bit weights per channel", _rounded, seeds=1),
        Harmless(
            "batch statistics estimated anew",
            _estimated_anew,
            fits=lambda model, images: len(images) > 3 and len(_norms(model)) > 0,
        ),
    ),
)


@dataclass(frozen=True, eq=False)
class Noise:
    """The drift that one harmless kind of change gives.

    Attributes
    ----------
    name : str
    values : torch.Tensor
        Shape ``(seeds, N)``: the drift of each draw and image; not measured, NaN, where the kind is left out.
    kept : torch.Tensor
        Shape ``(seeds, N)``, bool: where the answer is still the original's.
    """

    name: str
    values: torch.Tensor
    kept: torch.Tensor

    @property
    def turned(self) -> float:
        """Share of the answers that the change turns; above 2 % it is not harmless here, and is left out."""
        return 1 - self.kept.double().mean().item()

    @property
    def left_out(self) -> bool:
        """Whether it turns too many answers."""
        return self.turned > _TURNED

    def mean(self, drawn: torch.Tensor | None = None) -> torch.Tensor:
        """Mean drift over the pictures whose answer is kept.

        Parameters
        ----------
        drawn : torch.Tensor, optional
            Shape ``(draws, N)``: numbers of images, for one mean of each row.

        Returns
        -------
        torch.Tensor
            Shape ``()`` or ``(draws,)``.
        """
        total, count = (self.values * self.kept).sum(0), self.kept.sum(0).double()
        if drawn is not None:
            total, count = total[drawn], count[drawn]
        return total.sum(-1) / count.sum(-1)


@dataclass(frozen=True, eq=False)
class Scale:
    """What a drift has to be read beside: noise and chance, for one original, one set of images and one ruler.

    A drift alone is no evidence: 0.3 may be what rounding gives, or half the way to a ruined network. So the same ruler
    is held to changes that are known to be harmless (*noise*) and to networks that have learned nothing (*chance*).
    The *place* of a drift is ``(drift - noise) / (chance - noise)``: 0 says "as far as a harmless change", 1 "as far as
    a network that knows nothing". It is not clipped: equal models lie a little below 0. All three are means over
    images, of which the difference and the share are those of the images again; a median would hide that a part of the
    images has turned.

    Attributes
    ----------
    method, likeness : str
    kinds : tuple of Noise
        The harmless changes that were tried, those that are left out too.
    blanks : torch.Tensor
        Shape ``(5, N)``: the drift of re-initialised networks.
    other_class : torch.Tensor or None
        Shape ``(N,)``: the drift of the original's own heatmaps for the class that it answers next, to see how much the
        ruler hears of the answer at all. None where targets are no classes.
    sample : str
        What is to be said of the images: "in sample" where some took part in choosing the original.
    """

    method: str
    likeness: str
    kinds: tuple[Noise, ...]
    blanks: torch.Tensor
    other_class: torch.Tensor | None = None
    sample: str = ""

    @cached_property
    def loudest(self) -> Noise | None:
        """The harmless kind with the largest mean; None where all of them turn answers."""
        return max((kind for kind in self.kinds if not kind.left_out), key=lambda kind: kind.mean(), default=None)

    @cached_property
    def noise(self) -> tuple[float, float, float] | None:
        """Mean drift of the loudest harmless kind, with the ends of its 95 % bootstrap interval over images."""
        if self.loudest is None:
            return None
        return self.loudest.mean().item(), *_ends(self.loudest.mean(_draws(self.blanks.shape[1])))

    @cached_property
    def chance(self) -> tuple[float, float, float]:
        """Mean drift of the re-initialised networks, with the ends of its 95 % bootstrap interval over images."""
        return bootstrap(self.blanks.mean(0))

    @property
    def blind(self) -> bool:
        """Whether the ruler cannot tell noise from chance: their intervals overlap, or there is no noise to compare."""
        return self.noise is None or self.noise[2] >= self.chance[1]

    def place_of(self, drift: float) -> float | None:
        """The place of a mean drift.

        Parameters
        ----------
        drift : float

        Returns
        -------
        float, or None where the ruler is blind
        """
        if self.blind:
            return None
        noise, chance = self.noise[0], self.chance[0]
        return (drift - noise) / (chance - noise)

    def place(self, values: torch.Tensor) -> tuple[float, float, float] | None:
        """The place of a model, with the ends of its 95 % bootstrap interval over images.

        Parameters
        ----------
        values : torch.Tensor
            Shape ``(N,)``: its drifts. Where there are as many as the scale has images, they are of these: images are
            drawn for all three numbers together. Else they are drawn apart.

        Returns
        -------
        place, low, high : float, or None where the ruler is blind
        """
        if self.blind:
            return None
        values, blanks = values.double(), self.blanks.mean(0)
        drawn = _draws(len(blanks))
        own = drawn if len(values) == len(blanks) else _draws(len(values), seed=1)
        noise, chance = self.loudest.mean(drawn), blanks[drawn].mean(1)
        return self.place_of(values.mean().item()), *_ends((values[own].mean(1) - noise) / (chance - noise))

    def __repr__(self) -> str:
        lines = [f"  scale {self.sample}"] * bool(self.sample)
        if self.noise is not None:
            lines.append(f"  noise         {_told(*self.noise)}  {self.loudest.name}")
        lines.append(f"  chance        {_told(*self.chance)}  {len(self.blanks)} re-initialised networks")
        if self.other_class is not None:
            lines.append(f"  another class {_told(*bootstrap(self.other_class))}  the original's next answer")
        for kind in self.kinds:
            if kind.left_out:
                lines.append(f"  left out: {kind.name}, which turns {kind.turned:.1%} of the answers")
        if self.noise is None:
            lines.append("  no harmless change keeps 98 % of the answers: no noise is known, so there is no place")
        elif self.blind:
            lines.append("  blind: the intervals of noise and chance overlap, so there is no place")
        return "\n".join(lines)


def _draws(count: int, seed: int = 0) -> torch.Tensor:
    """A thousand times as many images as there are, drawn with replacement; shape ``(1000, count)``."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, count, (1000, count)))


def _ends(values: torch.Tensor) -> tuple[float, float]:
    low, high = np.nanquantile(values.numpy(), [0.025, 0.975])
    return float(low), float(high)


def _told(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _ruler(method: Method | str | None, likeness: Likeness | str | None) -> tuple[Method, Likeness]:
    """A method and a likeness, where they are not given the measured default."""
    usual = RULER[1] if method is None else "rank correlation"
    method = METHODS.find(RULER[0] if method is None else method, "method")
    return method, LIKENESSES.find(usual if likeness is None else likeness, "likeness")


@judges("images")
@asks("original")
def drift_scale(
    original: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    method: Method | str | None = None,
    likeness: Likeness | str | None = None,
    kinds: Iterable[Harmless | str] | None = None,
    seed: int = 0,
) -> Scale:
    """Measure noise and chance of a ruler: how a method and a likeness call harmless changes and empty networks.

    It depends on the original and the images only, so one scale serves for all models that are compared with them.

    Parameters
    ----------
    original : nn.Module
        In evaluation mode; not changed.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        What is explained; default the original's own answers.
    method : Method or str, optional
        Or a key of ``METHODS``.
    likeness : Likeness or str, optional
        Or a key of ``LIKENESSES``. By default coarse occlusion and cosine, free of patents: ``docs/drift.md`` says what
        they tell, and what not. A method that is named alone is compared by rank correlation.
    kinds : iterable of Harmless or str, optional
        Default all of ``HARMLESS`` that the model has a part for.
    seed : int
        The first one, of noise and of re-initialised networks.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``.

    Returns
    -------
    Scale

    Raises
    ------
    TypeError, ValueError
        As for :func:`drift`, and as ``reinitialised`` raises them.

    Examples
    --------
    >>> model, images = xp.zoo.load("lenet-5"), xp.data.mnist("validation", 20).inputs
    >>> scale = xp.explain.drift_scale(model, images, method="gradient x input")
    >>> scale.loudest.name, scale.place_of(scale.noise[0]), scale.place_of(scale.chance[0])
    ('1 % noise on the weights', 0.0, 1.0)
    """
    method, likeness = _ruler(method, likeness)
    images, targets = _check_request(original, images, targets, any_kind=True)
    chosen = [HARMLESS.find(kind, "kinds") for kind in (HARMLESS if kinds is None else kinds)]
    reference = _flat_maps(method(original, images, targets))
    outputs = predict(original, images)
    outputs = outputs if outputs.ndim > 1 else outputs[:, None]
    classes = not targets.is_floating_point()

    def drift(model: nn.Module, wanted: torch.Tensor = targets) -> torch.Tensor:
        found = _flat_maps(method(model, images, wanted))
        try:
            return heatmap_drift(reference, found, "the original's heatmap", likeness, (original, images, targets))[0]
        except NoEvidenceError:
            return torch.ones(len(images), dtype=torch.float64)

    def kept(model: nn.Module) -> torch.Tensor:
        if not classes:
            return torch.ones(len(images), dtype=torch.bool)
        return torch.eq(*(answer_rows(each).logits.argmax(1) for each in (predict(model, images), outputs)))

    blanks = torch.stack([drift(reinitialised(original, seed + draw)) for draw in range(_SEEDS)])
    found = []
    for kind in chosen:
        if kind.fits(original, images):
            draws = range(seed, seed + kind.seeds)
            keeps = torch.stack([kept(kind.change(copy.deepcopy(original), images, draw)) for draw in draws])
            noise = Noise(kind.name, torch.full(keeps.shape, torch.nan, dtype=torch.float64), keeps)
            if not noise.left_out:
                changed = (kind.change(copy.deepcopy(original), images, draw) for draw in draws)
                noise = replace(noise, values=torch.stack([drift(model) for model in changed]))
            found.append(noise)
    other = None
    if classes and outputs.shape[1] > 1:
        following = outputs.scatter(1, targets[:, None], -torch.inf).argmax(1)
        other = drift(original, following)
    return Scale(method.name, likeness.name, tuple(found), blanks, other)
