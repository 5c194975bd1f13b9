"""A first look inside: how the weights are spread, what is dead, and where gradients flow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ...curvature import check_request, check_scalar
from ...data import Split, as_split
from ...training import classification_loss
from ..finding import find_units
from ..scoring import score
from ..units import find_weights

#: Share of the squared norm that the smaller half of normally distributed weights holds: 1/2 - 2 m f(m), with f the
#: density and m = 0.6745 the median of the size.
NORMAL_HALF = 0.0713


def weight_profile(model: nn.Module, split: Split | None = None) -> list[dict]:
    """How the weights of each layer, and of the whole model, are spread.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    split : Split, optional
        Images on which to look for dead units: those whose activation is zero wherever it is read, on all of them.

    Returns
    -------
    list of dict
        One row per weight tensor and a last one, ``whole model``: ``layer``, ``weights``, ``scale`` (root mean square),
        ``near_zero`` (share below a tenth of the scale), ``kurtosis`` (excess: 0 for a normal distribution, -1.2 for a
        uniform one), ``half_energy`` (share of the squared norm that the smaller half of the weights holds: 0.071 for a
        normal distribution, 0.125 for a uniform one), and ``units`` and ``dead`` (both None without ``split``, and for
        layers whose units are the model's output).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, -1.0], [1.0, 0.01]]))
    >>> [row] = xp.prune.weight_profile(model)[:1]
    >>> row["layer"], row["weights"], row["near_zero"]
    ('0.weight', 4, 0.25)
    """
    groups = find_weights(model)
    parameters = dict(model.named_parameters())
    values = {group.name: parameters[group.name].detach().double().flatten() for group in groups}
    dead = {} if split is None else _dead(model, split)
    rows = []
    for group in groups:
        units, gone = dead.get(group.name.rpartition(".")[0], (None, None))
        rows.append(_row(group.name, values[group.name]) | {"units": units, "dead": gone})
    whole = {"units": None, "dead": None}
    if dead:
        whole = {"units": sum(n for n, _ in dead.values()), "dead": sum(n for _, n in dead.values())}
    return [*rows, _row("whole model", torch.cat(list(values.values()))) | whole]


def suits_magnitude(rows: list[dict]) -> tuple[bool, str]:
    """Whether a profile speaks for pruning by magnitude, and why.

    Two signs count: the smaller half of the weights holds clearly less of the squared norm than a normal distribution's
    would (so that taking it away changes little), or over a tenth of the units is dead.

    Parameters
    ----------
    rows : list of dict
        From :func:`weight_profile`.

    Returns
    -------
    tuple of bool and str

    Examples
    --------
    >>> yes, why = xp.prune.suits_magnitude([{"layer": "whole model", "half_energy": 0.01, "units": 100, "dead": 2}])
    >>> print(yes, why)
    True the smaller half of the weights holds 1.0 % of the squared norm, less than the 7.1 % of a normal distribution
    """
    whole = rows[-1]
    share, dead, units = whole["half_energy"], whole["dead"] or 0, whole["units"] or 1
    spread = f"the smaller half of the weights holds {100 * share:.1f} % of the squared norm"
    if dead > units / 10:
        return True, f"{dead} of {units} units are dead, and {spread}"
    if share < 0.8 * NORMAL_HALF:
        return True, f"{spread}, less than the {100 * NORMAL_HALF:.1f} % of a normal distribution"
    return False, f"{spread}; a normal distribution's holds {100 * NORMAL_HALF:.1f} %, so no weights stand out as small"


def gradient_flow(model: nn.Module, split: Split, loss: Callable = classification_loss) -> list[dict]:
    """How hard each layer's weights and biases are pulled: gradients over one batch, per entry.

    A norm grows with the number of entries, so that the weights of a layer would seem to be pulled harder than its
    few biases; the root mean square does not.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    split : Split, or data of another form
        The batch, as a whole.
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.

    Returns
    -------
    list of dict
        One row per layer with ``layer``, ``weight`` and ``bias`` (None where there is none): root mean squares over the
        entries of the mean gradient.
    """
    split = as_split(split, on=model, name="split")
    names = check_request(model, split, None)
    with torch.enable_grad():
        value = check_scalar(loss(model, split.inputs, split.targets))
        found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    rows: dict[str, dict] = {}
    for name, gradient in zip(names, found):
        layer, _, tensor = name.rpartition(".")
        if tensor in ("weight", "bias"):
            pull = 0.0 if gradient is None else gradient.double().square().mean().sqrt().item()
            if not np.isfinite(pull):
                raise ValueError(f"the gradient of {name!r} is not finite: is the loss NaN or infinite?")
            rows.setdefault(layer, {"layer": layer, "weight": None, "bias": None})[tensor] = pull
    return list(rows.values())


class FlowRecorder:
    """Keeps :func:`gradient_flow` after every epoch: pass it to ``fit`` as ``validate``.

    Parameters
    ----------
    split : Split, or data of another form
        The batch that the gradients are taken on.
    loss : callable

    Attributes
    ----------
    rows : list of dict
        Those of :func:`gradient_flow`, with ``epoch`` from 1.

    Examples
    --------
    >>> recorder = xp.prune.FlowRecorder(xp.data.Split(torch.eye(2), torch.arange(2)))
    >>> recorder(nn.Sequential(nn.Linear(2, 2)).eval()) > 0
    True
    >>> [(row["layer"], row["epoch"]) for row in recorder.rows]
    [('0', 1)]
    """

    def __init__(self, split: Split, loss: Callable = classification_loss):
        split = as_split(split, name="split")
        self.split, self.loss, self.rows = split, loss, []
        self._epochs = 0

    def __call__(self, model: nn.Module) -> float:
        """Record, and return the norm over all layers."""
        self._epochs += 1
        found = gradient_flow(model, self.split, self.loss)
        self.rows += [row | {"epoch": self._epochs} for row in found]
        return float(np.sqrt(sum((row[kind] or 0) ** 2 for row in found for kind in ("weight", "bias"))))


def _row(name: str, values: torch.Tensor) -> dict:
    squares = values.square().sort().values
    scale = squares.mean().sqrt().item()
    centred = values - values.mean()
    variance = centred.square().mean()
    return {
        "layer": name,
        "weights": len(values),
        "scale": scale,
        "near_zero": (values.abs() < 0.1 * scale).double().mean().item(),
        "kurtosis": (centred.pow(4).mean() / variance.square() - 3).item(),
        "half_energy": (squares[: len(squares) // 2].sum() / squares.sum()).item(),
    }


def _dead(model: nn.Module, split: Split) -> dict[str, tuple[int, int]]:
    """Producing layer to its units, and how many of them are zero wherever they are read."""
    split = as_split(split, on=model, name="split")
    units = find_units(model, split.inputs[:1])
    scores = score(model, units, "activation", split)
    return {group.name: (group.size, int((scores[group.name] == 0).sum())) for group in units}
