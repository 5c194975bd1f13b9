"""Where relevance went: for every layer what its bias took and what found nowhere to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass(eq=False)
class _Entry:
    """One layer's line, filled in by the backward pass.

    Attributes
    ----------
    name : str
        Qualified name of the layer.
    kind : {"convolution", "dense", "normalisation", "constant", "softmax", "activation"}
        ``constant``: numbers that the model adds to its signal, or puts beside it, such as a transformer's positions
        and its class token. ``activation``: a function f with f(0) other than 0, which counts as its bias.
    place : int
        Position among the layers, from the input.
    first : bool
        Whether the layer reads the pixels themselves.
    rule : callable
        ``() -> Rule``, known once the forward pass is over.
    axis : int
        Where the images are in what the layer reads.
    images : int or None
        How many there are; None where nobody said.
    counts : bool
        Whether it is a layer among those whose places are counted.
    relevance, bias, kept, redistributed : torch.Tensor
        Shape ``(N,)``: what the layer's outputs had; of it, what went to the bias; what went nowhere, because epsilon
        took it or there was no contribution of the wanted sign; and what the bias would have had and the inputs got,
        where biases are redistributed.
    """

    name: str
    kind: str
    place: int
    first: bool
    rule: Callable = field(repr=False)
    axis: int = 0
    images: int | None = None
    counts: bool = True
    relevance: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    kept: torch.Tensor | None = None
    redistributed: torch.Tensor | None = None

    def by_image(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the layer with the images first; shape ``(N, ...)``."""
        if self._in_order(values):
            return values
        moved = values if self.images == 1 else values.movedim(self.axis, 0)
        return moved.reshape(self.images, -1)

    def put_back(self, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The reverse of :meth:`by_image`."""
        if self._in_order(like):
            return values
        moved = like if self.images == 1 else like.movedim(self.axis, 0)
        values = values.reshape(moved.shape)
        return values if self.images == 1 else values.movedim(0, self.axis)

    def _in_order(self, values: torch.Tensor) -> bool:
        return self.images is None or (self.axis == 0 and values.ndim > 0 and len(values) == self.images)

    def write(self, relevance: torch.Tensor, bias=None, kept=None, redistributed=None) -> None:
        """Note the layer's sums, each of shape ``(N,)`` or of several rows an image; nothing is zero."""
        if self.images is not None and len(relevance) != self.images:
            rows = (relevance, bias, kept, redistributed)
            rows = (None if each is None else each.reshape(self.images, -1).sum(1) for each in rows)
            relevance, bias, kept, redistributed = rows
        sums = (torch.zeros_like(relevance) if each is None else each for each in (bias, kept, redistributed))
        self.relevance, (self.bias, self.kept, self.redistributed) = relevance, sums


@dataclass(frozen=True, eq=False)
class Ledger:
    """The books of one backward pass over N images.

    Attributes
    ----------
    output : torch.Tensor
        Shape ``(N,)``: the explained output.
    inputs : torch.Tensor
        Shape ``(N,)``: the sum of the relevance of the pixels.
    entries : tuple of Entry
        Layers that had relevance, from the output to the input.
    """

    output: torch.Tensor
    inputs: torch.Tensor
    entries: tuple[_Entry, ...]

    @property
    def bias(self) -> torch.Tensor:
        """What the biases took, all layers; shape ``(N,)``."""
        return sum((entry.bias for entry in self.entries), torch.zeros_like(self.output))

    @property
    def kept(self) -> torch.Tensor:
        """What went nowhere, all layers; shape ``(N,)``."""
        return sum((entry.kept for entry in self.entries), torch.zeros_like(self.output))

    @property
    def redistributed(self) -> torch.Tensor:
        """What the inputs of all layers got that the biases there would have taken; shape ``(N,)``.

        It is counted anew at every layer, from what arrives there, and is no part of the balance.
        """
        return sum((entry.redistributed for entry in self.entries), torch.zeros_like(self.output))

    def sums(self) -> dict[str, torch.Tensor]:
        """The books by where relevance ended up, each of shape ``(N,)``; together they are the explained output.

        ``input``; the name of every constant, such as ``position``; ``biases`` of all layers; ``softmax``, what
        attention's softmax did not pass on; ``nowhere``, what epsilon or a rule of one sign kept.

        Returns
        -------
        dict of str to torch.Tensor
        """
        found = {"input": self.inputs}
        none = torch.zeros_like(self.output)
        for entry in self.entries:
            if entry.kind == "constant":
                found[entry.name] = found.get(entry.name, none) + entry.bias
        others = [entry for entry in self.entries if entry.kind != "constant"]
        found["biases"] = sum((entry.bias for entry in others), none)
        found["softmax"] = sum((entry.kept for entry in others if entry.kind == "softmax"), none)
        found["nowhere"] = self.kept - found["softmax"]
        return found

    @property
    def error(self) -> torch.Tensor:
        """What the books cannot account for, as a share of the explained output; shape ``(N,)``."""
        rest = self.output - self.inputs - self.bias - self.kept
        return rest.abs() / self.output.abs().clamp(min=torch.finfo(self.output.dtype).tiny)

    def rows(self, image: int | None = None) -> list[dict]:
        """The waterfall: from the explained output, layer by layer, down to the pixels.

        Parameters
        ----------
        image : int, optional
            Which image; default the mean over all.

        Returns
        -------
        list of dict
            ``layer``, ``rule``, ``bias``, ``kept`` (what the layer took), ``left`` (what then goes on in all branches),
            ``redistributed`` (what of that the bias would have taken).
        """

        def one(values: torch.Tensor) -> float:
            return (values.double().mean() if image is None else values[image]).item()

        def row(layer: str, rule: str, left: float, *taken: float) -> dict:
            sums = dict(zip(("bias", "kept", "redistributed"), taken or (0.0,) * 3))
            return {"layer": layer, "rule": rule, **sums, "left": left}

        left = one(self.output)
        rows = [row("output", "", left)]
        for entry in self.entries:
            taken = [one(values) for values in (entry.bias, entry.kept, entry.redistributed)]
            left -= taken[0] + taken[1]
            rows.append(row(entry.name, entry.rule().name, left, *taken))
        return [*rows, row("input", "", one(self.inputs))]

    def __repr__(self) -> str:
        lines = [f"Ledger of {len(self.output)} images, means:"]
        lines.append(f"  explained output {self.output.mean():.4g}")
        lines.append(
            f"  = input {self.inputs.mean():.4g} + biases {self.bias.mean():.4g} + nowhere {self.kept.mean():.4g}"
        )
        if self.redistributed.any():
            lines.append(f"  biases would have had {self.redistributed.mean():.4g}, counted anew at every layer")
        lines.append(f"  largest error {self.error.max():.1e} of the output")
        return "\n".join(lines)
