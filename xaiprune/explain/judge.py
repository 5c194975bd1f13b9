"""A table of methods and controls by measures of ground truth, with intervals over groups of things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from tqdm.auto import tqdm

from ..core import Registry
from ..data import Composites, judged, judges
from ..graph import asks
from .controls import CONTROL_METHODS, NoControlError
from .faithful import curves, road
from .ground_truth import _heard, pointing, relevance_mass, two_object_share
from .methods import METHODS, Method
from .resampling import bootstrap


@dataclass(frozen=True)
class Measure:
    """A number that judges heatmaps, the larger the better.

    Attributes
    ----------
    name : str
    function : callable
        ``(model, images, targets, masks, heatmaps, **options) -> values (N,)``.
    options : dict
        Passed to the function.
    """

    name: str
    function: Callable
    options: dict = field(default_factory=dict)

    def __call__(self, model: nn.Module, images, targets, masks, heatmaps) -> torch.Tensor:
        """Values of shape ``(N,)``."""
        return self.function(model, images, targets, masks, heatmaps, **self.options)


def _mass(model, images, targets, masks, heatmaps):
    return relevance_mass(_heard(heatmaps), masks, positive=True)


def _pointing(model, images, targets, masks, heatmaps, **options):
    return pointing(heatmaps, masks, **options)


def _faithfulness(model, images, targets, masks, heatmaps, **options):
    return curves(model, images, targets, heatmaps, **options).faithfulness


def _road(model, images, targets, masks, heatmaps, **options):
    return road(model, images, targets, heatmaps, **options).faithfulness


#: Measures by name. The first two ask for the mask, the others for the network's answers.
MEASURES: Registry[Measure] = Registry(
    "a measure",
    Measure,
    (
        Measure("object mass", _mass),
        Measure("pointing game", _pointing),
        Measure("faithfulness", _faithfulness, {"steps": 10}),
        Measure("ROAD", _road, {"steps": 5}),
    ),
)
#: The column of :func:`two_object_share`, where there are pictures of two objects.
_TWO = "two objects"


@dataclass(frozen=True, eq=False)
class Judged:
    """Methods and controls by measures, a value for each picture.

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
    sample : str
        What is to be said of the pictures: "in sample" where some took part in choosing the model.
    """

    values: dict[str, dict[str, torch.Tensor]]
    groups: dict[str, torch.Tensor]
    controls: tuple[str, ...]
    missing: dict[str, str] = field(default_factory=dict)
    sample: str = ""

    def interval(self, row: str, measure: str) -> tuple[float, float, float]:
        """A row's mean, and its 95 % bootstrap interval over groups.

        Parameters
        ----------
        row, measure : str

        Returns
        -------
        value, low, high : float
        """
        return bootstrap(self.values[row][measure], groups=self.groups[measure])

    def lead(self, row: str, control: str, measure: str) -> tuple[float, float, float]:
        """How far a row is ahead of another, picture by picture, and the 95 % bootstrap interval over groups.

        Parameters
        ----------
        row, control, measure : str

        Returns
        -------
        value, low, high : float
        """
        ahead = self.values[row][measure] - self.values[control][measure]
        return bootstrap(ahead, groups=self.groups[measure])

    def apart(self, row: str, measure: str) -> bool:
        """Whether a method is above all controls, the intervals apart.

        Parameters
        ----------
        row, measure : str

        Returns
        -------
        bool
        """
        low = self.interval(row, measure)[1]
        return all(low > self.interval(control, measure)[2] for control in self.controls)

    def rows(self) -> list[dict]:
        """The table.

        Returns
        -------
        list of dict
            ``method``, ``control``, and for each measure its mean and the ``_low`` and ``_high`` end of its interval.
        """
        rows = []
        for name, measured in self.values.items():
            row = {"method": name, "control": name in self.controls}
            for measure in measured:
                found = self.interval(name, measure)
                row |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), found))
            rows.append(row)
        return rows

    def __repr__(self) -> str:
        lines = ["means with 95 % bootstrap intervals over groups, all the larger the better; controls last"]
        lines += [self.sample] * bool(self.sample)
        width = max(34, *(len(name) + 2 for name in self.values))
        lines.append(f"{'':<{width}}" + "".join(f"{measure:<22}" for measure in self.groups))
        for row in sorted(self.rows(), key=lambda row: row["control"]):
            cells = (f"{row[m]:.2f} [{row[f'{m}_low']:.2f}, {row[f'{m}_high']:.2f}]" for m in self.groups)
            lines.append(f"{row['method']:<{width}}" + "".join(f"{cell:<22}" for cell in cells))
        lines += [f"missing: {name}: {why}" for name, why in self.missing.items()]
        return "\n".join(line.rstrip() for line in lines)


class GroundTruth(Judged):
    """Methods and controls beside exact masks.

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
    sample : str
        What is to be said of the pictures: "in sample" where some took part in choosing the model.
    """


@judges("objects")
@asks("model")
def judge(
    model: nn.Module,
    objects: Composites,
    methods: Sequence[Method | str] = ("integrated gradients",),
    *,
    pairs: tuple[Composites, Composites] | None = None,
    measures: Sequence[Measure | str] = ("object mass", "pointing game"),
    controls: Sequence[Method | str] = tuple(CONTROL_METHODS),
    progress: bool = False,
) -> GroundTruth:
    """Judge methods by pictures whose truth is known, beside controls.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    objects : Composites
        Pictures with masks, of which the targets are explained, as ``xp.data.objects`` makes them.
    methods : sequence of Method or str
        Or keys of ``METHODS``.
    pairs : pair of Composites, optional
        Pictures of two objects, as ``xp.data.two_objects`` makes them: with these there is a column ``two objects``.
    measures : sequence of Measure or str
        Or keys of ``MEASURES``. The two that are no default run the model many times for each picture.
    controls : sequence of Method or str
        Or keys of ``CONTROL_METHODS``.
    progress : bool
        Whether to show a bar.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``; then the result says so.

    Returns
    -------
    GroundTruth

    Raises
    ------
    TypeError, ValueError
        For an unknown method, measure or control, and as the methods and measures raise them.

    Examples
    --------
    The network reads the two pixels on the left, which is where the things are:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    >>> masks = torch.tensor([[True, False], [True, False]]).expand(6, 2, 2)
    >>> told = {"labels": [(0,)] * 6, "objects": ["thing"] * 6, "grounds": ["plain"] * 6}
    >>> told |= {"groups": torch.arange(6), "shown": torch.ones(6, dtype=torch.bool)}
    >>> some = xp.data.Composites(torch.ones(6, 1, 2, 2), torch.zeros(6, dtype=torch.int64), masks=masks, **told)
    >>> found = xp.explain.judge(model, some, ["saliency"], controls=["centre"], measures=["object mass"])
    >>> print(found)
    means with 95 % bootstrap intervals over groups, all the larger the better; controls last
                                      object mass
    saliency                          1.00 [1.00, 1.00]
    centre                            0.50 [0.50, 0.50]
    >>> found.apart("saliency", "object mass")
    True
    """
    methods = [METHODS.find(method, "methods") for method in methods]
    controls = [CONTROL_METHODS.find(control, "controls") for control in controls]
    measures = [MEASURES.find(measure, "measures") for measure in measures]
    values, missing = {}, {}
    for method in tqdm([*methods, *controls], disable=not progress, desc="judging"):
        try:
            heatmaps = method(model, objects.inputs, objects.targets)
        except NoControlError as error:
            missing[method.name] = str(error)
            continue
        given = model, objects.inputs, objects.targets, objects.masks, heatmaps
        values[method.name] = {measure.name: measure(*given) for measure in measures}
        if pairs is not None:
            both = [(each.targets, each.masks) for each in pairs]
            share = partial(two_object_share, model, pairs[0].inputs, *zip(*both), method)
            values[method.name][_TWO] = judged(share, pairs[0], model, name="pairs")
    groups = {measure.name: objects.groups for measure in measures}
    groups |= {} if pairs is None else {_TWO: pairs[0].groups}
    return GroundTruth(values, groups, tuple(row.name for row in controls if row.name in values), missing)
