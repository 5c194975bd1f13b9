"""Training that ends with the state that did best."""

# In stored tables: recovery

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from ..core import Checkpoint, fingerprint
from ..data import Split
from ..measure import ACCURACY, Metric
from .fit import architecture, fit
from .losses import classification_loss
from .options import TrainOptions


def tune(
    model: nn.Module,
    train: Split,
    validation: Split,
    options: TrainOptions | None = None,
    *,
    loss: Callable = classification_loss,
    metric: Metric = ACCURACY,
    **changes,
) -> list[dict]:
    """Train a model in place and end with the state that did best on the validation split, the first one included.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    train, validation : Split
        To train on, and to choose by.
    options : TrainOptions, optional
    loss : callable
        ``(model, images, labels) -> scalar``: ``distill.distillation_loss(teacher)`` distils.
    metric : Metric
    **changes
        Options by name, as for :func:`fit`. Beside the file of ``resume`` lies ``NAME.best`` with the best state so
        far.

    Returns
    -------
    list of dict
        The rows of ``fit``, with epoch -1, before any training, first; ``best`` marks the row that was kept.

    Raises
    ------
    ValueError
        As for :func:`fit`.

    Examples
    --------
    >>> points = xp.data.Split(torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8))
    >>> rows = xp.training.tune(nn.Linear(4, 4).eval(), points, points, epochs=2, batch_size=8, progress=False)
    >>> [row["epoch"] for row in rows], sum(row["best"] for row in rows)
    ([-1, 0, 1], 1)
    """
    options = TrainOptions.of(options, changes)
    best = _Best(model, train, validation, loss, metric, options)
    rows = [{"epoch": -1, "validation": best.first}]
    rows += fit(model, train, loss, options, validate=best.see)
    best.restore()
    chosen = max(range(len(rows)), key=lambda place: metric.better * rows[place]["validation"])
    return [row | {"best": place == chosen} for place, row in enumerate(rows)]


class _Best:
    """The state that did best so far, kept in a file too if one is given."""

    def __init__(self, model: nn.Module, train, validation: Split, loss, metric: Metric, options: TrainOptions):
        self.model, self.metric, self.validation = model, metric, validation
        path = None if options.resume is None else Path(f"{options.resume}.best")
        identity = {"model": architecture(model), "train": train, "validation": validation, "loss": loss}
        self.kept = Checkpoint(path, identity | {"metric": metric} | options.identity)
        if state := self.kept.load():
            self.first, self.value, self.state = state["first"], state["value"], state["state"]
        else:
            self.first = self.value = metric(model, validation)
            self._keep()

    def fingerprint(self) -> str:
        """What it chooses by, without what it has seen so far."""
        return fingerprint({"metric": self.metric, "validation": self.validation})

    def see(self, model: nn.Module) -> float:
        value = self.metric(model, self.validation)
        if self.metric.better * (value - self.value) > 0:
            self.value = value
            self._keep()
        return value

    def restore(self) -> None:
        self.model.load_state_dict(self.state)
        self.kept.finish()

    def _keep(self) -> None:
        self.state = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.kept.save(first=self.first, value=self.value, state=self.state)
