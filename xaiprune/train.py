"""One training loop: seeded, resumable, with progress."""

# In stored tables: training

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from .core import save_atomically
from .data import Split


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def fit(
    model: nn.Module,
    train: Split,
    loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    epochs: int,
    lr: float,
    batch_size: int = 128,
    seed: int = 0,
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    resume: Path | None = None,
    progress: bool = True,
) -> list[dict]:
    """Train a model in place with Adam and a one-cycle learning rate (Smith and Topin 2018, arXiv 1708.07120).

    Parameters
    ----------
    model : nn.Module
        Trained in place.
    train : Split
        Images (N, ...) and labels (N,). Each epoch draws its own permutation from ``seed`` and its number, so
        that a resumed run sees the batches of an uninterrupted one.
    loss : callable
        ``(model, images, labels) -> scalar tensor``.
    epochs : int
    lr : float
        Largest learning rate of the cycle.
    batch_size : int
        The last, incomplete batch of an epoch is dropped.
    seed : int
        Of each epoch's order of batches and of what the model itself draws, such as dropout. The same seed gives the
        same training, whatever was drawn before, and the process's own generator is left as it was.
    augment : callable, optional
        ``(images, generator) -> images``, applied to every batch; draws from the epoch's own generator.
    validate : callable, optional
        ``model -> float`` after each epoch, kept in the history.
    resume : Path, optional
        File that keeps the state after each epoch. If it exists, training goes on from there; it is deleted
        at the end.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    list of dict
        One row per epoch: ``epoch``, ``loss``, ``seconds`` and, with ``validate``, ``validation``.

    Raises
    ------
    ValueError
        If ``train`` holds less than one batch, or the loss is not finite (the epoch is named).
    """
    steps = len(train.images) // batch_size
    if steps < 1:
        raise ValueError(f"train holds {len(train.images)} images, less than one batch of {batch_size}.")
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps)
    history: list[dict] = []
    if resume is not None and Path(resume).exists():
        state = torch.load(resume, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history = state["history"]
    bar = tqdm(total=epochs * steps, initial=len(history) * steps, disable=not progress, desc="training")
    for epoch in range(len(history), epochs):
        start, total = time.perf_counter(), 0.0
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(train.images), generator=generator)
        model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * seed + epoch)  # for dropout, which takes no generator
            for rows in order[: steps * batch_size].split(batch_size):
                images = train.images[rows]
                value = loss(model, images if augment is None else augment(images, generator), train.labels[rows])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
                total += value.item()
                bar.update()
        if not torch.isfinite(torch.tensor(total)):
            raise ValueError(f"the loss is {total} in epoch {epoch}: try a smaller lr than {lr}.")
        model.eval()
        row = {"epoch": epoch, "loss": total / steps, "seconds": time.perf_counter() - start}
        if validate is not None:
            row["validation"] = validate(model)
            bar.set_postfix(validation=f"{row['validation']:.2f}")
        history.append(row)
        if resume is not None:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"schedule": schedule.state_dict(), "history": history}
            save_atomically(Path(resume), lambda path, state=state: torch.save(state, path))
    bar.close()
    if resume is not None:
        Path(resume).unlink(missing_ok=True)
    return history


def random_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 1) -> torch.Tensor:
    """Each image (C, H, W) of a batch moved by its own whole number of pixels, up to ``pixels`` in each direction."""
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * pixels + 1, (2, count, 1, 1), generator=generator)
    padded = nn.functional.pad(images, (pixels,) * 4).movedim(1, -1)
    rows, columns = down + torch.arange(height)[:, None], right + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], rows, columns].movedim(-1, 1)


def reconstruction_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error between a model's output and its input; labels are not used."""
    return nn.functional.mse_loss(model(images), images)


def classification_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a classifier's logits (N, classes) against labels (N,)."""
    return nn.functional.cross_entropy(model(images), labels)
