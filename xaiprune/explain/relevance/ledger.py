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
    kind : {"convolution", "dense", "normalisation", "constant", "softmax"}
        ``constant``: numbers that the model adds to its signal, or puts beside it, such as a transformer's positions
        and its class token.
    place : int
        Position among the layers, from the input.
    first : bool
        Whether the layer reads the pixels themselves.
    rule : callable
        ``() -> Rule``, known once the forward pass is over.
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
    relevance: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    kept: torch.Tensor | None = None
    redistributed: torch.Tensor | None = None

    def write(self, relevance: torch.Tensor, bias=None, kept=None, redistributed=None) -> None:
        """Note the layer's sums, each of shape ``(N,)``; nothing is zero."""
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
