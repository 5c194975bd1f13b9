"""Shared models and data: a tiny untrained autoencoder for properties, the shipped one for the real thing."""

from __future__ import annotations

import os

import matplotlib as mpl
import pytest
import torch

from xaiprune import data, zoo
from xaiprune.prune import find_units, score
from xaiprune.train import reconstruction_loss

os.environ.setdefault("XAIPRUNE_STRICT", "1")  # a false claim or a wrong answer is an error, in lessons too
mpl.use("agg")
torch.set_num_threads(2)


@pytest.fixture
def tiny() -> zoo.ConvAutoencoder:
    """An autoencoder small enough for brute force, the same for every test."""
    torch.manual_seed(0)
    return zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5).eval()


@pytest.fixture
def digits() -> torch.Tensor:
    """Sixteen validation images."""
    return data.mnist("validation", 16).images


@pytest.fixture(scope="session")
def autoencoder() -> zoo.ConvAutoencoder:
    """The shipped autoencoder; tests must leave it as it is."""
    return zoo.load("mnist-autoencoder")


@pytest.fixture(scope="session")
def autoencoder_scores(autoencoder):
    """Fisher scores of the shipped autoencoder's units."""
    calibration = data.mnist("calibration", 200)
    units = find_units(autoencoder, calibration.images[:1])
    return score(autoencoder, units, "fisher", calibration, loss=reconstruction_loss)
