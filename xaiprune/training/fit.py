"""One training loop: seeded, resumable, with progress."""

# In stored tables: training

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from tqdm.auto import tqdm

from ..core import Checkpoint
from ..data import Split
from .options import TrainOptions


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> xp.training.seed_everything(0)
    >>> first = torch.rand(3)
    >>> xp.training.seed_everything(0)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def fit(
    model: nn.Module,
    train: Split,
    loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor],
    options: TrainOptions | None = None,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    **changes,
) -> list[dict]:
    """Train a model in place.

    Parameters
    ----------
    model : nn.Module
        Trained in place; it ends in evaluation mode.
    train : Split
        Images (N, ...) and labels (N,). Each epoch draws its own permutation from ``seed`` and its number, so
        that a resumed run sees the batches of an uninterrupted one.
    loss : callable
        ``(model, images, labels) -> scalar tensor``. A loss that changes on the way has a method ``at(step, steps)``,
        which is called before each batch.
    options : TrainOptions, optional
    validate : callable, optional
        ``model -> float`` after each epoch, kept in the history.
    **changes
        Options by name: ``epochs``, ``lr``, ``batch_size``, ``seed`` ...; see :class:`TrainOptions`.

    Returns
    -------
    list of dict
        One row per epoch: ``epoch``, ``loss``, ``seconds`` and, with ``validate``, ``validation``.

    Raises
    ------
    ValueError
        If ``train`` holds less than one batch, an option is out of its range, the loss is not finite (the epoch is
        named), or ``resume`` holds the state of a call with another argument (it is named).

    Examples
    --------
    >>> points = xp.data.Split(torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8))
    >>> loss = xp.training.classification_loss
    >>> rows = xp.training.fit(nn.Linear(4, 4), points, loss, epochs=2, batch_size=8, progress=False)
    >>> [row["epoch"] for row in rows]
    [0, 1]
    """
    options = TrainOptions.of(options, changes)
    size, seed, augment = options.batch_size, options.seed, options.augment
    steps = len(train.images) // size
    if steps < 1:
        raise ValueError(f"train holds {len(train.images)} images, less than one batch of {size}.")
    total_steps = options.epochs * steps
    optimizer = options.optimizer(model.parameters(), options.lr)
    schedule = options.lr_schedule(optimizer, options.lr, total_steps) if total_steps else None
    history: list[dict] = []
    identity = {"model": architecture(model), "train": train, "loss": loss, "validate": validate, **options.identity}
    kept = Checkpoint(options.resume, identity)
    if state := kept.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history = state["history"]
    bar = tqdm(total=total_steps, initial=len(history) * steps, disable=not options.progress, desc="training")
    for epoch in range(len(history), options.epochs):
        start, total = time.perf_counter(), 0.0
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(train.images), generator=generator)
        model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * seed + epoch)  # for dropout, which takes no generator
            for number, rows in enumerate(order[: steps * size].split(size), epoch * steps):
                if hasattr(loss, "at"):
                    loss.at(number, total_steps)
                images = train.images[rows]
                value = loss(model, images if augment is None else augment(images, generator), train.labels[rows])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
                total += value.item()
                bar.update()
        if not torch.isfinite(torch.tensor(total)):
            raise ValueError(f"the loss is {total} in epoch {epoch}: try a smaller lr than {options.lr}.")
        model.eval()
        row = {"epoch": epoch, "loss": total / steps, "seconds": time.perf_counter() - start}
        if validate is not None:
            row["validation"] = validate(model)
            bar.set_postfix(validation=f"{row['validation']:.2f}")
        history.append(row)
        kept.save(
            model=model.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            history=history,
        )
    bar.close()
    kept.finish()
    return history


def architecture(model: nn.Module) -> str:
    """What a model is, but for its weights: those of a resumed run come from its state.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    str
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return f"{model!r} {shapes}"
