"""Inputs and targets of one split, and by what the inputs are known again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..core import whole
from .several import Several, as_inputs


class _Pair(NamedTuple):
    inputs: torch.Tensor | Several
    targets: torch.Tensor | None


class Split(_Pair):
    """Inputs and targets of one split, with the ids of the inputs; a pair where it is unpacked.

    Parameters
    ----------
    inputs : torch.Tensor, or tuple or mapping of torch.Tensor
        Shape ``(N, ...)``; pictures have ``(N, 1, 28, 28)``, float32, values in [0, 1]. Several of them are kept as
        :class:`Several`.
    targets : torch.Tensor, optional
        Shape ``(N,)``, int64, for classes; None where there are none.
    ids : torch.Tensor or Split, optional
        Shape ``(N,)`` or ``(N, k)``, int64: by what an input is known again; or the split that this one was made from,
        input by input. By default its content.

    Raises
    ------
    ValueError
        If there is not an id for each input.

    Examples
    --------
    >>> split = xp.data.Split(torch.rand(5, 1, 28, 28), torch.arange(5))
    >>> split.first(2).inputs.shape, split.first(2).targets.tolist()
    (torch.Size([2, 1, 28, 28]), [0, 1])
    >>> noisy = split.replaced(inputs=split.inputs + 0.1)
    >>> torch.equal(noisy.ids, split.ids)
    True
    """

    def __new__(cls, inputs: torch.Tensor, targets: torch.Tensor | None, *, ids: torch.Tensor | None = None):
        self = super().__new__(cls, as_inputs(inputs), targets)
        if ids is not None and not isinstance(ids, Split):
            ids = torch.as_tensor(ids, dtype=torch.int64)
            if len(ids) != len(inputs):
                raise ValueError(f"ids must be one for each of {len(inputs)} inputs, got {len(ids)}.")
        if ids is not None:
            self.__dict__["ids"] = ids
        return self

    def __getstate__(self):
        return {"ids": self.ids} if "ids" in self.__dict__ else None

    @property
    def ids(self) -> torch.Tensor | None:
        """By what the inputs are known again, shape ``(N,)`` or ``(N, k)``, int64.

        Those that were given, those of the split that this one was made from, or 64 bits of a hash of each input's
        content. None where they cannot be had: the inputs came from a bare iterable.
        """
        known = self.__dict__.setdefault("ids", self)
        if isinstance(known, Split):  # not asked for before: hashing takes as long as reading all of the inputs
            known = self.__dict__["ids"] = self._found_ids() if known is self else known.ids
        return known

    def _found_ids(self) -> torch.Tensor:
        return _content_ids(self.inputs)

    def replaced(self, **values: torch.Tensor | None) -> Split:
        """A split that was made from this one, input by input: with noise, a shift, other targets; the ids stay.

        Parameters
        ----------
        **values : torch.Tensor or None
            ``inputs``, ``targets`` or both.

        Returns
        -------
        Split

        Raises
        ------
        ValueError
            If the inputs are of another number.
        """
        made = Split(*_Pair(*self)._replace(**values))
        if len(made.inputs) != len(self.inputs):
            raise ValueError(
                f"inputs must be {len(self.inputs)}, one made from each of the split, got {len(made.inputs)}."
            )
        made.__dict__["ids"] = self.__dict__.get("ids", self)
        return made

    def rows(self, which: Sequence[int] | slice | torch.Tensor) -> Split:
        """Some of the inputs, with their targets and ids.

        Parameters
        ----------
        which : sequence of int, slice or torch.Tensor
            Their places, or a truth value for each.

        Returns
        -------
        Split
        """
        if not isinstance(which, slice | torch.Tensor):
            which = torch.as_tensor(list(which), dtype=torch.int64)
        made = Split(self.inputs[which], None if self.targets is None else self.targets[which])
        if "ids" in self.__dict__:
            made.__dict__["ids"] = None if self.ids is None else self.ids[which]
        return made

    def first(self, count: int) -> Split:
        """The first inputs and targets of the split, as ``limit`` gives them when it is loaded.

        Parameters
        ----------
        count : int

        Returns
        -------
        Split

        Raises
        ------
        ValueError
            If ``count`` is no whole number from 1 to the number of inputs.
        """
        return self.rows(slice(whole(count, "count", 1, len(self.inputs), "the inputs of the split")))


def _content_ids(inputs: torch.Tensor) -> torch.Tensor:
    """64 bits of a hash (BLAKE2b) of each input: its type, its shape and its content.

    Parameters
    ----------
    inputs : torch.Tensor
        Shape ``(N, ...)``.

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, int64.
    """
    parts = inputs.values() if isinstance(inputs, Several) else [inputs]
    start = hashlib.blake2b(digest_size=8)
    for part in parts:
        start.update(f"{part.dtype} {tuple(part.shape[1:])}".encode())
    rows = [part.detach().cpu().reshape(len(part), -1).contiguous().view(torch.uint8).numpy() for part in parts]
    found = []
    for row in zip(*rows):
        one = start.copy()
        for part in row:
            one.update(part)
        found.append(int.from_bytes(one.digest(), "little", signed=True))
    return torch.tensor(found, dtype=torch.int64)
