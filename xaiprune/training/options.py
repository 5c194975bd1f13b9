"""How a model is trained: the options that every training of the kit takes."""

# In stored tables: training

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..core import nearest, real, whole
from ..data import Batches, batches
from .augment import AUGMENTATIONS


def one_cycle(optimizer: torch.optim.Optimizer, lr: float, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A learning rate that rises to ``lr`` and falls again (Smith and Topin 2018, arXiv 1708.07120).

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    lr : float
        The largest learning rate.
    steps : int
        Batches of the whole training.

    Returns
    -------
    torch.optim.lr_scheduler.LRScheduler
    """
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)


@dataclass(frozen=True)
class TrainOptions:
    """How a model is trained.

    Every function that trains takes them as one value, ``fit(model, train, loss, options)``, or as keyword arguments of
    its own, ``fit(model, train, loss, epochs=3, lr=1e-3)``, or both: the keyword arguments change the value.

    Attributes
    ----------
    epochs : int
        Passes over the training data; 0 leaves the model as it is.
    lr : float
        Learning rate: the largest one of its schedule.
    batch_size : int
        Of tensors and of a ``Dataset``; loaders have their own batches.
    drop_last : bool
        Whether the last, incomplete batch of an epoch is left out.
    optimizer : callable
        ``(parameters, lr) -> torch.optim.Optimizer``, such as ``functools.partial(torch.optim.SGD, momentum=0.9)``.
    lr_schedule : callable, optional
        ``(optimizer, lr, steps) -> scheduler``, whose ``step()`` is called after every batch; None keeps ``lr`` as it
        is.
    augment : callable or str, optional
        ``(inputs, generator) -> inputs``, applied to every batch, or a key of ``AUGMENTATIONS``; it draws from the
        epoch's own generator.
    collate : callable, optional
        For a ``Dataset``: ``list of items -> (inputs, targets)``.
    seed : int
        Of each epoch's order of batches and of what the model itself draws, such as dropout. The same seed gives the
        same training, whatever was drawn before, and the process's own generator is left as it was.
    resume : Path, optional
        File that keeps the state after each epoch. If it exists, training goes on from there, if nothing that changes
        the result has changed; it is deleted at the end.
    progress : bool
        Whether to show a bar.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range.

    Examples
    --------
    >>> from dataclasses import replace
    >>> quick = xp.training.TrainOptions(epochs=2, lr=1e-3, augment="flip and shift")
    >>> replace(quick, seed=1).seed
    1
    """

    epochs: int
    lr: float = 1e-3
    batch_size: int = 128
    drop_last: bool = True
    optimizer: Callable = torch.optim.Adam
    lr_schedule: Callable | None = one_cycle
    augment: Callable | str | None = None
    collate: Callable | None = None
    seed: int = 0
    resume: Path | str | None = None
    progress: bool = True

    def __post_init__(self):
        whole(self.epochs, "epochs", 0)
        whole(self.batch_size, "batch_size")
        whole(self.seed, "seed", 0)
        if not 0 < real(self.lr, "lr") < float("inf"):
            raise ValueError(f"lr must be larger than 0, got {self.lr!r}.")
        for name in ("optimizer", "lr_schedule", "collate"):
            value = getattr(self, name)
            if not callable(value) and (value is not None or name == "optimizer"):
                raise TypeError(f"{name} must be callable, got {value!r}.")
        if self.augment is not None:
            object.__setattr__(self, "augment", AUGMENTATIONS.find(self.augment, "augment"))

    @classmethod
    def of(cls, options: TrainOptions | None, changes: Mapping[str, object], **defaults) -> TrainOptions:
        """The options of a call.

        Parameters
        ----------
        options : TrainOptions, optional
            As one value.
        changes : mapping of str to object
            Those that were given by keyword: they come before the value's.
        **defaults
            Of the function, where no value is given.

        Returns
        -------
        TrainOptions

        Raises
        ------
        TypeError
            If a keyword is no option, or ``epochs`` is missing.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in changes if name not in known]:
            raise TypeError(
                f"{unknown[0]!r} is no option of a training{nearest(unknown[0], known)}; there are {', '.join(known)}."
            )
        if options is None:
            given = {**defaults, **changes}
            if "epochs" not in given:
                raise TypeError("epochs is missing: how often is every input to be seen?")
            return cls(**given)
        if not isinstance(options, cls):
            raise TypeError(f"options must be TrainOptions, got {type(options).__name__}; give the others by keyword.")
        return dataclasses.replace(options, **changes)

    def batches(self, train: object) -> Batches:
        """Training data in the batches that these options ask for.

        Parameters
        ----------
        train
            As for ``data.batches``; it has to say how many batches it has.

        Returns
        -------
        Batches

        Raises
        ------
        ValueError
            If there is less than one batch.
        """
        return self.check(batches(train, self.batch_size, collate=self.collate, drop_last=self.drop_last, name="train"))

    def check(self, source: Batches) -> Batches:
        """The batches, if there is at least one.

        Parameters
        ----------
        source : Batches
            Or what else has ``len``, ``count`` and ``name``.

        Returns
        -------
        Batches

        Raises
        ------
        ValueError
            If there is none.
        """
        if len(source) < 1:
            few = f"holds {source.count} inputs, less than one batch of {self.batch_size}"
            raise ValueError(f"{source.name} {few if source.count else 'is empty: at least one batch is needed'}.")
        return source

    @property
    def identity(self) -> dict[str, object]:
        """The options that change the result, by name."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("resume", "progress")]
        return {name: getattr(self, name) for name in names}
