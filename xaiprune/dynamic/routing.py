"""Which way an image goes: out at a branch, or on through the tail that its likely classes need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..data import Split
from ..measure import macs
from ..metrics import predict
from ..runtimes import Frozen
from ..timing import Latency, latencies

#: The way of an image that leaves at the branch.
EXIT = "exit"


class Branch(nn.Sequential):
    """A small classifier on an early layer's maps: two convolutions that halve them, and the mean of each quarter.

    Where things are matters early, when channels are few: the mean of each channel alone says much less.

    Parameters
    ----------
    channels, classes : int
    width : int
        Channels of its convolutions.
    """

    def __init__(self, channels: int, classes: int, width: int = 32):
        layers = []
        for before in (channels, width):
            layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes))


class Dynamic(nn.Module):
    """A network that does for each image what its branch thinks it needs.

    The trunk and the branch run for every image. If the largest probability of the branch reaches the threshold, its
    answer is the answer. Otherwise the image goes to the tail of the set of classes to which the branch gives most
    probability; all images of a batch with the same set go together, through products that are really smaller.

    Parameters
    ----------
    trunk, branch : nn.Module
    tails : sequence of nn.Module
        One for each set, from the trunk's output to logits of all classes.
    sets : sequence of sequence of int
        Classes; every class is in one of them.
    threshold : float
        In (0, 1]; at 1 no image leaves.

    Raises
    ------
    ValueError
        If there is not one tail for each set, the sets do not hold every class once, or the threshold is out of its
        range.
    """

    def __init__(
        self,
        trunk: nn.Module,
        branch: nn.Module,
        tails: Sequence[nn.Module],
        sets: Sequence[Sequence[int]],
        threshold: float,
    ):
        super().__init__()
        if len(tails) != len(sets):
            raise ValueError(f"tails must be one for each of {len(sets)} sets, got {len(tails)}.")
        if sorted(label for some in sets for label in some) != list(range(sum(map(len, sets)))):
            raise ValueError(f"sets must hold every class once, got {[tuple(some) for some in sets]}.")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], got {threshold:g}.")
        self.trunk, self.branch, self.tails = trunk, branch, nn.ModuleList(tails)
        self.sets, self.threshold = tuple(tuple(some) for some in sets), threshold
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of all classes, shape ``(N, classes)``: those of the branch, or of a tail."""
        features = self.trunk(images)
        logits = self.branch(features)
        ways = self.route(logits)
        for place, tail in enumerate(self.tails):
            rows = (ways == place).nonzero().flatten()
            if len(rows):
                logits = logits.index_copy(0, rows, tail(features[rows]))
        return logits

    def ways(self, images: torch.Tensor) -> torch.Tensor:
        """Which way each image goes: the number of its tail, or -1 where it leaves; shape ``(N,)``."""
        return torch.cat([self.route(self.branch(self.trunk(batch))) for batch in images.split(500)]).detach()

    def route(self, logits: torch.Tensor) -> torch.Tensor:
        """The same from what the branch says, logits of shape ``(N, classes)``."""
        sure = logits.softmax(1)
        mass = torch.stack([sure[:, list(some)].sum(1) for some in self.sets], dim=1)
        return torch.where(leaving(sure.amax(1), self.threshold), -1, mass.argmax(1))

    def shares(self, images: torch.Tensor) -> dict[str, float]:
        """Way to the share of images that go it: ``exit``, and the sets as text."""
        ways = self.ways(images)
        counts = {EXIT: (ways == -1)} | {str(some): ways == place for place, some in enumerate(self.sets)}
        return {name: rows.double().mean().item() for name, rows in counts.items()}

    def path(self, way: str) -> nn.Module:
        """What an image runs on one way, as a model of its own."""
        tails = dict(zip(map(str, self.sets), self.tails))
        return _Path(self.trunk, self.branch, None if way == EXIT else tails[way])


def leaving(sure: torch.Tensor, threshold: float) -> torch.Tensor:
    """Which images leave: at least as sure as the threshold; at 1 none, though a probability may be rounded to 1.

    Parameters
    ----------
    sure : torch.Tensor
        Largest probability of each image, shape ``(N,)``.
    threshold : float
    """
    return (sure >= threshold) & (threshold < 1)


class _Path(nn.Module):
    """One way, for every image."""

    def __init__(self, trunk: nn.Module, branch: nn.Module, tail: nn.Module | None):
        super().__init__()
        self.trunk, self.branch, self.tail = trunk, branch, tail
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.trunk(images)
        logits = self.branch(features)
        logits.softmax(1).amax(1)  # the question is asked on every way
        return logits if self.tail is None else self.tail(features)


def path_macs(model: Dynamic, images: torch.Tensor) -> dict[str, float]:
    """Multiply-accumulates per image by way, their ``mean`` over the images, and the ``worst``.

    Parameters
    ----------
    model : Dynamic
    images : torch.Tensor
    """
    shares = model.shares(images)
    return _summed({way: float(macs(model.path(way), images[:1])) for way in shares}, shares)


def path_latencies(
    model: Dynamic, images: torch.Tensor, others: Mapping[str, nn.Module] | None = None, *, repeats: int = 40
) -> tuple[dict[str, float], dict[str, Latency]]:
    """Milliseconds at batch 1 by way, as ONNX Runtime runs the parts; all timed in turn with other models.

    Parameters
    ----------
    model : Dynamic
    images : torch.Tensor
        By which the ways are weighed.
    others : mapping of str to nn.Module, optional
        Whole models to time beside it.
    repeats : int

    Returns
    -------
    ways : dict of str to float
        Medians by way, their ``mean`` over the images, and the ``worst``.
    times : dict of str to Latency
        Of every way and of the other models.
    """
    shares, quick = model.shares(images), frozen(model, images[:1])
    timed = {way: quick.path(way) for way in shares}
    timed |= {name: Frozen(other, images[:1]) for name, other in (others or {}).items()}
    times = latencies(timed, images[:1], repeats=repeats, runtime="ONNX Runtime")
    return _summed({way: times[way].median for way in shares}, shares), times


def _summed(by_way: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    gone = [way for way in by_way if shares[way] > 0]
    mean = sum(shares[way] * by_way[way] for way in gone)
    return by_way | {"mean": mean, "worst": max(by_way[way] for way in gone)}


def frozen(model: Dynamic, example: torch.Tensor) -> Dynamic:
    """The same with each part in ONNX Runtime.

    Parameters
    ----------
    model : Dynamic
    example : torch.Tensor
        Images; only their shape matters.
    """
    with torch.no_grad():
        features = model.trunk(example)
    parts = [Frozen(part, features) for part in (model.branch, *model.tails)]
    return Dynamic(Frozen(model.trunk, example), parts[0], parts[1:], model.sets, model.threshold)


def choose_threshold(model: Dynamic, split: Split, lost: float) -> float:
    """The lowest threshold at which the answers lose no more than some points against letting nothing leave.

    Parameters
    ----------
    model : Dynamic
        Its own threshold does not matter.
    split : Split
        Validation images and labels.
    lost : float
        Points of accuracy.

    Returns
    -------
    float
        In (0, 1]; 1 where every exit costs too much.
    """
    if not lost >= 0:
        raise ValueError(f"lost must be at least 0 points, got {lost:g}.")
    early = predict(nn.Sequential(model.trunk, model.branch), split.images)
    late = predict(Dynamic(model.trunk, model.branch, model.tails, model.sets, 1.0), split.images)
    sure = early.softmax(1).amax(1)
    right = [(logits.argmax(1) == split.labels).double() for logits in (early, late)]
    order = sure.argsort(descending=True)
    gained = (right[0] - right[1])[order].cumsum(0)  # by letting the surest 1, 2, ... leave
    ranked = sure[order]
    last = torch.cat([ranked[1:] < ranked[:-1], torch.tensor([True])])  # images that are equally sure leave together
    stops = (last & (gained >= -lost / 100 * len(order))).nonzero().flatten()
    return ranked[stops[-1]].item() if len(stops) else 1.0
