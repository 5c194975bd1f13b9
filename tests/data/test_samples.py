"""Small data sets: points, printed digits, balanced draws, and MedMNIST's file format."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xaiprune import data, zoo
from xaiprune.data import samples
from xaiprune.measure import accuracy


def test_toy_points_are_scikit_learns():
    from sklearn.datasets import make_circles

    split = samples.toy("circles", 200, 3)
    places, labels = make_circles(200, noise=0.1, factor=0.3, random_state=3)
    assert np.allclose(split.inputs.numpy(), places, atol=1e-6)
    assert split.targets.tolist() == labels.tolist()
    assert samples.toy("moons").targets.bincount().tolist() == [1000, 1000]
    with pytest.raises(ValueError, match="name must be one of moons, circles"):
        samples.toy("spirals")
    with pytest.raises(ValueError, match="points must be an even number"):
        samples.toy("moons", 7)


def test_balanced_draws_have_as_many_of_each_class():
    calibration = data.mnist("calibration")
    one, again, other = (samples.balanced(calibration, 5, seed) for seed in (0, 0, 1))
    assert one.targets.bincount().tolist() == [5] * 10
    assert torch.equal(one.inputs, again.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    with pytest.raises(ValueError, match="per_class must be from 1 to"):
        samples.balanced(calibration, 500)


def test_printed_digits_are_digits():
    split = samples.printed_digits()
    assert split.inputs.shape == (10 * len(samples.FONTS) * 3, 1, 28, 28)
    assert split.inputs.min() == 0
    assert split.inputs.max() == 1
    assert accuracy(zoo.load("lenet-5"), split) > 90
    with pytest.raises(ValueError, match="fonts must be among those of matplotlib"):
        samples.printed_digits(("Papyrus",))


@pytest.fixture
def file(tmp_path):
    """A file in MedMNIST's format: bytes, and labels in a column."""
    arrays = {}
    for number, part in enumerate(("train", "val", "test")):
        arrays[f"{part}_images"] = np.full((number + 2, 28, 28), 51, np.uint8)
        arrays[f"{part}_labels"] = np.arange(number + 2, dtype=np.uint8)[:, None] % 2
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **arrays)
    return path


def test_pneumonia_mnist_reads_medmnists_format(file):
    split = samples.pneumonia_mnist("validation", file)
    assert split.inputs.shape == (3, 1, 28, 28)
    assert split.inputs.unique().tolist() == pytest.approx([0.2])
    assert split.targets.tolist() == [0, 1, 0]
    assert split.targets.dtype == torch.int64


def test_pneumonia_mnist_refuses_other_files(file, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        samples.pneumonia_mnist("calibration", file)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        samples.pneumonia_mnist("train", tmp_path / "nothing.npz")
    np.savez(tmp_path / "half.npz", train_images=np.zeros((2, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="it lacks train_labels"):
        samples.pneumonia_mnist("train", tmp_path / "half.npz")
    wrong = {"train_images": np.zeros((2, 28, 28, 3), np.uint8), "train_labels": np.zeros((2, 1))}
    np.savez(tmp_path / "colour.npz", **wrong)
    with pytest.raises(ValueError, match="images must be bytes of shape"):
        samples.pneumonia_mnist("train", tmp_path / "colour.npz")
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(__import__("sys").modules, "medmnist", None)
    with pytest.raises(ImportError, match="pip install medmnist"):
        samples.pneumonia_mnist("train")
