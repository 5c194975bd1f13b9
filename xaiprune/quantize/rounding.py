"""AdaRound: which way to round each weight, learned (Nagel et al. 2020, arXiv 2004.10568)."""

# In stored tables: adaptive rounding

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from .calibrate import told_of, weight_quantizer
from .formats import quantized_layers
from .grid import Grid
from .simulate import FakeQuantizer
from .walk import LayerComparison, _by_channel, layerwise

#: Stretch of the rectified sigmoid (eq. 23), and from where to where its sharpness goes.
_ZETA, _GAMMA = 1.1, -0.1
_SHARPNESS = (20.0, 2.0)


class _Rounded(FakeQuantizer):
    """Weights rounded down, or up where ``up`` says so. No gradient passes; :func:`learnable` starts anew."""

    def __init__(self, numbers: Grid, up: torch.Tensor):
        super().__init__(numbers)
        self.register_buffer("up", up)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Of the same shape, on the grid."""
        return self.numbers.dequantize((self.numbers.floor(weight) + self.up).clamp(*self.numbers.ends))


class Squares:
    """The squared error of a layer as a function of its weights, from one pass over the images.

    With weights w0, inputs x and their error r = wanted - layer(x), weights w0 + d have the mean squared error
    ``(d G d^T - 2 d B^T) / places + c``, where G holds products of inputs with inputs and B of errors with inputs.

    Parameters
    ----------
    step : LayerComparison
        Its layer holds w0.
    """

    def __init__(self, step: LayerComparison):
        layer = step.layer
        groups = getattr(layer, "groups", 1)
        self.start, self.shape = layer.weight.detach().clone(), layer.weight.shape
        quantizer = getattr(layer, "input_quantizer", nn.Identity())
        self.gram, self.cross, self.places, self.power = 0.0, 0.0, 0, 0.0
        with torch.no_grad():
            for some, wanted in zip(step.read.split(64), step.wanted.split(64)):
                patches = _patches(layer, quantizer(some)).unflatten(0, (groups, -1))
                rest = _by_channel(layer, wanted - layer(some)).unflatten(0, (groups, -1))
                self.gram = self.gram + (patches @ patches.mT).double()
                self.cross = self.cross + (rest @ patches.mT).double()
                self.power += rest.double().square().sum().item()
                self.places += patches.shape[-1]
        self._gram = (2 / self.places * self.gram).float()

    def error(self, weight: torch.Tensor) -> float:
        """Sum over output channels of the mean squared error.

        Parameters
        ----------
        weight : torch.Tensor
            In the shape of the layer's.

        Returns
        -------
        float
            In squared units of the layer's outputs, a mean over images and places.
        """
        d = self._moved(weight).double()
        return float(((d @ self.gram - 2 * self.cross) * d).sum() + self.power) / self.places

    def gradient(self, weight: torch.Tensor) -> torch.Tensor:
        """Derivative of :meth:`error` by the weights.

        Parameters
        ----------
        weight : torch.Tensor
            In the shape of the layer's: where it is taken.

        Returns
        -------
        torch.Tensor
            In the same shape.
        """
        found = self._moved(weight) @ self._gram - (2 / self.places * self.cross).float()
        return found.reshape(self.shape)

    def _moved(self, weight: torch.Tensor) -> torch.Tensor:
        return (weight - self.start).reshape(len(self.gram), -1, self.gram.shape[-1])


def _patches(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What weights read: shape ``(inputs x kernel, places)``."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).T
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0):
        return x.movedim(1, 0).flatten(1)
    how = [layer.kernel_size, layer.dilation, layer.padding, layer.stride]
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x, how[2] = functional.pad(x, layer._reversed_padding_repeated_twice, mode), (0,) * (x.ndim - 2)
    if x.ndim == 3:  # a sequence is a picture of one row
        x, how = x.unsqueeze(2), [(row, *each) for row, each in zip((1, 1, 0, 1), how)]
    return functional.unfold(x, *how).movedim(1, 0).flatten(1)


def adaround(
    model: nn.Module,
    quantized: nn.Module,
    inputs: object,
    *,
    iterations: int = 500,
    lr: float = 1e-2,
    regularization: float = 1.0,
    progress: bool = True,
) -> nn.Module:
    """A copy of a quantized model whose weights are rounded so that its layers give what the float model's give.

    Layer by layer, with all layers before it rounded: ``min over V of |W x - W_q(V) x_q|^2 + r sum (1 - |2 h(V) -
    1|^b)`` (eq. 21, 24 and 25), with ``r`` the regularization. ``h`` is the rectified sigmoid of eq. 23, which says
    how far up each weight goes, and b falls from 20 to 2. The squared error is held as a quadratic form of the
    weights, so that each step sees all images; both terms are taken relative to rounding to nearest. Activation
    functions are left out of the error.

    Parameters
    ----------
    model : nn.Module
        The float model; of an equalized model, that one.
    quantized : nn.Module
        From :func:`simulate`, weights on a grid; it stays as it is.
    inputs : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        As for :func:`calibrate`; about a thousand. All activations of one layer are held at once.
    iterations : int
        Steps of Adam for each layer.
    lr : float
    regularization : float
        Weight of the term that makes ``h`` 0 or 1.
    progress : bool

    Returns
    -------
    nn.Module
        Of the same class. No layer has a larger squared error than with rounding to nearest.

    Raises
    ------
    ValueError
        If no weights are on a grid, a layer is neither linear nor a Conv1d or Conv2d, or a layer runs more than once.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0.4, 0.2, -1.0], [0.0, 0.5, 0.5, 0.0]]))
    >>> images = torch.linspace(0, 1, 32).reshape(8, 1, 2, 2)
    >>> seen = xp.quantize.calibrate(model, images)
    >>> quantized = xp.quantize.simulate(model, seen, xp.quantize.Config(xp.quantize.Format(bits=3)))
    >>> rounded = xp.quantize.adaround(model, quantized, images, iterations=20, progress=False)
    >>> before, after = ((some(images) - model(images)).square().mean().item() for some in (quantized, rounded))
    >>> after <= before
    True
    """
    better = copy.deepcopy(quantized)
    chosen = {name for name, layer in quantized_layers(better).items() if _grid(layer) is not None}
    if not chosen:
        raise ValueError("no layer of quantized has its weights on a grid: simulate with weights=Format(...).")
    for name in chosen:
        layer = better.get_submodule(name)
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            kind = type(layer).__name__.removeprefix("Parametrized")
            raise ValueError(
                f"layer {name!r} is of type {kind}, which cannot be rounded: only nn.Linear, nn.Conv1d and nn.Conv2d "
                f"can. Simulate with layers={{{name!r}: Config(None, ...)}} to keep its weights in float."
            )
    bar = tqdm(total=len(chosen), disable=not progress, desc="layers")
    rounded = set()
    for step in layerwise(model, better, inputs):
        if step.name in chosen:
            up = _learned(step, iterations, lr, regularization)
            step.layer.parametrizations["weight"][0] = _Rounded(_grid(step.layer), up)
            rounded.add(step.name)
            bar.update()
    bar.close()
    if chosen - rounded:
        warnings.warn(f"{', '.join(sorted(chosen - rounded))} did not run, and stay rounded to nearest.", stacklevel=2)
    return told_of(better.eval(), inputs, "rounding")


def _grid(layer: nn.Module) -> Grid | None:
    quantizer = weight_quantizer(layer)
    return quantizer.numbers if quantizer is not None and isinstance(quantizer.numbers, Grid) else None


def _learned(step: LayerComparison, iterations: int, lr: float, regularization: float) -> torch.Tensor:
    """1.0 for every weight that goes up, 0.0 for those that go down."""
    weight, grid = step.layer.parametrizations["weight"].original.detach(), _grid(step.layer)
    squares, floor = Squares(step), grid.floor(weight)
    nearest = (grid.quantize(weight) - floor).clamp(0, 1)
    rest = (grid.steps(weight) - floor).clamp(0.01, 0.99)
    raw = torch.logit((rest - _GAMMA) / (_ZETA - _GAMMA))
    scale, before = grid.along(grid.scale, weight), max(squares.error(grid(weight)), 1e-30)
    optimizer = torch.optim.Adam([raw], lr=lr)
    for count in range(iterations):
        part = count / max(1, iterations - 1)
        soft = raw.sigmoid()
        h = (soft * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)
        slope = soft * (1 - soft) * (_ZETA - _GAMMA) * ((h > 0) & (h < 1))
        inside = (floor + h >= grid.ends[0]) & (floor + h <= grid.ends[1])
        fit = squares.gradient(grid.dequantize((floor + h).clamp(*grid.ends))) * scale * inside / before
        if part > 0.2:
            sharp = _SHARPNESS[1] + (_SHARPNESS[0] - _SHARPNESS[1]) * (1 - (part - 0.2) / 0.8)
            off = 2 * h - 1
            fit = fit - regularization / weight.numel() * 2 * sharp * off.abs() ** (sharp - 1) * off.sign()
        raw.grad = fit * slope
        optimizer.step()
    up = (raw.sigmoid() * (_ZETA - _GAMMA) + _GAMMA >= 0.5).float()
    found = squares.error(grid.dequantize((floor + up).clamp(*grid.ends)))
    return up if found <= before else nearest.float()
