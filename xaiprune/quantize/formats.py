"""Number formats: in what numbers weights and activations are held, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from ..graph import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from ..graph.calls import unwrapped
from .calibrators import CALIBRATORS, Calibrator
from .grid import _limits

#: Layers with weights that are quantized, and whose inputs are.
_LAYERS = (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, nn.Linear)


@dataclass(frozen=True)
class Format:
    """Whole numbers on a grid.

    Attributes
    ----------
    bits : int
        2 to 16.
    scheme : {"symmetric", "affine"}
    calibrator : str or Calibrator
        Name in ``CALIBRATORS``, or one of your own: how the range is chosen.
    per_channel : bool
        One grid per output channel; for weights alone.

    Examples
    --------
    >>> print(xp.quantize.Format(bits=4, per_channel=True))
    4 bits, symmetric, per channel, min-max
    """

    bits: int = 8
    scheme: str = "symmetric"
    calibrator: str | Calibrator = "min-max"
    per_channel: bool = False

    def __post_init__(self):
        _limits(self.bits, self.scheme)
        self.ranges  # noqa: B018 - a calibrator that does not exist says so

    @property
    def ranges(self) -> Calibrator:
        """How the range is chosen."""
        return CALIBRATORS.find(self.calibrator, "calibrator")

    def __str__(self) -> str:
        channel = ", per channel" if self.per_channel else ""
        return f"{self.bits} bits, {self.scheme}{channel}, {self.ranges.name}"


@dataclass(frozen=True)
class Cast:
    """Floating point of 16 bits: nothing to calibrate.

    Attributes
    ----------
    name : str
    dtype : torch.dtype
    bits : int
        Of one number, for sizes.
    """

    name: str
    dtype: torch.dtype
    bits: int = 16

    def __str__(self) -> str:
        return self.name


#: Formats with a name: what a table of formats goes through.
FORMATS: dict[str, Format | Cast] = {
    "fp16": Cast("fp16", torch.float16),
    "bf16": Cast("bf16", torch.bfloat16),
    "int8": Format(),
    "int8 per channel": Format(per_channel=True),
    "uint8": Format(scheme="affine"),
    "int4": Format(bits=4),
    "int4 per channel": Format(bits=4, per_channel=True),
}


@dataclass(frozen=True)
class Config:
    """How a model is quantized: a format for weights, one for what layers read, and layers that differ.

    Attributes
    ----------
    weights, activations : Format or Cast, optional
        None leaves them in float32.
    layers : mapping of str to Config
        Names of layers to what holds for them instead: ``first_and_last(model, Config(...))``.

    Examples
    --------
    >>> four = xp.quantize.Config(weights=xp.quantize.Format(bits=4))
    >>> config = xp.quantize.Config(weights=xp.quantize.Format(bits=8), layers={"head": four})
    >>> print(config.of("conv").weights, "|", config.of("head").weights)
    8 bits, symmetric, min-max | 4 bits, symmetric, min-max
    """

    weights: Format | Cast | None = Format()
    activations: Format | Cast | None = Format(scheme="affine")
    layers: Mapping[str, Config] = field(default_factory=dict)

    def __post_init__(self):
        for argument in ("weights", "activations"):
            if not isinstance(given := getattr(self, argument), Format | Cast | None):
                raise TypeError(
                    f"{argument} must be a Format, a Cast or None, got {given!r}; FORMATS has some by name."
                )
        if bad := [name for name, mine in self.layers.items() if not isinstance(mine, Config)]:
            raise TypeError(f"layers must hold a Config for each name, got {self.layers[bad[0]]!r} for {bad[0]!r}.")
        if isinstance(self.activations, Format) and self.activations.per_channel:
            raise ValueError("activations cannot be per channel: a product needs one step for all of its inputs.")

    def of(self, layer: str) -> Config:
        """What holds for a layer.

        Parameters
        ----------
        layer : str
            Its name.

        Returns
        -------
        Config
            That of the layer, or this one.
        """
        return self.layers.get(layer, self)


def quantized_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers of a model by name.

    Parameters
    ----------
    model : nn.Module
        Of one in ``DataParallel`` or ``torch.compile`` the layers inside, under the names that they have there.

    Returns
    -------
    dict of str to nn.Module
        In the model's order.

    Examples
    --------
    >>> list(xp.quantize.quantized_layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2))))
    ['0', '3']
    """
    return {name: module for name, module in unwrapped(model).named_modules() if isinstance(module, _LAYERS)}


def first_and_last(model: nn.Module, config: Config) -> dict[str, Config]:
    """``layers=`` of a :class:`Config` that keeps two layers apart, in 8 bits say: the first and the last defined.

    Parameters
    ----------
    model : nn.Module
        With convolutions or linear layers.
    config : Config
        What holds for the two layers.

    Returns
    -------
    dict of str to Config

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> list(xp.quantize.first_and_last(model, xp.quantize.Config()))
    ['0', '2']
    """
    names = list(quantized_layers(model))
    return {names[0]: config, names[-1]: config}
