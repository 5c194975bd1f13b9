"""Where an explanation begins: float values from which a model can be run, for inputs of any form.

Images, tables and sequences are such values themselves. Tokens are whole numbers, which have no gradient and nothing
between them: there it begins at what the embedding gives for them, so that zero is an embedding of zeros. Of several
inputs all that can be explained begin together.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import nn

from ..data import Several
from ..graph import changing, reading
from ..measure import predict


class _Beginnings:
    """How inputs of a model are explained: which of them begin as they are, and which at an embedding.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, asked as ``graph.asking`` does.
    inputs : torch.Tensor or Several

    Attributes
    ----------
    embedded : dict
        Of each input that is tokens, by its name or place: the embeddings that read it.
    explained : list
        Names or places of the inputs that are explained.

    Raises
    ------
    ValueError
        If nothing of the inputs can be explained.
    """

    def __init__(self, model: nn.Module, inputs: torch.Tensor | Several):
        self.model, self.several = model, isinstance(inputs, Several)
        parts = dict(inputs.items()) if self.several else {"": inputs}
        whole = {key: part for key, part in parts.items() if not part.is_floating_point() and part.dtype != torch.bool}
        self.embedded = _embeddings_of(model, inputs[:4], whole) if whole else {}
        self.explained = [key for key, part in parts.items() if part.is_floating_point() or self.embedded.get(key)]
        if not self.explained:
            raise ValueError(
                "inputs are whole numbers or truth values, and no nn.Embedding of the model reads them as they are, so "
                "that there is nothing to take a gradient from. Give the numbers as floats; or, for tokens, let an "
                "nn.Embedding read them, or wrap the model so that it takes what its embedding gives."
            )

    @property
    def plain(self) -> bool:
        """Whether the inputs are one tensor of floats."""
        return not self.several and not self.embedded

    @property
    def alone(self) -> bool:
        """Whether one input is explained: then the values have its own axes."""
        return len(self.explained) == 1

    def of(self, inputs: torch.Tensor | Several) -> _Begun:
        """The values from which a batch is explained.

        Parameters
        ----------
        inputs : torch.Tensor or Several

        Returns
        -------
        Begun
        """
        return _Begun(self, inputs)


def _embeddings_of(model: nn.Module, some: torch.Tensor | Several, whole: dict) -> dict[str | int, list[str]]:
    """By the names or places of inputs of whole numbers: the embeddings that read them as they are."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    parts = dict(some.items()) if isinstance(some, Several) else {"": some}
    found: dict[str | int, list[str]] = {key: [] for key in whole}

    def see(name: str, given: tuple, output: object) -> None:
        read = given[0]
        for key, owners in found.items():
            if name not in owners and read.shape == parts[key].shape and torch.equal(read, parts[key].to(read)):
                owners.append(name)
                return

    with reading(model, names, see):
        predict(model, some)
    return {key: owners for key, owners in found.items() if owners}


class _Begun:
    """A batch of inputs as values, and the model run from them.

    Attributes
    ----------
    values : torch.Tensor
        Shape ``(N, ...)``: the one input that is explained, tokens as ``(N, ..., dim)``; of several, all of them in
        one row, ``(N, numbers)``.
    """

    def __init__(self, how: _Beginnings, inputs: torch.Tensor | Several):
        self.how, self.inputs = how, inputs
        self._parts = dict(inputs.items()) if how.several else {"": inputs}
        starts = [self._start(key) for key in how.explained]
        self._shapes = [tuple(start.shape[1:]) for start in starts]
        if how.alone:
            self.values = starts[0]
        else:
            kind = torch.promote_types(starts[0].dtype, starts[-1].dtype)
            self.values = torch.cat([start.flatten(1).to(kind) for start in starts], dim=1)

    def _start(self, key: str | int) -> torch.Tensor:
        part = self._parts[key]
        if part.is_floating_point():
            return part.detach()
        with torch.no_grad():
            found = []
            for name in self.how.embedded[key]:
                layer = self.how.model.get_submodule(name)
                found.append(layer(part.to(layer.weight.device)).to(part.device))
        return torch.cat(found, dim=-1)

    def run(self, values: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs from values, for the inputs themselves or for those of some rows.

        Parameters
        ----------
        values : torch.Tensor
            Shape ``(M, ...)``.
        rows : torch.Tensor, optional
            Shape ``(M,)``: of which input each value is a change.

        Returns
        -------
        torch.Tensor
        """
        if self.how.plain:
            return self.how.model(values)
        given = self.inputs if rows is None else self.inputs[rows]
        parts = dict(given.items()) if self.how.several else {"": given}
        does: dict[str, Callable] = {}
        for key, value in zip(self.how.explained, self._separate(values)):
            if key in self.how.embedded:
                does |= self._replacing(key, parts[key], value)
            else:
                parts[key] = value.to(parts[key].dtype)
        with ExitStack() as stack:
            if does:
                stack.enter_context(changing(self.how.model, does=does))
            return self.how.model(given.of(list(parts.values())) if self.how.several else parts[""])

    def _separate(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The values of each input that is explained, in its own axes."""
        if self.how.alone:
            return [values]
        sizes = [torch.Size(shape).numel() for shape in self._shapes]
        return [part.unflatten(1, shape) for part, shape in zip(values.split(sizes, dim=1), self._shapes)]

    def _replacing(self, key: str | int, tokens: torch.Tensor, value: torch.Tensor) -> dict[str, Callable]:
        """What the embeddings give in place of their own outputs, where they read these tokens."""
        names = self.how.embedded[key]
        sizes = [self.how.model.get_submodule(name).embedding_dim for name in names]

        def giving(part: torch.Tensor) -> Callable:
            def give(read: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
                same = read.shape == tokens.shape and torch.equal(read, tokens.to(read))
                return part.to(output) if same else output

            return give

        return {name: giving(part) for name, part in zip(names, value.split(sizes, dim=-1))}

    def heatmaps(self, found: torch.Tensor, reduce: Callable) -> torch.Tensor | dict | tuple:
        """Attributions of the values as heatmaps in the shape of the inputs.

        Parameters
        ----------
        found : torch.Tensor
            In the shape of the values.
        reduce : callable
            What becomes of the axis 1: channels of an image, the numbers of a token's embedding.

        Returns
        -------
        torch.Tensor, or dict or tuple of torch.Tensor
            Of one input that is explained its heatmaps; of several those of each, by name or by place.
        """
        maps = {}
        for key, values in zip(self.how.explained, self._separate(found)):
            if key in self.how.embedded:
                values = values.movedim(-1, 1)
            elif values.ndim != 4:
                values = values[:, None]
            maps[key] = reduce(values)
        if self.how.alone:
            return next(iter(maps.values()))
        return maps if isinstance(self.inputs.parts, dict) else tuple(maps.get(place) for place in self._parts)


def _joined(heatmaps: list) -> torch.Tensor | dict | tuple:
    """Heatmaps of batches, one after another.

    Parameters
    ----------
    heatmaps : list of torch.Tensor, dict or tuple

    Returns
    -------
    torch.Tensor, dict or tuple
    """
    first = heatmaps[0]
    if isinstance(first, dict):
        return {key: torch.cat([maps[key] for maps in heatmaps]) for key in first}
    if isinstance(first, tuple):
        return tuple(None if maps[0] is None else torch.cat(maps) for maps in zip(*heatmaps))
    return torch.cat(heatmaps)


def _flat_maps(heatmaps: torch.Tensor | dict | tuple) -> torch.Tensor:
    """Heatmaps as one tensor: those of several inputs as one row for each, to be compared.

    Parameters
    ----------
    heatmaps : torch.Tensor, dict or tuple

    Returns
    -------
    torch.Tensor
        Shape ``(N, ...)``.
    """
    if isinstance(heatmaps, torch.Tensor):
        return heatmaps
    parts = heatmaps.values() if isinstance(heatmaps, dict) else heatmaps
    return torch.cat([part.flatten(1) for part in parts if part is not None], dim=1)
