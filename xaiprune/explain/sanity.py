"""The sanity gate: a heatmap deserves trust only if it beats controls that know nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..data import judges
from .faithful import Curves, curves
from .likeness import heatmap_drift
from .methods import METHODS, Method
from .resampling import bootstrap
from .target import _check_request

#: Heatmaps that any method has to beat: no order, the opposite order, and the same method on an untrained model.
CONTROLS = ("random", "reversed", "re-initialised model")

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
        return "\n".join([*lines, f"  likeness to the re-initialised model's heatmaps {self.likeness:.2f} ↓"])


@judges("images")
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
    found = {}
    for method in (METHODS.find(method, "methods") for method in methods):
        own, blind = method(model, images, targets), method(untrained, images, targets)
        rows = {method.name: curves(model, images, targets, own, **options), "random": empty}
        rows["reversed"] = curves(model, images, targets, -own, **options)
        rows["re-initialised model"] = curves(model, images, targets, blind, **options)
        mine = rows[method.name].faithfulness
        leads = {control: bootstrap(mine - rows[control].faithfulness) for control in CONTROLS}
        alike = 1 - heatmap_drift(own, blind, f"{method.name}: the heatmap")[0].mean().item()
        found[method.name] = Verdict(method.name, rows, leads, alike)
    return found


def reinitialised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a model with the weights of a new one; torch's own generator is left as it was.

    Parameters
    ----------
    model : nn.Module
        Layers with ``reset_parameters`` draw anew; parameters of no such layer are shuffled.
    seed : int

    Returns
    -------
    nn.Module
        In evaluation mode.

    Raises
    ------
    ValueError
        If a layer computes its weights from other parameters.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> torch.equal(xp.explain.reinitialised(model).weight, model.weight)
    False
    """
    for name, module in model.named_modules():
        if hasattr(module, "parametrizations") or any(
            key.endswith("_orig") for key, _ in module.named_parameters("", False)
        ):
            raise ValueError(
                f"layer {name!r} computes its weights from others (a mask of torch.nn.utils.prune, a parametrization), "
                "which new weights would not reach; make it permanent first, as with prune.remove."
            )
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = set()
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
                drawn |= {id(parameter) for parameter in module.parameters(recurse=False)}
        for parameter in fresh.parameters():
            if id(parameter) not in drawn:
                shuffled = parameter.detach().flatten()[torch.randperm(parameter.numel())]
                parameter.data.copy_(shuffled.view_as(parameter))
    return fresh.eval()
