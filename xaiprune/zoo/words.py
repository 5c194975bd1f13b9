"""Two networks that tell the language of a word: one reads its letters in turn, one looks at all of them."""

from __future__ import annotations

import torch
from torch import nn

from ..data import LANGUAGES, LETTERS, PLACES
from ..nn import Position, VisionTransformer


class WordLSTM(nn.Module):
    """A long short-term memory (Hochreiter and Schmidhuber 1997) over the letters of a word.

    Input (N, 1, places, letters), pictures of words; output logits (N, classes), from the memory after the last letter.

    Parameters
    ----------
    letters, embedded, hidden, classes : int
        Letters of the alphabet, numbers that stand for one, units of the memory, languages.
    """

    def __init__(
        self, letters: int = len(LETTERS), embedded: int = 16, hidden: int = 64, classes: int = len(LANGUAGES)
    ):
        super().__init__()
        self.embed = nn.Linear(letters, embedded, bias=False)
        self.memory = nn.LSTM(embedded, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Read the letters of words in turn.

        Parameters
        ----------
        images : torch.Tensor
            Shape (N, 1, 12, letters), as :func:`xaiprune.data.words.pictures` makes them.

        Returns
        -------
        torch.Tensor
            Logits (N, classes).
        """
        read, _ = self.memory(self.embed(images.squeeze(1)))
        return self.head(read[:, -1])


class WordTransformer(VisionTransformer):
    """A transformer whose tokens are letters: a patch is a row of the picture.

    Input (N, 1, places, letters), output logits (N, classes).

    Parameters
    ----------
    places, letters : int
        Of the pictures.
    **sizes : int
        ``dim``, ``depth``, ``heads``, ``width``, ``hidden`` and ``classes``, as for ``VisionTransformer``.
    """

    def __init__(self, places: int = PLACES, letters: int = len(LETTERS), **sizes: int):
        sizes = {"dim": 32, "depth": 2, "heads": 4, "width": 8, "hidden": 64, "classes": len(LANGUAGES)} | sizes
        super().__init__(side=1, patch=1, channels=1, **sizes)
        dim = self.head.in_features
        self.shape = (1, places, letters)
        self.patches = nn.Conv2d(1, dim, (1, letters))
        self.position = Position(1 + places, dim)
