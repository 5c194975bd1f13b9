"""Recovery: what a cut model gets back, without labels, and by training."""

# In stored tables: recovery

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ...core import save_atomically
from ...data import Split
from ...graph import BATCH_NORMS
from ...measure import ACCURACY, Metric
from ...train import classification_loss, fit


def running_norms(model: nn.Module) -> list[nn.Module]:
    """The batch normalisations that store running statistics: what :func:`recalibrate` measures anew."""
    return [module for module in model.modules() if isinstance(module, BATCH_NORMS) and module.track_running_stats]


def recalibrate(model: nn.Module, images: torch.Tensor, batch_size: int = 200) -> nn.Module:
    """Measure the statistics of every batch normalisation anew, in place, without labels.

    After a cut the activations have other means and variances than those stored. Running statistics become plain means
    over batches of equal size, to one image; weights stay as they are. If a batch fails, the old statistics come back.

    Parameters
    ----------
    model : nn.Module
    images : torch.Tensor
        Training or calibration images, shape ``(N, ...)``; a thousand are enough.
    batch_size : int
        At most.

    Returns
    -------
    nn.Module
        ``model`` itself, with its modes as before.

    Raises
    ------
    ValueError
        If the model has no batch normalisation with running statistics, or there is no image.
    """
    norms = running_norms(model)
    if not norms:
        raise ValueError("model has no batch normalisation with running statistics: nothing can be re-calibrated.")
    if len(images) == 0:
        raise ValueError("images is empty: at least one image is needed.")
    with _accumulating(model, norms), torch.no_grad():
        for batch in images.tensor_split(math.ceil(len(images) / batch_size)):
            model(batch)
    return model


@contextmanager
def _accumulating(model: nn.Module, norms: list[nn.Module]) -> Iterator[None]:
    """Batch normalisations alone in training mode, with fresh statistics that become means over batches."""
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    except BaseException:
        for norm, buffers in zip(norms, before):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        raise
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


def tune(
    model: nn.Module,
    train: Split,
    validation: Split,
    *,
    epochs: int,
    lr: float = 1e-3,
    loss: Callable = classification_loss,
    metric: Metric = ACCURACY,
    batch_size: int = 128,
    augment: Callable | None = None,
    seed: int = 0,
    resume: Path | None = None,
    progress: bool = True,
) -> list[dict]:
    """Train a model in place and end with the state that did best on the validation split, the first one included.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    train, validation : Split
        To train on, and to choose by.
    epochs, lr
        As for ``fit``.
    loss : callable
        ``(model, images, labels) -> scalar``: ``distill.towards(teacher)`` distils.
    metric : Metric
    batch_size, augment, seed
        As for ``fit``.
    resume : Path, optional
        As for ``fit``; beside the file lies ``NAME.best`` with the best state so far.
    progress : bool

    Returns
    -------
    list of dict
        The rows of ``fit``, with epoch -1, before any training, first; ``best`` marks the row that was kept.
    """
    best = _Best(model, metric, validation, None if resume is None else Path(f"{resume}.best"))
    rows = [{"epoch": -1, "validation": best.first}]
    rows += fit(
        model,
        train,
        loss,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        validate=best.see,
        resume=resume,
        progress=progress,
    )
    best.restore()
    chosen = max(range(len(rows)), key=lambda place: metric.better * rows[place]["validation"])
    return [row | {"best": place == chosen} for place, row in enumerate(rows)]


class _Best:
    """The state that did best so far, kept in a file too if one is given."""

    def __init__(self, model: nn.Module, metric: Metric, validation: Split, path: Path | None):
        self.model, self.metric, self.validation, self.path = model, metric, validation, path
        if path is not None and path.exists():
            kept = torch.load(path, weights_only=True)
            self.first, self.value, self.state = kept["first"], kept["value"], kept["state"]
        else:
            self.first = self.value = metric(model, validation)
            self._keep()

    def see(self, model: nn.Module) -> float:
        value = self.metric(model, self.validation)
        if self.metric.better * (value - self.value) > 0:
            self.value = value
            self._keep()
        return value

    def restore(self) -> None:
        self.model.load_state_dict(self.state)
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _keep(self) -> None:
        self.state = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        if self.path is not None:
            kept = {"first": self.first, "value": self.value, "state": self.state}
            save_atomically(self.path, lambda temporary: torch.save(kept, temporary))
