"""Training that ends with the state that did best."""

# In stored tables: recovery

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from ..data import Split, as_split, mark
from ..graph import asks
from ..measure import ACCURACY, METRICS, Metric
from .loop import by_loss, iterate
from .losses import TASK_LOSSES, classification_loss
from .options import TrainOptions


@asks("model", changes=True)
def tune(
    model: nn.Module,
    train: Split,
    validation: Split,
    options: TrainOptions | None = None,
    *,
    loss: Callable | str = classification_loss,
    metric: Metric | str = ACCURACY,
    output: str | int | Callable | None = None,
    **changes,
) -> list[dict]:
    """Train a model in place and end with the state that did best on the validation split, the first one included.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; as for :func:`fit`.
    train, validation : Split, or data of another form
        To train on, and to choose by.
    options : TrainOptions, optional
    loss : callable or str
        As for :func:`fit`: ``distill.distillation_loss(teacher)`` distils.
    metric : Metric or str
        Or a key of ``measure.METRICS``.
    output : str, int or callable, optional
        As for :func:`fit`.
    **changes
        Options by name, as for :func:`fit`.

    Returns
    -------
    list of dict
        The rows of :func:`fit`, with epoch -1, before any training, first; ``best`` marks the row that was kept.

    Raises
    ------
    ValueError, TypeError
        As for :func:`fit`.

    Examples
    --------
    >>> points = torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8)
    >>> rows = xp.training.tune(nn.Linear(4, 4).eval(), points, points, epochs=2, batch_size=8, progress=False)
    >>> [row["epoch"] for row in rows], sum(row["best"] for row in rows)
    ([-1, 0, 1], 1)
    """
    options, validation = TrainOptions.of(options, changes), as_split(validation, name="validation")
    source, loss, metric = options.batches(train), TASK_LOSSES.find(loss, "loss"), METRICS.find(metric, "metric")
    rows = iterate(
        model,
        source,
        by_loss(model, loss),
        options,
        identity={"train": source, "validation": validation, "loss": loss, "metric": metric}
        | ({} if output is None else {"output": output}),
        validate=partial(metric, split=validation, in_sample=True),
        better=metric.better,
    )
    mark(model, data=validation if options.epochs else None, what="the epoch that was kept")
    return rows
