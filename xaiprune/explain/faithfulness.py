"""Faithfulness with its controls: which part of it is what a method knows of the network."""

# In stored tables: faithfulness

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from tqdm.auto import tqdm

from ..data import judges
from ..graph import asks
from ..measure import predict
from .controls import CONTROL_METHODS, NoControlError
from .faithful import curves
from .judge import MEASURES, Judged, Measure
from .methods import METHODS, Method
from .target import _check_request

#: The column of :func:`class_test`.
CLASS_TEST = "class test"


@dataclass(frozen=True, eq=False)
class Faithfulness(Judged):
    """Methods and their controls by deletion and insertion, a value for each image.

    Attributes
    ----------
    values : dict of str to dict of str to torch.Tensor
        Method or control to measure to a value for each picture.
    groups : dict of str to torch.Tensor
        Measure to the number of each picture's group; pictures of a group are resampled together.
    controls : tuple of str
        Which rows are controls.
    missing : dict of str to str
        Controls that these pictures or this network have not, and why.
    rivals : dict of str to tuple of str
        Method to the rows that it has to beat. Rows of a coarser map have its number of parts in their name.
    sample : str
        What is to be said of the images: "in sample" where some took part in choosing the model.
    """

    rivals: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def strongest(self, method: str, measure: str = "faithfulness") -> str:
        """The control of a method that does best.

        Parameters
        ----------
        method, measure : str

        Returns
        -------
        str
        """
        return max(self.rivals[method], key=lambda row: self.values[row][measure].mean().item())

    def stands(self, method: str, measure: str = "faithfulness") -> bool:
        """Whether a method is ahead of all of its controls, each interval above 0.

        Parameters
        ----------
        method, measure : str

        Returns
        -------
        bool
        """
        return all(self.lead(method, row, measure)[1] > 0 for row in self.rivals[method])

    def __repr__(self) -> str:
        lines = [super().__repr__(), "leads of the methods, image by image"]
        for method, rows in self.rivals.items():
            for row in rows:
                cells = ("{:+.2f} [{:.2f}, {:.2f}]".format(*self.lead(method, row, m)) for m in self.groups)
                lines.append(f"{method} over {row}: " + ", ".join(f"{m} {c}" for m, c in zip(self.groups, cells)))
        return "\n".join(lines)


@judges("images")
@asks("model")
def faithfulness(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    methods: Sequence[Method | str] = ("integrated gradients",),
    *,
    measures: Sequence[Measure | str] = ("faithfulness",),
    controls: Sequence[Method | str] = tuple(CONTROL_METHODS),
    class_tested: bool = True,
    progress: bool = False,
) -> Faithfulness:
    """Judge methods by deletion and insertion on a model's images, beside what could explain their lead.

    Pixels that have the value by which they are replaced change nothing when they go, so whoever puts them last is
    ahead of a random order, and the bare image does. A map that is no finer than patches cannot put them last: beside
    it stand the controls, and the other methods, at its own resolution. A method on a network with new weights shows
    what is left of it without anything learned.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        Classes or wanted outputs; default the model's own answers.
    methods : sequence of Method or str
        Or keys of ``METHODS``.
    measures : sequence of Measure or str
        Or keys of ``MEASURES`` that need no masks: ``"faithfulness"``, ``"ROAD"``. An option ``baseline`` of the first
        one, by default 0, is the value of a pixel that is gone for the controls, too.
    controls : sequence of Method or str
        Or keys of ``CONTROL_METHODS``.
    class_tested : bool
        Whether there is a column for :func:`class_test`, which takes as long as four of the others.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``; then the result says so.

    Returns
    -------
    Faithfulness
        A control that cannot be computed is in its ``missing``, with the reason.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` and the methods raise them.

    Examples
    --------
    The network reads the left half of images whose right half is black:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False)).eval()
    >>> weights = torch.tensor([1.0, 2.0, 0.0, 0.0]).repeat(4)
    >>> _ = model[1].weight.data.copy_(torch.stack([weights, -weights]) / 4)
    >>> images = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(10, 1, 4, 4)
    >>> found = xp.explain.faithfulness(model, images, None, ["gradient x input"], controls=["the image itself"])
    >>> found.strongest("gradient x input"), found.stands("gradient x input")
    ('the image itself', True)
    """
    images, targets = _check_request(model, images, targets)
    methods = [METHODS.find(method, "methods") for method in methods]
    controls = [CONTROL_METHODS.find(control, "controls") for control in controls]
    measures = [MEASURES.find(measure, "measures") for measure in measures]
    baseline = measures[0].options.get("baseline", 0.0)
    missing = {}
    if class_tested and (targets.is_floating_point() or predict(model, images[:1]).shape[1] < 2):
        class_tested, missing[CLASS_TEST] = False, "what is explained are no classes, or there is one alone"

    def judged(row: Method, control: bool) -> dict[str, torch.Tensor]:
        heatmaps = row(model, images, targets)
        if control and (_even(heatmaps) or not heatmaps.isfinite().all()):
            raise NoControlError("it is the same for all pixels of each image, or not finite: it orders none of them")
        found = {measure.name: measure(model, images, targets, None, heatmaps) for measure in measures}
        if class_tested:
            found[CLASS_TEST] = class_test(model, images, targets, row, baseline=baseline)
        return found

    grids = {method.name: _grid(method(model, images, targets)) for method in methods}
    rows = {method.name: method for method in methods}
    rivals = {}
    for method in methods:
        own = [_asked(control, method, baseline) for control in controls]
        if grid := grids[method.name]:
            own += [at_resolution(row, grid) for row in own if "method" not in row.options]
            finer = [at_resolution(other, grid) for other in methods if grids[other.name] is None]
            rows |= {row.name: row for row in finer}
        rivals[method.name] = own
    blind = {row.name: row for own in rivals.values() for row in own}
    values = {}
    for name, row in tqdm((rows | blind).items(), disable=not progress, desc="judging"):
        try:
            values[name] = judged(row, name in blind)
        except ValueError as error:
            if name not in blind:
                raise
            missing[name] = str(error)
    groups = {measure: torch.arange(len(images)) for measure in values[methods[0].name]}
    told = {name: tuple(row.name for row in own if row.name in values) for name, own in rivals.items()}
    blind = tuple(name for name in blind if name in values)
    return Faithfulness(values, groups, blind, missing, rivals=told)


def _asked(control: Method, method: Method, baseline: float) -> Method:
    """A control with the method that is judged and the value of a pixel that is gone, where it has such options."""
    options = control.options | {name: baseline for name in ("baseline",) if name in control.options}
    if "method" not in options:
        return replace(control, options=options)
    return replace(control, name=f"{method.name}, {control.name}", options=options | {"method": method})


def at_resolution(method: Method | str, grid: tuple[int, int]) -> Method:
    """A method whose heatmaps are averaged over equal parts of the image, to compare it with one that is no finer.

    Parameters
    ----------
    method : Method or str
        Or a key of ``METHODS``.
    grid : tuple of int
        How many parts there are from top to bottom, and from left to right; they divide the sides of the images.

    Returns
    -------
    Method
        Named after both.

    Raises
    ------
    ValueError
        When it is called, for parts that do not divide the sides.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> coarse = xp.explain.at_resolution(xp.explain.IMAGE, (1, 2))
    >>> coarse.name, coarse(model, torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    ('the image itself, 1 x 2', tensor([[[2., 4.],
             [2., 4.]]]))
    """
    method = METHODS.find(method, "method")

    def coarse(model: nn.Module, images: torch.Tensor, targets: torch.Tensor | None = None, **options) -> torch.Tensor:
        sides = images.shape[2:]
        if any(side % parts for side, parts in zip(sides, grid)):
            raise ValueError(f"grid must divide the sides {tuple(sides)} of the images, got {grid}.")
        parts = nn.functional.adaptive_avg_pool2d(method(model, images, targets, **options)[:, None], grid)
        return nn.functional.interpolate(parts, size=sides, mode="nearest")[:, 0]

    return replace(method, name=f"{method.name}, {grid[0]} x {grid[1]}", function=coarse, options={})


@judges("images")
@asks("model")
def class_test(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    method: Method | str = "integrated gradients",
    *,
    others: torch.Tensor | None = None,
    steps: int = 5,
    baseline: float = 0.0,
    seed: int = 0,
) -> torch.Tensor:
    """Whether evidence for two classes of one image differs in the right direction.

    A map of the one class must matter more to that class than to the other, and more than the other's map does: of
    faithfulness ``f[map, class]``, measured by the probability of either class, it is
    ``(f[1, 1] - f[1, 2] - f[2, 1] + f[2, 2]) / 2``.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : torch.Tensor
        Shape ``(N, C, H, W)``.
    targets : torch.Tensor, optional
        Classes ``(N,)``; default the model's own answers.
    method : Method or str
        Or a key of ``METHODS``.
    others : torch.Tensor, optional
        The other class of each image; default, of all but the target, the one with the highest logit.
    steps, baseline, seed, output, in_sample
        As for :func:`curves`.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``; 0 for a method that gives both classes the same map.

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` and the method raise them; for targets that are no classes, and a model of one class.

    Examples
    --------
    Each class has a pixel of its own:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]]))
    >>> for method in ("gradient x input", xp.explain.IMAGE):
    ...     value = xp.explain.class_test(model, torch.ones(1, 1, 2, 2), method=method, steps=4).item()
    ...     print(method if isinstance(method, str) else method.name, round(value, 2))
    gradient x input 0.83
    the image itself 0.0
    """
    method = METHODS.find(method, "method")
    images, targets = _check_request(model, images, targets)
    outputs = predict(model, images)
    if targets.is_floating_point() or outputs.shape[1] < 2:
        raise ValueError("targets must be classes of a model with at least two: evidence for two of them is compared.")
    if others is None:
        others = outputs.scatter(1, targets[:, None], -torch.inf).argmax(1)
    heatmaps = [method(model, images, classes) for classes in (targets, others)]
    same = (heatmaps[0] == heatmaps[1]).flatten(1).all(1)
    if same.all():
        return torch.zeros(len(images))
    options = {"steps": steps, "baseline": baseline, "seed": seed}
    (mine, crossed), (back, theirs) = (
        [curves(model, images, classes, maps, **options).faithfulness for classes in (targets, others)]
        for maps in heatmaps
    )
    return ((mine - crossed - back + theirs) / 2).masked_fill(same, 0)  # not 1e-9


def _even(heatmaps: torch.Tensor) -> bool:
    """Whether all maps are constant."""
    flat = heatmaps.flatten(1)
    return bool((flat.amax(1) == flat.amin(1)).all())


def _grid(heatmaps: torch.Tensor) -> tuple[int, int] | None:
    """Into how many equal parts of equal value maps fall; None where they are as fine as pixels, or constant."""
    grid = []
    for axis in (1, 2):
        side = heatmaps.shape[axis]
        steps = (heatmaps.diff(dim=axis) != 0).transpose(0, axis).flatten(1).any(1).nonzero()[:, 0] + 1
        grid.append(side // math.gcd(side, *steps.tolist()))
    return None if grid == list(heatmaps.shape[1:]) or grid == [1, 1] else tuple(grid)
