"""Which way an image goes: out at a branch, or on through the tail that its likely classes need."""

# In stored tables: dynamic networks

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..data import Split, as_split, mark
from ..measure import macs, predict

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

    Examples
    --------
    >>> xp.dynamic.Branch(channels=4, classes=10)(torch.zeros(2, 4, 14, 14)).shape
    torch.Size([2, 10])
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

    Attributes
    ----------
    first : First
        What runs for every image, as a model of its own.
    tails : nn.ModuleList

    Raises
    ------
    ValueError
        If there is not one tail for each set, the sets do not hold every class once, or the threshold is out of its
        range.

    Examples
    --------
    >>> model = xp.dynamic.Dynamic(nn.Identity(), nn.Identity(), [nn.Tanh()], [(0, 1)], threshold=0.9)
    >>> images = torch.tensor([[5.0, 0.0], [0.5, 0.0]])  # of which the branch is 99 % and 62 % sure
    >>> model.ways(images).tolist(), model.shares(images)
    ([-1, 0], {'exit': 0.5, '(0, 1)': 0.5})
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
        self.first, self.tails = First(trunk, branch, sets, threshold), nn.ModuleList(tails)
        self.eval()

    @property
    def trunk(self) -> nn.Module:
        """The layers before the branch."""
        return self.first.trunk

    @property
    def branch(self) -> nn.Module:
        """The classifier on the trunk's maps."""
        return self.first.branch

    @property
    def sets(self) -> tuple[tuple[int, ...], ...]:
        """Classes that share a tail."""
        return self.first.sets

    @property
    def threshold(self) -> float:
        """How sure the branch has to be; it can be set."""
        return self.first.threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self.first.threshold = _checked(threshold)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Answer each image by the branch, or by its tail.

        Parameters
        ----------
        images : torch.Tensor
            Shape ``(N, ...)``.

        Returns
        -------
        torch.Tensor
            Logits of all classes, shape ``(N, classes)``.
        """
        return _send_on(*self.first(images), self.tails)

    def ways(self, images: torch.Tensor) -> torch.Tensor:
        """Which way each image goes: the number of its tail, or -1 where it leaves; shape ``(N,)``.

        Parameters
        ----------
        images : torch.Tensor
            Shape ``(N, ...)``.

        Returns
        -------
        torch.Tensor
            int64.
        """
        return torch.cat([self.first(batch)[2] for batch in images.split(500)]).detach()

    def route(self, logits: torch.Tensor) -> torch.Tensor:
        """The same from what the branch says, logits of shape ``(N, classes)``.

        Parameters
        ----------
        logits : torch.Tensor
            Of the branch.

        Returns
        -------
        torch.Tensor
            As :meth:`ways` gives it.
        """
        return self.first.route(logits)

    def shares(self, images: torch.Tensor) -> dict[str, float]:
        """Way to the share of images that go it: ``exit``, and the sets as text.

        Parameters
        ----------
        images : torch.Tensor
            Shape ``(N, ...)``.

        Returns
        -------
        dict of str to float
            In [0, 1], of sum 1.
        """
        ways = self.ways(images)
        counts = {EXIT: (ways == -1)} | {str(some): ways == place for place, some in enumerate(self.sets)}
        return {name: rows.double().mean().item() for name, rows in counts.items()}

    def path(self, way: str) -> Route:
        """What an image runs on one way, as a model of its own.

        Parameters
        ----------
        way : str
            ``exit``, or one of the sets as text, as :meth:`shares` names them.

        Returns
        -------
        Route
        """
        return _path_of(way, self.first, self.tails, self.sets)


class First(nn.Module):
    """What runs for every image: the trunk, the branch, and the question which way the image goes.

    Parameters
    ----------
    trunk, branch, sets, threshold
        As for :class:`Dynamic`.

    Examples
    --------
    >>> model = xp.dynamic.Dynamic(nn.Identity(), nn.Identity(), [nn.Tanh()], [(0, 1)], threshold=0.9)
    >>> images = torch.tensor([[5.0, 0.0], [0.5, 0.0]])  # of which the branch is 99 % and 62 % sure
    >>> maps, logits, way = model.first(images)
    >>> way.tolist()  # the first leaves, the second goes to tail 0
    [-1, 0]
    """

    def __init__(self, trunk: nn.Module, branch: nn.Module, sets: Sequence[Sequence[int]], threshold: float):
        super().__init__()
        self.trunk, self.branch, self.threshold = trunk, branch, _checked(threshold)
        self.sets = tuple(tuple(some) for some in sets)
        member = [[float(label in some) for label in range(sum(map(len, sets)))] for some in sets]
        self.register_buffer("member", torch.tensor(member), persistent=False)
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run the trunk and the branch, and choose the ways.

        Parameters
        ----------
        images : torch.Tensor
            Shape ``(N, ...)``.

        Returns
        -------
        maps : torch.Tensor
            What the tails read.
        logits : torch.Tensor
            Of the branch, shape ``(N, classes)``.
        way : torch.Tensor
            Shape ``(N,)``: a tail's number, or -1 where the image leaves.
        """
        features = self.trunk(images)
        logits = self.branch(features)
        return features, logits, self.route(logits)

    def route(self, logits: torch.Tensor) -> torch.Tensor:
        """The way from what the branch says.

        Parameters
        ----------
        logits : torch.Tensor
            Shape ``(N, classes)``.

        Returns
        -------
        torch.Tensor
            Shape ``(N,)``: a tail's number, or -1 where the image leaves.
        """
        sure = logits.softmax(1)
        likeliest = (sure[:, None] * self.member).sum(2).argmax(1) if len(self.sets) > 1 else 0
        return torch.where(exits_early(sure.amax(1), self.threshold), -1, likeliest)


class Route(nn.Module):
    """One way, for every image, whatever the branch says of it.

    Parameters
    ----------
    first : nn.Module
        :class:`First`, or the same in another form.
    tail : nn.Module, optional
        Default none: the image leaves.

    Examples
    --------
    >>> model = xp.dynamic.Dynamic(nn.Identity(), nn.Identity(), [nn.Tanh()], [(0, 1)], threshold=0.9)
    >>> images = torch.tensor([[5.0, 0.0], [0.5, 0.0]])  # of which the branch is 99 % and 62 % sure
    >>> torch.equal(model.path("exit")(images), images), torch.equal(model.path("(0, 1)")(images), images.tanh())
    (True, True)
    """

    def __init__(self, first: nn.Module, tail: nn.Module | None):
        super().__init__()
        self.first, self.tail = first, tail
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Answer every image this way.

        Parameters
        ----------
        images : torch.Tensor
            Shape ``(N, ...)``.

        Returns
        -------
        torch.Tensor
            Logits, shape ``(N, classes)``.
        """
        features, logits, _ = self.first(images)
        return logits if self.tail is None else self.tail(features)


def _path_of(way: str, first: nn.Module, tails: Sequence[nn.Module], sets: Sequence[Sequence[int]]) -> Route:
    """A way by its name: ``exit``, or a set as text.

    Parameters
    ----------
    way : str
    first, tails, sets
        As for :class:`Route` and :class:`Dynamic`.

    Raises
    ------
    ValueError
        If no way has that name; those that there are are listed.
    """
    ways = {EXIT: None} | dict(zip(map(str, sets), tails))
    if way not in ways:
        raise ValueError(f"way must be one of {', '.join(ways)}, got {way!r}.")
    return Route(first, ways[way])


def _send_on(
    features: torch.Tensor, logits: torch.Tensor, ways: torch.Tensor, tails: Sequence[nn.Module]
) -> torch.Tensor:
    """Answers of the tails for the images that stay, in their places among those of the branch.

    Parameters
    ----------
    features, logits, ways : torch.Tensor
        From :class:`First`.
    tails : sequence of nn.Module
    """
    taken = sorted({*ways.tolist()})
    if len(taken) == 1:  # no sorting, as for a single image
        return logits if taken[0] < 0 else tails[taken[0]](features)
    for place in taken:
        if place >= 0:
            rows = (ways == place).nonzero().flatten()
            logits = logits.index_copy(0, rows, tails[place](features[rows]))
    return logits


def _checked(threshold: float) -> float:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold:g}.")
    return threshold


def exits_early(sure: torch.Tensor, threshold: float) -> torch.Tensor:
    """Which images leave: at least as sure as the threshold; at 1 none, though a probability may be rounded to 1.

    Parameters
    ----------
    sure : torch.Tensor
        Largest probability of each image, shape ``(N,)``.
    threshold : float

    Returns
    -------
    torch.Tensor
        bool, shape ``(N,)``.

    Examples
    --------
    >>> xp.dynamic.exits_early(torch.tensor([0.95, 0.8]), 0.9).tolist()
    [True, False]
    """
    return sure >= (threshold if threshold < 1 else float("inf"))


def route_macs(model: Dynamic, images: torch.Tensor) -> dict[str, float]:
    """Multiply-accumulates per image by way, their ``mean`` over the images, and the ``worst``.

    Parameters
    ----------
    model : Dynamic
    images : torch.Tensor

    Returns
    -------
    dict of str to float
    """
    shares = model.shares(images)
    return _over_images({way: float(macs(model.path(way), images[:1])) for way in shares}, shares)


def _over_images(by_way: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    """A cost by way, with its ``mean`` over images, and the ``worst`` of the ways that any of them goes.

    Parameters
    ----------
    by_way : dict of str to float
    shares : dict of str to float
        From ``Dynamic.shares``.
    """
    gone = [way for way in by_way if shares[way] > 0]
    mean = sum(shares[way] * by_way[way] for way in gone)
    return by_way | {"mean": mean, "worst": max(by_way[way] for way in gone)}


def choose_threshold(model: Dynamic, split: Split, lost: float) -> float:
    """The lowest threshold at which the answers lose no more than some points against letting nothing leave.

    Parameters
    ----------
    model : Dynamic
        Its own threshold does not matter.
    split : Split, or data of another form
        Validation images and labels.
    lost : float
        Points of accuracy.

    Returns
    -------
    float
        In (0, 1]; 1 where every exit costs too much.

    Raises
    ------
    ValueError
        If ``lost`` is negative.

    Examples
    --------
    The branch is right about the two images that it is surest of; the tail is right about all:

    >>> tail = nn.Linear(2, 2)
    >>> _ = tail.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    >>> _ = tail.bias.data.copy_(torch.tensor([-1.0, 0.0]))
    >>> model = xp.dynamic.Dynamic(nn.Identity(), nn.Identity(), [tail], [(0, 1)], threshold=1.0)
    >>> split = xp.data.Split(torch.tensor([[5.0, 0.0], [2.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 0, 1]))
    >>> round(xp.dynamic.choose_threshold(model, split, lost=0), 2)  # as sure as of the second image
    0.88
    """
    split = as_split(split, name="split")
    if not lost >= 0:
        raise ValueError(f"lost must be at least 0 points, got {lost:g}.")
    early = predict(nn.Sequential(model.trunk, model.branch), split.inputs)
    late = predict(Dynamic(model.trunk, model.branch, model.tails, model.sets, 1.0), split.inputs)
    sure = early.softmax(1).amax(1)
    right = [(logits.argmax(1) == split.targets).double() for logits in (early, late)]
    order = sure.argsort(descending=True)
    gained = (right[0] - right[1])[order].cumsum(0)  # by letting the surest 1, 2, ... leave
    ranked = sure[order]
    last = torch.cat([ranked[1:] < ranked[:-1], torch.tensor([True])])  # images that are equally sure leave together
    stops = (last & (gained >= -lost / 100 * len(order))).nonzero().flatten()
    return mark(ranked[stops[-1]].item() if len(stops) else 1.0, data=split, what="threshold of the exit")
