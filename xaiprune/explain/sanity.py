"""The sanity gate: a heatmap deserves trust only if it beats controls that know nothing of what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ..data import judges
from ..graph import asks
from .controls import CONTROL_METHODS, reinitialised
from .faithful import Curves, curves
from .likeness import heatmap_drift
from .methods import IMAGE, METHODS, Method
from .resampling import bootstrap
from .target import _check_request

#: Heatmaps that any method has to beat: no order, the opposite order, and the same method on an untrained model.
CONTROLS = ("random", "reversed", "re-initialised model")
#: Controls that a lead over a random order is read beside: they know where the lit pixels are.
_BESIDE = (IMAGE.name, "random among lit pixels")

#: Fewest images that a verdict may rest on.
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class Verdict:
    """A method beside its controls, on the same images and the same model.

    Attributes
    ----------
    method : str
    curves : dict of str to Curves
        The method's own under its name, and those of the three controls.
    leads : dict of str to tuple of float
        Control to the method's mean lead in faithfulness, with the ends of its 95 % bootstrap interval over images.
    beside : dict of str to tuple of float
        The same over the image itself and over a random order of its lit pixels. They do not decide, for a method that
        is level with them may still be right about the network; but its lead over a random order is not to its credit.
    missing : dict of str to str
        Of these two the ones that the images have not, and why.
    likeness : float
        Mean rank correlation of the heatmaps with those of the re-initialised model (Adebayo et al. 2018, arXiv
        1810.03292): near 1 says that the heatmap shows the image, not what the model learned.
    sample : str
        What is to be said of the images: "in sample" where some took part in choosing the model.
    """

    method: str
    curves: dict[str, Curves]
    leads: dict[str, tuple[float, float, float]]
    likeness: float
    beside: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    sample: str = ""

    @property
    def passes(self) -> bool:
        """Whether the method beats every control, with the whole interval above 0."""
        return all(low > 0 for _, low, _ in self.leads.values())

    def __repr__(self) -> str:
        mean = self.curves[self.method].faithfulness.mean()
        lines = [f"{self.method}: {'passes' if self.passes else 'DOES NOT PASS'}, faithfulness {mean:.3f} ↑"]
        lines += [f"  {self.sample}"] * bool(self.sample)
        for control, (lead, low, high) in self.leads.items():
            lines.append(f"  ahead of {control} by {lead:.3f} [{low:.3f}, {high:.3f}] ↑")
        for control, (lead, low, high) in self.beside.items():
            lines.append(f"  beside {control}: {lead:+.3f} [{low:.3f}, {high:.3f}]")
        lines += [f"  beside {control}: missing, {why}" for control, why in self.missing.items()]
        return "\n".join([*lines, f"  likeness to the re-initialised model's heatmaps {self.likeness:.2f} ↓"])


@judges("images")
@asks("model")
def gate(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor | None = None,
    methods: Sequence[Method | str] = ("integrated gradients",),
    *,
    steps: int = 20,
    baseline: float = 0.0,
    seed: int = 0,
) -> dict[str, Verdict]:
    """Judge methods by deletion and insertion beside a random order, the reversed one, and a re-initialised model.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; all curves are of this model.
    images : torch.Tensor
        Shape ``(N, C, H, W)``, at least 10.
    targets : torch.Tensor, optional
        Classes or wanted outputs; default the model's own answers.
    methods : sequence of Method or str, or one of them
    steps : int
        Of the curves.
    baseline : float
        Value of a pixel that is gone.
    seed : int
        Of the random order and of the new weights.
    output : str, int or callable, optional
        As for ``measure.predict``.
    in_sample : bool
        As for ``measure.accuracy``; then the verdicts say so.

    Returns
    -------
    dict of str to Verdict

    Raises
    ------
    TypeError, ValueError
        As ``check_request`` and the methods raise them.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.stack([torch.linspace(0, 1, 16), torch.zeros(16)]))
    >>> verdicts = xp.explain.gate(model, torch.ones(10, 1, 4, 4), methods="saliency", steps=4)
    >>> sorted(verdicts["saliency"].leads), verdicts["saliency"].passes
    (['random', 're-initialised model', 'reversed'], True)
    """
    images, targets = _check_request(model, images, targets)
    if len(images) < _FEWEST:
        raise ValueError(f"images must be at least {_FEWEST}, for an interval over images, got {len(images)}.")
    methods = (methods,) if isinstance(methods, str | Method) else methods
    untrained = reinitialised(model, seed)
    options = {"steps": steps, "baseline": baseline, "seed": seed}
    empty = curves(model, images, targets, torch.zeros(len(images), *images.shape[2:]), **options)
    beside, missing = {}, {}
    for control in (CONTROL_METHODS[name] for name in _BESIDE):
        try:
            maps = control(model, images, targets, baseline=baseline)
            beside[control.name] = curves(model, images, targets, maps, **options).faithfulness
        except ValueError as error:
            missing[control.name] = str(error)
    found = {}
    for method in (METHODS.find(method, "methods") for method in methods):
        own, blind = method(model, images, targets), method(untrained, images, targets)
        rows = {method.name: curves(model, images, targets, own, **options), "random": empty}
        rows["reversed"] = curves(model, images, targets, -own, **options)
        rows["re-initialised model"] = curves(model, images, targets, blind, **options)
        mine = rows[method.name].faithfulness
        leads = {control: bootstrap(mine - rows[control].faithfulness) for control in CONTROLS}
        alike = 1 - heatmap_drift(own, blind, f"{method.name}: the heatmap")[0].mean().item()
        over = {control: bootstrap(mine - values) for control, values in beside.items()}
        found[method.name] = Verdict(method.name, rows, leads, alike, over, missing)
    return found
