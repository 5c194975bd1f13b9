"""From pixels to a network's inputs and back, as a value that also finds the likely mistake in wrong inputs."""

# In stored tables: preprocessing

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..core import real, whole
from .splits import check_images

#: What pixels are often turned into: mean and deviation of each colour, for pixels in [0, 1].
_CONVENTIONS = {
    "bytes, 0..255": ((0.0,) * 3, (1 / 255,) * 3),
    "pixels in 0..1 that were not normalised": ((0.0,) * 3, (1.0,) * 3),
    "pixels scaled to -1..1": ((0.5,) * 3, (0.5,) * 3),
    "pixels normalised by ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
#: How near to both ends of a convention, as parts of its width, values must come to be taken for it.
_NEAR = 0.1
#: How far values may leave a range, as a part of its width: half a grey level more or less is no mistake.
_SLACK = 0.01


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its pictures: ``(pixel - mean) / std`` for pixels in [0, 1], colour by colour.

    Parameters
    ----------
    mean, std : sequence of float
        One number for each colour; ``std`` above 0.
    size : int
        Height and width of the pictures that the network was trained on, in pixels.

    Raises
    ------
    ValueError, TypeError
        If mean and std differ in length, or std is not above 0.

    Examples
    --------
    >>> lite = xp.data.Preprocessing((127 / 255,) * 3, (128 / 255,) * 3)
    >>> inputs = lite(torch.tensor([0, 127, 255], dtype=torch.uint8).expand(1, 3, 1, 3))
    >>> [round(value, 4) for value in inputs[0, 0, 0].tolist()]
    [-0.9922, 0.0, 1.0]
    >>> [round(value, 4) for value in lite.pixels(inputs)[0, 0, 0].tolist()]  # back again
    [0.0, 0.498, 1.0]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 224

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(real(value, name) for value in getattr(self, name)))
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have one number for each colour, got {len(self.mean)} and {len(self.std)}."
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 for each colour, got {self.std}.")
        whole(self.size, "size")

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """A network's inputs.

        Parameters
        ----------
        pixels : torch.Tensor
            Shape (N, colours, H, W): bytes, or floats in [0, 1].

        Returns
        -------
        torch.Tensor
            Of the same shape; float32 of bytes.

        Raises
        ------
        TypeError, ValueError
            If they are neither, have another shape, or leave [0, 1].
        """
        if isinstance(pixels, torch.Tensor) and pixels.dtype == torch.uint8:
            pixels = pixels.float() / 255
        self._check_colours(check_images(pixels, "pixels"), "pixels")
        mean, std = self._columns(pixels)
        return (pixels - mean) / std

    def pixels(self, inputs: torch.Tensor) -> torch.Tensor:
        """Pixels of inputs, to be shown.

        Parameters
        ----------
        inputs : torch.Tensor
            Shape (N, colours, H, W), or a single picture (colours, H, W).

        Returns
        -------
        torch.Tensor
            Of the same shape, clamped to [0, 1].
        """
        mean, std = self._columns(inputs)
        return (inputs * std + mean).clamp(0, 1)

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What black and white pixels become.

        Returns
        -------
        low, high : torch.Tensor
            Shape (colours, 1, 1).
        """
        mean, std = self._columns(torch.empty(0))
        return -mean / std, (1 - mean) / std

    def check(self, inputs: torch.Tensor, name: str = "inputs") -> torch.Tensor:
        """Inputs that this preprocessing can have given.

        Parameters
        ----------
        inputs : torch.Tensor
            Shape (N, colours, H, W).
        name : str
            The argument's name, for the message.

        Returns
        -------
        torch.Tensor
            The inputs themselves.

        Raises
        ------
        TypeError, ValueError
            If they have another type or shape; if they leave the range of black and white; if they fill the range of
            another convention inside of it, such as pixels in [0, 1] that were never normalised. The message names the
            convention that fits.

        Notes
        -----
        Values within the range may still be wrong: a single picture without bright and dark pixels fits many
        conventions, and is taken.

        Examples
        --------
        >>> lite = xp.data.Preprocessing((127 / 255,) * 3, (128 / 255,) * 3)
        >>> lite.check(torch.linspace(0, 255, 48).view(1, 3, 4, 4))
        Traceback (most recent call last):
            ...
        ValueError: inputs must be normalised, so that black is -0.992 and white 1, got values from 0 to 255...
        """
        self._check_colours(check_images(inputs, name, bounds=None), name)
        ends = inputs.detach().amin((0, 2, 3)).cpu(), inputs.detach().amax((0, 2, 3)).cpu()
        outside, likely = not self._holds(ends), self._likely(ends)
        low, high = self.bounds()
        if outside or likely:
            hint = f": they look like {likely}" if likely else ""
            raise ValueError(
                f"{name} must be normalised, so that black is {low.min():.3g} and white {high.max():.3g}, got values "
                f"from {ends[0].min():.3g} to {ends[1].max():.3g}{hint}. Make them of pixels in [0, 1] by "
                "Preprocessing(...)(pixels), as the model's card says."
            )
        return inputs

    def _likely(self, ends: tuple[torch.Tensor, torch.Tensor]) -> str:
        """The narrowest other convention that holds all values; where the own one does too, only if they fill it."""
        fitting = {}
        for convention, (mean, std) in _CONVENTIONS.items():
            other = Preprocessing(mean, std)
            if len(mean) == len(self.mean) and other._holds(ends):
                low, high = (bound.flatten() for bound in other.bounds())
                narrower = max(self.std) < 0.9 * min(std)
                filled = max((ends[0] - low).min() * min(std), (high - ends[1]).min() * min(std)) <= _NEAR
                if not self._holds(ends) or (narrower and filled):
                    fitting[convention] = (high - low).min()
        return min(fitting, key=fitting.get, default="")

    def _holds(self, ends: tuple[torch.Tensor, torch.Tensor]) -> bool:
        """Whether black and white enclose the smallest and the largest value of each colour."""
        (low, high), slack = (bound.flatten() for bound in self.bounds()), _SLACK / min(self.std)
        return bool((ends[0] >= low - slack).all() and (ends[1] <= high + slack).all())

    def _columns(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(like.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))

    def _check_colours(self, images: torch.Tensor, name: str) -> None:
        if images.shape[1] != len(self.mean):
            raise ValueError(
                f"{name} must have {len(self.mean)} colours, (N, {len(self.mean)}, H, W), got {tuple(images.shape)}."
            )
