"""A Vision Transformer whose every part is a layer with a name, so that it can be watched, explained and cut."""

# In stored tables: vision transformers

from __future__ import annotations

import torch
from torch import nn


class _Prepend(nn.Module):
    """The class token, a learned vector, put before the tokens of an image: (N, T, D) to (N, 1 + T, D)."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, tokens):
        return torch.cat([self.weight.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class Position(nn.Module):
    """A learned vector for every place, added to the token that stands there; shape (1, T, D).

    Parameters
    ----------
    tokens, dim : int
        How many places there are, and the size of a token.
    """

    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(0.5 * torch.randn(1, tokens, dim))

    def forward(self, tokens):
        """Add each place's vector.

        Parameters
        ----------
        tokens : torch.Tensor
            Shape (N, T, dim).

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        return tokens + self.weight


class Attention(nn.Module):
    """Heads that look from every token at all tokens (Vaswani et al. 2017, equation 1).

    The number of heads is what the layers' sizes say, so that a head is gone when its rows of ``query``, ``key`` and
    ``value`` and its columns of ``output`` are. ``weights`` is where the attention can be watched: its output has the
    shape (N, heads, T, T), a row of sum 1 for every token that looks.

    Parameters
    ----------
    dim : int
        Of a token.
    heads, width : int
        How many heads, and how many numbers each of them compares.
    """

    def __init__(self, dim: int, heads: int, width: int):
        super().__init__()
        self.width = width
        self.query = nn.Linear(dim, heads * width)
        self.key = nn.Linear(dim, heads * width)
        self.value = nn.Linear(dim, heads * width)
        self.weights = nn.Softmax(dim=-1)
        self.output = nn.Linear(heads * width, dim)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.output.in_features // self.width

    def forward(self, tokens):
        """Let every token look at all tokens.

        Parameters
        ----------
        tokens : torch.Tensor
            Shape (N, T, dim).

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        query, key, value = (
            layer(tokens).unflatten(-1, (-1, self.width)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = self.weights(query @ key.transpose(-2, -1) * self.width**-0.5)
        return self.output((weights @ value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two dense layers on every token alone; each adds to what it reads (He et al. 2016).

    Parameters
    ----------
    dim, heads, width, hidden : int
        As for :class:`VisionTransformer`.
    """

    def __init__(self, dim: int, heads: int, width: int, hidden: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads, width)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens):
        """Add what the heads find, then what the dense layers make of it.

        Parameters
        ----------
        tokens : torch.Tensor
            Shape (N, T, dim).

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Patches of an image as the words of a transformer (Dosovitskiy et al. 2021, arXiv 2010.11929, equations 1 to 4).

    Input (N, channels, side, side), output logits (N, classes).

    Parameters
    ----------
    side, patch, channels : int
        The image's height and width, the patches', which must divide it, and the number of colours.
    dim, depth, heads, width, hidden : int
        Size of a token, number of blocks, heads in each and their width, neurons between the two dense layers.
    classes : int

    Raises
    ------
    ValueError
        If the patches do not fill the image; on images of another shape.

    Examples
    --------
    >>> model = xp.nn.VisionTransformer(side=28, patch=7, dim=8, depth=1, heads=2, width=4, hidden=16)
    >>> model(torch.zeros(2, 1, 28, 28)).shape, model.grid
    (torch.Size([2, 10]), 4)
    """

    def __init__(
        self,
        side: int = 28,
        patch: int = 4,
        channels: int = 1,
        dim: int = 64,
        depth: int = 6,
        heads: int = 4,
        width: int = 16,
        hidden: int = 256,
        classes: int = 10,
    ):
        super().__init__()
        if patch < 1 or side % patch:
            raise ValueError(f"patch must divide the image's side of {side} pixels, got {patch}.")
        self.shape = (channels, side, side)
        self.patches = nn.Conv2d(channels, dim, patch, stride=patch)
        nn.init.normal_(self.patches.weight, std=(channels * patch**2) ** -0.5)
        self.class_token = _Prepend(dim)
        self.position = Position(1 + (side // patch) ** 2, dim)
        self.blocks = nn.Sequential(*(Block(dim, heads, width, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    @property
    def grid(self) -> int:
        """How many patches lie along one side of the image."""
        return self.shape[-1] // self.patches.stride[0]

    def forward(self, images):
        """Classify images by their class token.

        Parameters
        ----------
        images : torch.Tensor
            Shape (N, channels, side, side).

        Returns
        -------
        torch.Tensor
            Logits (N, classes).
        """
        return self.head(self._tokens(images)[:, 0])

    def _tokens(self, images):
        """All tokens after the last block."""
        _check_shape(images, self.shape)
        patches = self.patches(images).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(self.position(self._with_tokens(patches))))

    def _with_tokens(self, patches):
        return self.class_token(patches)


class DistilledTransformer(VisionTransformer):
    """A transformer with a second token, which listens to a teacher (DeiT; Touvron et al. 2021, arXiv 2012.12877).

    In training its output is a pair: logits of the class token, for labels, and of the distillation token, for what a
    teacher answers. In evaluation it is the mean of the two.

    Parameters
    ----------
    **sizes : int
        As for :class:`VisionTransformer`.
    """

    def __init__(self, **sizes: int):
        super().__init__(**sizes)
        dim, classes = self.head.in_features, self.head.out_features
        self.distillation_token = _Prepend(dim)
        self.position = Position(2 + self.grid**2, dim)
        self.distillation_head = nn.Linear(dim, classes)

    def forward(self, images):
        """Compute logits from both extra tokens.

        Parameters
        ----------
        images : torch.Tensor
            Shape (N, channels, side, side).

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            Logits (N, classes), in training a pair of them.
        """
        tokens = self._tokens(images)
        by_labels, by_teacher = self.head(tokens[:, 0]), self.distillation_head(tokens[:, 1])
        return (by_labels, by_teacher) if self.training else (by_labels + by_teacher) / 2

    def _with_tokens(self, patches):
        return self.class_token(self.distillation_token(patches))


@torch.fx.wrap  # one step of a graph, not to be looked into
def _check_shape(images, shape):
    if tuple(images.shape[1:]) != shape:
        raise ValueError(f"images must be (N, {', '.join(map(str, shape))}), got {tuple(images.shape)}.")


#: Four blocks, tokens of 32 numbers, four heads of width 8, 128 neurons: trained in minutes on one core.
_SMALL = {"dim": 32, "depth": 4, "heads": 4, "width": 8, "hidden": 128}


def small_transformer(classes: int = 10) -> VisionTransformer:
    """A transformer of 4 blocks, with 4 heads each.

    Parameters
    ----------
    classes : int

    Returns
    -------
    VisionTransformer
        Untrained, in training mode.

    Examples
    --------
    >>> sum(weight.numel() for weight in xp.nn.small_transformer().parameters())
    53386
    """
    return VisionTransformer(classes=classes, **_SMALL)


def small_distilled_transformer(classes: int = 10) -> DistilledTransformer:
    """The small transformer with a distillation token.

    Parameters
    ----------
    classes : int

    Returns
    -------
    DistilledTransformer
        Untrained, in training mode.
    """
    return DistilledTransformer(classes=classes, **_SMALL)
