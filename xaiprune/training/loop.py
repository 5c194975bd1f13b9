"""The loop behind every training of the kit: seeded, resumable, with progress."""

# In stored tables: training

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn
from tqdm.auto import tqdm

from ..core import Checkpoint, InPlace
from ..data import Batches, device_of, to_device
from .options import TrainOptions


class Moment(NamedTuple):
    """Where a training is when it computes a batch.

    Attributes
    ----------
    epoch : int
        From 0.
    step : int
        Batches before this one, from the beginning of the training.
    total : int
        Batches of the whole training.
    rows : list of dict
        Of the epochs before.
    """

    epoch: int
    step: int
    total: int
    rows: list[dict]

    @property
    def done(self) -> float:
        """The share of the training that is done, in [0, 1)."""
        return self.step / self.total


def iterate(
    model: nn.Module,
    batches: Batches,
    value: Callable[[tuple, Moment], torch.Tensor],
    options: TrainOptions,
    *,
    identity: Mapping[str, object],
    validate: Callable[[nn.Module], float | dict[str, float]] | None = None,
    better: int = 0,
    name: str = "model",
) -> list[dict]:
    """Minimise a value over batches, in place: what ``fit``, ``tune``, ``distill`` and the others have in common.

    Parameters
    ----------
    model : nn.Module
        Its parameters are what is learned.
    batches : Batches
        From ``options.batches``; or what else has a length of at least 1, and ``drawn(epoch, generator)`` that gives
        the tuples of an epoch.
    value : callable
        ``(batch, moment) -> scalar tensor``: the loss of a batch, whose tensors are on the model's device.
    options : TrainOptions
    identity : mapping of str to object
        All that ``value`` and ``validate`` depend on, by the names of arguments: ``resume`` refuses another one.
    validate : callable, optional
        ``model -> float`` after each epoch, or columns for the row by name.
    better : {0, 1, -1}
        With 1 or -1 the model ends with the state whose validation was largest or smallest, the first one included.
    name : str
        What the model is called, for messages.

    Returns
    -------
    list of dict
        One row per epoch: ``epoch``, ``loss``, ``seconds`` and, with ``validate``, ``validation`` or its columns. With
        ``better`` the first row is that of epoch -1, before any training, and ``best`` marks the row that was kept.

    Raises
    ------
    ValueError
        If the loss is not finite (the epoch is named), or ``resume`` holds another run.
    """
    per_epoch = len(batches)
    total = options.epochs * per_epoch
    checkpoint = Checkpoint(options.resume, {**options.identity, **identity, name: InPlace(model)})
    optimizer = options.optimizer(model.parameters(), options.lr)
    schedule = options.lr_schedule(optimizer, options.lr, total) if options.lr_schedule and total else None
    rows, best = [], None
    if state := checkpoint.load():
        rows, best = state["rows"], state["best"]
        optimizer.load_state_dict(state["optimizer"])
        if schedule is not None:
            schedule.load_state_dict(state["schedule"])
    elif better:
        rows = [{"epoch": -1, **_validated(model, validate)}]
        best = {"value": rows[0]["validation"], "weights": copy.deepcopy(model.state_dict())}
    begun = rows[-1]["epoch"] + 1 if rows else 0
    bar = tqdm(total=total, initial=begun * per_epoch, disable=not options.progress, desc="training")
    with checkpoint, bar:
        for epoch in range(begun, options.epochs):
            start = time.perf_counter()
            loss = _epoch(model, batches, value, options, optimizer, schedule, Moment(epoch, 0, total, rows), bar)
            row = {"epoch": epoch, "loss": loss, "seconds": time.perf_counter() - start, **_validated(model, validate)}
            if better and better * (row["validation"] - best["value"]) > 0:
                best = {"value": row["validation"], "weights": copy.deepcopy(model.state_dict())}
            rows.append(row)
            bar.set_postfix({key: f"{row[key]:.2f}" for key in row if key not in ("epoch", "seconds")})
            state = {"optimizer": optimizer.state_dict(), "schedule": schedule and schedule.state_dict()}
            checkpoint.save(rows=rows, best=best, **state)
    if better:
        model.load_state_dict(best["weights"])
        chosen = max(range(len(rows)), key=lambda place: better * rows[place]["validation"])
        rows = [row | {"best": place == chosen} for place, row in enumerate(rows)]
    checkpoint.finish()
    return rows


def by_loss(model: nn.Module, loss: Callable) -> Callable[[tuple, Moment], torch.Tensor]:
    """A loss as the value of a batch that :func:`iterate` makes small.

    Parameters
    ----------
    model : nn.Module
    loss : callable
        ``(model, inputs, targets) -> scalar tensor``. A loss that changes on the way has a method ``at(moment)``, which
        is called before each batch.

    Returns
    -------
    callable
        ``(batch, moment) -> scalar tensor``.
    """

    def value(batch: tuple, moment: Moment) -> torch.Tensor:
        if hasattr(loss, "at"):
            loss.at(moment)
        return loss(model, *batch)

    return value


def _epoch(model, batches, value, options, optimizer, schedule, moment: Moment, bar) -> float:
    """Go through the data once; the mean of the loss. Whatever happens, the model ends in evaluation mode."""
    device, total = device_of(model), 0.0
    generator = torch.Generator().manual_seed(1000 * options.seed + moment.epoch)
    first = moment.epoch * len(batches)
    model.train()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(1000 * options.seed + moment.epoch)  # for dropout, which takes no generator
            for step, batch in enumerate(batches.drawn(moment.epoch, generator), first):
                if options.augment is not None:
                    batch = (options.augment(batch[0], generator), *batch[1:])
                loss = value(to_device(batch, device), moment._replace(step=step))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
                total += loss.item()
                bar.update()
    finally:
        model.eval()
    if not torch.isfinite(torch.tensor(total)):
        raise ValueError(f"the loss is {total} in epoch {moment.epoch}: try a smaller lr than {options.lr}.")
    return total / len(batches)


def _validated(model: nn.Module, validate: Callable | None) -> dict[str, float]:
    """What a validation adds to a row."""
    if validate is None:
        return {}
    found = validate(model)
    return found if isinstance(found, dict) else {"validation": float(found)}
