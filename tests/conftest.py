"""Shared models and data: a tiny untrained autoencoder for properties, the shipped one for the real thing."""

from __future__ import annotations

import os
from contextlib import contextmanager

import matplotlib as mpl
import pytest
import torch
from tqdm import tqdm

from xaiprune import data, zoo
from xaiprune.prune import find_units, score
from xaiprune.training import reconstruction_loss

os.environ.setdefault("XAIPRUNE_STRICT", "1")  # a false claim or a wrong answer is an error, in lessons too
mpl.use("agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # side by side with others: one thread, also for kernels that it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


@pytest.fixture
def tiny() -> zoo.ConvAutoencoder:
    """An autoencoder small enough for brute force, the same for every test."""
    torch.manual_seed(0)
    return zoo.ConvAutoencoder(channels=(4, 6), hidden=10, latent=5).eval()


@pytest.fixture
def digits() -> torch.Tensor:
    """Sixteen validation images."""
    return data.mnist("validation", 16).inputs


@pytest.fixture(scope="session")
def autoencoder() -> zoo.ConvAutoencoder:
    """The shipped autoencoder; tests must leave it as it is."""
    return zoo.load("mnist-autoencoder")


@pytest.fixture(scope="session")
def autoencoder_scores(autoencoder):
    """Fisher scores of the shipped autoencoder's units."""
    calibration = data.mnist("calibration", 200)
    units = find_units(autoencoder, calibration.inputs[:1])
    return score(autoencoder, units, "fisher", calibration, loss=reconstruction_loss)


@pytest.fixture
def interrupted(monkeypatch):
    """``with interrupted(batches):`` whatever trains inside is stopped after so many batches, as by Ctrl-C."""

    @contextmanager
    def after(batches: int):
        update, seen = tqdm.update, []

        def stop(bar, n=1):
            seen.append(n)
            if len(seen) > batches:
                raise KeyboardInterrupt
            return update(bar, n)

        with monkeypatch.context() as patch:
            patch.setattr(tqdm, "update", stop)
            try:
                yield
            except KeyboardInterrupt:
                return
        pytest.fail(f"nothing was stopped: there were {len(seen)} batches")

    return after
