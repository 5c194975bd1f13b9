"""Every generator that the kit draws from, seeded at once."""

from __future__ import annotations

import random


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> xp.core.seed_everything(0)
    >>> first = torch.rand(3)
    >>> xp.core.seed_everything(0)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
