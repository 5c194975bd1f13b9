"""One door for data: tensors, data sets, loaders and iterables, as batches or as one split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, default_collate

from ..core import fingerprint, whole
from .several import Several, as_inputs
from .split import Split


class Batches:
    """Batches of data, each a tuple ``(inputs, targets)`` on one device; what :func:`batches` gives.

    Iterating gives them in the order of the data, as often as it is asked for. ``len`` is their number.

    Parameters
    ----------
    data, batch_size, device, collate, drop_last, name
        As for :func:`batches`.
    """

    def __init__(
        self,
        data: object,
        batch_size: int = 500,
        *,
        device: torch.device | str | None = None,
        collate: Callable | None = None,
        drop_last: bool = False,
        name: str = "data",
    ):
        self.batch_size, self.drop_last, self.name = whole(batch_size, "batch_size"), drop_last, name
        self._data, self._device, self._collate, self._used = data, device, collate, False
        self._tensors = _tensors(data, name)
        if self._tensors is None and isinstance(data, IterableDataset):
            self._data = DataLoader(data, batch_size, collate_fn=collate, drop_last=drop_last)
        elif collate is not None and not isinstance(data, Dataset):
            raise ValueError(f"collate puts the items of a Dataset together, but {name} is {_kind(data)}.")
        elif self._tensors is None and not (self._has_rows or isinstance(data, Iterable)):
            raise TypeError(
                f"{name} must be a Split, a pair (inputs, targets), a dictionary of inputs, a Dataset, a DataLoader or "
                f"an iterable of batches, got {_kind(data)}."
            )

    @property
    def count(self) -> int | None:
        """The number of inputs; None where only the batches can be counted."""
        if self._tensors is not None:
            return len(self._tensors[0])
        return len(self._data) if self._has_rows else None

    def __len__(self) -> int:
        if (count := self.count) is not None:
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        try:
            return len(self._data)
        except TypeError:
            raise TypeError(
                f"{self.name} does not say how many batches it has, and that is needed here: pass a list of batches, a "
                "DataLoader or a Dataset."
            ) from None

    def __iter__(self) -> Iterator[tuple]:
        return self._batches(None)

    def drawn(self, epoch: int, generator: torch.Generator) -> Iterator[tuple]:
        """The batches of an epoch: of tensors and of a ``Dataset`` in a new order, of the rest in their own.

        Parameters
        ----------
        epoch : int
            It is not used: every epoch sees the same data.
        generator : torch.Generator
            Draws the order. A ``DataLoader`` draws its own, by this one's seed.

        Returns
        -------
        iterator of tuple
            ``(inputs, targets)``.
        """
        return self._batches(generator)

    def fingerprint(self) -> str:
        """What the data are, for an identity; of an iterator, which can be read once, only that it is one.

        Returns
        -------
        str
        """
        data = self._data
        if self._tensors is not None:
            return fingerprint(self._tensors)
        if isinstance(data, DataLoader):
            sampler = data.sampler if data.batch_sampler is None else data.batch_sampler
            data = (data.dataset, _drawing(sampler, data.dataset), data.collate_fn)
        return type(data).__name__ if isinstance(data, Iterator) else fingerprint(data)

    @property
    def _has_rows(self) -> bool:
        """Whether items are asked for by number, and put together here."""
        return isinstance(self._data, Dataset) and not isinstance(self._data, IterableDataset)

    def _batches(self, generator: torch.Generator | None) -> Iterator[tuple]:
        for batch in self._whole(generator):
            yield to_device(batch, self._device)

    def _whole(self, generator: torch.Generator | None) -> Iterator[tuple]:
        """The batches where they lie."""
        if (count := self.count) is None:
            drawn = isinstance(self._data, DataLoader) and generator is not None
            each = _seeded(self._data, generator.initial_seed()) if drawn else self._passes()
            yield from (_pair(batch, self.name) for batch in each)
            return
        order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
        for rows in order[: len(self) * self.batch_size].split(self.batch_size):
            if self._tensors is not None:
                rows = slice(rows[0], rows[-1] + 1) if generator is None and len(rows) else rows
                yield tuple(None if tensor is None else tensor[rows] for tensor in self._tensors)
            else:
                together = self._collate or default_collate
                yield _pair(together([self._data[row] for row in rows.tolist()]), self.name)

    def _passes(self) -> Iterable:
        """The data for one more pass."""
        if isinstance(self._data, Iterator):
            if self._used:
                raise ValueError(
                    f"{self.name} is an iterator, which gives its batches once, and they are needed again: pass "
                    f"list({self.name}), a DataLoader or a Dataset."
                )
            self._used = True
        return self._data


def batches(
    data: object,
    batch_size: int = 500,
    *,
    device: torch.device | str | None = None,
    collate: Callable | None = None,
    drop_last: bool = False,
    name: str = "data",
) -> Batches:
    """Data of any form as batches.

    Parameters
    ----------
    data : Split, pair, tensor, Dataset, DataLoader or iterable of batches
        A batch is a pair of inputs and targets, or the inputs alone. A ``list`` is one of batches. Where a model takes
        several inputs, a tuple or a dictionary of tensors stands in the place of one: ``((images, tables), targets)``,
        ``({"input_ids": ids, "attention_mask": mask}, targets)``. They become :class:`Several`.
    batch_size : int
        Of tensors and of a ``Dataset``; loaders and iterables have batches already.
    device : torch.device or str, optional
        Where batches go, such as :func:`device_of` a model. By default they stay where they are.
    collate : callable, optional
        For a ``Dataset``: ``list of items -> (inputs, targets)``. By default torch's ``default_collate``.
    drop_last : bool
        Whether an incomplete last batch is left out.
    name : str
        What the argument is called, for messages.

    Returns
    -------
    Batches

    Raises
    ------
    TypeError
        If ``data`` has none of these forms; while it is read, if a batch has not.
    ValueError
        If inputs and targets differ in number; when an iterator is read a second time.

    Examples
    --------
    >>> for inputs, targets in xp.data.batches((torch.rand(5, 2), torch.arange(5)), batch_size=4):
    ...     print(tuple(inputs.shape), targets.tolist())
    (4, 2) [0, 1, 2, 3]
    (1, 2) [4]
    """
    return Batches(data, batch_size, device=device, collate=collate, drop_last=drop_last, name=name)


def as_split(
    data: object,
    limit: int | None = None,
    *,
    on: nn.Module | None = None,
    collate: Callable | None = None,
    name: str = "data",
) -> Split:
    """Data of any form as one split, for what needs all of it at once.

    Parameters
    ----------
    data
        As for :func:`batches`. A ``Split`` is given back as it is.
    limit : int, optional
        At most so many inputs, the first ones; no more batches are read than that takes.
    on : nn.Module, optional
        The tensors go to the device of this model; by default they stay where they are.
    collate, name
        As for :func:`batches`.

    Returns
    -------
    Split
        Its targets are None where the data have none.

    Raises
    ------
    TypeError, ValueError
        As :func:`batches`; if there is no input.
    """
    tensors = _tensors(data, name)
    if tensors is None:
        found, count = [], 0
        source = batches(data, collate=collate, name=name)
        for batch in source.drawn(0, torch.Generator()) if isinstance(data, DataLoader) else source:
            found.append(batch)
            count += len(batch[0])
            if limit is not None and count >= limit:
                break
        if not found:
            raise ValueError(f"{name} is empty: at least one batch is needed.")
        inputs, targets = zip(*found)
        tensors = (torch.cat(inputs), None if targets[0] is None else torch.cat(targets))
    split = data if isinstance(data, Split) else Split(*tensors)
    if _is_bare(data):
        split.__dict__["ids"] = None
    elif not isinstance(data, Split) and (ids := getattr(data, "ids", None)) is not None:
        split.__dict__["ids"] = ids[: len(split.inputs)]
    split = split if limit is None or limit >= len(split.inputs) else split.first(limit)
    if on is None or split.inputs.device == device_of(on):
        return split
    return split.replaced(**dict(zip(("inputs", "targets"), to_device(split, device_of(on)))))


def ids_of(data: object, name: str = "data") -> torch.Tensor | None:
    """By what the inputs of data of any form are known again; for tensors, data sets and loaders all of them are read.

    Parameters
    ----------
    data
        As for :func:`batches`, or a data set that has ``ids`` itself.
    name : str
        What the argument is called, for messages.

    Returns
    -------
    torch.Tensor or None
        Shape ``(N,)`` or ``(N, k)``, int64; None of a bare iterable, which may give other inputs the next time.

    Examples
    --------
    >>> inputs = torch.rand(3, 2)
    >>> torch.equal(xp.data.ids_of([inputs[:2], inputs[2:]]), xp.data.ids_of(inputs))
    True
    """
    data = data._data if isinstance(data, Batches) else data
    if (ids := getattr(data, "ids", None)) is not None or _is_bare(data):
        return ids
    with torch.random.fork_rng(devices=[]):  # what is only looked at draws nothing
        return as_split(data, name=name).ids


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter or buffer; the CPU where it has none.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    torch.device
    """
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def to_device(batch: tuple, device: torch.device | str | None) -> tuple:
    """A batch whose tensors are on a device; without one as it is.

    Parameters
    ----------
    batch : tuple of torch.Tensor or None
    device : torch.device, str or None

    Returns
    -------
    tuple
    """
    return batch if device is None else tuple(None if part is None else part.to(device) for part in batch)


def _tensors(data: object, name: str) -> tuple | None:
    """Inputs and targets, if the data are tensors."""
    if isinstance(data, torch.Tensor | Several | Mapping):
        return as_inputs(data, name), None
    if not (isinstance(data, tuple) and len(data) == 2 and _are_inputs(data[0])):
        return None
    if isinstance(data[0], tuple | list) and not (data[1] is None or isinstance(data[1], torch.Tensor)):
        return None  # two batches
    inputs, targets = as_inputs(data[0], f"{name}'s inputs"), data[1]
    if not (targets is None or isinstance(targets, torch.Tensor)):
        raise TypeError(f"{name} must have a tensor of targets, or None, got {_kind(targets)}.")
    if targets is not None and (not targets.ndim or len(inputs) != len(targets)):
        count = len(targets) if targets.ndim else "a single number as"
        raise ValueError(f"{name} has {len(inputs)} inputs and {count} targets: give one target for each input.")
    return inputs, targets


def _seeded(loader: DataLoader, seed: int) -> Iterator:
    """The batches of a loader in the order that a seed draws; all generators are left as they were."""
    holders = (loader, loader.sampler, loader.batch_sampler)
    own = [held for held in (getattr(each, "generator", None) for each in holders) if held is not None]
    before = [generator.get_state() for generator in own]
    try:
        for generator in own:
            generator.manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            each = iter(loader)
            first = list(itertools.islice(each, 1))  # the order is drawn with the first batch
        yield from first
        yield from each
    finally:
        for generator, state in zip(own, before):
            generator.set_state(state)


def _drawing(sampler: Sampler, dataset: object) -> tuple:
    """How a sampler draws: its kind and what it holds, without the data and the state of a generator."""
    held = {key: value for key, value in vars(sampler).items() if value is not dataset}
    for key, value in held.items():
        if isinstance(value, torch.Generator):
            held[key] = torch.Generator
        elif isinstance(value, Sampler):
            held[key] = _drawing(value, dataset)
    return type(sampler), held


def _pair(batch: object, name: str) -> tuple:
    if isinstance(batch, torch.Tensor | Several | Mapping):
        return as_inputs(batch, f"a batch of {name}"), None
    if isinstance(batch, tuple | list) and 1 <= len(batch) <= 2 and _are_inputs(batch[0]):
        return as_inputs(batch[0], f"the inputs of a batch of {name}"), batch[1] if len(batch) == 2 else None
    raise TypeError(
        f"a batch of {name} must be a pair (inputs, targets), or the inputs alone, got {_kind(batch)}; several inputs "
        "stand together, as ((first, second), targets) or as a dictionary. For a Dataset, collate can bring its items "
        "into this form."
    )


def _are_inputs(value: object) -> bool:
    several = isinstance(value, tuple | list) and len(value) > 0
    return isinstance(value, torch.Tensor | Several | Mapping) or (several and isinstance(value[0], torch.Tensor))


def _is_bare(data: object) -> bool:
    """Whether data are an iterable that says nothing of what it gives the next time."""
    known = isinstance(data, torch.Tensor | Several | Mapping | tuple | list | DataLoader | Dataset | Batches)
    return not known or isinstance(data, IterableDataset)


def _kind(value: object) -> str:
    parts = ", ".join(type(part).__name__ for part in value[:3]) if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__} of {parts}" if parts else type(value).__name__
