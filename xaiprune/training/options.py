"""How a training goes: one value that every loop of the kit takes."""

# In stored tables: training

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import nn

from ..core import arguments


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam, as torch has it.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
    lr : float

    Returns
    -------
    torch.optim.Optimizer
    """
    return torch.optim.Adam(parameters, lr=lr)


def one_cycle(optimizer: torch.optim.Optimizer, lr: float, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A learning rate that rises to its largest value and falls to nothing (Smith and Topin 2018, arXiv 1708.07120).

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    lr : float
        The largest value.
    steps : int
        Of the whole training.

    Returns
    -------
    torch.optim.lr_scheduler.LRScheduler
    """
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a training goes.

    Every loop takes these as keywords, ``fit(model, train, loss, epochs=3)``, or as one value,
    ``fit(model, train, loss, TrainOptions(epochs=3))``; keywords change a value that is given.

    Attributes
    ----------
    epochs : int
        How often every input is seen.
    lr : float
        Largest learning rate.
    batch_size : int
        The last, incomplete batch of an epoch is dropped.
    optimizer : callable
        ``(parameters, lr) -> optimizer``.
    lr_schedule : callable
        ``(optimizer, lr, steps) -> scheduler``, stepped after each batch.
    augment : callable, optional
        ``(inputs, generator) -> inputs``, applied to every batch; it draws from the epoch's own generator.
    seed : int
        Of each epoch's order of batches and of what the model itself draws, such as dropout. The same seed gives the
        same training, whatever was drawn before, and the process's own generator is left as it was.
    resume : Path, optional
        File that keeps the state after each epoch. If it exists, training goes on from there; it is deleted at the end.
        A call with another argument that changes the result is refused by the argument's name.
    progress : bool
        Whether to show a bar.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range.

    Examples
    --------
    >>> xp.training.TrainOptions(epochs=3).lr
    0.001
    """

    epochs: int
    lr: float = 1e-3
    batch_size: int = 128
    optimizer: Callable = adam
    lr_schedule: Callable = one_cycle
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    seed: int = 0
    resume: Path | str | None = None
    progress: bool = True

    def __post_init__(self):
        arguments.whole(self.epochs, "epochs", 0)
        arguments.whole(self.batch_size, "batch_size", 1)
        arguments.whole(self.seed, "seed", 0)
        if not arguments.real(self.lr, "lr") > 0:
            raise ValueError(f"lr must be larger than 0, got {self.lr!r}.")

    @classmethod
    def of(cls, options: TrainOptions | None, changes: Mapping[str, object]) -> TrainOptions:
        """Options from a value, keywords, or both.

        Parameters
        ----------
        options : TrainOptions, optional
        changes : mapping of str to object

        Returns
        -------
        TrainOptions

        Raises
        ------
        TypeError
            If a keyword is none of the options, or ``epochs`` is missing.
        """
        known = [field.name for field in fields(cls)]
        for name in changes:
            if name not in known:
                hint = arguments.nearest(name, known)
                raise TypeError(f"{name!r} is no option of a training{hint}; there are {', '.join(known)}.")
        if options is None and "epochs" not in changes:
            raise TypeError("epochs is missing: how often is every input to be seen?")
        return cls(**changes) if options is None else replace(options, **changes)

    @property
    def identity(self) -> dict[str, object]:
        """All that changes the result: everything but where the state is kept and whether a bar is shown."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("resume", "progress")}
