"""Several tensors that are the inputs of one model: a tuple or a dictionary of them, taken as one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.utils import _pytree


class Several:
    """Inputs of a model that takes several: they are counted, cut, moved and put together like one tensor.

    A function that takes data makes it of a tuple or a dictionary of tensors. Inside of the kit a model is called with
    it as with a tensor; the model itself gets its arguments: by their places, or by their names.

    Parameters
    ----------
    parts : tuple, list or mapping of str to torch.Tensor
        Each of shape ``(N, ...)``, with one N for all.
    name : str
        What the argument is called, for messages.

    Attributes
    ----------
    parts : tuple or dict

    Raises
    ------
    TypeError
        If a part is no tensor, or a name is no string.
    ValueError
        If there is none, or they differ in N.

    Examples
    --------
    >>> both = xp.data.Several({"ids": torch.arange(6).view(3, 2), "mask": torch.ones(3, 2)})
    >>> len(both), both[:1].parts["ids"].tolist()
    (3, [[0, 1]])
    """

    def __init__(self, parts: tuple | list | Mapping[str, torch.Tensor], name: str = "inputs"):
        named = isinstance(parts, Mapping)
        self.parts = dict(parts) if named else tuple(parts)
        if named and not all(isinstance(key, str) for key in self.parts):
            raise TypeError(f"{name} must have the names of the model's arguments as keys, got {list(self.parts)}.")
        if wrong := [key for key, part in self.items() if not isinstance(part, torch.Tensor)]:
            told = type(dict(self.items())[wrong[0]]).__name__
            raise TypeError(f"{name} must be tensors, one for each argument of the model, got {told} for {wrong[0]!r}.")
        counts = {str(key): len(part) if part.ndim else "no axis" for key, part in self.items()}
        if not counts:
            raise ValueError(f"{name} is empty: give at least one tensor.")
        if len(set(counts.values())) > 1 or "no axis" in counts.values():
            told = ", ".join(f"{key!r}: {count}" for key, count in counts.items())
            raise ValueError(f"{name} must have one batch axis of the same length in front, got {told}.")

    def items(self) -> list[tuple[str | int, torch.Tensor]]:
        """The parts with their names, or with their places.

        Returns
        -------
        list of tuple
        """
        return list(self.parts.items() if isinstance(self.parts, dict) else enumerate(self.parts))

    def values(self) -> list[torch.Tensor]:
        """The parts.

        Returns
        -------
        list of torch.Tensor
        """
        return [part for _, part in self.items()]

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Several:
        """The same inputs, each part changed by a function.

        Parameters
        ----------
        function : callable

        Returns
        -------
        Several
        """
        return self.of([function(part) for part in self.values()])

    def of(self, values: list) -> Several:
        """Other tensors in the form of these.

        Parameters
        ----------
        values : list of torch.Tensor

        Returns
        -------
        Several
        """
        return Several(dict(zip(self.parts, values)) if isinstance(self.parts, dict) else values)

    @property
    def shape(self) -> tuple[int]:
        """The length of the batch axis, which is all that the parts share."""
        return (len(self),)

    @property
    def device(self) -> torch.device:
        """Of the first part."""
        return self.values()[0].device

    def numel(self) -> int:
        """Numbers in all parts.

        Returns
        -------
        int
        """
        return sum(part.numel() for part in self.values())

    def to(self, *where) -> Several:
        """All parts on a device.

        Parameters
        ----------
        *where
            As for a tensor.

        Returns
        -------
        Several
        """
        return self.map(lambda part: part.to(*where))

    def cpu(self) -> Several:
        """All parts on the CPU.

        Returns
        -------
        Several
        """
        return self.to("cpu")

    def detach(self) -> Several:
        """All parts without their graphs.

        Returns
        -------
        Several
        """
        return self.map(torch.Tensor.detach)

    def clone(self) -> Several:
        """Copies of all parts.

        Returns
        -------
        Several
        """
        return self.map(torch.Tensor.clone)

    def split(self, size: int) -> list[Several]:
        """So many inputs at a time.

        Parameters
        ----------
        size : int

        Returns
        -------
        list of Several
        """
        return [self.of(list(parts)) for parts in zip(*(part.split(size) for part in self.values()))]

    def __len__(self) -> int:
        return len(self.values()[0])

    def __getitem__(self, rows) -> Several:
        return self.map(lambda part: part[rows])

    def __repr__(self) -> str:
        told = ", ".join(f"{key!r}: {tuple(part.shape)}" for key, part in self.items())
        return f"Several({told})"

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        several = args[0] if args and isinstance(args[0], tuple | list) else ()
        if function is torch.cat and several and all(isinstance(one, Several) for one in several):
            return several[0].of([torch.cat(parts) for parts in zip(*(one.values() for one in several))])
        raise TypeError(
            f"{getattr(function, '__name__', function)} needs one tensor, and these are several inputs: a model that "
            "takes several is called inside of `with xp.graph.asking(model):`, or with its arguments by hand."
        )


_pytree.register_pytree_node(
    Several,
    lambda several: (several.values(), several.parts.keys() if isinstance(several.parts, dict) else None),
    lambda values, keys: _unflattened(values, keys),
)


def _unflattened(values, keys) -> Several:
    """Several of any leaves: while vmap works, they are no tensors."""
    made = object.__new__(Several)
    made.parts = tuple(values) if keys is None else dict(zip(keys, values))
    return made


def as_inputs(inputs: object, name: str = "inputs") -> torch.Tensor | Several:
    """Inputs of one model: a tensor as it is, a tuple or a dictionary of tensors as :class:`Several`.

    Parameters
    ----------
    inputs : torch.Tensor, Several, tuple, list or mapping of str to torch.Tensor
        Also what behaves like a dictionary, such as a tokenizer's ``BatchEncoding``.
    name : str
        What the argument is called, for messages.

    Returns
    -------
    torch.Tensor or Several

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or as :class:`Several` raises them.

    Examples
    --------
    >>> xp.data.as_inputs((torch.zeros(2, 3), torch.zeros(2, 4)))
    Several(0: (2, 3), 1: (2, 4))
    """
    if isinstance(inputs, torch.Tensor | Several):
        return inputs
    if isinstance(inputs, tuple | list | Mapping):
        return Several(inputs, name)
    raise TypeError(f"{name} must be a tensor, or a tuple or dictionary of tensors, got {type(inputs).__name__}.")


def differentiable(inputs: torch.Tensor | Several) -> torch.Tensor | Several:
    """Inputs from which gradients can be taken: those that are floats; whole numbers, such as tokens, stay as they are.

    Parameters
    ----------
    inputs : torch.Tensor or Several

    Returns
    -------
    torch.Tensor or Several
        Without a graph, and on the same memory.

    Examples
    --------
    >>> xp.data.differentiable(torch.zeros(2)).requires_grad, xp.data.differentiable(torch.arange(2)).requires_grad
    (True, False)
    """
    if isinstance(inputs, Several):
        return inputs.map(differentiable)
    plain = inputs.detach()
    return plain.requires_grad_() if plain.is_floating_point() else plain
