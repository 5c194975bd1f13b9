"""How much the code of a table works with: all of it for the rows, a little for the probe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torchvision.models import MobileNetV2

from xaiprune import core, deploy, distill
from xaiprune.data import Split, fashion_mnist
from xaiprune.measure import ACCURACY, Metric, predict


@dataclass(frozen=True)
class Setting:
    """Bounds on what is measured, and what a training does differently.

    Attributes
    ----------
    images : int, optional
        Of each split, at most.
    count : int, optional
        Of what a row goes through, at most: ratios, draws, heatmaps that are compared, repeats.
    blocks : int, optional
        Of a MobileNet, from the first on: most of what a probe costs is the number of layers.
    training : mapping
        Options that take the place of a training's own, where it has them, and ``epochs`` and ``batch_size``.
    """

    images: int | None = None
    count: int | None = None
    blocks: int | None = None
    training: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def whole(self) -> bool:
        """Whether rows are measured, not a probe."""
        return self == WHOLE

    def split(self, load: Callable[..., Split], name: str, limit: int | None = None) -> Split:
        """A split of ``limit`` images, or fewer."""
        return load(name, limit) if self.images is None else _loaded(load, name, min(limit or self.images, self.images))

    def few(self, count: int) -> int:
        """As many as the rows have, or fewer."""
        return count if self.count is None else min(count, self.count)

    def some(self, values: Sequence) -> Sequence:
        """The last of the values, which are the hardest, or all."""
        return values[-self.few(len(values)) :]

    def network(self, model: nn.Module) -> nn.Module:
        """A network as it is; in a probe a MobileNet has its first blocks alone, with a head by least squares."""
        if self.blocks is None or not isinstance(model, MobileNetV2):
            return model
        model.features, model.classifier = model.features[: self.blocks + 1], nn.Identity()
        known = _loaded(fashion_mnist, "train", 200)
        features = nn.functional.pad(predict(model, known.inputs).double(), (0, 1), value=1.0)
        gram, wanted = features.T @ features, 10 * nn.functional.one_hot(known.targets).double()
        gram.diagonal().mul_(1.01)  # so that the head hardly depends on how the features were rounded
        weight = torch.linalg.solve(gram, features.T @ wanted).float()
        head = nn.Linear(len(weight) - 1, weight.shape[1])
        head.weight.data, head.bias.data = weight[:-1].T.contiguous(), weight[-1]
        model.classifier = nn.Sequential(nn.Dropout(0.2), head)
        return model.eval()

    def trained(self, options: Mapping) -> dict:
        """Options of a training."""
        known = {"epochs", "batch_size", *options}
        return {**options, **{name: value for name, value in self.training.items() if name in known}}

    @property
    def metric(self) -> Metric:
        """What models are judged by: accuracy in per cent, in a probe a loss, which moves with every weight."""
        return ACCURACY if self.whole else LOSS

    def judge(self, model: nn.Module, split: Split, *, in_sample: bool = False) -> float:
        """By the metric, with three digits."""
        return round(self.metric(model, split, in_sample=in_sample), 3)

    def teacher(self, model: nn.Module, example: torch.Tensor) -> nn.Module:
        """A network that only answers: in ONNX Runtime; in a probe in torch, which needs no export."""
        return deploy.Frozen(model, example) if self.whole else distill.freeze(model)

    @property
    def checkpoints(self) -> Path:
        """Where models are kept: with the shipped ones, or in the cache."""
        return (core.data_dir() if self.whole else core.cache_dir()) / "checkpoints"


#: The setting of the rows.
WHOLE = Setting()


@functools.cache
def _loaded(load: Callable[..., Split], name: str, limit: int) -> Split:
    return load(name, limit)


def _loss(model: nn.Module, split: Split) -> float:
    return 100 * nn.functional.cross_entropy(predict(model, split.inputs), split.targets).item()


LOSS = Metric("cross-entropy [hundredths]", _loss, better=-1)
