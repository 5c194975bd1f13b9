"""Composites as a value: pictures of things, with the classes that count as right and the exact mask."""

# In stored tables: composites

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from ..core import whole
from .split import Split, _content_ids


class Composites(Split):
    """A split of composites that knows what it shows and where. It cannot be changed.

    Parameters
    ----------
    inputs : torch.Tensor
        Shape (N, 3, 224, 224), float32: pixels in [0, 1], or what a preprocessing made of them.
    targets : torch.Tensor, optional
        Shape (N,), int64: the first class that counts as right; None for things without labels.
    masks : torch.Tensor
        Shape (N, 224, 224), bool: where the thing is.
    labels : tuple of tuple of int
        All classes that count as right, for each composite.
    objects, grounds : tuple of str
        Names.
    groups : torch.Tensor
        Shape (N,), int64: composites of one number show things that share a class, and are resampled together.
    shown : torch.Tensor
        Shape (N,), bool: which may be stored and shown; those on a photograph may not.
    ids : torch.Tensor, optional
        Shape (N, k), int64: by what a picture is known again. By default its content, its thing and its group.

    Examples
    --------
    >>> some = xp.data.objects("test", limit=2)
    >>> some.inputs.shape, some.masks.shape, some.objects
    (torch.Size([2, 3, 224, 224]), torch.Size([2, 224, 224]), ('animals-mammals-elephant', 'food-fruit-orange'))
    """

    def __new__(cls, inputs, targets, *, masks, labels, objects, grounds, groups, shown, ids=None):
        self = super().__new__(cls, inputs, targets, ids=ids)
        facts = {
            "masks": masks,
            "labels": labels,
            "objects": objects,
            "grounds": grounds,
            "groups": groups,
            "shown": shown,
        }
        if masks.shape != (expected := (len(inputs), *inputs.shape[2:])):
            raise ValueError(f"masks must have shape {expected}, as the inputs have, got {tuple(masks.shape)}.")
        for name, values in facts.items():
            if len(values) != len(inputs):
                raise ValueError(f"{name} must have one entry for each of {len(inputs)} inputs, got {len(values)}.")
        self.__dict__.update(facts)
        return self

    def __getnewargs_ex__(self):
        return tuple(self), self._facts

    @property
    def _facts(self) -> dict:
        return {name: values for name, values in self.__dict__.items() if name != "ids"}

    def _found_ids(self) -> torch.Tensor:
        """Of the picture, of the thing, and of its group: what is shared counts, whatever it is."""
        return torch.cat([_content_ids(self.inputs)[:, None], _thing_ids(self.objects, self.groups)], 1)

    def __setattr__(self, name, value):
        raise AttributeError(f"composites cannot be changed; make new ones with another {name}.")

    def __repr__(self):
        grounds = ", ".join(sorted(set(self.grounds)))
        return f"Composites({len(self.inputs)} of {len(set(self.objects))} things on {grounds})"

    def rows(self, which: Sequence[int] | slice | torch.Tensor) -> Composites:
        """Some of the composites.

        Parameters
        ----------
        which : sequence of int, slice or torch.Tensor
            Their places, or a truth value for each.

        Returns
        -------
        Composites
        """
        which = range(len(self.inputs))[which] if isinstance(which, slice) else which
        which = torch.as_tensor(which if isinstance(which, torch.Tensor) else list(which))
        which = which.nonzero().flatten() if which.dtype == torch.bool else which.long()
        facts = {
            name: values[which] if isinstance(values, torch.Tensor) else tuple(values[row] for row in which.tolist())
            for name, values in self._facts.items()
        }
        made = Composites(*super().rows(which), **facts)
        if "ids" in self.__dict__:
            made.__dict__["ids"] = self.ids[which]
        return made

    def right(self, answers: torch.Tensor, top: int = 1) -> torch.Tensor:
        """Which answers count as right.

        Parameters
        ----------
        answers : torch.Tensor
            Logits (N, classes), or the numbers of classes (N,).
        top : int
            Among how many of the largest logits a right class may be.

        Returns
        -------
        torch.Tensor
            Shape (N,), bool.

        Raises
        ------
        ValueError
            If there are no labels, answers of another number, or a class that the network does not have.
        """
        if self.targets is None:
            raise ValueError("these composites show things without labels: no answer is known to be right.")
        if len(answers) != len(self.inputs) or answers.ndim > 2:
            raise ValueError(
                f"answers must be ({len(self.inputs)}, classes) or ({len(self.inputs)},), got {tuple(answers.shape)}."
            )
        if answers.ndim == 2:
            if (largest := max(map(max, self.labels))) >= answers.shape[1]:
                raise ValueError(
                    f"labels name class {largest}, and the network has {answers.shape[1]} classes, from 0."
                )
            answers = answers.topk(whole(top, "top", 1, answers.shape[1], "the classes"), dim=1).indices
        named = answers.view(len(answers), -1).tolist()
        return torch.tensor([not set(classes).isdisjoint(row) for classes, row in zip(self.labels, named)])


def _thing_ids(names: Sequence[str], groups: torch.Tensor) -> torch.Tensor:
    """By what things are known again, whatever ground they stand on.

    Parameters
    ----------
    names : sequence of str
    groups : torch.Tensor
        Shape (N,), int64.

    Returns
    -------
    torch.Tensor
        Shape (N, 2), int64: of the thing, and of its group.
    """
    pairs = [(_id(f"thing {name}"), _id(f"group {group}")) for name, group in zip(names, groups.tolist())]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _id(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
